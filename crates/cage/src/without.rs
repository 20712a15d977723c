//! Walls that a test leaves out, to see that what they stop would happen without them.
//!
//! Only a build with the feature `switchable-walls` can leave anything out: the shipped program has no way to.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{error::Error, policy, seccomp, sys::namespace};

/// Walls that are no line of a policy file: name, and what the entering code is told (`left_out` in
/// `crates/cage/enter/lib.rs`), 0 where it has no part in it.
const WALLS: [(&str, u64); 15] = [
    ("capabilities", 1),
    ("no_new_privs", 1 << 1),
    ("landlock", 1 << 2),
    ("seccomp", 1 << 3),
    ("descriptors", 1 << 4),
    ("namespace net", namespace::NET),
    ("namespace ipc", namespace::IPC),
    ("namespace uts", namespace::UTS),
    ("namespace cgroup", namespace::CGROUP),
    ("namespace pid", namespace::PID),
    ("uids", 0),
    ("reseed", 1 << 5),
    ("visible list", 0),
    ("covers", 0),
    ("closed init", 0),
];

/// What is left out: nothing, except in tests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Without {
    names: Vec<String>,
}

impl Without {
    /// Leaves out the named walls. A name is a wall, `FILE: WORDS` for the lines of a policy file that begin with these
    /// words (the last may end in `*`), `FILE: WORDS -WORD…` for only those words of it, or `seccomp.policy: CALL` to allow one system call.
    #[cfg(feature = "switchable-walls")]
    pub fn walls(names: &[&str]) -> Result<Self, Error> {
        Self::try_from(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    /// Returns whether a wall is left out.
    pub fn leaves_out(&self, wall: &str) -> bool {
        cfg!(feature = "switchable-walls") && self.names.iter().any(|name| name == wall)
    }

    /// Returns what the entering code leaves out.
    pub(crate) fn bits(&self) -> u64 {
        WALLS.iter().filter(|(name, _)| self.leaves_out(name)).fold(0, |bits, (_, bit)| bits | bit)
    }

    /// Returns these namespaces less those that are left out.
    pub(crate) fn namespaces(&self, all: u64) -> u64 {
        all & !self.bits()
    }

    /// Returns the text of a policy file less the lines or words that are left out.
    pub(crate) fn thin<'t>(&self, (file, text): (&str, &'t str)) -> Cow<'t, str> {
        let cuts: Vec<_> = self.names.iter().filter_map(|name| cut(name, file)).collect();
        if cuts.is_empty() {
            return text.into();
        }
        let lines = text.lines().filter_map(|line| {
            let mut line = line.to_owned();
            for (start, words) in &cuts {
                if !normal(&line).starts_with(start.as_str()) {
                    continue;
                }
                if words.is_empty() {
                    return None;
                }
                line = without_words(&line, words);
            }
            Some(line)
        });
        lines.collect::<Vec<_>>().join("\n").into()
    }

    /// Returns the seccomp policy with the calls allowed whose lines are left out.
    pub(crate) fn thin_calls(&self, policy: &mut seccomp::Policy) {
        for name in &self.names {
            let number = name.strip_prefix(CALLS).and_then(|call| seccomp::Architecture::NATIVE.number(call));
            if let Some(number) = number {
                policy
                    .syscalls
                    .insert(number, seccomp::policy::Verdict::Always(seccomp::policy::Action::Allow));
            }
        }
    }
}

const CALLS: &str = "seccomp.policy: ";

impl TryFrom<Vec<String>> for Without {
    type Error = Error;

    fn try_from(names: Vec<String>) -> Result<Self, Error> {
        check(&names, cfg!(feature = "switchable-walls"))?;
        Ok(Self { names })
    }
}

/// Refuses names that mean nothing, and any in a build that can leave nothing out.
fn check(names: &[String], switchable: bool) -> Result<(), Error> {
    if !switchable && !names.is_empty() {
        return Err(Error::Protocol("this build of Reckon leaves no wall out".into()));
    }
    let lines = policy::lines();
    for name in names {
        let is_wall = WALLS.iter().any(|(wall, _)| wall == name);
        let call = name.strip_prefix(CALLS);
        let is_call = call.is_some_and(|call| seccomp::Architecture::NATIVE.number(call).is_some());
        let start = name.split(" -").next().unwrap_or(name).trim_end_matches('*');
        let is_line = name.contains(':') && lines.iter().any(|line| line.starts_with(start));
        if !is_wall && !is_call && !is_line {
            return Err(Error::Protocol(format!("`{name}` is neither a wall nor a line of the policy")));
        }
    }
    Ok(())
}

impl From<Without> for Vec<String> {
    fn from(without: Without) -> Self {
        without.names
    }
}

/// Returns the beginning of the lines of this file that a name means, and the words of them, none for the whole line.
fn cut(name: &str, file: &str) -> Option<(String, Vec<String>)> {
    let rest = name.strip_prefix(file)?.strip_prefix(':')?;
    let mut parts = rest.split(" -");
    let start = parts.next()?;
    // A `*` at the end stands for the rest of a word; otherwise words are whole.
    let start =
        start.strip_suffix('*').map_or_else(|| normal(start), |part| normal(part).trim_end().to_owned());
    Some((start, parts.map(str::to_owned).collect()))
}

/// Returns the words of a line without its reason, one space between them and behind the last, so that no word is
/// mistaken for the beginning of a longer one.
fn normal(line: &str) -> String {
    let rule = line.split_once('#').map_or(line, |(rule, _)| rule);
    rule.split_whitespace().fold(String::new(), |text, word| text + word + " ")
}

fn without_words(line: &str, words: &[String]) -> String {
    let kept = normal(line);
    let kept: Vec<_> = kept.split_whitespace().filter(|word| !words.iter().any(|cut| cut == word)).collect();
    format!("{} # left out in part", kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the feature too, so that it is run wherever tests are; the types below hold for the build at hand.
    #[test]
    fn a_normal_build_refuses_to_leave_a_wall_out() {
        let refused = check(&["seccomp".to_owned()], false).expect_err("refused").to_string();
        assert!(refused.contains("leaves no wall out"), "{refused}");
        assert!(check(&[], false).is_ok());
        let read = serde_json::from_str::<Without>("[\"seccomp\"]");
        assert_eq!(read.is_ok(), cfg!(feature = "switchable-walls"), "{read:?}");
        assert_eq!(serde_json::from_str::<Without>("[]").expect("nothing is left out"), Without::default());
    }

    #[cfg(feature = "switchable-walls")]
    #[test]
    fn walls_lines_and_words_are_left_out_and_nothing_else() {
        let text = ("proc.policy", "mask /proc/keys # a\nmask /proc/key # b\nlock /proc/sys # c");
        let thin = |name| Without::walls(&[name]).expect("known").thin(text).into_owned();
        assert_eq!(thin("proc.policy: mask /proc/keys"), "mask /proc/key # b\nlock /proc/sys # c");
        assert_eq!(thin("proc.policy: mask"), "lock /proc/sys # c");
        assert_eq!(thin("seccomp"), text.1);
        let mounts = ("mounts.policy", "shown tree ro nosuid # a");
        let thin = Without::walls(&["mounts.policy: shown tree -ro"]).expect("known");
        assert_eq!(thin.thin(mounts), "shown tree nosuid # left out in part");
        assert!(Without::walls(&["secomp"]).is_err());
        assert!(Without::walls(&["proc.policy: mask /proc/nothing"]).is_err());
    }
}
