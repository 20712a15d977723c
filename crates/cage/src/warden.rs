//! The warden: the small single-threaded process that builds rooms and owns their privileges (DESIGN §4).
//!
//! Its outer half (this file) keeps the rights over the host: cgroups, uids, mapped mounts. Its inner half (the
//! nursery) is pid 1 of the zygote's namespaces. It takes orders by number from the engine and ends with it.

mod nursery;
mod zygote;

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{CWD, Mode, OFlags},
    mount::{MoveMountFlags, OpenTreeFlags},
    thread::LinkNameSpaceType,
};

use crate::{
    cgroup::{Base, BaseRequest, ControllerReport, ControllerState, Group, GroupLimits, Hierarchy, Systemd},
    channel::Channel,
    embedded,
    error::{Error, Named},
    identity::{self, RANGE_LENGTH, Uids, WorkspaceMaps},
    message::{Act, Notice, Ready, Request, RoomLimits, WardenConfig},
    room::{self, RoomPlan},
    root,
    sys::{self, Cloned, MountChange, namespace},
    walls::{self, Walls},
};
use nursery::{Nursery, Order};

/// Namespaces of the zygote; rooms are children of them.
const ZYGOTE_NAMESPACES: u64 = namespace::USER
    | namespace::MOUNT
    | namespace::PID
    | namespace::NET
    | namespace::IPC
    | namespace::UTS
    | namespace::CGROUP;

/// Runs the warden on the socket that is this process's stdin. Returns when the engine has gone.
///
/// Must be called before the process has a second thread.
pub fn main() -> Result<(), Error> {
    // Ctrl-C in a terminal is for the server; the warden ends when the server's socket closes.
    rustix::process::setsid().named("setsid")?;
    let channel =
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).named("dup the engine's socket")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .named("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).named("dup2")?;
    let engine = Channel::from_fd(channel);
    let Some(packet) = engine.receive::<()>().named("receive the configuration")? else { return Ok(()) };
    let file = packet.descriptors.into_iter().next();
    let file = file.ok_or_else(|| Error::Protocol("no configuration came".into()))?;
    let config: WardenConfig = serde_json::from_reader(File::from(file))
        .map_err(|error| Error::Protocol(format!("read the configuration: {error}")))?;
    match Warden::start(&engine, config) {
        Ok(warden) if warden.config.is_survey() => {
            warden.finish();
            Ok(())
        }
        Ok(warden) => warden.serve(),
        Err(error) => {
            let (what, mend) = explain(error);
            let _ = engine.send(&Notice::Unable { what, mend }, &[]);
            Ok(())
        }
    }
}

struct Warden<'a> {
    engine: &'a Channel,
    nursery: Channel,
    config: WardenConfig,
    uids: Uids,
    mapped: bool,
    maps: WorkspaceMaps,
    cgroups: Option<Base>,
    own_mounts: OwnedFd,
    rooms: HashMap<u64, Room>,
    /// Rooms that are being built, by the number of the request.
    building: HashMap<u64, u64>,
    free_slots: BTreeSet<u32>,
    next_slot: u32,
}

struct Room {
    slot: u32,
    group: Option<Group>,
    mounts: Option<OwnedFd>,
}

impl<'a> Warden<'a> {
    fn start(engine: &'a Channel, config: WardenConfig) -> Result<Self, Error> {
        let landlock = walls::landlock_version();
        if landlock == 0 {
            return Err(Error::Refused {
                what: "this kernel has no landlock".into(),
                mend: "boot a kernel of 5.13 or later with `landlock` in its `lsm=` list".into(),
            });
        }
        let root = rustix::process::geteuid().is_root();
        let (cgroups, cgroup, missing_controllers) = open_cgroups(config.server_pid);
        let uids = if root { Uids::range_of(config.server_pid) } else { Uids::Own };
        if config.namespaces && !root {
            identity::enter_own_namespace()?;
        }
        let mut maps = WorkspaceMaps::default();
        let mapped = config.namespaces && can_map(&config.workspaces, uids, &mut maps)?;
        let own_mounts = identity::open_namespace(rustix::process::getpid(), "mnt")?;
        let (nursery, zygote) = start_nursery(&config, uids, landlock)?;
        let owner = if root { uids.disk_owner(mapped) } else { rustix::process::getuid().as_raw() };
        let owner = if root { (owner, owner) } else { (u32::MAX, u32::MAX) };
        let ready = Ready { owner, separate_uids: mapped, landlock, cgroup, missing_controllers, zygote };
        engine.send(&Notice::Ready(ready), &[]).named("answer the engine")?;
        Ok(Self {
            engine,
            nursery,
            config,
            uids,
            mapped,
            maps,
            cgroups,
            own_mounts,
            rooms: HashMap::new(),
            building: HashMap::new(),
            free_slots: BTreeSet::new(),
            next_slot: 1,
        })
    }

