//! What the tests compare: a classic BPF interpreter, and a policy's meaning worked out without a program.

use reckon_cage::seccomp::Policy;
use reckon_cage::seccomp::policy::{Action, Condition, Sense, Verdict, Width};

/// One system call as a filter sees it (`struct seccomp_data`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) architecture: u32,
    pub(crate) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
            _ => panic!("load from offset {offset}"),
        }
    }
}

/// One instruction: code, jt, jf, k.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// What a program did with a call.
#[derive(Debug)]
pub(crate) struct Run {
    /// The returned word.
    pub(crate) word: u32,
    /// How many comparisons of the call's number led there.
    pub(crate) comparisons: usize,
}

/// Runs a program; panics on whatever the kernel's verifier would refuse on the way.
pub(crate) fn run(program: &[Instruction], call: &Call) -> Run {
    let mut accumulator = 0;
    let mut next = 0;
    let mut comparisons = 0;
    let mut number_loaded = false;
    loop {
        let (code, jt, jf, k) = program[next];
        next += 1;
        let mut branch = |holds: bool| {
            comparisons += usize::from(number_loaded);
            next += usize::from(if holds { jt } else { jf });
        };
        match code {
            0x20 => {
                accumulator = call.word(k);
                number_loaded = k == 0;
            }
            0x54 => accumulator &= k,
            0x05 => next += k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x45 => branch(accumulator & k != 0),
            0x06 => return Run { word: k, comparisons },
            _ => panic!("instruction {code:#x}"),
        }
    }
}

/// Returns what the policy says about a call, read straight from its data.
pub(crate) fn meaning(policy: &Policy, call: &Call) -> Action {
    if call.architecture != policy.architecture.audit_word() {
        return policy.foreign;
    }
    if policy.architecture.x32_start().is_some_and(|start| call.number >= start) {
        return policy.x32;
    }
    match policy.syscalls.get(&call.number) {
        None => policy.default,
        Some(Verdict::Always(action)) => *action,
        Some(Verdict::Checked { rules, otherwise }) => {
            let holds = |condition: &Condition| {
                let argument = call.arguments[usize::from(condition.argument)];
                let seen = match condition.width {
                    Width::Full => argument,
                    Width::Low => argument % (1 << 32),
                };
                let found = condition.values.contains(&(seen & condition.mask));
                found == (condition.sense == Sense::OneOf)
            };
            rules.iter().find(|rule| rule.conditions.iter().all(holds)).map_or(*otherwise, |rule| rule.action)
        }
    }
}

/// Returns the word by which a filter asks the kernel for the action (`linux/seccomp.h`).
pub(crate) fn word(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Log => 0x7ffc_0000,
        Action::Errno(number) => 0x0005_0000 + u32::from(number),
        Action::KillProcess => 0x8000_0000,
    }
}
