//! From a policy to a program: a balanced search over ranges of system call numbers, argument checks in the leaves.
//!
//! The part that looks at the number only uses instructions that the kernel can evaluate ahead of time (loads,
//! comparisons with constants, returns), so calls that are always allowed skip the filter altogether.

use super::Error;
use super::assemble::{Assembler, Label, MAX_INSTRUCTIONS, Program, Test};
use super::policy::{Condition, Policy, Rule, Sense, Verdict, Width};

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// System calls have this many arguments.
const ARGUMENT_COUNT: u8 = 6;

/// Compiles a policy; equal policies give equal programs.
pub fn compile(policy: &Policy) -> Result<Program, Error> {
    check_arguments(policy)?;
    let mut assembler = Assembler::default();
    let unnamed = Unnamed { default: Verdict::Always(policy.default), x32: Verdict::Always(policy.x32) };
    let tree = search(&mut assembler, &ranges(policy, &unnamed));
    let number = assembler.load(NUMBER_OFFSET, tree);
    let foreign = assembler.action(policy.foreign);
    let native = Test::Equal(policy.architecture.audit_word());
    let entry = assembler.branch(native, number, foreign);
    assembler.load(ARCHITECTURE_OFFSET, entry);
    let program = assembler.finish();
    match program.instructions().len() {
        0..=MAX_INSTRUCTIONS => Ok(program),
        length => Err(Error::TooLong(length)),
    }
}

fn check_arguments(policy: &Policy) -> Result<(), Error> {
    for verdict in policy.syscalls.values() {
        let Verdict::Checked { rules, .. } = verdict else { continue };
        for condition in rules.iter().flat_map(|rule| &rule.conditions) {
            if condition.argument >= ARGUMENT_COUNT {
                return Err(Error::Argument(condition.argument));
            }
        }
    }
    Ok(())
}

/// System call numbers from `start` up to the start of the next range, which share a verdict.
struct Range<'a> {
    start: u32,
    verdict: &'a Verdict,
}

/// The verdicts of the calls that a policy does not name one by one.
struct Unnamed {
    default: Verdict,
    x32: Verdict,
}

/// Cuts the numbers from 0 to 2^32 - 1 into as few ranges as possible.
fn ranges<'a>(policy: &'a Policy, unnamed: &'a Unnamed) -> Vec<Range<'a>> {
    let mut ranges = vec![Range { start: 0, verdict: &unnamed.default }];
    let x32_start = policy.architecture.x32_start().unwrap_or(u32::MAX);
    for (&number, verdict) in policy.syscalls.range(..x32_start) {
        cut(&mut ranges, number, verdict);
        cut(&mut ranges, number + 1, &unnamed.default);
    }
    if policy.architecture.x32_start().is_some() {
        cut(&mut ranges, x32_start, &unnamed.x32);
    }
    ranges
}

/// Gives the numbers from `start` on another verdict; `start` never lies before the last cut.
fn cut<'a>(ranges: &mut Vec<Range<'a>>, start: u32, verdict: &'a Verdict) {
    ranges.pop_if(|last| last.start == start);
    if ranges.last().is_none_or(|last| last.verdict != verdict) {
        ranges.push(Range { start, verdict });
    }
}

