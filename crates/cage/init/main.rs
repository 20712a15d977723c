//! Pid 1 of a room: a static program of a few kilobytes without libc.
//! It reaps what user code leaves behind and does nothing else yet; it holds no secret and no descriptor.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

// The kernel enters with the stack pointer at argc; the stack must be 16-byte aligned at the call.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym main);

const SYS_RT_SIGPROCMASK: usize = 14;
const SYS_WAIT4: usize = 61;
const SYS_RT_SIGTIMEDWAIT: usize = 128;
const SYS_PRCTL: usize = 157;
const PR_SET_DUMPABLE: usize = 4;
const PR_SET_NAME: usize = 15;
const SIG_BLOCK: usize = 0;
const SIGCHLD_MASK: u64 = 1 << (17 - 1);

extern "C" fn main() -> ! {
    let name = *b"reckon-init\0";
    let mask = SIGCHLD_MASK;
    // SAFETY: `name` is a NUL-terminated array that lives across the call.
    unsafe { syscall4(SYS_PRCTL, PR_SET_NAME, name.as_ptr() as usize, 0, 0) };
    // Nobody in the room may read this process's memory or follow its links in /proc.
    // SAFETY: takes integers only.
    unsafe { syscall4(SYS_PRCTL, PR_SET_DUMPABLE, usize::from(cfg!(open_init)), 0, 0) };
    // Blocked, so that a child that ends between the two calls below is not missed.
    // SAFETY: `mask` is a signal set of eight bytes that lives across the call.
    unsafe { syscall4(SYS_RT_SIGPROCMASK, SIG_BLOCK, &raw const mask as usize, 0, 8) };
    loop {
        // SAFETY: status and usage pointers are null, which wait4 allows.
        if unsafe { syscall4(SYS_WAIT4, usize::MAX, 0, 0, 0) } < 0 {
            // No child at all: sleep until one is reparented here and ends.
            // SAFETY: `mask` lives across the call; information and timeout pointers are null, which is allowed.
            unsafe { syscall4(SYS_RT_SIGTIMEDWAIT, &raw const mask as usize, 0, 0, 8) };
        }
    }
}

/// # Safety
/// The arguments must be valid for the system call `number`.
unsafe fn syscall4(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves all registers but rax, rcx and r11; the caller vouches for the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
