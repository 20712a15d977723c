//! Why this host refuses what a room needs, read from the host, and the narrowest thing that mends it.

use std::{fs, io, path::PathBuf};

use crate::error::Error;

/// What of the host decides about user namespaces.
#[derive(Debug, Default)]
struct Host {
    /// The setting that is in the way.
    switch: Option<Switch>,
    /// The profile of AppArmor that this process is under; `None` where it is under none.
    profile: Option<String>,
    /// A seccomp filter is on this process.
    filtered: bool,
    /// Mounts over parts of `/proc`.
    masked: Vec<String>,
    /// This program.
    program: PathBuf,
}

/// A setting of the kernel that refuses user namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    /// No more of them may be made, usually because their number is set to 0.
    Exhausted,
    /// Debian's switch is off.
    Off,
    /// AppArmor keeps them from programs without a profile (Ubuntu 23.10 and later).
    Restricted,
}

impl Switch {
    const PLACES: [(Self, &str, &str); 3] = [
        (Self::Exhausted, "/proc/sys/user/max_user_namespaces", "0"),
        (Self::Off, "/proc/sys/kernel/unprivileged_userns_clone", "0"),
        (Self::Restricted, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ];
}

/// Says why user namespaces are refused here and what mends it.
pub(crate) fn of_namespaces(source: &io::Error) -> Error {
    Error::Refused {
        what: format!("this host refuses user namespaces ({source})"),
        mend: Host::seen().mend(),
    }
}

/// Says why a `/proc` of a room's own is refused here and what mends it.
pub(crate) fn of_proc() -> Error {
    let masked = Host::seen().masked;
    let parts = if masked.is_empty() { String::new() } else { format!(": {}", masked.join(", ")) };
    Error::Refused {
        what: format!("this host refuses a /proc of its own to a sandbox (parts of /proc are masked{parts})"),
        mend: "in a container, start it with `--security-opt systempaths=unconfined`".into(),
    }
}

impl Host {
    fn seen() -> Self {
        let setting =
            |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
        let label = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self {
            switch: Switch::PLACES
                .into_iter()
                .find(|(_, path, value)| setting(path, value))
                .map(|(it, ..)| it),
            profile: profile(&label),
            filtered: status
                .lines()
                .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")),
            masked: masked(&mounts),
            program: std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/reckon".into()),
        }
    }

    fn mend(&self) -> String {
        match self.switch {
            Some(Switch::Exhausted) => return "run `sudo sysctl user.max_user_namespaces=65536`".into(),
            Some(Switch::Off) => return "run `sudo sysctl kernel.unprivileged_userns_clone=1`".into(),
            Some(Switch::Restricted) if self.profile.is_none() => {
                return format!("give this program a profile of AppArmor: run `{}`", self.profile_line());
            }
            _ => {}
        }
        let options = [
            (self.filtered, "seccomp"),
            (self.profile.is_some(), "apparmor"),
            (!self.masked.is_empty(), "systempaths"),
        ];
        // Where nothing is seen, each of them may still be what refuses.
        let all = options.iter().all(|(seen, _)| !seen);
        let options = options.iter().filter(|(seen, _)| *seen || all);
        let options = options.map(|(_, name)| format!("--security-opt {name}=unconfined"));
        format!("in a container, start it with `{}`", options.collect::<Vec<_>>().join(" "))
    }

    /// The one line that writes and loads what `deploy/apparmor/reckon` is for the usual paths.
    fn profile_line(&self) -> String {
        format!(
            "printf 'abi <abi/4.0>,\\nprofile reckon \"%s\" flags=(unconfined) {{ userns, }}\\n' '{}' | \
             sudo sh -c 'tee /etc/apparmor.d/reckon | apparmor_parser --replace'",
            self.program.display()
        )
    }
}

/// Reads the name out of `docker-default (enforce)`.
fn profile(label: &str) -> Option<String> {
    let name = label.trim_end_matches(['\0', '\n']).split(" (").next().unwrap_or_default();
    (!name.is_empty() && name != "unconfined").then(|| name.to_owned())
}

/// Returns the mount points below `/proc` in a mountinfo file.
fn masked(mounts: &str) -> Vec<String> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with("/proc/")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_is_mended_by_name() {
        let mend = |host: Host| host.mend();
        let switched = |switch| Host { switch: Some(switch), ..Host::default() };
        assert!(mend(switched(Switch::Exhausted)).contains("max_user_namespaces"));
        assert!(mend(switched(Switch::Off)).contains("unprivileged_userns_clone=1"));
        let profile = Some("docker-default".into());
        let container = Host { profile, filtered: true, ..switched(Switch::Restricted) };
        assert_eq!(
            container.mend(),
            "in a container, start it with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
        );
        let masked = Host { masked: vec!["/proc/kcore".into()], ..Host::default() };
        assert!(mend(masked).ends_with("`--security-opt systempaths=unconfined`"));
        let all = mend(Host::default());
        assert!(["seccomp", "apparmor", "systempaths"].iter().all(|option| all.contains(option)), "{all}");
    }

    #[test]
    fn the_line_for_apparmor_says_what_the_shipped_profile_says() {
        let switch = Some(Switch::Restricted);
        let host = Host { switch, program: "/opt/x/reckon".into(), ..Host::default() };
        let line = host.mend();
        assert!(line.contains("sudo") && line.contains("'/opt/x/reckon'"), "{line}");
        let shipped = include_str!("../../../deploy/apparmor/reckon");
        for part in ["abi <abi/4.0>,", "profile reckon", "flags=(unconfined)", "userns,"] {
            assert!(shipped.contains(part) && line.contains(part), "{part}");
        }
    }

    #[test]
    fn labels_and_masks_are_read() {
        assert_eq!(profile("docker-default (enforce)\n"), Some("docker-default".into()));
        assert_eq!(profile("unconfined\n"), None);
        assert_eq!(profile(""), None);
        let mounts =
            "30 25 0:26 / /proc rw - proc proc rw\n31 30 0:27 /null /proc/kcore rw - tmpfs tmpfs rw\n";
        assert_eq!(masked(mounts), ["/proc/kcore"]);
    }
}
