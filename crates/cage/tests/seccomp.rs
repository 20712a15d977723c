//! The seccomp compiler against three judges: the policy's own meaning, another compiler, and the kernel.

#![allow(clippy::unwrap_used)]

#[path = "seccomp/kernel.rs"]
mod kernel;
#[path = "seccomp/lines.rs"]
mod lines;
#[path = "seccomp/machine.rs"]
mod machine;
#[path = "seccomp/sample.rs"]
mod sample;
#[path = "seccomp/text.rs"]
mod text;

use std::collections::BTreeMap;

use machine::{Call, Instruction, meaning, run, word};
use reckon_cage::seccomp::policy::{Action, Condition, Rule, Sense, Verdict, Width, default_policy};
use reckon_cage::seccomp::{Architecture, Error, Policy, Program, compile, policy};
use sample::Random;

fn instructions(program: &Program) -> Vec<Instruction> {
    program.instructions().iter().map(|one| (one.code, one.jt, one.jf, one.k)).collect()
}

/// Compares a program with the meaning of its policy on all numbers and on the edges of its conditions.
fn assert_faithful(policy: &Policy, random: &mut Random) {
    let program = instructions(&compile(policy).unwrap());
    for number in sample::numbers() {
        for arguments in sample::arguments(policy.syscalls.get(&number), random) {
            for architecture in [policy.architecture.audit_word(), 0x4000_0003] {
                let call = Call { number, architecture, arguments };
                let expected = word(meaning(policy, &call));
                assert_eq!(run(&program, &call).word, expected, "{call:x?} under {policy:?}");
            }
        }
    }
}

#[test]
fn the_default_policy_means_what_it_says_on_every_architecture() {
    for architecture in Architecture::ALL {
        let policy = Policy::parse(policy::DEFAULT_TEXT, architecture).unwrap();
        assert_faithful(&policy, &mut Random(7));
    }
}

#[test]
fn random_policies_mean_what_they_say() {
    let mut random = Random(0x5ecc_0b9f);
    for _ in 0..150 {
        let policy = sample::policy(&mut random);
        assert_faithful(&policy, &mut random);
    }
}

/// Depth counts the comparisons of the number for the calls that exist; arguments come on top.
#[test]
fn the_default_program_is_small_and_shallow() {
    let policy = default_policy();
    let program = instructions(&compile(&policy).unwrap());
    let depth = |number| {
        let call = Call { number, architecture: policy.architecture.audit_word(), arguments: [0; 6] };
        run(&program, &call).comparisons
    };
    let deepest = policy
        .syscalls
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Always(_)))
        .map(|(&number, _)| depth(number))
        .max()
        .unwrap();
    eprintln!("default policy: {} instructions, at most {deepest} comparisons of the number", program.len());
    assert!(deepest <= 10, "{deepest} comparisons");
    assert!(program.len() <= 600, "{} instructions", program.len());
}

#[test]
fn equal_policies_give_equal_bytes_in_the_kernels_layout() {
    let program = compile(&default_policy()).unwrap();
    let again = compile(&default_policy()).unwrap();
    assert_eq!(program.as_bytes(), again.as_bytes());
    let bytes: Vec<u8> = program
        .instructions()
        .iter()
        .flat_map(|one| {
            let code = one.code.to_ne_bytes();
            let k = one.k.to_ne_bytes();
            [code[0], code[1], one.jt, one.jf, k[0], k[1], k[2], k[3]]
        })
        .collect();
    assert_eq!(program.as_bytes(), bytes);
    assert_eq!(size_of::<reckon_cage::seccomp::Instruction>(), 8);
}

/// A policy of `count` calls, each with `values` wide values to compare, so that jumps must go far.
fn wide_policy(count: u32, values: u64) -> Policy {
    let verdict = |number: u32| {
        let values = (0..values).map(|value| (value << 33) | u64::from(number)).collect();
        let argument = (number % 6) as u8;
        let condition =
            Condition { argument, width: Width::Full, mask: u64::MAX, values, sense: Sense::OneOf };
        let rule = Rule { conditions: vec![condition], action: Action::Log };
        Verdict::Checked { rules: vec![rule], otherwise: Action::Errno(number as u16 + 1) }
    };
    Policy {
        architecture: Architecture::X86_64,
        default: Action::Errno(38),
        foreign: Action::KillProcess,
        x32: Action::Errno(38),
        syscalls: (0..count).map(|number| (number, verdict(number))).collect(),
    }
}

