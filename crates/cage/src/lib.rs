//! A room in Linux: namespaces, mounts, cgroups, seccomp, landlock, and the warden that builds it.
//!
//! Deliberately without an async runtime, without HTTP and without Python: the zygote is "a program that forks when
//! asked". The engine talks to the warden over a [`channel::Channel`] in the words of [`message`].

mod account;
pub mod cgroup;
pub mod channel;
pub mod disk;
mod embedded;
mod error;
mod identity;
pub mod keeper;
pub mod message;
mod nearest;
pub mod policy;
mod ranges;
mod refusal;
mod room;
mod root;
pub mod seccomp;
mod sys;
mod walls;
pub mod warden;
mod without;

pub use account::Account;
pub use error::Error;
pub use without::Without;

/// Reckon's own files as seen from inside a room.
pub const OWN_FILES: &str = root::OWN;
/// The workspace as seen from inside a room.
pub const WORKSPACE: &str = root::WORKSPACE;
/// HOME as seen from inside a room.
pub const HOME: &str = root::HOME;

/// Returns whether sandboxes get uids of their own, which only the host's root can give them.
pub fn gives_out_uids() -> bool {
    identity::has_range()
}

/// Returns the highest version of landlock that this kernel speaks, 0 where it is absent or off.
pub fn landlock_version() -> u32 {
    sys::landlock_version()
}
