//! The state of each wall, for `doctor`, `/health` and the log: nothing is degraded silently.

use reckon_cage::{Account, message::Ready};
use serde::Serialize;

use crate::{
    engine::Isolation,
    modes::{self, Mode, Wall},
};

/// State of one isolation feature, for `doctor` and `/health`.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The feature: `user namespaces`, `landlock`.
    pub name: String,
    /// Whether it stands.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do, where something can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Whether a feature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// As designed.
    Works,
    /// Substituted by something weaker, which `detail` names.
    Degraded,
    /// Absent.
    Missing,
}

/// Returns the walls of a running engine, in the words of the table of modes. `account` is who the server gave root up
/// for, `held` how many uids are held back because the end of their rooms is not verified.
pub(crate) fn of_engine(
    isolation: Isolation,
    account: Option<Account>,
    ready: &Ready,
    held: usize,
) -> Vec<Check> {
    let mode = Mode::of(isolation, ready);
    let mut checks = vec![
        works("mode", &format!("{}; cgroup {}; landlock {}", mode.name(), ready.cgroup, ready.landlock)),
        namespaces(mode),
        host_uids(mode, held),
        server_uid(mode, account),
        landlock(mode, ready),
        of_wall(mode, &modes::SECCOMP),
    ];
    checks.extend(cgroup(ready));
    checks.push(disk(ready));
    checks.extend(heap(ready));
    checks
}

fn namespaces(mode: Mode) -> Check {
    mended(of_wall(mode, &modes::NAMESPACES), "start without `--isolation process`")
}

fn host_uids(mode: Mode, held: usize) -> Check {
    let mut check = mended(
        of_wall(mode, &modes::HOST_UIDS),
        "start as root with the data directory on ext4, xfs or btrfs",
    );
    if held > 0 {
        check.state = CheckState::Degraded;
        check.detail =
            format!("{}; {held} held back, since what ran under them may not be gone", check.detail);
        check.mend = Some("look for the error in the log, and at the processes of these uids".into());
    }
    check
}

fn server_uid(mode: Mode, account: Option<Account>) -> Check {
    let check = of_wall(mode, &modes::SERVER_UID);
    match (mode, account) {
        (Mode::Root | Mode::RootUnmapped, Some(Account { uid, .. })) => {
            Check { detail: format!("uid {uid}, without a right over the host: {}", check.detail), ..check }
        }
        // A command of one sandbox works as the person who called it; a server says why it must.
        (Mode::Root | Mode::RootUnmapped, None) => Check {
            state: CheckState::Degraded,
            detail: "this process keeps root, as commands of one sandbox do".into(),
            mend: Some(
                "a server gives it up where others may reach its data: `--data /var/lib/reckon`".into(),
            ),
            ..check
        },
        _ => mended(check, "start it as an ordinary user"),
    }
}

fn landlock(mode: Mode, ready: &Ready) -> Check {
    let check = of_wall(mode, &modes::LANDLOCK);
    let alone = matches!(mode, Mode::ProcessRoot | Mode::ProcessUser);
    if alone && ready.landlock < modes::FIRST_WITH_SCOPES {
        return Check {
            state: CheckState::Degraded,
            detail: format!(
                "version {}: signals and abstract sockets of the same uid are open to code",
                ready.landlock
            ),
            mend: Some("boot Linux 6.12 or later, or start without `--isolation process`".into()),
            ..check
        };
    }
    Check { detail: format!("version {}: {}", ready.landlock, check.detail), ..check }
}

fn cgroup(ready: &Ready) -> Vec<Check> {
    let mut checks = Vec::new();
    if ready.cgroup == "none" {
        checks.push(Check {
            name: "processor time".into(),
            state: CheckState::Degraded,
            detail: "no cgroup counts it: `cpu_ms` is an rlimit of each process by itself, which its code can lift"
                .into(),
            mend: None,
        });
    } else {
        checks.push(works("cgroup", &ready.cgroup));
    }
    for (controller, why, mend) in &ready.missing_controllers {
        let grouped = modes::GROUPED.iter().find(|grouped| grouped.name == controller);
        let (state, stand_in) =
            grouped.map_or((CheckState::Missing, "nothing stands in"), |grouped| grouped.without);
        checks.push(Check {
            name: format!("cgroup {controller}"),
            state,
            detail: format!("{why}; {stand_in}"),
            mend: Some(mend.clone()).filter(|text| !text.is_empty()),
        });
    }
    checks
}

