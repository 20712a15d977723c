//! The one table of places that may break a rule, each with its reason.

use super::Finding;

/// A path (a directory ends with `/`), the rule that it may break, and why.
const TABLE: &[(&str, &str, &str)] = &[
    ("crates/cage/src/sys.rs", "unsafe", "the one system call module (DESIGN, invariant 1)"),
    ("crates/cage/init/", "unsafe", "pid 1 of a room: no_std, raw system calls"),
    ("crates/cage/enter/", "unsafe", "the entering code: no_std, raw system calls"),
    ("fuzz/Cargo.toml", "manifest", "outside the workspace, whose versions and lints it cannot inherit"),
];

/// Returns whether the table allows what was found.
pub(super) fn allow(finding: &Finding) -> bool {
    TABLE.iter().any(|(place, rule, _reason)| {
        let is_there = match place.strip_suffix('/') {
            Some(_) => finding.path.starts_with(place),
            None => finding.path == *place,
        };
        is_there && finding.rule == *rule
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_holds_for_its_rule_and_place_only() {
        let finding = |rule, path| Finding::new(rule, path, 1, String::new());
        assert!(allow(&finding("unsafe", "crates/cage/src/sys.rs")));
        assert!(allow(&finding("unsafe", "crates/cage/init/main.rs")));
        assert!(!allow(&finding("length", "crates/cage/src/sys.rs")));
        assert!(!allow(&finding("unsafe", "crates/cage/src/room.rs")));
    }
}