    /// Serves until the engine has gone. Then the nursery goes, and with it every room.
    fn serve(mut self) -> Result<(), Error> {
        loop {
            let mut wait =
                [PollFd::new(self.engine, PollFlags::IN), PollFd::new(&self.nursery, PollFlags::IN)];
            match rustix::event::poll(&mut wait, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(source) => return Err(source).named("poll"),
            }
            let from_engine = !wait[0].revents().is_empty();
            let from_nursery = !wait[1].revents().is_empty();
            if from_nursery && !self.notice()? {
                return Err(Error::Protocol("the nursery ended".into()));
            }
            if from_engine && !self.request()? {
                self.finish();
                return Ok(());
            }
        }
    }

    fn request(&mut self) -> Result<bool, Error> {
        let Some(packet) = self.engine.receive::<Request>().named("receive a request")? else {
            return Ok(false);
        };
        let Request { number, act } = packet.message;
        if let Err(error) = self.carry_out(number, act, &packet.descriptors) {
            self.say(&Notice::Failed { number, message: error.to_string() }, &[])?;
        }
        Ok(true)
    }

    fn carry_out(&mut self, number: u64, act: Act, descriptors: &[OwnedFd]) -> Result<(), Error> {
        match &act {
            Act::Room { room, limits, .. } => {
                let (room, limits) = (*room, *limits);
                self.prepare_room(number, room, limits, act)
            }
            Act::Context { room, .. } => {
                let home = self.rooms.get(room).ok_or_else(|| gone(*room))?;
                let procs = procs_of(home.group.as_ref())?;
                let all: Vec<_> = descriptors.iter().chain(&procs).map(AsFd::as_fd).collect();
                self.order(&Order { number, map: None, act }, &all)
            }
            Act::Identity { room, workspace, limits } => {
                self.identify(*room, workspace, *limits)?;
                self.say(&Notice::Done { number }, &[])
            }
            Act::Signal { .. } | Act::End { .. } => self.order(&Order { number, map: None, act }, &[]),
        }
    }

    fn prepare_room(&mut self, number: u64, room: u64, limits: RoomLimits, act: Act) -> Result<(), Error> {
        let group = match &self.cgroups {
            Some(base) => Some(base.create(&format!("room-{room}"), &group_limits(limits))?),
            None => None,
        };
        let slot = self.take_slot()?;
        let map = self.config.namespaces.then(|| self.uids.room_map(if self.mapped { slot } else { 1 }));
        let procs = procs_of(group.as_ref())?;
        let borrowed: Vec<_> = procs.iter().map(AsFd::as_fd).collect();
        self.rooms.insert(room, Room { slot, group, mounts: None });
        self.building.insert(number, room);
        self.order(&Order { number, map, act }, &borrowed)
    }

    fn take_slot(&mut self) -> Result<u32, Error> {
        if let Some(slot) = self.free_slots.pop_first() {
            return Ok(slot);
        }
        if self.next_slot >= RANGE_LENGTH {
            return Err(Error::Protocol(format!("all {RANGE_LENGTH} uids are in use")));
        }
        self.next_slot += 1;
        Ok(self.next_slot - 1)
    }

