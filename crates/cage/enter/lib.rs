//! The entering code: what the zygote's forked child does before any user byte is read.
//! A shared object of a few kilobytes without libc, loaded by CPython through `ctypes`. Each sequence is a
//! list of kernel acts, and its order is the documentation (DESIGN §4, hardening sheet §2.1).
#![no_std]

mod heap;

use core::arch::asm;

/// What the child needs to enter a room; laid out for `ctypes.Structure`, every field 64 bits.
#[repr(C)]
pub struct Plan {
    /// The room's init, or -1 where there are no namespaces to join.
    pub init_pidfd: i64,
    /// The driver's socket, and the writing ends of stdout and stderr.
    pub control: i64,
    /// Becomes descriptor 1.
    pub stdout: i64,
    /// Becomes descriptor 2.
    pub stderr: i64,
    /// `cgroup.procs` of the room, one for each hierarchy; the rest are -1.
    pub procs: [i64; 8],
    /// The identity inside.
    pub uid: u64,
    /// The group inside.
    pub gid: u64,
    /// Resource limits, soft and hard alike.
    pub limits: [Limit; 12],
    /// How many of them count.
    pub limit_count: u64,
    /// `struct sock_filter` array.
    pub filter: *const u8,
    /// Instructions in it.
    pub filter_length: u64,
    /// Landlock's handled rights for files.
    pub landlock_files: u64,
    /// Landlock's handled rights for TCP, 0 for none.
    pub landlock_net: u64,
    /// Landlock's scopes, 0 for none.
    pub landlock_scoped: u64,
    /// Trees and the rights beneath them.
    pub trees: [Tree; 64],
    /// How many of them count.
    pub tree_count: u64,
    /// Memory that is filled with random bytes: the states of generators, and keys.
    pub states: [State; 8],
    /// How many of them count.
    pub state_count: u64,
    /// What a test leaves out (`crates/cage/src/without.rs`); only the entering code of a test build looks at it.
    pub left_out: u64,
}

/// Memory of the caller that differs in every child.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct State {
    /// Its first byte.
    pub address: u64,
    /// Its bytes.
    pub length: u64,
}

/// One resource limit.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limit {
    /// `RLIMIT_…`.
    pub resource: u64,
    /// The soft and hard value.
    pub value: u64,
}

/// One tree that landlock opens.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tree {
    /// NUL-terminated path.
    pub path: *const u8,
    /// Rights beneath it.
    pub rights: u64,
}

/// Where the driver finds its socket.
const CONTROL_FD: usize = 3;
/// The landlock ruleset between `reckon_enter` and `reckon_seal`.
const RULESET_FD: usize = 4;

/// Forks a child into the pid namespace of `init_pidfd`, as a sibling of the caller, so that the caller's parent reaps it.
/// Returns 0 in the child, its pid in the caller, or a negative errno.
///
/// # Safety
/// The caller is single-threaded; `own_pid_namespace` is the caller's own pid namespace.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reckon_fork(init_pidfd: i64, own_pid_namespace: i64) -> i64 {
    // SAFETY: integers and pointers to locals that live across each call.
    unsafe {
        let mut thread_id: usize = 0;
        let mut robust: usize = 0;
        let mut robust_length: usize = 0;
        syscall(nr::PRCTL, [40, &raw mut thread_id as usize, 0, 0, 0, 0]); // PR_GET_TID_ADDRESS
        syscall(nr::GET_ROBUST_LIST, [0, &raw mut robust as usize, &raw mut robust_length as usize, 0, 0, 0]);
        if init_pidfd >= 0 {
            let joined = syscall(nr::SETNS, [init_pidfd as usize, ns::PID, 0, 0, 0, 0]);
            if joined < 0 {
                return joined as i64;
            }
        }
        // CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD; glibc's thread block keeps the right tid.
        let flags = if thread_id == 0 { 0x8000 | 17 } else { 0x0130_8000 | 17 };
        let pid = syscall(nr::CLONE, [flags, 0, 0, thread_id, 0, 0]);
        if pid == 0 {
            syscall(nr::SET_ROBUST_LIST, [robust, robust_length, 0, 0, 0, 0]);
            return 0;
        }
        if init_pidfd >= 0 && syscall(nr::SETNS, [own_pid_namespace as usize, ns::PID, 0, 0, 0, 0]) < 0 {
            // The next fork would land in this tenant's room.
            syscall(nr::KILL, [syscall(nr::GETPID, [0; 6]) as usize, 9, 0, 0, 0, 0]);
        }
        pid as i64
    }
}

