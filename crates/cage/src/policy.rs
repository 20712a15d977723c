//! The policy of rooms beside their system calls, read from the texts in `policy/`: what of the host is seen, what is
//! mounted, what of /proc is closed, what landlock opens, and the resource limits. One owner for each fact.

mod landlock;
mod lines;
mod mounts;
mod proc;
mod rlimits;
mod visible;

use rustix::process::Resource;

use crate::{error::Error, without::Without};

pub(crate) use landlock::{Place, Tier, rights};
pub(crate) use mounts::{Kind, Mount, Mounts, Size, Tmp};
pub(crate) use proc::{Closed, Closing};
pub use visible::{Seen, visible};

/// The texts, by the name of their file.
pub const TEXTS: [(&str, &str); 5] = [visible::TEXT, mounts::TEXT, proc::TEXT, landlock::TEXT, rlimits::TEXT];

/// Everything that the warden reads at its start.
#[derive(Debug)]
pub(crate) struct RoomPolicy {
    pub(crate) mounts: Mounts,
    pub(crate) closed: Vec<Closed>,
    pub(crate) landlock: Vec<landlock::Rule>,
    /// Resource and value; what a test leaves out has no bound.
    pub(crate) rlimits: Vec<(Resource, u64)>,
}

impl RoomPolicy {
    /// Reads the embedded texts, less what a test leaves out.
    pub(crate) fn read(without: &Without) -> Result<Self, Error> {
        let mut policy = Self {
            mounts: mounts::parse(&without.thin(mounts::TEXT))?,
            closed: proc::parse(&without.thin(proc::TEXT))?,
            landlock: landlock::parse(&without.thin(landlock::TEXT))?,
            rlimits: rlimits::parse(&without.thin(rlimits::TEXT))?,
        };
        // What comes down from the server is not what the policy says: a limit that is left out is none.
        for (resource, _) in rlimits::parse(rlimits::TEXT.1)? {
            if !policy.rlimits.iter().any(|&(known, _)| known == resource) {
                policy.rlimits.push((resource, u64::MAX));
            }
        }
        Ok(policy)
    }
}

/// Returns a name for every line of the texts: the file and the words by which a test or a person means it, such as
/// `proc.policy: mask /proc/keys`.
pub fn lines() -> Vec<String> {
    let named = |(file, text): (&'static str, &'static str)| {
        text.lines()
            .filter_map(|line| {
                line.split_once('#').map(|(rule, _)| rule).filter(|rule| !rule.trim().is_empty())
            })
            .map(move |rule| format!("{file}: {}", rule.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    TEXTS.into_iter().flat_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how a text is refused.
    fn refusal<T: std::fmt::Debug>(parsed: Result<T, Error>) -> String {
        parsed.expect_err("refused").to_string()
    }

    #[test]
    fn the_embedded_policy_is_read_and_every_line_is_in_it() {
        let policy = RoomPolicy::read(&Without::default()).expect("the embedded policy");
        let parts =
            policy.mounts.count() + policy.closed.len() + policy.landlock.len() + policy.rlimits.len();
        assert_eq!(parts + visible(&Without::default()).expect("the embedded list").len(), lines().len());
    }

    #[test]
    fn a_mistake_in_a_policy_is_named_with_its_file_and_line() {
        assert_eq!(
            refusal(proc::parse("\n# a comment\nmask /proc/keys\n")),
            "policy/proc.policy, line 3: the line has no reason; add `# why`"
        );
        assert_eq!(
            refusal(proc::parse("msak /proc/keys # x")),
            "policy/proc.policy, line 1: unknown word `msak`, the nearest known is `mask`"
        );
        assert_eq!(
            refusal(proc::parse("mask /etc/passwd # x")),
            "policy/proc.policy, line 1: `/etc/passwd` is not below /proc"
        );
        assert_eq!(
            refusal(proc::parse("mask /proc/../etc # x")),
            "policy/proc.policy, line 1: `/proc/../etc` is no plain absolute path"
        );
        assert_eq!(
            refusal(proc::parse("mask /proc/keys # x\nmask /proc/keys # y")),
            "policy/proc.policy, line 2: a second line for /proc/keys"
        );
        assert_eq!(
            refusal(visible::parse("tree # x")),
            "policy/visible.policy, line 1: the line ends where a path is wanted"
        );
        assert_eq!(
            refusal(visible::parse("tree /usr /lib # x")),
            "policy/visible.policy, line 1: `/lib` is one word too many"
        );
        assert_eq!(
            refusal(rlimits::parse("CORES 0 # x")),
            "policy/rlimits.policy, line 1: unknown limit `CORES`, the nearest known is `CORE`"
        );
        assert_eq!(
            refusal(rlimits::parse("CORE none # x")),
            "policy/rlimits.policy, line 1: `none` is not a number, with k or m behind it or nothing"
        );
        assert_eq!(
            refusal(landlock::parse("room / red # x")),
            "policy/landlock.policy, line 1: unknown right `red`, the nearest known is `read`"
        );
        assert_eq!(
            refusal(landlock::parse("room @tree read # x")),
            "policy/landlock.policy, line 1: `@tree` is only for the tier `process`"
        );
        assert_eq!(
            refusal(mounts::parse("room tmpfs /tmp nosiud # x")),
            "policy/mounts.policy, line 1: unknown flag `nosiud`, the nearest known is `nosuid`"
        );
        assert_eq!(
            refusal(mounts::parse("shown tree ro # x")),
            "policy/mounts.policy, line 2: the policy has no line for `shown device`"
        );
    }
}
