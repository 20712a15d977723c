//! A room: the kernel's side of a sandbox, built by a child of the nursery that becomes its pid 1.

use std::{
    fs::File,
    io::{self, PipeReader, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    io::Errno,
    mount::MountFlags,
    process::{Pid, Resource, Rlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::{
    error::{Error, Named},
    identity::{self, INSIDE},
    policy::{Closed, Closing, Kind, RoomPolicy, Tmp},
    refusal, root,
    sys::{self, Cloned, namespace},
    without::Without,
};

/// Everything a room has of its own; the cgroup namespace comes after the cgroup.
const NAMESPACES: u64 =
    namespace::USER | namespace::MOUNT | namespace::PID | namespace::NET | namespace::IPC | namespace::UTS;

/// What a room is built from.
pub(crate) struct RoomPlan<'a> {
    /// What is mounted and closed in it.
    pub(crate) policy: &'a RoomPolicy,
    /// What a test leaves out.
    pub(crate) without: &'a Without,
    /// The user namespace's mapping.
    pub(crate) map: &'a str,
    /// What `/tmp`, `/dev/shm` and HOME may hold each.
    pub(crate) tmp: Tmp,
    /// `cgroup.procs` of its cgroup, one for each hierarchy.
    pub(crate) procs: &'a [OwnedFd],
    /// The embedded init, in a sealed memfd.
    pub(crate) init: BorrowedFd<'a>,
}

/// Builds a room. Returns when its init runs.
pub(crate) fn build(plan: &RoomPlan<'_>) -> Result<(Pid, OwnedFd), Error> {
    let (gate_reader, mut gate_writer) = io::pipe().named("pipe")?;
    let (report_reader, report_writer) = io::pipe().named("pipe")?;
    match sys::clone_process(plan.without.namespaces(NAMESPACES))
        .map_err(|source| refusal::of_namespaces(&source))?
    {
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
    sys::unshare(plan.without.namespaces(namespace::CGROUP)).named("unshare(CLONE_NEWCGROUP)")?;
    // No uid of this namespace is 0, so the change keeps the capabilities that the mounts below need.
    let gid = rustix::thread::Gid::from_raw(INSIDE);
    rustix::thread::set_thread_res_gid(Some(gid), Some(gid), Some(gid)).named("setresgid(1000)")?;
    let uid = rustix::thread::Uid::from_raw(INSIDE);
    rustix::thread::set_thread_res_uid(Some(uid), Some(uid), Some(uid)).named("setresuid(1000)")?;
    if !plan.without.leaves_out("namespace uts") {
        rustix::system::sethostname(b"sandbox").named("sethostname")?;
    }
    mount_own(plan)?;
    if !plan.without.leaves_out("namespace net") {
        sys::raise_loopback().named("raise lo")?;
    }
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .named("setrlimit(CORE)")?;
    drop_capabilities()?;
    sys::default_endings();
    rustix::thread::set_no_new_privs(true).named("no_new_privs")?;
    Err(Error::Call { act: "execute init".into(), source: sys::execute_fd(plan.init, c"reckon-init") })
}

fn mount_own(plan: &RoomPlan<'_>) -> Result<(), Error> {
    for mount in &plan.policy.mounts.room {
        // A /proc can only be of a pid namespace that the caller's user namespace owns; then the zygote's stays.
        if mount.kind == Kind::Proc && plan.without.leaves_out("namespace pid") {
            continue;
        }
        root::mount(mount, &mount.target, plan.tmp)?;
    }
    for Closed { path, closing } in &plan.policy.closed {
        close(path, *closing).named(&format!("close {}", path.display()))?;
    }
    Ok(())
}

/// Covers a path of /proc, or makes it read-only. What this kernel does not have needs neither.
fn close(path: &Path, closing: Closing) -> Result<(), Errno> {
    if matches!(rustix::fs::stat(path), Err(Errno::NOENT)) {
        return Ok(());
    }
    let locked = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match closing {
        // Only an empty directory covers a directory; one for all costs a tenth of a file system each.
        Closing::Mask => match rustix::mount::mount_bind("/dev/null", path) {
            Err(Errno::NOTDIR) => rustix::mount::mount_bind(root::EMPTY, path),
            other => other,
        },
        Closing::Lock => rustix::mount::mount_bind(path, path)
            .and_then(|()| rustix::mount::mount_remount(path, locked | MountFlags::RDONLY, "")),
    }
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
