//! The state of each wall, for `doctor`, `/health` and the log: nothing is degraded silently.

use reckon_cage::message::Ready;
use serde::Serialize;

use crate::engine::Isolation;

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

/// Returns the walls of a running engine.
pub(crate) fn of_engine(isolation: Isolation, ready: &Ready) -> Vec<Check> {
    let mut checks = vec![namespaces(isolation), host_uids(isolation, ready), landlock(ready), seccomp()];
    checks.extend(cgroup(ready));
    checks.push(disk(ready));
    checks
}

fn namespaces(isolation: Isolation) -> Check {
    match isolation {
        Isolation::Room => {
            works("namespaces", "user, mount, pid, net, ipc, uts, cgroup; read-only root; own init")
        }
        Isolation::Process => Check {
            name: "namespaces".into(),
            state: CheckState::Missing,
            detail: "the tier `process` was chosen: landlock, seccomp and rlimits only".into(),
            mend: Some("start without `--isolation process`".into()),
        },
    }
}

fn host_uids(isolation: Isolation, ready: &Ready) -> Check {
    if ready.separate_uids {
        return works("host uids", "each sandbox has a host uid of its own, and none is 0");
    }
    let detail = match (isolation, ready.owner.0) {
        (Isolation::Process, _) => "code runs under one host uid for all sandboxes",
        (_, u32::MAX) => "all sandboxes share the uid of the user who started the server, inside namespaces",
        _ => "all sandboxes share one host uid: this file system cannot map owners of mounts",
    };
    Check {
        name: "host uids".into(),
        state: CheckState::Degraded,
        detail: detail.into(),
        mend: Some("start as root with the data directory on ext4, xfs or btrfs".into()),
    }
}

fn landlock(ready: &Ready) -> Check {
    works("landlock", &format!("version {}", ready.landlock))
}

fn seccomp() -> Check {
    works("seccomp", "an allow-list of system calls")
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
        checks.push(Check {
            name: format!("cgroup {controller}"),
            state: if controller == "memory" || controller == "pids" {
                CheckState::Degraded
            } else {
                CheckState::Missing
            },
            detail: format!("{why}; rlimits stand in for it where they can"),
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

fn works(name: &str, detail: &str) -> Check {
    Check { name: name.into(), state: CheckState::Works, detail: detail.into(), mend: None }
}
