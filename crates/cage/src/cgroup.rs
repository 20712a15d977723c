//! Control groups: what a room may use, what it did use, and how all of it is killed.
//!
//! Both versions of the kernel's interface are real here: v1 (a directory per controller) and v2 (one directory).
//! Nothing outside directories that carry our [`Owner`] mark is ever written, killed or removed, except that on v2 our
//! own processes step into a leaf and the group we were given passes its controllers on.

mod base;
mod delegation;
mod files;
mod group;
mod hierarchy;
mod node;
mod owner;
#[cfg(test)]
mod trees;
mod v1;
mod v2;

use std::io;
use std::path::PathBuf;

pub use base::{Base, BaseRequest, Swept};
pub use delegation::{Bus, Systemd};
pub use group::{EventFds, Events, Group, GroupLimits, Usage};
pub use hierarchy::{Controller, ControllerReport, ControllerState, Hierarchy, Roots, Version};
pub use owner::Owner;

/// What went wrong with a control group: the act and the path it was done to.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A system call on a file or directory failed.
    #[error("{act} {path}: {source}")]
    Io {
        /// What was tried, such as `mkdir`.
        act: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a value.
    #[error("write {value:?} to {path}: {source}")]
    Write {
        /// The interface file.
        path: PathBuf,
        /// The refused value.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An interface file does not read as documented by the kernel.
    #[error("read {path}: no {what} in it")]
    Parse {
        /// The interface file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A name that cannot be a group of ours.
    #[error("{name:?} is no name for a control group (letters, digits, `-` and `_`, at most 100)")]
    Name {
        /// The refused name.
        name: String,
    },
    /// No place exists on this host in which we may make groups.
    #[error("no control groups can be made: {why}; {mend}")]
    Unavailable {
        /// The reason.
        why: String,
        /// What a person can do about it.
        mend: String,
    },
    /// Processes outlived SIGKILL for longer than we wait.
    #[error("{count} processes are still in {path} after SIGKILL")]
    StillPopulated {
        /// The group.
        path: PathBuf,
        /// How many processes it still lists.
        count: usize,
    },
    /// The calling process is itself in a group that it was asked to kill.
    #[error("refusing to kill {path}: it holds the calling process")]
    HoldsCaller {
        /// The group.
        path: PathBuf,
    },
    /// systemd did not hand over a delegated scope.
    #[error("ask systemd for a delegated scope by {program}: {detail}")]
    Delegation {
        /// The program that carried the request.
        program: PathBuf,
        /// Its answer, or what did not happen.
        detail: String,
    },
}

impl CgroupError {
    fn io(act: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { act, path: path.into(), source: source.into() }
    }
}
