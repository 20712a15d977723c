//! Rules for the crate graph: arrows point down as in DESIGN, and manifests are alike.

use serde_json::Value;

use super::{File, Finding};

/// The whole product stays lean (facts: about 300 locked packages).
const MOST_LOCKED: usize = 300;

/// Which of our crates each may build on. Tests may use any.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("cage", &[]),
    ("model", &[]),
    ("store", &["protocol"]),
    ("sandbox", &["cage", "protocol", "store"]),
    ("agent", &["model", "protocol", "sandbox", "store"]),
    ("server", &["agent", "model", "protocol", "sandbox", "store"]),
    ("client", &["protocol"]),
    ("cli", &["agent", "cage", "client", "model", "protocol", "sandbox", "server", "store"]),
    ("e2e", &[]),
];

/// Crates of others that only some of ours may build on, and who may.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("anyhow", &["cli", "xtask"], "libraries have one error enum each (STYLE 9)"),
    ("libc", &["cage"], "system calls live in cage (DESIGN, invariant 1)"),
    (
        "tokio",
        &["model", "store", "sandbox", "agent", "server", "client", "cli", "e2e"],
        "cage is single-threaded and protocol does no I/O (DESIGN 2)",
    ),
    ("axum", &["server", "e2e"], "only the doors know HTTP's server side (DESIGN, invariant 3)"),
    ("reqwest", &["model", "client", "cli", "e2e"], "agent and sandbox know no HTTP (DESIGN, invariant 3)"),
    ("rusqlite", &["store"], "only store knows SQL (DESIGN, invariant 3)"),
];

/// The feature of cage that lets tests leave walls out; nothing that ships may turn it on.
const TEST_FEATURE: &str = "switchable-walls";

/// Checks the manifests of the member crates and the size of the lock.
pub(super) fn check(packages: &[Value], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        findings.extend(check_package(package));
    }
    for file in files {
        if file.path.ends_with("Cargo.toml") && file.path != "Cargo.toml" {
            findings.extend(check_manifest(file));
        }
        if file.path == "Cargo.lock" {
            findings.extend(check_lock(file));
        }
    }
    findings
}

fn check_package(package: &Value) -> Vec<Finding> {
    let name = text(package, "name");
    let short = name.strip_prefix("reckon-").unwrap_or(name);
    let path = match short {
        "xtask" => "xtask/Cargo.toml".to_owned(),
        _ => format!("crates/{short}/Cargo.toml"),
    };
    let mut findings = Vec::new();
    let mut report = |what| findings.push(Finding::new("crate", &path, 0, what));
    if text(package, "description").is_empty() {
        report("has no description".to_owned());
    }
    for (feature, turns_on) in package["features"].as_object().into_iter().flatten() {
        let mut named = turns_on.as_array().into_iter().flatten().filter_map(Value::as_str);
        if named.any(|other| other.ends_with(TEST_FEATURE)) {
            report(format!(
                "feature `{feature}` turns `{TEST_FEATURE}` on, which is for dev-dependencies only"
            ));
        }
    }
    let arrows = ARROWS.iter().find(|(from, _)| *from == short);
    if arrows.is_none() && short != "xtask" {
        report(format!("`{name}` is not in the table of arrows of xtask"));
    }
    let allowed = arrows.map_or(&[][..], |(_, to)| *to);
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        // `null` stands for a normal dependency; what tests use is theirs.
        if dependency["kind"] == "dev" {
            continue;
        }
        let other = text(dependency, "name");
        if dependency["features"].as_array().is_some_and(|all| all.iter().any(|one| one == TEST_FEATURE)) {
            report(format!("turns on `{TEST_FEATURE}` of `{other}`, which is for dev-dependencies only"));
        }
        if let Some(ours) = other.strip_prefix("reckon-") {
            if !allowed.contains(&ours) {
                report(format!("`{short}` must not build on `{ours}` (DESIGN 2)"));
            }
        } else if let Some((_, who, why)) = RESERVED.iter().find(|(theirs, ..)| *theirs == other)
            && !who.contains(&short)
        {
            report(format!("`{short}` must not build on `{other}`: {why}"));
        }
    }
    findings
}

