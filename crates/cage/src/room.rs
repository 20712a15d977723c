//! A room: the kernel's side of a sandbox, built by a child of the nursery that becomes its pid 1.

use std::{
    fs::File,
    io::{self, PipeReader, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    mount::MountFlags,
    process::{Pid, Resource, Rlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::{
    error::{Error, Named},
    identity::{self, INSIDE},
    refusal, root,
    sys::{self, Cloned, namespace},
};

/// Everything a room has of its own; the cgroup namespace comes after the cgroup.
const NAMESPACES: u64 =
    namespace::USER | namespace::MOUNT | namespace::PID | namespace::NET | namespace::IPC | namespace::UTS;

/// Parts of /proc that tell of the host or of its kernel and that user code has no use for; covered by an empty device.
/// The rest is root's and unreadable for a uid without capabilities.
const MASKED: [&str; 10] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/latency_stats",
    "/proc/interrupts",
    "/proc/modules",
    "/proc/config.gz",
];

/// What a room is built from.
pub(crate) struct RoomPlan<'a> {
    /// The user namespace's mapping.
    pub(crate) map: &'a str,
    /// Size of `/tmp` and `/dev/shm`.
    pub(crate) tmp_bytes: u64,
    /// Files and directories of each.
    pub(crate) tmp_inodes: u64,
    /// `cgroup.procs` of its cgroup, one for each hierarchy.
    pub(crate) procs: &'a [OwnedFd],
    /// The embedded init, in a sealed memfd.
    pub(crate) init: BorrowedFd<'a>,
}

/// Builds a room. Returns when its init runs.
pub(crate) fn build(plan: &RoomPlan<'_>) -> Result<(Pid, OwnedFd), Error> {
    let (gate_reader, mut gate_writer) = io::pipe().named("pipe")?;
    let (report_reader, report_writer) = io::pipe().named("pipe")?;
    match sys::clone_process(NAMESPACES).map_err(|source| refusal::of_namespaces(&source))? {
        Cloned::Child => {
            drop((gate_writer, report_reader));
            let error = become_init(plan, gate_reader).map_or_else(|error| error, |never| match never {});
            let _ = File::from(OwnedFd::from(report_writer)).write_all(error.to_string().as_bytes());
            sys::exit_now(1)
        }
        Cloned::Parent(pid, pidfd) => {
            drop((gate_reader, report_writer));
            let built = identity::write_maps(pid, plan.map, plan.map)
                .and_then(|()| gate_writer.write_all(b"1").named("open the gate of a room"))
                .and_then(|()| await_exec(report_reader));
            if let Err(error) = built {
                let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
                let options = rustix::process::WaitIdOptions::EXITED;
                let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), options);
                return Err(error);
            }
            Ok((pid, pidfd))
        }
    }
}

/// The report pipe closes by exec; anything in it is an error.
fn await_exec(mut report: PipeReader) -> Result<(), Error> {
    let mut text = String::new();
    report.read_to_string(&mut text).named("read a room's report")?;
    if text.is_empty() { Ok(()) } else { Err(Error::Protocol(format!("build a room: {text}"))) }
}

/// An error type without values: the function that returns it does not return.
enum Never {}

/// The list of acts between clone and exec of init.
fn become_init(plan: &RoomPlan<'_>, mut gate: PipeReader) -> Result<Never, Error> {
    let opened = gate.read(&mut [0]).named("wait for the mapping")?;
    if opened == 0 {
        return Err(Error::Protocol("the nursery went away".into()));
    }
    // The cgroup first, then its namespace, so that inside the room it is the root.
    for procs in plan.procs {
        rustix::io::write(procs, b"0").named("enter the room's cgroup")?;
    }
    sys::unshare(namespace::CGROUP).named("unshare(CLONE_NEWCGROUP)")?;
    // No uid of this namespace is 0, so the change keeps the capabilities that the mounts below need.
    let gid = rustix::thread::Gid::from_raw(INSIDE);
    rustix::thread::set_thread_res_gid(Some(gid), Some(gid), Some(gid)).named("setresgid(1000)")?;
    let uid = rustix::thread::Uid::from_raw(INSIDE);
    rustix::thread::set_thread_res_uid(Some(uid), Some(uid), Some(uid)).named("setresuid(1000)")?;
    rustix::system::sethostname(b"sandbox").named("sethostname")?;
    mount_own(plan.tmp_bytes, plan.tmp_inodes)?;
    sys::raise_loopback().named("raise lo")?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .named("setrlimit(CORE)")?;
    drop_capabilities()?;
    sys::default_endings();
    rustix::thread::set_no_new_privs(true).named("no_new_privs")?;
    Err(Error::Call { act: "execute init".into(), source: sys::execute_fd(plan.init, c"reckon-init") })
}

fn mount_own(tmp_bytes: u64, tmp_inodes: u64) -> Result<(), Error> {
    root::mount_proc(Path::new("/proc"))?;
    for path in MASKED {
        // What this kernel does not have needs no mask.
        match rustix::mount::mount_bind("/dev/null", path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(source) => return Err(Error::Call { act: format!("mask {path}"), source: source.into() }),
        }
    }
    rustix::mount::mount_bind("/proc/sys", "/proc/sys").named("bind /proc/sys")?;
    let locked = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount_remount("/proc/sys", locked | MountFlags::RDONLY, "").named("lock /proc/sys")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    for (target, options) in [
        ("/tmp", format!("mode=1777,size={tmp_bytes},nr_inodes={tmp_inodes}\0")),
        ("/dev/shm", format!("mode=1777,size={tmp_bytes},nr_inodes={tmp_inodes}\0")),
        (root::HOME, format!("mode=0700,size={tmp_bytes},nr_inodes={tmp_inodes}\0")),
    ] {
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).map_err(io::Error::other);
        rustix::mount::mount("tmpfs", target, "tmpfs", flags, options.named("options")?)
            .named(&format!("mount tmpfs on {target}"))?;
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount(
        "devpts",
        "/dev/pts",
        "devpts",
        terminals,
        Some(c"newinstance,ptmxmode=0666,mode=0600"),
    )
    .named("mount devpts")
}

fn drop_capabilities() -> Result<(), Error> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    for capability in CapabilitySet::all().iter() {
        // A kernel without this capability says EINVAL.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    rustix::thread::clear_ambient_capability_set().named("clear ambient capabilities")?;
    rustix::thread::set_capabilities(None, none).named("drop capabilities")
}
