//! Classic BPF, written from its end to its beginning.
//!
//! Jumps only go forward, so when an instruction is written every place it can jump to already has one. A jump
//! reaches 255 instructions; what lies further is reached through an unconditional jump put between.

use std::collections::BTreeMap;

use super::policy::Action;

/// The kernel's limit for the length of one filter (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Opcodes, named as in `linux/bpf_common.h`.
const LD_W_ABS: u16 = 0x20;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGE_K: u16 = 0x35;
const ALU_AND_K: u16 = 0x54;
const RET_K: u16 = 0x06;

/// Actions, named as in `linux/seccomp.h`.
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// Jump targets up to this distance stay in reach (255) while a branch puts two bridges before itself.
const REACH: usize = 253;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// The opcode.
    pub code: u16,
    /// How many instructions a true comparison skips.
    pub jt: u8,
    /// How many instructions a false comparison skips.
    pub jf: u8,
    /// The operand: a constant, an offset or the distance of an unconditional jump.
    pub k: u32,
}

/// A finished filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    bytes: Vec<u8>,
}

impl Program {
    /// Returns the instructions in order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Returns the program as the kernel wants it: 8 bytes per instruction, in the byte order of this machine.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn new(instructions: Vec<Instruction>) -> Self {
        let mut bytes = Vec::with_capacity(instructions.len() * size_of::<Instruction>());
        for instruction in &instructions {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
        Self { instructions, bytes }
    }
}

/// A place in the program, counted from its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

/// A comparison of the accumulator with a constant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Equal(u32),
    AtLeast(u32),
}

/// Collects instructions, the last one first.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    /// Where each action was last written, to be shared by whatever is near enough.
    returns: BTreeMap<Action, Label>,
}

impl Assembler {
    /// Returns a place that ends the filter with the action.
    pub(super) fn action(&mut self, action: Action) -> Label {
        if let Some(&label) = self.returns.get(&action)
            && self.distance(label) <= REACH
        {
            return label;
        }
        let label = self.push(RET_K, 0, 0, action_word(action));
        self.returns.insert(action, label);
        label
    }

    /// Writes the loading of a word of `struct seccomp_data`, followed by what stands at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.continue_at(next);
        self.push(LD_W_ABS, 0, 0, offset)
    }

    /// Writes the masking of the loaded word, followed by what stands at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.continue_at(next);
        self.push(ALU_AND_K, 0, 0, mask)
    }

    /// Writes a comparison that goes on at one of two places.
    pub(super) fn branch(&mut self, test: Test, on_true: Label, on_false: Label) -> Label {
        let on_true = self.bridge(on_true);
        let on_false = self.bridge(on_false);
        let (code, k) = match test {
            Test::Equal(k) => (JMP_JEQ_K, k),
            Test::AtLeast(k) => (JMP_JGE_K, k),
        };
        let near = "bridge leaves no target further than 255 instructions";
        let jt = u8::try_from(self.distance(on_true)).expect(near);
        let jf = u8::try_from(self.distance(on_false)).expect(near);
        self.push(code, jt, jf, k)
    }

    /// Turns what was collected into a program.
    pub(super) fn finish(mut self) -> Program {
        self.reversed.reverse();
        Program::new(self.reversed)
    }

    /// Returns how many instructions lie between the one written next and the target.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - 1 - target.0
    }

    fn bridge(&mut self, target: Label) -> Label {
        if self.distance(target) <= REACH { target } else { self.jump(target) }
    }

    fn continue_at(&mut self, target: Label) {
        if self.distance(target) > 0 {
            self.jump(target);
        }
    }

    fn jump(&mut self, target: Label) -> Label {
        let distance = u32::try_from(self.distance(target)).expect("a program is far shorter than 2^32");
        self.push(JMP_JA, 0, 0, distance)
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }
}

fn action_word(action: Action) -> u32 {
    match action {
        Action::Allow => RET_ALLOW,
        Action::Log => RET_LOG,
        Action::Errno(number) => RET_ERRNO | u32::from(number),
        Action::KillProcess => RET_KILL_PROCESS,
    }
}
