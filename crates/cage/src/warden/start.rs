//! How the warden starts: its cgroups, the nursery in the zygote's namespaces, and what both tell of this host.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{CWD, Mode, OFlags},
    mount::{MountFlags, OpenTreeFlags},
    process::{Signal, WaitId, WaitIdOptions},
};

use super::nursery::{self, Nursery};
use crate::{
    account::Account,
    cgroup::{Base, BaseRequest, ControllerReport, ControllerState, Hierarchy, Systemd},
    channel::Channel,
    disk::Disk,
    embedded,
    error::{Error, Named},
    identity::{self, Uids, WorkspaceMaps},
    message::WardenConfig,
    policy::{RoomPolicy, Tmp},
    refusal,
    room::{self, RoomPlan},
    root,
    sys::{self, Cloned, MountChange, namespace},
    walls::{self, Walls},
};

/// Namespaces of the zygote; rooms are children of them.
const ZYGOTE_NAMESPACES: u64 = namespace::USER
    | namespace::MOUNT
    | namespace::PID
    | namespace::NET
    | namespace::IPC
    | namespace::UTS
    | namespace::CGROUP;

/// How long the nursery may take to end by itself when its channel is closed.
const PATIENCE: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// The nursery as the warden holds it. Dropping it ends it, and every room with it, and waits for that.
pub(super) struct Inside {
    pub(super) channel: Channel,
    pidfd: OwnedFd,
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Asked first: without namespaces it is the nursery that ends what runs below it.
        let _ = rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Both);
        let mut wait = [PollFd::new(&self.pidfd, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut wait, Some(&PATIENCE)), Ok(1)) {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Starts the nursery in the zygote's namespaces. Returns when the zygote has imported everything.
pub(super) fn nursery(
    engine: &Channel,
    config: &WardenConfig,
    policy: RoomPolicy,
    uids: Uids,
    shared: Option<Account>,
    landlock: u32,
) -> Result<(Inside, serde_json::Value), Error> {
    let parts = if config.namespaces { root::detach(&config.visible, &policy.mounts)? } else { Vec::new() };
    let filter = walls::filter(config.namespaces, &config.without)?;
    let plan = if config.namespaces {
        Walls::of_rooms(landlock, &policy, &config.without)
    } else {
        Walls::of_processes(landlock, &policy, config, uids)
    };
    let plan = serde_json::to_vec(&plan).map_err(|error| Error::Protocol(error.to_string()))?;
    let files: [(&str, &[u8]); 3] =
        [("plan.json", &plan), ("seccomp.bpf", &filter), ("enter.so", embedded::ENTER)];
    let (ours, theirs) = Channel::pair().named("socketpair")?;
    let (gate_reader, mut gate_writer) = io::pipe().named("pipe")?;
    let namespaces = if config.namespaces { ZYGOTE_NAMESPACES } else { 0 };
    // A room that shares the network with the zygote must find one that is worth sharing.
    let namespaces =
        if config.without.leaves_out("namespace net") { namespaces & !namespace::NET } else { namespaces };
    match sys::clone_process(namespaces).map_err(|source| refusal::of_namespaces(&source))? {
        Cloned::Child => {
            let kept: Vec<_> = [theirs.as_fd(), gate_reader.as_fd()]
                .into_iter()
                .chain(parts.iter().map(AsFd::as_fd))
                .collect();
            // The engine's socket above all: nothing in the zygote's namespaces may speak to it.
            sys::close_all_but(&kept);
            become_nursery(config, policy, uids, gate_reader, theirs, parts, &files)
        }
        Cloned::Parent(pid, pidfd) => {
            let inside = Inside { channel: ours, pidfd };
            drop((gate_reader, theirs, parts));
            if config.namespaces {
                let (uid_map, gid_map) = uids.zygote_maps(shared);
                identity::write_maps(pid, &uid_map, &gid_map)?;
            }
            gate_writer.write_all(b"1").named("open the nursery's gate")?;
            let hello = await_nursery(engine, &inside.channel)?;
            Ok((inside, hello))
        }
    }
}

/// What the nursery says first: the zygote's hello, or what is missing and what mends it.
type Hello = Result<serde_json::Value, (String, String)>;

fn await_nursery(engine: &Channel, channel: &Channel) -> Result<serde_json::Value, Error> {
    let mut wait = [PollFd::new(channel, PollFlags::IN), PollFd::new(engine, PollFlags::IN)];
    while let Err(rustix::io::Errno::INTR) = rustix::event::poll(&mut wait, None) {}
    // It asks for nothing before it is answered: this is the end of its stream.
    if wait[0].revents().is_empty() {
        return Err(Error::Protocol("the engine went away".into()));
    }
    let packet = channel.receive::<Hello>().named("hear the nursery")?;
    let hello = packet.ok_or_else(|| Error::Protocol("the nursery ended before it spoke".into()))?.message;
    hello.map_err(
        |(what, mend)| {
            if mend.is_empty() { Error::Protocol(what) } else { Error::Refused { what, mend } }
        },
    )
}

/// The nursery's whole life, in the process that was cloned for it.
fn become_nursery(
    config: &WardenConfig,
    policy: RoomPolicy,
    uids: Uids,
    gate: io::PipeReader,
    channel: Channel,
    parts: Vec<root::Detached>,
    files: &[(&str, &[u8])],
) -> ! {
    let settled = File::from(OwnedFd::from(gate))
        .read_exact(&mut [0])
        .named("wait for the mapping")
        .and_then(|()| settle_nursery(config, &policy, uids, parts, files));
    if config.is_survey() {
        let hello = settled.and_then(|()| try_room(config, &policy, uids)).map(|()| serde_json::Value::Null);
        let _ = channel.send(&hello.map_err(explain), &[]);
        sys::exit_now(0)
    }
    let prepared = settled
        .and_then(|()| channel.as_fd().try_clone_to_owned().named("dup the channel"))
        .and_then(|own| Nursery::start(config.clone(), policy, Channel::from_fd(own)));
    let status = match prepared {
        Ok((nursery, hello)) => {
            let _ = channel.send(&Hello::Ok(hello), &[]);
            drop(channel);
            let status = nursery.serve().map_or(1, |()| 0);
            if !config.namespaces {
                nursery::kill_descendants();
            }
            status
        }
        Err(error) => {
            let _ = channel.send(&Hello::Err(explain(error)), &[]);
            1
        }
    };
    sys::exit_now(status)
}

pub(super) fn explain(error: Error) -> (String, String) {
    match error {
        Error::Refused { what, mend } => (what, mend),
        other => (other.to_string(), String::new()),
    }
}

/// Builds one room and ends it: the part of a survey that no reading of settings replaces.
fn try_room(config: &WardenConfig, policy: &RoomPolicy, uids: Uids) -> Result<(), Error> {
    if !config.namespaces {
        return Ok(());
    }
    let init = embedded::init(&config.without)?;
    let map = uids.room_map(1);
    let without = &config.without;
    let tmp = Tmp { bytes: 1 << 20, inodes: 64 };
    let plan = RoomPlan { policy, without, map: &map, tmp, procs: &[], init: init.as_fd() };
    let (_, pidfd) = room::build(&plan)?;
    rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).named("kill the trial room")?;
    let options = WaitIdOptions::EXITED;
    rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options).named("waitid").map(drop)
}