/// Enters the room. Returns 0, or a negative number: errno plus 1000 times the step that failed.
///
/// # Safety
/// `plan` points to a valid plan whose pointers are valid; the caller is single-threaded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reckon_enter(plan: *const Plan) -> i64 {
    // SAFETY: the caller vouches for the plan.
    match unsafe { enter(&*plan) } {
        Ok(()) => 0,
        Err(failed) => failed,
    }
}

/// Puts up the last wall of a context that was parked without an identity: opens `workspace` (which is mounted
/// only now) to landlock and restricts this process. Returns 0, or a negative number as `reckon_enter` does.
///
/// # Safety
/// `workspace` is a NUL-terminated path.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reckon_seal(workspace: *const u8, rights: u64) -> i64 {
    // SAFETY: the caller vouches for the path; the rest are integers.
    unsafe {
        if cfg!(switchable_walls) && rights == u64::MAX {
            return 0;
        }
        if !allow_tree(RULESET_FD, workspace, rights) {
            return -20_002;
        }
        let result = syscall(nr::LANDLOCK_RESTRICT_SELF, [RULESET_FD, 0, 0, 0, 0, 0]);
        syscall(nr::CLOSE, [RULESET_FD, 0, 0, 0, 0, 0]);
        if result < 0 { result as i64 - 21_000 } else { 0 }
    }
}

/// # Safety
/// As for [`reckon_enter`].
unsafe fn enter(plan: &Plan) -> Result<(), i64> {
    // SAFETY: every pointer handed to the kernel is into the plan, which the caller vouches for, or to a local.
    unsafe {
        // The room's cgroup first: nothing that follows is charged to anybody else.
        for &procs in plan.procs.iter().filter(|&&fd| fd >= 0) {
            step(1, syscall(nr::WRITE, [procs as usize, b"0".as_ptr() as usize, 1, 0, 0, 0]))?;
        }
        if plan.init_pidfd >= 0 {
            let namespaces = ns::USER | ns::MOUNT | ns::NET | ns::IPC | ns::UTS | ns::CGROUP;
            let namespaces = namespaces & !(left_out(plan) as usize);
            step(2, syscall(nr::SETNS, [plan.init_pidfd as usize, namespaces, 0, 0, 0, 0]))?;
        }
        // A session of its own: no terminal, and one process group that an interrupt reaches.
        step(3, syscall(nr::SETSID, [0; 6]))?;
        // What the server's own is does not matter; other uids may look at what user code makes, and not change it.
        syscall(nr::UMASK, [0o022, 0, 0, 0, 0, 0]);
        // Own descriptors to their places, by way of high numbers so that none overwrites another.
        let control = step(4, syscall(nr::FCNTL, [plan.control as usize, F_DUPFD_CLOEXEC, 200, 0, 0, 0]))?;
        let stdout = step(4, syscall(nr::FCNTL, [plan.stdout as usize, F_DUPFD_CLOEXEC, 200, 0, 0, 0]))?;
        let stderr = step(4, syscall(nr::FCNTL, [plan.stderr as usize, F_DUPFD_CLOEXEC, 200, 0, 0, 0]))?;
        step(4, syscall(nr::DUP3, [stdout, 1, 0, 0, 0, 0]))?;
        step(4, syscall(nr::DUP3, [stderr, 2, 0, 0, 0, 0]))?;
        step(4, syscall(nr::DUP3, [control, CONTROL_FD, O_CLOEXEC, 0, 0, 0]))?;
        // Everything else is closed, not only marked: this process does not exec.
        if left_out(plan) & left::DESCRIPTORS == 0 {
            step(5, syscall(nr::CLOSE_RANGE, [CONTROL_FD + 1, u32::MAX as usize, 0, 0, 0, 0]))?;
        }
        // The kernel should choose user code before the server when the host itself runs out of memory.
        write_file(b"/proc/self/oom_score_adj\0", b"500");
        step(6, syscall(nr::SETRESGID, [plan.gid as usize, plan.gid as usize, plan.gid as usize, 0, 0, 0]))?;
        step(7, syscall(nr::SETRESUID, [plan.uid as usize, plan.uid as usize, plan.uid as usize, 0, 0, 0]))?;
        // A change of uid makes a process undumpable, and then /proc/self belongs to root.
        step(8, syscall(nr::PRCTL, [4, 1, 0, 0, 0, 0]))?; // PR_SET_DUMPABLE
        if plan.init_pidfd < 0 {
            // No pid namespace ends this process with its room: it goes when the nursery does.
            step(8, syscall(nr::PRCTL, [1, 9, 0, 0, 0, 0]))?; // PR_SET_PDEATHSIG, SIGKILL
        }
        for limit in plan.limits.iter().take(plan.limit_count as usize) {
            let both = [limit.value, limit.value];
            step(9, syscall(nr::PRLIMIT64, [0, limit.resource as usize, both.as_ptr() as usize, 0, 0, 0]))?;
        }
        if left_out(plan) & left::CAPABILITIES == 0 {
            drop_capabilities(plan.init_pidfd >= 0)?;
        }
        if left_out(plan) & left::NO_NEW_PRIVS == 0 {
            step(11, syscall(nr::PRCTL, [38, 1, 0, 0, 0, 0]))?; // PR_SET_NO_NEW_PRIVS
        }
        // After the room's cgroup was entered, which is charged for these pages.
        if left_out(plan) & left::RESEEDING == 0 {
            for state in plan.states.iter().take(plan.state_count as usize) {
                fill_randomly(state.address as usize, state.length as usize)?;
            }
        }
        if left_out(plan) & left::LANDLOCK == 0 {
            prepare_landlock(plan)?;
        }
        if left_out(plan) & left::SECCOMP != 0 {
            return Ok(());
        }
        // Last, so that the acts above need no place in the policy.
        let program = Program { length: plan.filter_length as u16, filter: plan.filter };
        step(14, syscall(nr::SECCOMP, [1, 0, &raw const program as usize, 0, 0, 0]))?; // SECCOMP_SET_MODE_FILTER
    }
    Ok(())
}

