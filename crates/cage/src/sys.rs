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

/// Returns the number of a loop device that nobody uses now.
pub(crate) fn free_loop_device(control: BorrowedFd<'_>) -> io::Result<u32> {
    const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
    // SAFETY: takes no argument and returns a number.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Which file a loop device shows: `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    device_shown: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [u8; 128],
    key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Has a loop device show a file until its last user goes away, past the page cache of the file where that works.
pub(crate) fn show_in_loop_device(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    block_size: u32,
) -> io::Result<()> {
    const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
    const AUTOCLEAR: u32 = 4;
    const DIRECT_IO: u32 = 16;
    // SAFETY: an all-zero loop_config is valid: every field is an integer.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd() as u32;
    config.block_size = block_size;
    config.info.flags = AUTOCLEAR | DIRECT_IO;
    // SAFETY: LOOP_CONFIGURE reads a loop_config, whose layout `LoopConfig` has; both descriptors are open.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    check(result.into())
}

/// Returns device and inode of the file that a loop device shows; `ENXIO` where it shows none.
pub(crate) fn shown_by_loop_device(device: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
    // SAFETY: an all-zero loop_info64 is valid: every field is an integer.
    let mut info: LoopInfo = unsafe { std::mem::zeroed() };
    // SAFETY: LOOP_GET_STATUS64 writes a loop_info64, whose layout `LoopInfo` has.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) }.into())?;
    Ok((info.device, info.inode))
}

/// What btrfs can be told with nothing but a name.
#[derive(Clone, Copy)]
pub(crate) enum BtrfsAct {
    /// Make a subvolume of this name in a directory.
    CreateSubvolume,
    /// Remove the subvolume of this name from a directory; the kernel frees what it held in the background.
    DestroySubvolume,
    /// Make the file system as large as its device, with `max` as the name.
    Resize,
}

/// Does something to the btrfs of `directory`.
pub(crate) fn btrfs(directory: BorrowedFd<'_>, act: BtrfsAct, name: &CStr) -> io::Result<()> {
    /// `struct btrfs_ioctl_vol_args` of linux/btrfs.h.
    #[repr(C)]
    struct Arguments {
        fd: i64,
        name: [u8; 4088],
    }
    let bytes = name.to_bytes();
    // The longest name of a file; the last byte must stay zero.
    if bytes.len() > 255 {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    let mut arguments = Arguments { fd: 0, name: [0; 4088] };
    arguments.name[..bytes.len()].copy_from_slice(bytes);
    let number = match act {
        BtrfsAct::Resize => 3,
        BtrfsAct::CreateSubvolume => 14,
        BtrfsAct::DestroySubvolume => 15,
    };
    let request = btrfs_request(WRITE, number, size_of::<Arguments>());
    // SAFETY: each of the three reads a btrfs_ioctl_vol_args, which `arguments` is, with its name ended by a zero.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), request, &raw const arguments) }.into())
}

/// Has the btrfs of `directory` account for each subvolume. Nothing happens where it already does.
pub(crate) fn btrfs_enable_quota(directory: BorrowedFd<'_>) -> io::Result<()> {
    const ENABLE: u64 = 1;
    let mut arguments = [ENABLE, 0];
    let request = btrfs_request(READ | WRITE, 40, size_of_val(&arguments));
    // SAFETY: BTRFS_IOC_QUOTA_CTL reads and writes a btrfs_ioctl_quota_ctl_args, which is two u64.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), request, &raw mut arguments) }.into())
}

/// Limits what the subvolume of `directory` may refer to, its metadata included.
pub(crate) fn btrfs_limit(directory: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    const MAX_REFERENCED: u64 = 1;
    // The group (0: the subvolume's own), which limits follow, and the five limits.
    let arguments = [0, MAX_REFERENCED, bytes, 0, 0, 0];
    let request = btrfs_request(READ, 43, size_of_val(&arguments));
    // SAFETY: BTRFS_IOC_QGROUP_LIMIT reads a btrfs_ioctl_qgroup_limit_args, which is six u64.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), request, &raw const arguments) }.into())
}

/// Returns the number of the subvolume in which `directory` lies.
pub(crate) fn btrfs_subvolume(directory: BorrowedFd<'_>) -> io::Result<u64> {
    /// `struct btrfs_ioctl_ino_lookup_args`; tree 0 means the descriptor's own.
    #[repr(C)]
    struct Arguments {
        tree: u64,
        object: u64,
        name: [u8; 4080],
    }
    const FIRST_FREE_OBJECT: u64 = 256;
    let mut arguments = Arguments { tree: 0, object: FIRST_FREE_OBJECT, name: [0; 4080] };
    let request = btrfs_request(READ | WRITE, 18, size_of::<Arguments>());
    // SAFETY: BTRFS_IOC_INO_LOOKUP reads and writes a btrfs_ioctl_ino_lookup_args, which `arguments` is.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), request, &raw mut arguments) }.into())?;
    Ok(arguments.tree)
}

/// Returns the identity of the btrfs in which `directory` lies.
pub(crate) fn btrfs_identity(directory: BorrowedFd<'_>) -> io::Result<[u8; 16]> {
    /// `struct btrfs_ioctl_fs_info_args`.
    #[repr(C)]
    struct Arguments {
        greatest_device: u64,
        devices: u64,
        identity: [u8; 16],
        rest: [u8; 992],
    }
    // SAFETY: all of it is integers, for which zero is valid.
    let mut arguments: Arguments = unsafe { std::mem::zeroed() };
    let request = btrfs_request(READ, 31, size_of::<Arguments>());
    // SAFETY: BTRFS_IOC_FS_INFO writes a btrfs_ioctl_fs_info_args, which `arguments` is.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), request, &raw mut arguments) }.into())?;
    Ok(arguments.identity)
}

const WRITE: usize = 1;
const READ: usize = 2;

/// The number of a btrfs ioctl, as `_IOC` of linux/ioctl.h makes it.
fn btrfs_request(direction: usize, number: usize, size: usize) -> libc::Ioctl {
    const BTRFS: usize = 0x94;
    (direction << 30 | size << 16 | BTRFS << 8 | number) as libc::Ioctl
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