    /// Moves the workspace into a parked room: late identity (DESIGN §4).
    fn identify(&mut self, room: u64, workspace: &str, limits: RoomLimits) -> Result<(), Error> {
        let home = self.rooms.get_mut(&room).ok_or_else(|| gone(room))?;
        if let Some(group) = &mut home.group {
            group.set_limits(&group_limits(limits))?;
        }
        let Some(mounts) = &home.mounts else { return Ok(()) };
        let plain = !workspace.is_empty() && !workspace.contains(['/', '\0']) && !workspace.starts_with('.');
        if !plain {
            return Err(Error::Protocol(format!("`{}` is no workspace", workspace.escape_debug())));
        }
        let path = self.config.workspaces.join(workspace).join("files");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty()).named("open the workspace")?;
        let tree = rustix::mount::open_tree(
            &directory,
            "",
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
        )
        .named("open_tree of the workspace")?;
        let idmap = if self.mapped { Some(self.maps.of_slot(self.uids, home.slot)?.as_fd()) } else { None };
        let set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        sys::set_mount(tree.as_fd(), MountChange { set, idmap, recursive: false })
            .named("map the workspace")?;
        move_into(mounts.as_fd(), self.own_mounts.as_fd(), &tree)
    }

    fn notice(&mut self) -> Result<bool, Error> {
        let Some(packet) = self.nursery.receive::<Notice>().named("hear the nursery")? else {
            return Ok(false);
        };
        match &packet.message {
            Notice::Done { number } => {
                if let Some(room) = self.building.remove(number) {
                    return self.room_built(room, *number, packet.descriptors).map(|()| true);
                }
            }
            Notice::Failed { number, .. } => {
                if let Some(room) = self.building.remove(number) {
                    self.forget(room);
                }
            }
            Notice::RoomEnded { room } => self.forget(*room),
            _ => {}
        }
        self.say(&packet.message, &[])?;
        Ok(true)
    }

    fn room_built(&mut self, room: u64, number: u64, mut descriptors: Vec<OwnedFd>) -> Result<(), Error> {
        let mut events = Vec::new();
        if let Some(home) = self.rooms.get_mut(&room) {
            home.mounts = descriptors.pop();
            if let Some(group) = &home.group {
                let fds = group.event_fds()?;
                events.extend(fds.memory.into_iter().chain(fds.pids));
            }
        }
        let borrowed: Vec<_> = events.iter().map(AsFd::as_fd).collect();
        self.say(&Notice::Done { number }, &borrowed)
    }

    /// Gives back what a room held. Its processes are gone.
    fn forget(&mut self, room: u64) {
        if let Some(Room { slot, group, .. }) = self.rooms.remove(&room) {
            let removed = group.is_none_or(|group| group.kill_all().is_ok() && group.remove().is_ok());
            // A uid whose last room is not known to be empty is never given out again.
            if removed {
                self.free_slots.insert(slot);
            }
        }
    }

    fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        self.nursery.send(order, descriptors).named("order the nursery")
    }

    fn say(&self, notice: &Notice, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match self.engine.send(notice, descriptors) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Ok(())
            }
            result => result.named("answer the engine"),
        }
    }

    /// Ends the nursery, which as pid 1 takes every room with it, and removes the cgroups.
    fn finish(self) {
        let Self { nursery, rooms, cgroups, .. } = self;
        drop(nursery);
        let _ = rustix::process::wait(rustix::process::WaitOptions::empty());
        for room in rooms.into_values() {
            if let Some(group) = room.group {
                let _ = group.kill_all();
                let _ = group.remove();
            }
        }
        drop(cgroups);
    }
}

/// Moves a detached mount to the workspace of another mount namespace and comes back.
fn move_into(room: BorrowedFd<'_>, own: BorrowedFd<'_>, tree: &OwnedFd) -> Result<(), Error> {
    let kind = Some(LinkNameSpaceType::Mount);
    rustix::thread::move_into_link_name_space(room, kind).named("join the room's mounts")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let moved =
        rustix::mount::move_mount(tree, "", CWD, root::WORKSPACE, flags).named("move the workspace in");
    let back = rustix::thread::move_into_link_name_space(own, kind).named("leave the room's mounts");
    // Staying would make every later act happen inside a tenant's room.
    if back.is_err() {
        std::process::abort();
    }
    moved
}

/// Starts the nursery in the zygote's namespaces. Returns when the zygote has imported everything.
fn start_nursery(
    config: &WardenConfig,
    uids: Uids,
    landlock: u32,
) -> Result<(Channel, serde_json::Value), Error> {
    let parts = if config.namespaces { root::detach(&config.visible)? } else { Vec::new() };
    let filter = walls::filter(config.namespaces)?;
    let plan = if config.namespaces {
        Walls::of_rooms(landlock)
    } else {
        Walls::of_processes(landlock, config, uids)
    };
    let plan = serde_json::to_vec(&plan).map_err(|error| Error::Protocol(error.to_string()))?;
    let files: [(&str, &[u8]); 3] =
        [("plan.json", &plan), ("seccomp.bpf", &filter), ("enter.so", embedded::ENTER)];
    let (ours, theirs) = Channel::pair().named("socketpair")?;
    let (gate_reader, mut gate_writer) = io::pipe().named("pipe")?;
    let namespaces = if config.namespaces { ZYGOTE_NAMESPACES } else { 0 };
    match sys::clone_process(namespaces).map_err(|source| identity::refused(&source))? {
        Cloned::Child => {
            let kept: Vec<_> = [theirs.as_fd(), gate_reader.as_fd()]
                .into_iter()
                .chain(parts.iter().map(AsFd::as_fd))
                .collect();
            // The engine's socket above all: nothing in the zygote's namespaces may speak to it.
            sys::close_all_but(&kept);
            become_nursery(config, uids, gate_reader, theirs, parts, &files)
        }
        Cloned::Parent(pid, _) => {
            drop((gate_reader, theirs, parts));
            if config.namespaces {
                let map = uids.zygote_map();
                identity::write_maps(pid, &map, &map)?;
            }
            gate_writer.write_all(b"1").named("open the nursery's gate")?;
            let hello = await_nursery(&ours)?;
            Ok((ours, hello))
        }
    }
}