fn disk(ready: &Ready) -> Check {
    match &ready.disk_missing {
        None => works(
            "disk quota",
            "the kernel limits the bytes of each workspace (btrfs); their number of files is counted while code runs",
        ),
        Some((why, mend)) => Check {
            name: "disk quota".into(),
            state: CheckState::Degraded,
            detail: format!(
                "{why}; workspaces are measured while code runs, the kernel limits single files only"
            ),
            mend: Some(mend.clone()).filter(|text| !text.is_empty()),
        },
    }
}

/// Not a wall: what a fork costs. A survey has no zygote that could tell.
fn heap(ready: &Ready) -> Option<Check> {
    let heap = ready.zygote.get("heap")?;
    if heap["state"] == "sealed" {
        let megabytes = heap["bytes"].as_u64().unwrap_or(0) / (1024 * 1024);
        return Some(works("heap", &format!("sealed: contexts share {megabytes} MiB until they write")));
    }
    let why = heap["why"].as_str().unwrap_or("the zygote does not say why");
    let detail = format!("plain: forks take longer and more memory ({why})");
    Some(if heap["configured"] == true {
        works("heap", &detail)
    } else {
        Check { name: "heap".into(), state: CheckState::Degraded, detail, mend: None }
    })
}

/// Returns what a mode makes of a wall.
fn of_wall(mode: Mode, wall: &Wall) -> Check {
    let (state, words) = mode.of_wall(wall);
    Check { name: wall.name.into(), state, detail: words.into(), mend: None }
}

/// Adds what mends a wall that does not stand as designed.
fn mended(check: Check, mend: &str) -> Check {
    let mend = (check.state != CheckState::Works).then(|| mend.to_owned());
    Check { mend, ..check }
}

fn works(name: &str, detail: &str) -> Check {
    Check { name: name.into(), state: CheckState::Works, detail: detail.into(), mend: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(owner: u32, separate_uids: bool, landlock: u32) -> Ready {
        Ready {
            owner: (owner, owner),
            separate_uids,
            landlock,
            cgroup: "v1".into(),
            missing_controllers: vec![("cpu".into(), "not mounted".into(), String::new())],
            swept: Vec::new(),
            disk_missing: None,
            zygote: serde_json::Value::Null,
        }
    }

    fn check(checks: &[Check], name: &str) -> (CheckState, String) {
        let found = checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name}"));
        (found.state, found.detail.clone())
    }

    #[test]
    fn each_mode_is_told_as_its_column_says() {
        let account = Account { uid: 7, gid: 7 };
        let (room, process) = (Isolation::Room, Isolation::Process);
        for (isolation, owner, separate, expected) in [
            (room, 5, true, Mode::Root),
            (room, 5, false, Mode::RootUnmapped),
            (room, u32::MAX, false, Mode::User),
            (process, 5, false, Mode::ProcessRoot),
            (process, u32::MAX, false, Mode::ProcessUser),
        ] {
            let ready = ready(owner, separate, 7);
            assert_eq!(Mode::of(isolation, &ready), expected);
            let checks = of_engine(isolation, Some(account), &ready, 0);
            assert!(check(&checks, "mode").1.starts_with(expected.name()));
            for wall in modes::WALLS {
                let (state, words) = expected.of_wall(wall);
                let (told, detail) = check(&checks, wall.name);
                assert_eq!(told, state, "{expected:?} {}", wall.name);
                assert!(detail.ends_with(words), "{expected:?} {}: {detail}", wall.name);
            }
            assert_eq!(check(&checks, "cgroup cpu").0, CheckState::Missing);
            let mended = |check: &Check| check.name.starts_with("cgroup") || check.mend.is_some();
            assert!(checks.iter().filter(|check| check.state != CheckState::Works).all(mended), "{checks:?}");
        }
    }

    #[test]
    fn what_is_weaker_than_its_column_is_said() {
        let kept = of_engine(Isolation::Room, None, &ready(5, true, 7), 2);
        assert_eq!(check(&kept, "server uid").0, CheckState::Degraded);
        let (state, detail) = check(&kept, "host uids");
        assert!(state == CheckState::Degraded && detail.contains("2 held back"), "{detail}");
        let old = ready(u32::MAX, false, 5);
        assert_eq!(check(&of_engine(Isolation::Process, None, &old, 0), "landlock").0, CheckState::Degraded);
        assert_eq!(check(&of_engine(Isolation::Room, None, &old, 0), "landlock").0, CheckState::Works);
    }
}
