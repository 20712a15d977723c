//! Who a server that was started as root becomes, and how: a list of acts after which nothing brings root back.
//! The warden keeps the rights that rooms need; it is started before.

use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Named},
    sys,
};

/// The name under which a system may give the server an account of its own.
const NAME: &str = "reckon";

/// A uid and a gid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
}

impl Account {
    /// The account of a system that has none named `reckon`: a number that ordinary tools give to nobody, just below
    /// the range of the rooms. It owns workspaces on disk, also those of root's own commands.
    pub const PRIVATE: Self = Self { uid: 0x6fff_ffff, gid: 0x6fff_ffff };

    /// Returns the system's account named `reckon`, else the private one.
    pub fn find() -> Self {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::named_in(&users).unwrap_or(Self::PRIVATE)
    }

    /// Reads the account from lines of passwd(5). One that is root, or in root's group, is none to give root up for.
    fn named_in(users: &str) -> Option<Self> {
        let mut fields = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(NAME)).then_some(fields)
        })?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        (uid != 0 && gid != 0).then_some(Self { uid, gid })
    }

    /// Makes this process, which is root's and has one thread, the account's, for good.
    ///
    /// # Errors
    /// When it has more threads (ids and capabilities are each thread's own), or an act or the look at its result
    /// fails. The process must end then: it may be half of each.
    pub fn assume(self) -> Result<(), Error> {
        let threads = std::fs::read_dir("/proc/self/task").named("count the threads")?.count();
        if threads != 1 {
            return Err(Error::Protocol(format!(
                "root is given up by a single thread, and there are {threads}"
            )));
        }
        for capability in CapabilitySet::all().iter() {
            // A kernel without this capability says EINVAL; root without CAP_SETPCAP has to do without this act, and
            // no_new_privs below closes the same way back.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
        sys::clear_groups().named("setgroups")?;
        let gid = Gid::from_raw(self.gid);
        rustix::thread::set_thread_res_gid(Some(gid), Some(gid), Some(gid)).named("setresgid")?;
        let uid = Uid::from_raw(self.uid);
        rustix::thread::set_thread_res_uid(Some(uid), Some(uid), Some(uid)).named("setresuid")?;
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::clear_ambient_capability_set().named("clear ambient capabilities")?;
        rustix::thread::set_capabilities(None, none).named("drop capabilities")?;
        rustix::thread::set_no_new_privs(true).named("no_new_privs")?;
        // Another process of the account may neither trace it nor read its memory, where keys are.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .named("PR_SET_DUMPABLE")?;
        self.look()
    }

    /// Looks at what the kernel made of it, and tries the way back.
    fn look(self) -> Result<(), Error> {
        let held = rustix::thread::capabilities(None).named("read capabilities")?;
        let root = Uid::ROOT;
        let back = rustix::thread::set_thread_res_uid(Some(root), Some(root), Some(root));
        let is_account = rustix::process::getuid().as_raw() == self.uid
            && rustix::process::geteuid().as_raw() == self.uid
            && rustix::process::getegid().as_raw() == self.gid;
        if back.is_ok() || !is_account || !held.permitted.is_empty() || !held.effective.is_empty() {
            return Err(Error::Protocol(format!("root was not given up: {held:?}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_account_is_taken_unless_it_is_root() {
        let users = "root:x:0:0::/root:/bin/sh\nreckoner:x:7:7::/:\nreckon:x:998:997::/var/lib/reckon:/usr/sbin/nologin\n";
        assert_eq!(Account::named_in(users), Some(Account { uid: 998, gid: 997 }));
        assert_eq!(Account::named_in("reckon:x:0:997::/:/bin/sh\n"), None);
        assert_eq!(Account::named_in("reckon:x:998:0::/:/bin/sh\n"), None);
        assert_eq!(Account::named_in("reckon:x:nine:9::/:/bin/sh\n"), None);
        assert_eq!(Account::named_in("root:x:0:0::/root:/bin/sh\n"), None);
    }
}