/// What the nursery says first: the zygote's hello, or what is missing and what mends it.
type Hello = Result<serde_json::Value, (String, String)>;

fn await_nursery(channel: &Channel) -> Result<serde_json::Value, Error> {
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
    uids: Uids,
    gate: io::PipeReader,
    channel: Channel,
    parts: Vec<root::Detached>,
    files: &[(&str, &[u8])],
) -> ! {
    let settled = File::from(OwnedFd::from(gate))
        .read_exact(&mut [0])
        .named("wait for the mapping")
        .and_then(|()| settle_nursery(config, uids, parts, files));
    if config.is_survey() {
        let hello = settled.and_then(|()| try_room(config, uids)).map(|()| serde_json::Value::Null);
        let _ = channel.send(&hello.map_err(explain), &[]);
        sys::exit_now(0)
    }
    let prepared = settled
        .and_then(|()| channel.as_fd().try_clone_to_owned().named("dup the channel"))
        .and_then(|own| Nursery::start(config.clone(), Channel::from_fd(own)));
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

fn explain(error: Error) -> (String, String) {
    match error {
        Error::Refused { what, mend } => (what, mend),
        other => (other.to_string(), String::new()),
    }
}

/// Builds one room and ends it: the part of a survey that no reading of settings replaces.
fn try_room(config: &WardenConfig, uids: Uids) -> Result<(), Error> {
    if !config.namespaces {
        return Ok(());
    }
    let init = embedded::init()?;
    let map = uids.room_map(1);
    let plan = RoomPlan { map: &map, tmp_bytes: 1 << 20, procs: &[], init: init.as_fd() };
    let (_, pidfd) = room::build(&plan)?;
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).named("kill the trial room")?;
    let options = rustix::process::WaitIdOptions::EXITED;
    rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), options).named("waitid").map(drop)
}

/// The list of acts between clone and the zygote's start.
fn settle_nursery(
    config: &WardenConfig,
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
        root::enter(config, parts, files)?;
    } else {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).named("subreaper")?;
        for (name, content) in files {
            std::fs::write(config.own.join(name), content).named(&format!("write {name}"))?;
        }
    }
    // A change of uid clears this too, so it comes after.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .named("pdeathsig")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .named("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).named("dup2")?;
    rustix::stdio::dup2_stdout(&null).named("dup2")?;
    rustix::stdio::dup2_stderr(&null).named("dup2")
}

/// Returns whether workspaces can be mounted with mapped owners: the kernel and their file system decide.
fn can_map(workspaces: &Path, uids: Uids, maps: &mut WorkspaceMaps) -> Result<bool, Error> {
    let Uids::Range { .. } = uids else { return Ok(false) };
    let namespace = maps.of_slot(uids, 1)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, workspaces, flags).named("open_tree of the workspaces")?;
    let change = MountChange { idmap: Some(namespace.as_fd()), ..MountChange::default() };
    Ok(sys::set_mount(tree.as_fd(), change).is_ok())
}

type Missing = Vec<(String, String, String)>;

/// Makes the parent of the rooms' cgroups. Where that is impossible rlimits are what is left, and it is said.
fn open_cgroups(server_pid: u32) -> (Option<Base>, String, Missing) {
    let family = [server_pid, std::process::id()];
    let request = BaseRequest { label: "rooms", family: &family, systemd: Systemd::of_caller() };
    match Hierarchy::detect().and_then(|hierarchy| hierarchy.open_base(&request)) {
        Ok(base) => {
            // What a dead server left is in nobody's way; a failure to remove it is no reason not to start.
            let _ = base.sweep();
            let missing = base.reports().iter().filter_map(missing_controller).collect();
            let version = base.version().to_string();
            (Some(base), version, missing)
        }
        Err(error) => {
            let missing = ["memory", "pids"].map(|name| (name.to_owned(), error.to_string(), String::new()));
            (None, "none".into(), missing.into())
        }
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

fn group_limits(limits: RoomLimits) -> GroupLimits {
    GroupLimits {
        memory_bytes: limits.memory_bytes,
        swap_bytes: 0,
        pids: limits.pids,
        cpu_millis: limits.cpu_millis,
    }
}

fn procs_of(group: Option<&Group>) -> Result<Vec<OwnedFd>, Error> {
    match group {
        Some(group) => group.procs_fds().named("open cgroup.procs"),
        None => Ok(Vec::new()),
    }
}

fn gone(room: u64) -> Error {
    Error::Protocol(format!("room {room} is gone"))
}