/// The list of acts between clone and the zygote's start.
fn settle_nursery(
    config: &WardenConfig,
    policy: &RoomPolicy,
    uids: Uids,
    parts: Vec<root::Detached>,
    files: &[(&str, &[u8])],
) -> Result<(), Error> {
    if config.namespaces {
        if let Uids::Range { .. } = uids {
            sys::clear_groups().named("setgroups")?;
        }
        let gid = rustix::thread::Gid::ROOT;
        rustix::thread::set_thread_res_gid(Some(gid), Some(gid), Some(gid)).named("setresgid")?;
        let uid = rustix::thread::Uid::ROOT;
        rustix::thread::set_thread_res_uid(Some(uid), Some(uid), Some(uid)).named("setresuid")?;
        // A change of uid makes a process undumpable, and then its children's /proc entries are the host root's.
        let dumpable = rustix::process::DumpableBehavior::Dumpable;
        rustix::process::set_dumpable_behavior(dumpable).named("PR_SET_DUMPABLE")?;
        rustix::system::sethostname(b"zygote").named("sethostname")?;
        root::enter(config, &policy.mounts, parts, files)?;
    } else {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).named("subreaper")?;
        for (name, content) in files {
            std::fs::write(config.own.join(name), content).named(&format!("write {name}"))?;
        }
    }
    // A kernel without keyrings, or a container that refuses them, has nothing to leave.
    let _ = sys::leave_session_keyring();
    // A change of uid clears this too, so it comes after.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).named("pdeathsig")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .named("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).named("dup2")?;
    rustix::stdio::dup2_stdout(&null).named("dup2")?;
    rustix::stdio::dup2_stderr(&null).named("dup2")
}

