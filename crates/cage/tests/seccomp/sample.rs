//! Calls and policies to try: the edges of every comparison, and random ones from a fixed seed.

use reckon_cage::seccomp::policy::{Action, Condition, Rule, Sense, Verdict, Width};
use reckon_cage::seccomp::{Architecture, Policy};

/// A small generator of repeatable numbers (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 8) % bound
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Numbers up to beyond the newest call, and the places where the numbering changes its meaning.
pub(crate) fn numbers() -> impl Iterator<Item = u32> {
    (0..600).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0027, 0x7fff_ffff, 0x8000_0000, u32::MAX])
}

/// Returns argument lists that meet, miss and narrowly miss the conditions of a verdict.
pub(crate) fn arguments(verdict: Option<&Verdict>, random: &mut Random) -> Vec<[u64; 6]> {
    let mut lists = vec![[0; 6], [u64::MAX; 6], std::array::from_fn(|_| random.next())];
    let Some(Verdict::Checked { rules, .. }) = verdict else { return lists };
    for rule in rules {
        let meeting = meet(&rule.conditions);
        lists.push(meeting);
        for condition in &rule.conditions {
            for &value in &condition.values {
                for close in near(value, random) {
                    let mut list = meeting;
                    list[usize::from(condition.argument)] = close;
                    lists.push(list);
                }
            }
        }
    }
    lists
}

fn meet(conditions: &[Condition]) -> [u64; 6] {
    let mut list = [0; 6];
    for condition in conditions {
        let value = match condition.sense {
            Sense::OneOf => condition.values[0],
            Sense::NoneOf => {
                (0..=u64::MAX).find(|value| !condition.values.contains(value)).expect("lists are short")
            }
        };
        list[usize::from(condition.argument)] = value;
    }
    list
}

/// The value itself and values that differ in one bit, by one, or only in their upper half.
fn near(value: u64, random: &mut Random) -> [u64; 8] {
    [
        value,
        value.wrapping_add(1),
        value.wrapping_sub(1),
        value ^ (1 << random.below(64)),
        value ^ (1 << random.below(32)),
        value | 0xffff_ffff_0000_0000,
        value ^ 0x1_0000_0000,
        value.rotate_left(32),
    ]
}

/// Returns a policy of runs, single calls and checks of all kinds.
pub(crate) fn policy(random: &mut Random) -> Policy {
    let density = 1 + random.below(8);
    let mut policy = Policy {
        architecture: random.pick(&Architecture::ALL),
        default: action(random),
        foreign: action(random),
        x32: action(random),
        syscalls: std::collections::BTreeMap::new(),
    };
    for number in 0..500 {
        match random.below(16) {
            0..2 => drop(policy.syscalls.insert(number, checked(random))),
            kind if kind < 2 + density => {
                drop(policy.syscalls.insert(number, Verdict::Always(action(random))));
            }
            _ => {}
        }
    }
    policy
}

fn action(random: &mut Random) -> Action {
    random.pick(&[Action::Allow, Action::Errno(1), Action::Errno(38), Action::Log, Action::KillProcess])
}

fn checked(random: &mut Random) -> Verdict {
    let rules = (0..=random.below(4)).map(|_| rule(random)).collect();
    Verdict::Checked { rules, otherwise: action(random) }
}

fn rule(random: &mut Random) -> Rule {
    let conditions = (0..=random.below(3)).map(|_| condition(random)).collect();
    Rule { conditions, action: action(random) }
}

fn condition(random: &mut Random) -> Condition {
    let width = random.pick(&[Width::Full, Width::Low]);
    let widest = if width == Width::Full { u64::MAX } else { u64::from(u32::MAX) };
    let masks = [u64::MAX, u64::MAX, 0xff, 0x7e02_0000, 0xffff_ffff_0000_0000, 0xf0_0000_000f, random.next()];
    let mask = random.pick(&masks) & widest;
    let values = (0..=random.below(9))
        .map(|_| {
            random.pick(&[
                0,
                1,
                2,
                3,
                10,
                0xffff_fffd,
                0xffff_fffe,
                0xffff_ffff,
                0x1_0000_0002,
                u64::MAX,
                random.0,
            ]) & mask
        })
        .collect();
    let sense = random.pick(&[Sense::OneOf, Sense::OneOf, Sense::NoneOf]);
    Condition { argument: random.below(6) as u8, width, mask, values, sense }
}
