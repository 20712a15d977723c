//! The seccomp filter of a room: a readable policy, compiled to a balanced tree of classic BPF.
//!
//! This module only makes programs. Loading one is the business of the syscall module and of the entering
//! code, which receive [`Program::as_bytes`]. It is deliberately no general seccomp library: four actions, two
//! little-endian architectures, comparisons for equality.

mod architecture;
mod assemble;
mod compile;
mod parse;
pub mod policy;

pub use architecture::Architecture;
pub use assemble::{Instruction, MAX_INSTRUCTIONS, Program};
pub use compile::compile;
pub use policy::Policy;

/// What can be wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a policy; the position counts lines and characters from 1.
    #[error("seccomp policy, line {line}, column {column}: {problem}")]
    Policy {
        /// The line of the offending word.
        line: usize,
        /// The character in that line at which the word begins.
        column: usize,
        /// What is wrong there, and the nearest known name where a name is unknown.
        problem: String,
    },
    /// A condition names an argument that system calls do not have.
    #[error("compile seccomp policy: argument {0} does not exist, system calls have arguments 0 to 5")]
    Argument(u8),
    /// The kernel would refuse a program of this length.
    #[error("compile seccomp policy: {0} instructions, the kernel takes at most {MAX_INSTRUCTIONS}")]
    TooLong(usize),
}
