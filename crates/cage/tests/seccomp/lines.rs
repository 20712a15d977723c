//! Every line of the default policy in the kernel: a refusal is tried by name, and what is allowed gets the very answer
//! that it gets without a filter.

use std::fmt::Write as _;

use reckon_cage::seccomp::Architecture;
use reckon_cage::seccomp::policy::{Action, Condition, Rule, Sense, Verdict, default_policy};

use crate::kernel::{REFUSED, inside};

/// Calls that end, stop or double the process that makes them, whatever their arguments.
const NOT_MADE: [&str; 9] =
    ["clone", "exit", "exit_group", "fork", "pause", "rt_sigreturn", "uprobe", "uretprobe", "vfork"];
/// No descriptor, no address, no process: whoever gets through with these is told so and nothing happens.
const NOTHING: u64 = u64::MAX;

#[test]
fn every_refusal_of_the_default_policy_is_tried_by_name() {
    let refuses = |verdict: &Verdict| match verdict {
        Verdict::Always(action) => *action != Action::Allow,
        Verdict::Checked { .. } => true,
    };
    for (number, name) in Architecture::NATIVE.syscalls() {
        let refused = default_policy().syscalls.get(&number).is_some_and(refuses);
        assert!(!refused || REFUSED.iter().any(|(tried, ..)| *tried == name), "{name} is not tried");
    }
}

/// Returns arguments that meet a condition, one for each value that it names.
fn meeting(condition: &Condition, arguments: [u64; 6]) -> Vec<[u64; 6]> {
    let place = usize::from(condition.argument);
    let with = |value: u64| {
        let mut met = arguments;
        met[place] = value;
        met
    };
    match condition.sense {
        Sense::OneOf => condition.values.iter().map(|&value| with(value)).collect(),
        Sense::NoneOf => vec![with(condition.values.iter().max().map_or(0, |most| most + 1))],
    }
}

fn calls_of(rule: &Rule) -> Vec<[u64; 6]> {
    rule.conditions.iter().fold(vec![[NOTHING; 6]], |calls, condition| {
        calls.into_iter().flat_map(|arguments| meeting(condition, arguments)).collect()
    })
}

#[test]
fn what_the_default_policy_allows_gets_the_kernels_own_answer() {
    let policy = default_policy();
    let mut calls: Vec<(&str, u32, [u64; 6])> = Vec::new();
    for (number, name) in Architecture::NATIVE.syscalls().filter(|(_, name)| !NOT_MADE.contains(name)) {
        match policy.syscalls.get(&number) {
            Some(Verdict::Always(Action::Allow)) => calls.push((name, number, [NOTHING; 6])),
            Some(Verdict::Checked { rules, otherwise }) => {
                let allowed = rules.iter().filter(|rule| rule.action == Action::Allow);
                calls.extend(allowed.flat_map(calls_of).map(|arguments| (name, number, arguments)));
                if *otherwise == Action::Allow {
                    calls.push((name, number, [NOTHING; 6]));
                }
            }
            _ => {}
        }
    }
    assert!(calls.len() > 300, "{} calls", calls.len());
    let mut input = String::new();
    for (_, number, arguments) in &calls {
        let words: Vec<String> = arguments.iter().map(u64::to_string).collect();
        writeln!(input, "{number} {}", words.join(" ")).unwrap();
    }
    let (Some(filtered), Some(free)) = (inside("refused", &input), inside("unfiltered", &input)) else {
        return;
    };
    let (filtered, free) =
        (String::from_utf8(filtered.stdout).unwrap(), String::from_utf8(free.stdout).unwrap());
    assert_eq!((filtered.lines().count(), free.lines().count()), (calls.len(), calls.len()));
    let wrong: Vec<_> = calls
        .iter()
        .zip(filtered.lines().zip(free.lines()))
        .filter(|(_, (filtered, free))| filtered != free)
        .map(|((name, _, arguments), (filtered, free))| {
            format!("{name}{arguments:x?}: {filtered}, not {free}")
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
