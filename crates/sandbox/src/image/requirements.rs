//! The lock of an image, read: which distributions at which versions this Python gets.
//! It understands what `uv pip compile --generate-hashes` writes, not every requirements file.

use std::collections::BTreeMap;

/// One pinned distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin<'a> {
    /// The name, normalised (PEP 503).
    pub(super) name: String,
    /// The exact version.
    pub(super) version: &'a str,
    marker: Option<&'a str>,
}

/// Returns the pins of a lock, or the line that is not one.
pub(super) fn parse(lock: &str) -> Result<Vec<Pin<'_>>, String> {
    let starts_pin =
        |line: &&str| !line.is_empty() && !line.starts_with('#') && !line.starts_with(char::is_whitespace);
    lock.lines().filter(starts_pin).map(parse_pin).collect()
}

fn parse_pin(line: &str) -> Result<Pin<'_>, String> {
    let (pin, marker) = match line.trim_end_matches(['\\', ' ']).split_once(';') {
        Some((pin, marker)) => (pin, Some(marker.trim())),
        None => (line.trim_end_matches(['\\', ' ']), None),
    };
    let (name, version) = pin
        .trim()
        .split_once("==")
        .filter(|(name, version)| !name.is_empty() && !version.is_empty())
        .ok_or_else(|| format!("not an exact pin: {line}"))?;
    Ok(Pin { name: normalise(name), version, marker })
}

/// Returns name and version of what a lock installs for this minor version of Python 3 on Linux.
pub(super) fn expected(lock: &str, minor: u32) -> Result<BTreeMap<String, String>, String> {
    let pins = parse(lock)?;
    let here = pins.into_iter().filter(|pin| applies(pin.marker, minor));
    Ok(here.map(|pin| (pin.name, pin.version.to_owned())).collect())
}

/// Returns a distribution's name in the one form that compares (PEP 503).
pub(super) fn normalise(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.push_str(&part.to_lowercase());
    }
    normal
}

/// Evaluates the markers that a universal lock contains: conjunctions of
/// comparisons of the Python version and the platform.
fn applies(marker: Option<&str>, minor: u32) -> bool {
    let holds = |comparison: &str| {
        let words: Vec<&str> = comparison.split_whitespace().collect();
        let [variable, operator, value] = words.as_slice() else { return true };
        let value = value.trim_matches(['\'', '"']);
        match (*variable, *operator) {
            ("sys_platform", "==") => value == "linux",
            ("sys_platform", "!=") => value != "linux",
            ("python_full_version" | "python_version", operator) => {
                let minor_of_value = value.split('.').nth(1).and_then(|part| part.parse().ok());
                match (operator, minor_of_value) {
                    ("<", Some(than)) => minor < than,
                    (">=", Some(than)) => minor >= than,
                    ("==", Some(than)) => minor == than,
                    _ => true,
                }
            }
            _ => true,
        }
    };
    marker.is_none_or(|marker| marker.split(" and ").all(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: &str = include_str!("../../../../python/core.lock");

    #[test]
    fn the_core_lock_pins_one_version_of_each_by_hash() {
        for minor in 11..=14 {
            let expected = expected(CORE, minor).unwrap();
            for name in [
                "ipython",
                "numpy",
                "pandas",
                "matplotlib",
                "scipy",
                "sympy",
                "pillow",
                "openpyxl",
                "seaborn",
                "cloudpickle",
            ] {
                assert!(expected.contains_key(name), "{name} for 3.{minor}");
            }
            assert!(expected["pandas"].starts_with("2."));
            assert!(!expected.contains_key("colorama"), "a package for Windows only");
            let applying = parse(CORE).unwrap().into_iter().filter(|pin| applies(pin.marker, minor)).count();
            assert_eq!(applying, expected.len(), "two versions of one package");
        }
        let pins = parse(CORE).unwrap().len();
        let blocks = CORE.split("\n    --hash=sha256:").count() - 1;
        assert!(blocks >= pins, "every pin has a hash");
        assert!(!CORE.contains("://"), "no address in the lock");
    }

    #[test]
    fn markers_select_by_version_and_platform() {
        let lock = "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:00\n\
                    a==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:00\n\
                    W_x==3 ; sys_platform == 'win32'\n# via a\n\
                    p==4 ; sys_platform != 'emscripten' and sys_platform != 'win32'\n";
        let of = |minor| expected(lock, minor).unwrap();
        assert_eq!(of(11)["a"], "1");
        assert_eq!(of(13)["a"], "2");
        assert_eq!(of(13).keys().collect::<Vec<_>>(), ["a", "p"]);
    }

    #[test]
    fn a_loose_requirement_is_refused() {
        assert!(expected("numpy>=2\n", 11).unwrap_err().contains("numpy>=2"));
    }

    #[test]
    fn names_compare_in_one_form() {
        assert_eq!(normalise("Prompt_Toolkit"), "prompt-toolkit");
        assert_eq!(normalise("a.-_b"), "a-b");
    }
}
