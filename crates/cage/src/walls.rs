//! What the entering code puts up around a context beside the namespaces: landlock, rlimits, the seccomp filter.
//! Computed once per start and handed to the zygote as a plain description.

use serde::Serialize;

use crate::{
    error::Error,
    identity::{INSIDE, Uids},
    message::{Visible, WardenConfig},
    policy::{Place, RoomPolicy, Tier, rights},
    seccomp, sys,
    without::Without,
};

/// TCP bind and connect (version 4).
const NET_TCP: u64 = 0b11;
/// Abstract unix sockets and signals (version 6).
const SCOPES: u64 = 0b11;

/// The zygote's description of the walls; `plan.json` inside.
#[derive(Debug, Serialize)]
pub(crate) struct Walls {
    namespaces: bool,
    uid: u32,
    gid: u32,
    landlock_files: u64,
    landlock_net: u64,
    landlock_scoped: u64,
    trees: Vec<(String, u64)>,
    /// Rights on the workspace, which is opened last; all bits where a test leaves landlock out.
    workspace_rights: u64,
    /// Resource and value, beside those that each request brings.
    limits: Vec<(u32, u64)>,
    /// What a test leaves out; 0 otherwise, and looked at only by the entering code of a test build.
    left_out: u64,
}

impl Walls {
    /// Returns the walls of contexts in rooms.
    pub(crate) fn of_rooms(version: u32, policy: &RoomPolicy, without: &Without) -> Self {
        let (trees, workspace_rights) = opened(Tier::Room, version, policy, |_| Vec::new());
        Self {
            namespaces: true,
            uid: INSIDE,
            gid: INSIDE,
            landlock_files: handled(version),
            // The room's own network and pid namespaces already are these walls.
            landlock_net: 0,
            landlock_scoped: 0,
            trees,
            workspace_rights: if without.leaves_out("landlock") { u64::MAX } else { workspace_rights },
            limits: limits(policy),
            left_out: without.bits(),
        }
    }

    /// Returns the walls of contexts without namespaces: landlock is the only file wall, and closes the network too.
    pub(crate) fn of_processes(version: u32, policy: &RoomPolicy, config: &WardenConfig, uids: Uids) -> Self {
        let places = |place: &Place| match place {
            Place::Own => vec![config.own.display().to_string()],
            _ => config.visible.iter().filter_map(|entry| shown_at(entry, place)).collect(),
        };
        let (trees, workspace_rights) = opened(Tier::Process, version, policy, places);
        let uid = match uids {
            Uids::Range { start } => start + 1,
            Uids::Own => rustix::process::getuid().as_raw(),
        };
        Self {
            namespaces: false,
            uid,
            gid: uid,
            landlock_files: handled(version),
            landlock_net: if version >= 4 { NET_TCP } else { 0 },
            landlock_scoped: if version >= 6 { SCOPES } else { 0 },
            trees,
            workspace_rights,
            limits: limits(policy),
            left_out: config.without.bits(),
        }
    }
}

/// Returns the trees that landlock opens in a tier and their rights, and the workspace's rights.
fn opened(
    tier: Tier,
    version: u32,
    policy: &RoomPolicy,
    places: impl Fn(&Place) -> Vec<String>,
) -> (Vec<(String, u64)>, u64) {
    let files = handled(version);
    let mut trees = Vec::new();
    let mut workspace = 0;
    for rule in policy.landlock.iter().filter(|rule| rule.tier == tier) {
        match &rule.place {
            Place::Workspace => workspace = rule.rights & files,
            Place::Path(path) => trees.push((path.display().to_string(), rule.rights & files)),
            several => trees.extend(places(several).into_iter().map(|path| (path, rule.rights & files))),
        }
    }
    (trees, workspace)
}

fn limits(policy: &RoomPolicy) -> Vec<(u32, u64)> {
    policy.rlimits.iter().map(|&(resource, value)| (resource as u32, value)).collect()
}

fn shown_at(entry: &Visible, place: &Place) -> Option<String> {
    match (entry, place) {
        (Visible::Tree(path) | Visible::Moved(path, _), Place::Trees)
        | (Visible::Device(path), Place::Devices) => Some(path.display().to_string()),
        _ => None,
    }
}

/// Returns the seccomp program as bytes. Without a network namespace the internet is closed by it.
pub(crate) fn filter(namespaces: bool, without: &Without) -> Result<Vec<u8>, Error> {
    let mut policy = if namespaces {
        seccomp::policy::default_policy()
    } else {
        seccomp::policy::policy_without_network()
    };
    without.thin_calls(&mut policy);
    Ok(seccomp::compile(&policy)?.as_bytes().to_vec())
}

/// Returns the version of landlock to use, 0 where the kernel has none.
pub(crate) fn landlock_version() -> u32 {
    sys::landlock_version()
}

fn handled(version: u32) -> u64 {
    let mut files = rights::FIRST;
    if version >= 2 {
        files |= rights::REFER;
    }
    if version >= 3 {
        files |= rights::TRUNCATE;
    }
    if version >= 5 {
        files |= rights::IOCTL_DEV;
    }
    files
}
