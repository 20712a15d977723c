//! What the entering code puts up around a context beside the namespaces: landlock, rlimits, the seccomp filter.
//! Computed once per start and handed to the zygote as a plain description.

use serde::Serialize;

use crate::{
    error::Error,
    identity::{INSIDE, Uids},
    message::{Visible, WardenConfig},
    root, seccomp, sys,
};

/// Landlock's rights for files, by version (linux/landlock.h).
mod rights {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const MAKE_CHAR: u64 = 1 << 6;
    pub(super) const MAKE_BLOCK: u64 = 1 << 11;
    pub(super) const REFER: u64 = 1 << 13;
    pub(super) const TRUNCATE: u64 = 1 << 14;
    pub(super) const IOCTL_DEV: u64 = 1 << 15;
    /// All of version 1.
    pub(super) const FIRST: u64 = (1 << 13) - 1;
}

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
    /// Rights on the workspace, which is opened last.
    workspace_rights: u64,
    /// Resource and value, beside those that each request brings.
    limits: Vec<(u32, u64)>,
}

impl Walls {
    /// Returns the walls of contexts in rooms.
    pub(crate) fn of_rooms(version: u32) -> Self {
        let files = handled(version);
        let read = rights::READ_FILE | rights::READ_DIR | rights::EXECUTE;
        let device =
            rights::READ_FILE | rights::READ_DIR | rights::WRITE_FILE | rights::TRUNCATE | rights::IOCTL_DEV;
        let everything = files & !(rights::MAKE_CHAR | rights::MAKE_BLOCK);
        let trees = [
            ("/", read),
            ("/proc", read | rights::WRITE_FILE | rights::TRUNCATE),
            ("/dev", device),
            ("/dev/shm", everything),
            ("/tmp", everything),
            (root::HOME, everything),
        ];
        Self {
            namespaces: true,
            uid: INSIDE,
            gid: INSIDE,
            landlock_files: files,
            // The room's own network and pid namespaces already are these walls.
            landlock_net: 0,
            landlock_scoped: 0,
            trees: trees.iter().map(|&(path, rights)| (path.to_owned(), rights & files)).collect(),
            workspace_rights: everything,
            limits: resource_limits(),
        }
    }

    /// Returns the walls of contexts without namespaces: landlock is the only file wall, and closes the network too.
    pub(crate) fn of_processes(version: u32, config: &WardenConfig, uids: Uids) -> Self {
        let files = handled(version);
        let read = rights::READ_FILE | rights::READ_DIR | rights::EXECUTE;
        let everything = files & !(rights::MAKE_CHAR | rights::MAKE_BLOCK);
        let device = rights::READ_FILE | rights::WRITE_FILE | rights::TRUNCATE | rights::IOCTL_DEV;
        let mut trees =
            vec![("/proc/self".to_owned(), read & files), (config.own.display().to_string(), read & files)];
        for entry in &config.visible {
            match entry {
                Visible::Tree(path) | Visible::Moved(path, _) => {
                    trees.push((path.display().to_string(), read & files));
                }
                Visible::Device(path) => trees.push((path.display().to_string(), device & files)),
                Visible::Link(..) => {}
            }
        }
        let uid = match uids {
            Uids::Range { start } => start + 1,
            Uids::Own => rustix::process::getuid().as_raw(),
        };
        Self {
            namespaces: false,
            uid,
            gid: uid,
            landlock_files: files,
            landlock_net: if version >= 4 { NET_TCP } else { 0 },
            landlock_scoped: if version >= 6 { SCOPES } else { 0 },
            trees,
            workspace_rights: everything,
            limits: resource_limits(),
        }
    }
}

/// Returns the seccomp program as bytes. Without a network namespace the internet is closed by it.
pub(crate) fn filter(namespaces: bool) -> Result<Vec<u8>, Error> {
    let policy = if namespaces {
        seccomp::policy::default_policy()
    } else {
        seccomp::policy::policy_without_network()
    };
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

/// Limits that are the same for every context; hardening sheet §2.1, row 10.
fn resource_limits() -> Vec<(u32, u64)> {
    vec![
        // A core file would be user data on the host.
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_MEMLOCK, 1024 * 1024),
        (libc::RLIMIT_MSGQUEUE, 8192),
        (libc::RLIMIT_SIGPENDING, 1024),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_STACK, 8 * 1024 * 1024),
    ]
}