/// Writes the search for the range of the loaded number; its depth is the logarithm of their count.
fn search(assembler: &mut Assembler, ranges: &[Range<'_>]) -> Label {
    if let [range] = ranges {
        return verdict(assembler, range.verdict);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let at_least = search(assembler, upper);
    let below = search(assembler, lower);
    assembler.branch(Test::AtLeast(upper[0].start), at_least, below)
}

fn verdict(assembler: &mut Assembler, verdict: &Verdict) -> Label {
    match verdict {
        Verdict::Always(action) => assembler.action(*action),
        Verdict::Checked { rules, otherwise } => {
            let fallback = assembler.action(*otherwise);
            fuse(rules).iter().rev().fold(fallback, |next, rule| check_rule(assembler, rule, next))
        }
    }
}

/// Joins neighbouring rules that differ only in the value wanted, so that the argument is loaded once.
fn fuse(rules: &[Rule]) -> Vec<Rule> {
    let mut fused: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules {
        if let Some(last) = fused.last_mut()
            && last.action == rule.action
            && let ([earlier], [condition]) = (&mut last.conditions[..], &rule.conditions[..])
            && same_question(earlier, condition)
        {
            earlier.values.extend_from_slice(&condition.values);
        } else {
            fused.push(rule.clone());
        }
    }
    fused
}

fn same_question(one: &Condition, other: &Condition) -> bool {
    let key = |condition: &Condition| (condition.argument, condition.width, condition.mask, condition.sense);
    key(one) == key(other) && one.sense == Sense::OneOf
}

/// Writes a rule that goes on at `next` unless all of its conditions hold.
fn check_rule(assembler: &mut Assembler, rule: &Rule, next: Label) -> Label {
    let action = assembler.action(rule.action);
    rule.conditions.iter().rev().fold(action, |holds, condition| check(assembler, condition, holds, next))
}

fn check(assembler: &mut Assembler, condition: &Condition, holds: Label, fails: Label) -> Label {
    let (found, missing) = match condition.sense {
        Sense::OneOf => (holds, fails),
        Sense::NoneOf => (fails, holds),
    };
    match condition.width {
        Width::Low => compare_low(assembler, condition, &condition.values, found, missing),
        Width::Full => compare_full(assembler, condition, found, missing),
    }
}

/// Writes the comparison of both halves, one group of values with equal upper halves after the other.
fn compare_full(assembler: &mut Assembler, condition: &Condition, found: Label, missing: Label) -> Label {
    let mut values = condition.values.clone();
    values.sort_unstable();
    let mask = upper_half(condition.mask);
    if mask == 0 {
        return compare_low(assembler, condition, &values, found, missing);
    }
    values.chunk_by(|one, other| upper_half(*one) == upper_half(*other)).rev().fold(missing, |next, group| {
        let lower = compare_low(assembler, condition, group, found, missing);
        let upper = assembler.branch(Test::Equal(upper_half(group[0])), lower, next);
        load_masked(assembler, upper_offset(condition), mask, upper)
    })
}

fn compare_low(
    assembler: &mut Assembler,
    condition: &Condition,
    values: &[u64],
    found: Label,
    missing: Label,
) -> Label {
    let mut wanted: Vec<u32> = values.iter().copied().map(lower_half).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let runs = wanted.chunk_by(|one, other| one + 1 == *other).rev();
    let comparisons = runs.fold(missing, |next, run| compare_run(assembler, run, found, next));
    load_masked(assembler, lower_offset(condition), lower_half(condition.mask), comparisons)
}

/// Writes the comparison with consecutive values: from three on, their two ends say it all.
fn compare_run(assembler: &mut Assembler, run: &[u32], found: Label, missing: Label) -> Label {
    if let [first, _, .., last] = run {
        let not_above = match last.checked_add(1) {
            Some(above) => assembler.branch(Test::AtLeast(above), missing, found),
            None => found,
        };
        return assembler.branch(Test::AtLeast(*first), not_above, missing);
    }
    run.iter().rev().fold(missing, |next, value| assembler.branch(Test::Equal(*value), found, next))
}

fn load_masked(assembler: &mut Assembler, offset: u32, mask: u32, next: Label) -> Label {
    let masked = if mask == u32::MAX { next } else { assembler.and(mask, next) };
    assembler.load(offset, masked)
}

/// Both architectures are little-endian: the lower half of an argument comes first.
fn lower_offset(condition: &Condition) -> u32 {
    ARGUMENTS_OFFSET + 8 * u32::from(condition.argument)
}

fn upper_offset(condition: &Condition) -> u32 {
    lower_offset(condition) + 4
}

fn lower_half(value: u64) -> u32 {
    value as u32
}

fn upper_half(value: u64) -> u32 {
    (value >> 32) as u32
}