/// Leaves no capability in any set, and no way to gain one. `had` says that there were any, as there are for whoever has
/// just joined a user namespace; an ordinary user without one may not lock what it never had.
fn drop_capabilities(had: bool) -> Result<(), i64> {
    // SAFETY: integers, and pointers to locals that live across the call.
    unsafe {
        for capability in 0..64 {
            syscall(nr::PRCTL, [24, capability, 0, 0, 0, 0]); // PR_CAPBSET_DROP; beyond the last: EINVAL
        }
        syscall(nr::PRCTL, [47, 4, 0, 0, 0, 0]); // PR_CAP_AMBIENT, CLEAR_ALL
        // PR_SET_SECUREBITS: NOROOT and NO_SETUID_FIXUP, locked, and KEEP_CAPS locked off.
        let locked = syscall(nr::PRCTL, [28, 0x2f, 0, 0, 0, 0]);
        if had {
            step(10, locked)?;
        }
        let header: [u32; 2] = [0x2008_0522, 0]; // _LINUX_CAPABILITY_VERSION_3, this process
        let none = [0_u32; 6];
        step(10, syscall(nr::CAPSET, [header.as_ptr() as usize, none.as_ptr() as usize, 0, 0, 0, 0])).map(drop)
    }
}

/// Makes the landlock ruleset that `reckon_seal` applies, less the workspace.
///
/// # Safety
/// As for [`reckon_enter`].
unsafe fn prepare_landlock(plan: &Plan) -> Result<(), i64> {
    // SAFETY: every pointer handed to the kernel is into the plan, which the caller vouches for, or to a local.
    unsafe {
        let attributes = [plan.landlock_files, plan.landlock_net, plan.landlock_scoped];
        // The size tells the kernel which fields we know: an old one is given the first alone.
        let size = if plan.landlock_scoped != 0 {
            24
        } else if plan.landlock_net != 0 {
            16
        } else {
            8
        };
        let made = syscall(nr::LANDLOCK_CREATE_RULESET, [attributes.as_ptr() as usize, size, 0, 0, 0, 0]);
        let ruleset = step(12, made)?;
        for tree in plan.trees.iter().take(plan.tree_count as usize) {
            allow_tree(ruleset, tree.path, tree.rights);
        }
        if ruleset != RULESET_FD {
            step(13, syscall(nr::DUP3, [ruleset, RULESET_FD, O_CLOEXEC, 0, 0, 0]))?;
            syscall(nr::CLOSE, [ruleset, 0, 0, 0, 0, 0]);
        }
    }
    Ok(())
}

/// Returns what is left out: nothing, except in a test build.
fn left_out(plan: &Plan) -> u64 {
    if cfg!(switchable_walls) { plan.left_out } else { 0 }
}

/// Bits of `left_out` beside the flags of namespaces.
mod left {
    pub(crate) const CAPABILITIES: u64 = 1;
    pub(crate) const NO_NEW_PRIVS: u64 = 1 << 1;
    pub(crate) const LANDLOCK: u64 = 1 << 2;
    pub(crate) const SECCOMP: u64 = 1 << 3;
    pub(crate) const DESCRIPTORS: u64 = 1 << 4;
    pub(crate) const RESEEDING: u64 = 1 << 5;
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    filter: *const u8,
}

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    rights: u64,
    parent: i32,
}

