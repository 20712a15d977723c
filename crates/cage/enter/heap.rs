//! The sealed heap: the zygote's private memory moved into a memory file that nobody can write, and mapped back from
//! it copy-on-write. A fork then copies no page table of it, and children share its pages until they write.

use crate::{nr, step, syscall};

/// One stretch of private memory, in whole pages.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stretch {
    /// Its first address.
    pub start: u64,
    /// Its bytes.
    pub length: u64,
    /// `PROT_…`, as it has now.
    pub protection: u64,
}

/// Everything: no write, no change of size, no executable bit later, and no further seal.
const SEALS: usize = 0x01 | 0x02 | 0x04 | 0x08;
const F_ADD_SEALS: usize = 1033;
const MFD_CLOEXEC: usize = 1;
const MFD_ALLOW_SEALING: usize = 2;
/// From Linux 6.3; older kernels answer `EINVAL`.
const MFD_NOEXEC_SEAL: usize = 8;
const MAP_PRIVATE_FIXED: usize = 0x02 | 0x10;
/// As the kernel's `sigset_t`.
const SIGNALS: usize = 8;

/// Seals the stretches, which lie in this process's private memory; the stack that this runs on is none of them.
/// Returns 0, or a negative number as `reckon_enter` does. After any failure the memory holds what it held before.
///
/// # Safety
/// `stretches` points to `count` of them, outside of them; the caller is single-threaded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reckon_seal_heap(stretches: *const Stretch, count: u64) -> i64 {
    // SAFETY: the caller vouches for the array; the signal masks are locals that live across the calls.
    unsafe {
        let stretches = core::slice::from_raw_parts(stretches, count as usize);
        // A handler between copy and mapping would write to memory that is about to be replaced.
        let (all, mut before) = (u64::MAX, 0_u64);
        let before_at = &raw mut before as usize;
        syscall(nr::RT_SIGPROCMASK, [SIG_SETMASK, &raw const all as usize, before_at, SIGNALS, 0, 0]);
        let sealed = seal(stretches);
        syscall(nr::RT_SIGPROCMASK, [SIG_SETMASK, before_at, 0, SIGNALS, 0, 0]);
        sealed.err().unwrap_or(0)
    }
}

const SIG_SETMASK: usize = 2;

/// # Safety
/// As for [`reckon_seal_heap`].
unsafe fn seal(stretches: &[Stretch]) -> Result<(), i64> {
    // SAFETY: the caller vouches that the stretches are its own memory; each mapping that replaces one has the same
    // bytes and protection, so that no reference into it notices.
    unsafe {
        let name = c"reckon-heap".as_ptr() as usize;
        let flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        let mut made = syscall(nr::MEMFD_CREATE, [name, flags | MFD_NOEXEC_SEAL, 0, 0, 0, 0]);
        if made < 0 {
            made = syscall(nr::MEMFD_CREATE, [name, flags, 0, 0, 0, 0]);
        }
        let file = step(30, made)?;
        let sealed = fill(file, stretches)
            .and_then(|()| step(32, syscall(nr::FCNTL, [file, F_ADD_SEALS, SEALS, 0, 0, 0])))
            .and_then(|_| map_back(file, stretches));
        // Before the first fork: no child may hold a descriptor of what its siblings read.
        syscall(nr::CLOSE, [file, 0, 0, 0, 0, 0]);
        sealed
    }
}

/// # Safety
/// As for [`reckon_seal_heap`].
unsafe fn fill(file: usize, stretches: &[Stretch]) -> Result<(), i64> {
    let mut offset = 0;
    for stretch in stretches {
        let mut done = 0;
        while done < stretch.length {
            let (from, left) = ((stretch.start + done) as usize, (stretch.length - done) as usize);
            // SAFETY: the kernel answers EFAULT for memory that is not there.
            let written = step(31, unsafe { syscall(nr::PWRITE64, [file, from, left, offset, 0, 0]) })?;
            if written == 0 {
                return Err(-31_005); // EIO: a memory file takes everything or says why not.
            }
            done += written as u64;
            offset += written;
        }
    }
    Ok(())
}

/// # Safety
/// As for [`reckon_seal_heap`]; the file holds the stretches' bytes, one after the other.
unsafe fn map_back(file: usize, stretches: &[Stretch]) -> Result<(), i64> {
    let mut offset = 0;
    for stretch in stretches {
        let (start, length) = (stretch.start as usize, stretch.length as usize);
        let protection = stretch.protection as usize;
        // SAFETY: the caller of `seal` vouches for the stretch, and nothing has written to it since the copy.
        let mapped =
            unsafe { syscall(nr::MMAP, [start, length, protection, MAP_PRIVATE_FIXED, file, offset]) };
        step(33, mapped)?;
        offset += length;
    }
    Ok(())
}