/// Returns whether workspaces can be mounted with mapped owners: the kernel and their file system decide.
pub(super) fn can_map(workspaces: &Path, uids: Uids, maps: &mut WorkspaceMaps) -> Result<bool, Error> {
    let Uids::Range { .. } = uids else { return Ok(false) };
    let namespace = maps.of_slot(uids, 1)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, workspaces, flags).named("open_tree of the workspaces")?;
    let change = MountChange { idmap: Some(namespace.as_fd()), ..MountChange::default() };
    Ok(sys::set_mount(tree.as_fd(), change).is_ok())
}

/// The rooms' cgroups, and what is to be said of them.
pub(super) struct Groups {
    pub(super) base: Option<Base>,
    pub(super) version: String,
    pub(super) missing: Vec<(String, String, String)>,
    pub(super) swept: Vec<String>,
}

/// Opens the disk of the workspaces. Without one they are ordinary directories, which is said.
pub(super) fn open_disk(
    config: &WardenConfig,
    flags: MountFlags,
    root: bool,
) -> (Option<Disk>, Option<(String, String)>) {
    if !root {
        let what = "only the host's root can mount a disk with quotas";
        return (None, Some((what.into(), "start as root".into())));
    }
    match Disk::open(&config.disk, &config.workspaces, flags, config.account) {
        Ok(disk) => (Some(disk), None),
        Err(error) => (None, Some(explain(error))),
    }
}

/// Makes the parent of the rooms' cgroups. Where that is impossible rlimits are what is left, and it is said.
pub(super) fn open_cgroups(config: &WardenConfig) -> Groups {
    let family = family(config);
    let request = BaseRequest { label: "rooms", family: &family, systemd: Systemd::of_caller() };
    match Hierarchy::detect().and_then(|hierarchy| hierarchy.open_base(&request)) {
        Ok(base) => Groups {
            version: base.version().to_string(),
            missing: base.reports().iter().filter_map(missing_controller).collect(),
            swept: sweep(&base),
            base: Some(base),
        },
        Err(error) => {
            let missing =
                ["memory", "pids", "cpu"].map(|name| (name.to_owned(), error.to_string(), String::new()));
            Groups { base: None, version: "none".into(), missing: missing.into(), swept: Vec::new() }
        }
    }
}

/// The processes of this server that stand in the group it was started in, and on v2 must not stay there.
fn family(config: &WardenConfig) -> Vec<u32> {
    let mut family = vec![config.server_pid, std::process::id()];
    if config.account.is_some() {
        // The keeper. Without one the parent is the server itself.
        family.extend(
            rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()),
        );
    }
    family
}

/// Removes what dead servers left. A failure is no reason not to start, but it is told.
fn sweep(base: &Base) -> Vec<String> {
    match base.sweep() {
        Ok(swept) => {
            let removed = swept.removed.iter().map(|name| format!("removed {name}"));
            let failed = swept.failures.iter().map(|error| format!("not removed: {error}"));
            removed.chain(failed).collect()
        }
        Err(error) => vec![format!("not swept: {error}")],
    }
}

fn missing_controller(report: &ControllerReport) -> Option<(String, String, String)> {
    match &report.state {
        ControllerState::Works => None,
        ControllerState::Missing { why, mend } => {
            Some((report.controller.to_string(), why.clone(), mend.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{DiskConfig, Program};

    #[test]
    fn a_keeper_leaves_the_group_with_its_server() {
        let zygote = Program { arguments: Vec::new(), environment: Vec::new() };
        let mut config = WardenConfig {
            namespaces: true,
            workspaces: "/".into(),
            visible: Vec::new(),
            files: Vec::new(),
            zygote,
            own: "/".into(),
            server_pid: 7,
            account: None,
            without: crate::Without::default(),
            zygote_millis: 0,
            disk: DiskConfig { directory: "/".into(), bytes: 0 },
        };
        assert_eq!(family(&config), [7, std::process::id()]);
        config.account = Some(Account::PRIVATE);
        assert_eq!(family(&config), [7, std::process::id(), std::os::unix::process::parent_id()]);
    }
}
