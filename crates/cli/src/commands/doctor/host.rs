//! What of the host lies beyond Reckon's walls and is the operator's to decide: told, never changed.

use std::{fs, path::Path};

use reckon_sandbox::{Check, CheckState};

use super::check;

/// Returns what is known of the kernel and the processor.
pub(super) fn checks() -> Vec<Check> {
    of(Path::new("/"))
}

fn of(root: &Path) -> Vec<Check> {
    [kernel(root), crashes(root), threads(root), processor_bugs(root)].into_iter().flatten().collect()
}

fn kernel(root: &Path) -> Option<Check> {
    let release = read(root, "proc/sys/kernel/osrelease")?;
    let modules = read(root, "sys/kernel/security/lsm").unwrap_or_else(|| "unknown".to_owned());
    Some(check("kernel", CheckState::Works, format!("{release}; security modules: {modules}"), None))
}

/// A program behind a pipe is run in spite of a limit of 0 (core(5)).
fn crashes(root: &Path) -> Option<Check> {
    let pattern = read(root, "proc/sys/kernel/core_pattern")?;
    if !pattern.starts_with('|') {
        return Some(check("core pattern", CheckState::Works, format!("`{pattern}`, a plain name"), None));
    }
    let detail =
        format!("a crash of user code runs `{}` on the host, as root", pattern.trim_start_matches('|'));
    let mend = "run `sudo sysctl kernel.core_pattern=core`, or see that this program is harmless".to_owned();
    Some(check("core pattern", CheckState::Degraded, detail, Some(mend)))
}

fn threads(root: &Path) -> Option<Check> {
    let control = read(root, "sys/devices/system/cpu/smt/control")?;
    if control != "on" {
        return Some(check("smt", CheckState::Works, control, None));
    }
    let detail = "two sandboxes may run on the threads of one core, and watch each other".to_owned();
    let mend = "boot with `mitigations=auto,nosmt` if their owners must not".to_owned();
    Some(check("smt", CheckState::Degraded, detail, Some(mend)))
}

fn processor_bugs(root: &Path) -> Option<Check> {
    let mut open = Vec::new();
    for entry in fs::read_dir(root.join("sys/devices/system/cpu/vulnerabilities")).ok()?.flatten() {
        if fs::read_to_string(entry.path()).is_ok_and(|state| state.starts_with("Vulnerable")) {
            open.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if open.is_empty() {
        let detail = "the kernel knows of none that it does not close".to_owned();
        return Some(check("processor bugs", CheckState::Works, detail, None));
    }
    open.sort_unstable();
    let mend =
        "update the kernel and the processor's microcode, and boot without `mitigations=off`".to_owned();
    Some(check("processor bugs", CheckState::Degraded, format!("open: {}", open.join(", ")), Some(mend)))
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the states of the checks of a host with these files.
    fn states(files: &[(&str, &str)]) -> Vec<(String, CheckState, String)> {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("created");
            fs::write(path, text).expect("written");
        }
        let told = of(root.path()).into_iter();
        told.map(|check| {
            assert_eq!(check.mend.is_some(), check.state != CheckState::Works);
            (check.name, check.state, check.detail)
        })
        .collect()
    }

    #[test]
    fn what_lies_beyond_the_walls_is_told() {
        let told = states(&[
            ("proc/sys/kernel/osrelease", "6.1.0\n"),
            ("sys/kernel/security/lsm", "capability,landlock"),
            ("proc/sys/kernel/core_pattern", "|/usr/lib/crash %p\n"),
            ("sys/devices/system/cpu/smt/control", "on\n"),
            ("sys/devices/system/cpu/vulnerabilities/retbleed", "Vulnerable\n"),
            ("sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n"),
        ]);
        let found: Vec<_> = told.iter().map(|(name, state, _)| (name.as_str(), *state)).collect();
        assert_eq!(
            found,
            [
                ("kernel", CheckState::Works),
                ("core pattern", CheckState::Degraded),
                ("smt", CheckState::Degraded),
                ("processor bugs", CheckState::Degraded)
            ]
        );
        assert!(told[0].2.contains("6.1.0") && told[0].2.contains("landlock"), "{told:?}");
        assert!(told[1].2.contains("`/usr/lib/crash %p`"), "{told:?}");
        assert_eq!(told[3].2, "open: retbleed");
    }

    #[test]
    fn a_host_that_is_as_it_should_be_and_one_that_says_nothing() {
        let told = states(&[
            ("proc/sys/kernel/core_pattern", "core\n"),
            ("sys/devices/system/cpu/smt/control", "notsupported\n"),
            ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
        ]);
        assert!(told.iter().all(|(_, state, _)| *state == CheckState::Works), "{told:?}");
        assert_eq!(told.len(), 3);
        assert!(states(&[]).is_empty());
    }
}