#[test]
fn jumps_beyond_255_instructions_arrive() {
    let policy = wide_policy(10, 80);
    assert!(compile(&policy).unwrap().instructions().len() > 3000);
    assert_faithful(&policy, &mut Random(3));
}

#[test]
fn a_program_longer_than_the_kernel_takes_is_refused() {
    assert!(matches!(compile(&wide_policy(20, 80)), Err(Error::TooLong(length)) if length > 4096));
}

#[test]
fn an_argument_that_does_not_exist_is_refused() {
    let mut policy = wide_policy(1, 1);
    let condition =
        Condition { argument: 6, width: Width::Low, mask: 0xff, values: vec![1], sense: Sense::OneOf };
    let rules = vec![Rule { conditions: vec![condition], action: Action::Allow }];
    policy.syscalls.insert(9, Verdict::Checked { rules, otherwise: Action::Errno(1) });
    assert_eq!(compile(&policy), Err(Error::Argument(6)));
}

/// Allows some calls outright and some by argument, with the one refusal that the oracle can express.
fn policy_for_oracle(random: &mut Random) -> Policy {
    let mut syscalls = BTreeMap::new();
    for number in 0..120 {
        match random.below(3) {
            0 => drop(syscalls.insert(number, Verdict::Always(Action::Allow))),
            1 => {
                let rules = (0..=random.below(3)).map(|_| rule_for_oracle(random)).collect();
                syscalls.insert(number, Verdict::Checked { rules, otherwise: Action::Errno(1) });
            }
            _ => {}
        }
    }
    let refusal = Action::Errno(1);
    let architecture = Architecture::X86_64;
    Policy { architecture, default: refusal, foreign: Action::KillProcess, x32: refusal, syscalls }
}

fn rule_for_oracle(random: &mut Random) -> Rule {
    let conditions = (0..=random.below(2))
        .map(|argument| {
            let width = random.pick(&[Width::Full, Width::Low]);
            let widest = if width == Width::Full { u64::MAX } else { u64::from(u32::MAX) };
            let mask = random.pick(&[u64::MAX, 0xff, 0xff_0000_00ff]) & widest;
            let value = random.pick(&[0, 1, 0xff, 0x1_0000_0001, 0xffff_ffff]) & mask;
            let sense = Sense::OneOf;
            Condition { argument: argument as u8, width, mask, values: vec![value], sense }
        })
        .collect();
    Rule { conditions, action: Action::Allow }
}

fn compile_by_oracle(policy: &Policy) -> Vec<Instruction> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };
    let condition = |ours: &Condition| {
        let length = match ours.width {
            Width::Full => SeccompCmpArgLen::Qword,
            Width::Low => SeccompCmpArgLen::Dword,
        };
        let operator = SeccompCmpOp::MaskedEq(ours.mask);
        SeccompCondition::new(ours.argument, length, operator, ours.values[0]).unwrap()
    };
    let rule = |ours: &Rule| SeccompRule::new(ours.conditions.iter().map(condition).collect()).unwrap();
    let rules = policy
        .syscalls
        .iter()
        .map(|(&number, verdict)| match verdict {
            Verdict::Always(_) => (i64::from(number), vec![]),
            Verdict::Checked { rules, .. } => (i64::from(number), rules.iter().map(rule).collect()),
        })
        .collect();
    let filter =
        SeccompFilter::new(rules, SeccompAction::Errno(1), SeccompAction::Allow, TargetArch::x86_64).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    program.iter().map(|one| (one.code, one.jt, one.jf, one.k)).collect()
}

#[test]
fn another_compiler_agrees() {
    let mut random = Random(0x0ac1e);
    for _ in 0..20 {
        let policy = policy_for_oracle(&mut random);
        let ours = instructions(&compile(&policy).unwrap());
        let theirs = compile_by_oracle(&policy);
        for number in sample::numbers() {
            for arguments in sample::arguments(policy.syscalls.get(&number), &mut random) {
                let call = Call { number, architecture: policy.architecture.audit_word(), arguments };
                assert_eq!(run(&ours, &call).word, run(&theirs, &call).word, "{call:x?}");
            }
        }
    }
}
