//! What can go wrong in the cage: one enum, sources kept.

use std::io;

/// An error of the cage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed; `act` names it and its object.
    #[error("{act}: {source}")]
    Call {
        /// `mount tmpfs on /tmp`.
        act: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The host refuses something that isolation needs.
    #[error("{what}")]
    Refused {
        /// What is refused.
        what: String,
        /// What a person can do.
        mend: String,
    },
    /// The other side broke the protocol.
    #[error("{0}")]
    Protocol(String),
    /// A line of a policy cannot be read.
    #[error("policy/{file}, line {line}: {problem}")]
    Policy {
        /// The file below `policy/`.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A cgroup could not be used.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
    /// The seccomp policy does not compile.
    #[error(transparent)]
    Seccomp(#[from] crate::seccomp::Error),
}

/// Names the act of a system call whose result is an error.
pub(crate) trait Named<T> {
    /// Adds the act to the error.
    fn named(self, act: &str) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Named<T> for Result<T, E> {
    fn named(self, act: &str) -> Result<T, Error> {
        self.map_err(|source| Error::Call { act: act.to_owned(), source: source.into() })
    }
}
