//! What a policy says, before it becomes a program: for every system call a verdict, in plain data.
//!
//! The text format is described at the head of `policy/seccomp.policy`, which is also the default policy.

use std::collections::BTreeMap;

use super::{Architecture, Error, parse};

/// The text of the default policy: what Python workloads need and nothing that only attackers do.
pub const DEFAULT_TEXT: &str = include_str!("../../../../policy/seccomp.policy");

/// What the kernel does with a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Carries it out.
    Allow,
    /// Carries it out and notes it in the kernel's log (for developing a policy).
    Log,
    /// Does nothing and returns this error number.
    Errno(u16),
    /// Ends the whole process with SIGSYS.
    KillProcess,
}

/// How much of an argument register a condition sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// All 64 bits, for `long`, `size_t` and pointers; written `arg0`.
    Full,
    /// The low 32 bits, which is all the kernel itself reads of an `int`; written `int0`.
    ///
    /// Comparing all 64 bits of an `int` would be wrong both ways: callers may leave rubbish in the upper half, and
    /// the kernel ignores it.
    Low,
}

/// Whether a condition wants one of its values or none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sense {
    /// `==` and `in`.
    OneOf,
    /// `!=` and `not in`.
    NoneOf,
}

/// A check of one argument: `(argument & mask)` is one of `values`, or none of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How much of it the kernel reads.
    pub width: Width,
    /// The bits that count.
    pub mask: u64,
    /// What the masked argument is compared with.
    pub values: Vec<u64>,
    /// Which outcome of the comparison is wanted.
    pub sense: Sense,
}

/// An action that is taken when all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What then happens.
    pub action: Action,
}

/// What happens to one system call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The same whatever the arguments are.
    Always(Action),
    /// The first rule that holds decides, `otherwise` decides when none does.
    Checked {
        /// The rules in the order in which they are tried.
        rules: Vec<Rule>,
        /// What happens when no rule holds.
        otherwise: Action,
    },
}

/// A whole policy for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The architecture whose numbers `syscalls` uses.
    pub architecture: Architecture,
    /// What happens to calls that the policy does not name.
    pub default: Action,
    /// What happens to calls made through another architecture's entry (`int 0x80` on x86-64).
    pub foreign: Action,
    /// What happens to calls of the x32 numbering, which shares x86-64's architecture word.
    pub x32: Action,
    /// The verdicts by system call number.
    pub syscalls: BTreeMap<u32, Verdict>,
}

impl Policy {
    /// Reads a policy from its text, for the given architecture.
    pub fn parse(text: &str, architecture: Architecture) -> Result<Self, Error> {
        parse::parse(text, architecture)
    }
}

/// Returns the default policy for the architecture this program was built for.
pub fn default_policy() -> Policy {
    Policy::parse(DEFAULT_TEXT, Architecture::NATIVE)
        .expect("the embedded policy is parsed for every architecture by the tests")
}

/// Returns the default policy less the internet: for contexts that have no network namespace of their own.
pub fn policy_without_network() -> Policy {
    let internet = |line: &&str| !(line.starts_with("socket ") && line.contains("in (2, 10)"));
    let text: Vec<_> = DEFAULT_TEXT.lines().filter(internet).collect();
    Policy::parse(&text.join("\n"), Architecture::NATIVE)
        .expect("the embedded policy less some rules, as tested")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_network_only_the_rules_for_internet_sockets_are_gone() {
        let number = Architecture::NATIVE.number("socket").expect("a system call");
        let (whole, less) = (default_policy(), policy_without_network());
        let rules = |policy: &Policy| match &policy.syscalls[&number] {
            Verdict::Checked { rules, .. } => rules.len(),
            Verdict::Always(_) => 0,
        };
        assert_eq!((rules(&whole) - rules(&less), rules(&less)), (3, 2));
    }
}
