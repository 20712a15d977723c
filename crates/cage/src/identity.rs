//! User namespaces and the uids behind them: who owns the zygote, the rooms and the files.
//!
//! Host uids come from a private range far above people's; inside a room everything is uid 1000. On disk every
//! workspace belongs to one owner, and each room's workspace mount maps that owner to the room's own host uid.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use rustix::{
    process::{Pid, Signal, WaitId, WaitIdOptions},
    thread::CapabilitySet,
};

use crate::{
    account::Account,
    error::{Error, Named},
    refusal,
    sys::{self, Cloned},
};

/// The uid and gid that user code sees.
pub(crate) const INSIDE: u32 = 1000;
/// First host uid of our range; ordinary tools give out none as high.
pub(crate) const RANGE_START: u32 = 0x7000_0000;
/// Host uids of one server: as many rooms as may exist at once, and the zygote's.
pub(crate) const RANGE_LENGTH: u32 = 65_536;
/// Servers on one host that get different ranges.
pub(crate) const RANGES: u32 = 1024;
/// The slot of all rooms where mounts cannot be mapped and the server has given up root: it is the server's own uid.
pub(crate) const SHARED_SLOT: u32 = RANGE_LENGTH - 1;

/// The uids that this warden can give out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Uids {
    /// Started as root: a range of host uids, one per room.
    Range {
        /// The first.
        start: u32,
    },
    /// Started by an ordinary user: that uid for everything.
    Own,
}

impl Uids {
    /// Returns the mappings of the zygote's user namespace, as `uid_map` and `gid_map` want them. `shared` is the
    /// account that rooms run under where their mounts cannot be mapped to uids of their own.
    pub(crate) fn zygote_maps(self, shared: Option<Account>) -> (String, String) {
        let map = |shared: Option<u32>| match (self, shared) {
            (Self::Range { start }, None) => format!("0 {start} {RANGE_LENGTH}\n"),
            (Self::Range { start }, Some(id)) => format!("0 {start} {SHARED_SLOT}\n{SHARED_SLOT} {id} 1\n"),
            (Self::Own, _) => "0 0 1\n".to_owned(),
        };
        (map(shared.map(|account| account.uid)), map(shared.map(|account| account.gid)))
    }

    /// Returns the mapping of a room, a child of the zygote's namespace. Slots count from 1.
    pub(crate) fn room_map(self, slot: u32) -> String {
        match self {
            Self::Range { .. } => format!("{INSIDE} {slot} 1\n"),
            Self::Own => format!("{INSIDE} 0 1\n"),
        }
    }

    /// Returns who must own workspaces on disk, given whether mounts can be mapped and who the server is once it has
    /// given up root; nobody in particular for an ordinary user's server.
    pub(crate) fn disk_owner(self, mapped: bool, account: Option<Account>) -> Option<Account> {
        match (self, account) {
            (Self::Range { .. }, Some(account)) => Some(account),
            (Self::Range { .. }, None) if mapped => Some(Account::PRIVATE),
            (Self::Range { start }, None) => Some(Account { uid: start + 1, gid: start + 1 }),
            (Self::Own, _) => None,
        }
    }
}

/// Refuses a root that could not keep its promises: one that would run code as the host's root, since it has no other
/// uid to give, and one that may not mount.
pub(crate) fn check_root(namespaces: bool) -> Result<(), Error> {
    let refused = |what: &str| Error::Refused {
        what: what.to_owned(),
        mend: "start it as an ordinary user; a container with `--user 1000`".into(),
    };
    if !has_range() {
        return if is_hosts_root() {
            Err(refused("this user namespace has no uid but the host's root, as which no code may run"))
        } else {
            Ok(())
        };
    }
    let held = rustix::thread::capabilities(None).named("read capabilities")?.effective;
    if namespaces && !held.contains(CapabilitySet::SYS_ADMIN) {
        return Err(refused("this root lacks CAP_SYS_ADMIN, and may not mount what rooms need"));
    }
    Ok(())
}

/// Returns whether this process is the host's root, whatever number its own namespace gives it.
fn is_hosts_root() -> bool {
    // Settings of the kernel belong to the host's root, and show as nobody's where it is not mapped.
    let owner = std::fs::metadata("/proc/sys/kernel/pid_max").map(|found| found.uid());
    owner.is_ok_and(|owner| owner == rustix::process::geteuid().as_raw())
}

