//! The end of a room on the host's side: its uid is given out again only when nothing of the room is left.
//!
//! A room is told as ended when its init is reaped, which the kernel allows only after every process of its pid
//! namespace is gone, and with the last of them its mounts, its network and its shared memory. The control group is the
//! second witness, counted from outside: it must be empty and removable.

use rustix::fd::OwnedFd;

use super::{Room, Warden};
use crate::{cgroup::Group, error::Error, message::Notice};

/// A uid that is given to nobody while its last room may not be gone.
pub(super) struct Held {
    slot: u32,
    group: Group,
}

impl Warden<'_> {
    /// Gives back what a room held. Its processes are gone.
    pub(super) fn forget(&mut self, room: u64) -> Result<(), Error> {
        let Some(Room { slot, group, mounts, .. }) = self.rooms.remove(&room) else { return Ok(()) };
        // With this nothing of ours keeps one of its namespaces.
        drop::<Option<OwnedFd>>(mounts);
        let Some(group) = group else {
            self.free_slots.insert(slot);
            return Ok(());
        };
        match group.kill_all().and_then(|()| group.remove()) {
            Ok(()) => {
                self.free_slots.insert(slot);
                Ok(())
            }
            Err(error) => {
                self.held.push(Held { slot, group });
                self.tell_held(Some(format!("room {room}: {error}")))
            }
        }
    }

    /// Looks again at what was left, without waiting for it.
    pub(super) fn release(&mut self) -> Result<(), Error> {
        let before = self.held.len();
        let free_slots = &mut self.free_slots;
        self.held.retain(|held| {
            let gone = held.group.remove_if_empty().unwrap_or(false);
            if gone {
                free_slots.insert(held.slot);
            }
            !gone
        });
        if self.held.len() == before { Ok(()) } else { self.tell_held(None) }
    }

    fn tell_held(&self, message: Option<String>) -> Result<(), Error> {
        self.say(&Notice::Quarantine { held: self.held.len(), message }, &[])
    }
}