/// Adds a rule; a tree that does not exist needs none. Returns whether the tree exists and the rule stands.
///
/// # Safety
/// `path` is a NUL-terminated path.
unsafe fn allow_tree(ruleset: usize, path: *const u8, rights: u64) -> bool {
    const O_PATH: usize = 0o10_000_000;
    // SAFETY: the caller vouches for the path; `beneath` lives across the call.
    unsafe {
        let opened = syscall(nr::OPENAT, [AT_FDCWD, path as usize, O_PATH | O_CLOEXEC, 0, 0, 0]);
        if opened < 0 {
            return false;
        }
        let beneath = PathBeneath { rights, parent: opened as i32 };
        let added = syscall(nr::LANDLOCK_ADD_RULE, [ruleset, 1, &raw const beneath as usize, 0, 0, 0]);
        syscall(nr::CLOSE, [opened as usize, 0, 0, 0, 0, 0]);
        added == 0
    }
}

/// # Safety
/// The memory is the caller's, and nothing else looks at it.
unsafe fn fill_randomly(address: usize, length: usize) -> Result<(), i64> {
    let mut done = 0;
    while done < length {
        // SAFETY: as for this function; the kernel answers EFAULT for memory that is not there.
        done +=
            step(15, unsafe { syscall(nr::GETRANDOM, [address + done, length - done, 0, 0, 0, 0]) })?;
    }
    Ok(())
}

/// Writes a small file of /proc; its failure weakens no wall.
///
/// # Safety
/// `path` ends in NUL.
unsafe fn write_file(path: &[u8], content: &[u8]) {
    // SAFETY: both slices live across the calls.
    unsafe {
        let opened = syscall(nr::OPENAT, [AT_FDCWD, path.as_ptr() as usize, 1 | O_CLOEXEC, 0, 0, 0]);
        if opened >= 0 {
            syscall(nr::WRITE, [opened as usize, content.as_ptr() as usize, content.len(), 0, 0, 0]);
            syscall(nr::CLOSE, [opened as usize, 0, 0, 0, 0, 0]);
        }
    }
}

fn step(number: i64, result: isize) -> Result<usize, i64> {
    if result < 0 { Err(result as i64 - number * 1000) } else { Ok(result as usize) }
}

const AT_FDCWD: usize = -100_isize as usize;
const O_CLOEXEC: usize = 0o2_000_000;
const F_DUPFD_CLOEXEC: usize = 1030;

/// `CLONE_NEW…`.
mod ns {
    pub(crate) const MOUNT: usize = 0x0002_0000;
    pub(crate) const CGROUP: usize = 0x0200_0000;
    pub(crate) const UTS: usize = 0x0400_0000;
    pub(crate) const IPC: usize = 0x0800_0000;
    pub(crate) const USER: usize = 0x1000_0000;
    pub(crate) const PID: usize = 0x2000_0000;
    pub(crate) const NET: usize = 0x4000_0000;
}

/// System call numbers of x86-64.
mod nr {
    pub(crate) const WRITE: usize = 1;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const MMAP: usize = 9;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const PWRITE64: usize = 18;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const KILL: usize = 62;
    pub(crate) const FCNTL: usize = 72;
    pub(crate) const UMASK: usize = 95;
    pub(crate) const SETSID: usize = 112;
    pub(crate) const SETRESUID: usize = 117;
    pub(crate) const SETRESGID: usize = 119;
    pub(crate) const CAPSET: usize = 126;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const SET_ROBUST_LIST: usize = 273;
    pub(crate) const GET_ROBUST_LIST: usize = 274;
    pub(crate) const DUP3: usize = 292;
    pub(crate) const PRLIMIT64: usize = 302;
    pub(crate) const SETNS: usize = 308;
    pub(crate) const SECCOMP: usize = 317;
    pub(crate) const GETRANDOM: usize = 318;
    pub(crate) const MEMFD_CREATE: usize = 319;
    pub(crate) const CLOSE_RANGE: usize = 436;
    pub(crate) const LANDLOCK_CREATE_RULESET: usize = 444;
    pub(crate) const LANDLOCK_ADD_RULE: usize = 445;
    pub(crate) const LANDLOCK_RESTRICT_SELF: usize = 446;
}

/// # Safety
/// The arguments must be valid for the system call `number`.
unsafe fn syscall(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves all registers but rax, rcx and r11; the caller vouches for the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") args[0], in("rsi") args[1],
             in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
