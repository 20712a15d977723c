//! The one module that calls the kernel where rustix has no safe wrapper: the whole crate's `unsafe`.
//! Wrappers take and return owned or borrowed descriptors; nothing raw escapes.
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::process::Pid;

/// Namespaces of a new process, `CLONE_NEW…` of clone(2).
pub(crate) mod namespace {
    pub(crate) const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    pub(crate) const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    pub(crate) const UTS: u64 = libc::CLONE_NEWUTS as u64;
    pub(crate) const IPC: u64 = libc::CLONE_NEWIPC as u64;
    pub(crate) const USER: u64 = libc::CLONE_NEWUSER as u64;
    pub(crate) const PID: u64 = libc::CLONE_NEWPID as u64;
    pub(crate) const NET: u64 = libc::CLONE_NEWNET as u64;
}

/// The two returns of [`clone_process`].
pub(crate) enum Cloned {
    /// This is the new process.
    Child,
    /// This is the caller; the child and a descriptor of it.
    Parent(Pid, OwnedFd),
}

/// Clones the calling process into new namespaces, copy-on-write, as `fork` does.
///
/// # Errors
/// The kernel's, most often `EPERM` where user namespaces are refused.
pub(crate) fn clone_process(namespaces: u64) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: an all-zero clone_args is valid: every field is an integer and zero means absent.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: `args` is a valid clone_args of its own size, no stack is given so the child runs on a copy of this
    // one, and `pidfd` outlives the call. The processes that call this (warden and nursery) are single-threaded, so
    // no lock is held by a thread that the child lacks.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor that nothing else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Cloned::Parent(pid, pidfd))
        }
    }
}

/// Leaves shared namespaces for new ones.
pub(crate) fn unshare(namespaces: u64) -> io::Result<()> {
    // SAFETY: takes an integer; the flags used here unshare no descriptor table, so I/O safety is untouched.
    check(unsafe { libc::unshare(namespaces as libc::c_int) }.into())
}

/// Closes every descriptor above 2 but these.
///
/// Only for a process that was just cloned and never returns to its parent's frames: the descriptors that the parent's
/// values own in this copy must not be used again.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) {
    let mut numbers: Vec<u32> =
        kept.iter().map(|fd| fd.as_raw_fd() as u32).filter(|&number| number > 2).collect();
    numbers.sort_unstable();
    let mut next = 3;
    for number in numbers.into_iter().chain([u32::MAX]) {
        if number > next {
            let last = if number == u32::MAX { u32::MAX } else { number - 1 };
            // SAFETY: takes integers; the callers' contract above says that nobody uses what is closed.
            unsafe { libc::syscall(libc::SYS_close_range, next, last, 0) };
        }
        next = number.saturating_add(1);
    }
}

/// Ends this process at once, without destructors that belong to the parent's copy.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(status) }
}

/// Executes the program behind a descriptor. Returns only on failure.
pub(crate) fn execute_fd(program: BorrowedFd<'_>, argument: &CStr) -> io::Error {
    let argv = [argument.as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: the path is an empty C string as AT_EMPTY_PATH asks; both vectors end in null and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Executes a program with arguments and environment. Returns only on failure.
pub(crate) fn execute_path(program: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> io::Error {
    let argv: Vec<_> = arguments.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
    let envp: Vec<_> = environment.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: all strings are C strings that outlive the call, and both vectors end in null.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// What [`set_mount`] changes.
#[derive(Clone, Copy, Default)]
pub(crate) struct MountChange<'a> {
    /// `MOUNT_ATTR_…` to set.
    pub(crate) set: u64,
    /// The user namespace whose mapping shows through the mount.
    pub(crate) idmap: Option<BorrowedFd<'a>>,
    /// With everything mounted beneath it.
    pub(crate) recursive: bool,
}

/// Changes the attributes of a mount (mount_setattr(2)).
pub(crate) fn set_mount(mount: BorrowedFd<'_>, change: MountChange<'_>) -> io::Result<()> {
    // SAFETY: an all-zero mount_attr is valid: every field is an integer.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = change.set;
    if let Some(user_namespace) = change.idmap {
        attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attributes.userns_fd = user_namespace.as_raw_fd() as u64;
    }
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the descriptor is open for the call, the path is an empty C string as AT_EMPTY_PATH asks, and
    // `attributes` is a mount_attr of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result)
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: an all-zero ifreq is valid: a byte array and a union of plain values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is; the socket is open.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())
}

/// Returns the highest version of landlock that the kernel speaks, 0 where it is absent or off.
pub(crate) fn landlock_version() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with a null attribute of size 0 and this flag the call only returns a number.
    let result = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    u32::try_from(result).unwrap_or(0)
}

/// Ignores the signals by which people and service managers end programs.
pub(crate) fn ignore_endings() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives those signals their usual effect again, for a program that is about to be executed.
pub(crate) fn default_endings() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: SIG_DFL runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Leaves the server's session keyring for a new one: keyrings are not namespaced.
pub(crate) fn leave_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: with a null name the kernel makes an anonymous keyring and reads no memory.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, none) })
}

/// Makes the supplementary groups empty. Needs the right to; harmless where it lacks.
pub(crate) fn clear_groups() -> io::Result<()> {
    // SAFETY: a length of zero means that the pointer is not read.
    check(unsafe { libc::syscall(libc::SYS_setgroups, 0_usize, std::ptr::null::<libc::gid_t>()) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