fn check_manifest(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut section = "";
    let mut inherits_lints = false;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
            continue;
        }
        inherits_lints |= section == "[lints]" && line == "workspace = true";
        let is_dependency = section.ends_with("dependencies]") && line.contains('=');
        if is_dependency && !line.starts_with('#') && !line.contains("workspace = true") {
            let what = "take the version from the workspace: `NAME.workspace = true`".to_owned();
            findings.push(Finding::new("manifest", &file.path, index + 1, what));
        }
    }
    if !inherits_lints {
        let what = "does not inherit the lints: `[lints] workspace = true`".to_owned();
        findings.push(Finding::new("manifest", &file.path, 0, what));
    }
    findings
}

fn check_lock(file: &File) -> Option<Finding> {
    let locked = file.text.lines().filter(|line| *line == "[[package]]").count();
    let what = format!("{locked} packages; {MOST_LOCKED} at most");
    (locked > MOST_LOCKED).then(|| Finding::new("lock", &file.path, 0, what))
}

fn text<'value>(value: &'value Value, key: &str) -> &'value str {
    value[key].as_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: &[(&str, Value)]) -> Value {
        let dependencies: Vec<Value> =
            dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
        json!({"name": name, "description": "d", "dependencies": dependencies})
    }

    fn whats(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn arrows_point_down() {
        let down = package("reckon-agent", &[("reckon-sandbox", Value::Null)]);
        assert!(check_package(&down).is_empty());
        let up = package("reckon-sandbox", &[("reckon-agent", Value::Null)]);
        assert_eq!(check_package(&up).len(), 1);
        let in_tests = package("reckon-cage", &[("reckon-e2e", json!("dev"))]);
        assert!(check_package(&in_tests).is_empty());
        let in_build = package("reckon-cage", &[("reckon-protocol", json!("build"))]);
        assert_eq!(check_package(&in_build).len(), 1);
    }

    #[test]
    fn only_tests_may_leave_walls_out() {
        let depends = |kind: Value| {
            let cage = json!({"name": "reckon-cage", "kind": kind, "features": ["switchable-walls"]});
            json!({"name": "reckon-sandbox", "description": "d", "dependencies": [cage]})
        };
        assert!(check_package(&depends(json!("dev"))).is_empty());
        assert!(whats(check_package(&depends(Value::Null)))[0].contains("dev-dependencies only"));
        let features = json!({"default": ["reckon-cage/switchable-walls"]});
        let by_feature = json!({"name": "reckon-sandbox", "description": "d", "features": features});
        assert!(whats(check_package(&by_feature))[0].contains("dev-dependencies only"));
        let owner = json!({"name": "reckon-cage", "description": "d", "features": {"switchable-walls": []}});
        assert!(check_package(&owner).is_empty());
    }

    #[test]
    fn every_member_is_in_the_table() {
        let findings = whats(check_package(&package("reckon-misc", &[])));
        assert!(findings[0].contains("table of arrows"));
    }

    #[test]
    fn what_is_reserved_stays_where_it_belongs() {
        let cage = package("reckon-cage", &[("tokio", Value::Null)]);
        assert!(whats(check_package(&cage))[0].contains("single-threaded"));
        let cli = package("reckon-cli", &[("anyhow", Value::Null)]);
        assert!(check_package(&cli).is_empty());
    }

    #[test]
    fn manifests_inherit_lints_and_versions() {
        let file = |text: &str| File { path: "crates/a/Cargo.toml".to_owned(), text: text.to_owned() };
        let good = "[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n";
        assert!(check_manifest(&file(good)).is_empty());
        let bad = "[dependencies]\nserde = \"1\"\n";
        assert_eq!(check_manifest(&file(bad)).len(), 2);
    }

    #[test]
    fn the_lock_stays_lean() {
        let lock =
            |count| File { path: "Cargo.lock".to_owned(), text: "[[package]]\nname = \"a\"\n".repeat(count) };
        assert!(check_lock(&lock(MOST_LOCKED)).is_none());
        assert!(check_lock(&lock(MOST_LOCKED + 1)).is_some());
    }
}
