//! Which command installs Python on this distribution, for the one line that
//! says what is missing.

use std::path::Path;

/// What is missing on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No Python that is new enough.
    Python,
    /// Python is there, but nothing that can install packages for it.
    Installer,
}

/// Returns the command that installs what is missing, by `/etc/os-release`.
pub fn install_command(missing: Missing) -> String {
    let os_release = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(Path::new(path)).ok())
        .unwrap_or_default();
    match command_for(&os_release, missing) {
        Some(command) if rustix::process::geteuid().is_root() => command.to_owned(),
        Some(command) => format!("sudo {command}"),
        None if missing == Missing::Python => {
            "install Python 3.11 to 3.14 with your package manager".to_owned()
        }
        None => "install Python's venv or pip with your package manager".to_owned(),
    }
}

fn command_for(os_release: &str, missing: Missing) -> Option<&'static str> {
    let families: Vec<&str> =
        field(os_release, "ID").into_iter().chain(field(os_release, "ID_LIKE")).collect();
    let is = |names: &[&str]| families.iter().any(|family| names.contains(family));
    // Debian splits venv from Python; the others ship both in one package, so for
    // them a missing installer is pip.
    let command = match missing {
        _ if is(&["debian", "ubuntu"]) => "apt-get install -y python3 python3-venv",
        Missing::Python if is_el9_or_older(os_release) => "dnf install -y python3.12 python3.12-pip",
        _ if is(&["fedora", "rhel", "centos"]) => "dnf install -y python3 python3-pip",
        _ if is(&["arch"]) => "pacman -S --needed python python-pip",
        _ if is(&["suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "sles"]) => {
            "zypper install -y python312 python312-pip"
        }
        _ if is(&["alpine"]) => "apk add python3 py3-pip",
        _ => return None,
    };
    Some(command)
}

/// The default Python of Enterprise Linux 9 and older is below 3.11.
fn is_el9_or_older(os_release: &str) -> bool {
    field(os_release, "PLATFORM_ID")
        .first()
        .and_then(|id| id.strip_prefix("platform:el"))
        .and_then(|version| version.parse::<u32>().ok())
        .is_some_and(|version| version <= 9)
}

/// Returns the words of one field of os-release(5), unquoted.
fn field<'a>(os_release: &'a str, name: &str) -> Vec<&'a str> {
    os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches(['"', '\'']).split_whitespace().collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_command() {
        let python = |os_release| command_for(os_release, Missing::Python).unwrap();
        assert_eq!(python("ID=debian\n"), "apt-get install -y python3 python3-venv");
        assert_eq!(
            python("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            "apt-get install -y python3 python3-venv"
        );
        assert_eq!(python("ID=fedora\n"), "dnf install -y python3 python3-pip");
        assert_eq!(
            python("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nPLATFORM_ID=\"platform:el9\"\n"),
            "dnf install -y python3.12 python3.12-pip"
        );
        assert_eq!(
            python("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nPLATFORM_ID=\"platform:el10\"\n"),
            "dnf install -y python3 python3-pip"
        );
        assert_eq!(python("ID=arch\n"), "pacman -S --needed python python-pip");
        assert_eq!(
            python("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"),
            "zypper install -y python312 python312-pip"
        );
        assert_eq!(python("ID=alpine\n"), "apk add python3 py3-pip");
        assert_eq!(command_for("ID=plan9\n", Missing::Installer), None);
    }
}