/// Returns whether this process may give out our range of uids: it is root, and not the root of a container whose user
/// namespace lacks them (then it is somebody's own uid, as for an ordinary user).
pub(crate) fn has_range() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && covers_range(&map)
}

fn covers_range(map: &str) -> bool {
    let end = u64::from(RANGE_START) + u64::from(RANGES * RANGE_LENGTH);
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let (first, count) = (first.unwrap_or(0), count.unwrap_or(0));
        first <= u64::from(Account::PRIVATE.uid) && end <= first.saturating_add(count)
    })
}

/// Namespaces through which workspaces are seen, one per slot, made on first use and kept.
#[derive(Debug)]
pub(crate) struct WorkspaceMaps {
    /// Who owns workspaces on disk.
    owner: Account,
    made: HashMap<u32, OwnedFd>,
}

impl WorkspaceMaps {
    /// Returns the maps of workspaces that belong to this account on disk.
    pub(crate) fn of_owner(owner: Account) -> Self {
        Self { owner, made: HashMap::new() }
    }

    /// Returns the namespace that maps the disk owner to the host uid of `slot`.
    pub(crate) fn of_slot(&mut self, uids: Uids, slot: u32) -> Result<&OwnedFd, Error> {
        let Uids::Range { start } = uids else {
            return Err(Error::Protocol("workspaces are not mapped without a range of uids".into()));
        };
        match self.made.entry(slot) {
            Entry::Occupied(made) => Ok(made.into_mut()),
            Entry::Vacant(place) => {
                let map = |owner: u32| format!("{owner} {} 1\n", start + slot);
                Ok(place.insert(user_namespace(&map(self.owner.uid), &map(self.owner.gid))?))
            }
        }
    }
}

/// Makes a user namespace with these mappings and no process in it.
fn user_namespace(uid_map: &str, gid_map: &str) -> Result<OwnedFd, Error> {
    let (gate_reader, gate_writer) = io::pipe().named("pipe")?;
    match sys::clone_process(sys::namespace::USER).map_err(|source| refusal::of_namespaces(&source))? {
        Cloned::Child => {
            drop(gate_writer);
            // Sleeps until the parent has opened the namespace and closes its end, or dies.
            let _ = File::from(OwnedFd::from(gate_reader)).read(&mut [0]);
            sys::exit_now(0)
        }
        Cloned::Parent(pid, pidfd) => {
            let namespace = write_maps(pid, uid_map, gid_map).and_then(|()| open_namespace(pid, "user"));
            drop(gate_writer);
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            namespace
        }
    }
}

/// Opens a namespace of a process.
pub(crate) fn open_namespace(pid: Pid, kind: &str) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{}/ns/{kind}", pid.as_raw_nonzero());
    Ok(File::open(&path).named(&format!("open {path}"))?.into())
}

/// Writes the mappings of a process that waits for them.
pub(crate) fn write_maps(pid: Pid, uid_map: &str, gid_map: &str) -> Result<(), Error> {
    for (name, map) in [("uid_map", uid_map), ("gid_map", gid_map)] {
        let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
        std::fs::write(&path, map).named(&format!("write {path}"))?;
    }
    Ok(())
}

/// Moves an ordinary user's warden into a user and a mount namespace of its own, where it may mount and map.
pub(crate) fn enter_own_namespace() -> Result<(), Error> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    sys::unshare(sys::namespace::USER | sys::namespace::MOUNT)
        .map_err(|source| refusal::of_namespaces(&source))?;
    let write = |name: &str, text: &str| {
        let path = format!("/proc/self/{name}");
        match std::fs::write(&path, text) {
            // AppArmor may allow the namespace and no right in it: then this is where it is felt.
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(refusal::of_namespaces(&source))
            }
            result => result.named(&format!("write {path}")),
        }
    };
    // Without this an ordinary user may not write a gid mapping (user_namespaces(7)).
    write("setgroups", "deny")?;
    write("uid_map", &format!("0 {uid} 1\n"))?;
    write("gid_map", &format!("0 {gid} 1\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_container_has_no_range() {
        assert!(covers_range("         0          0 4294967295\n"));
        assert!(!covers_range("0 1000 1\n"));
        assert!(!covers_range("0 1000 1\n1 100000 65536\n"));
        assert!(!covers_range(""));
    }
}
