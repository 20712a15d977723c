//! The warden: the small single-threaded process that builds rooms and owns their privileges (DESIGN §4).
//!
//! Its outer half (this file) keeps the rights over the host: cgroups, uids, mapped mounts. Its inner half (the
//! nursery) is pid 1 of the zygote's namespaces. It takes orders by number from the engine and ends with it.

mod nursery;
mod start;
mod teardown;
mod zygote;

use std::{
    collections::{BTreeSet, HashMap},
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{CWD, Mode, OFlags, ResolveFlags},
    mount::{MoveMountFlags, OpenTreeFlags},
    process::{Resource, Rlimit},
    thread::LinkNameSpaceType,
};

use crate::{
    account::Account,
    cgroup::{Base, Group, GroupLimits},
    channel::{Channel, Packet},
    disk::Disk,
    error::{Error, Named},
    identity::{self, Uids, WorkspaceMaps},
    message::{Act, Notice, Ready, Request, RoomLimits, WardenConfig},
    policy::RoomPolicy,
    ranges::Claim,
    root,
    sys::{self, MountChange},
    walls,
};
use nursery::Order;
use start::Inside;
use teardown::Held;

/// Runs the warden on the socket that is this process's stdin. Returns when the engine has gone.
///
/// Must be called before the process has a second thread.
pub fn main() -> Result<(), Error> {
    let engine = settle(c"reckon-warden")?;
    match receive_config(&engine)? {
        Some(config) => run(&engine, config),
        None => Ok(()),
    }
}

/// Makes a process of its own kind of this one, and returns the socket that is its stdin.
pub(crate) fn settle(name: &CStr) -> Result<Channel, Error> {
    set_apart(name)?;
    let channel =
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).named("dup the engine's socket")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .named("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).named("dup2")?;
    raise_open_files();
    Ok(Channel::from_fd(channel))
}

/// Takes this process out of its session and gives it its name.
pub(crate) fn set_apart(name: &CStr) -> Result<(), Error> {
    // Ctrl-C in a terminal is for the server; the warden ends when the server's socket closes.
    rustix::process::setsid().named("setsid")?;
    // So is a signal to everything named `reckon`, or to all of a service; ending first would lose the rooms undrained.
    sys::ignore_endings();
    rustix::thread::set_name(name).named("PR_SET_NAME")
}

/// Receives the configuration; `None` when the other end went away before.
pub(crate) fn receive_config(channel: &Channel) -> Result<Option<WardenConfig>, Error> {
    let Some(packet) = channel.receive::<()>().named("receive the configuration")? else { return Ok(None) };
    let file = packet.descriptors.into_iter().next();
    let file = file.ok_or_else(|| Error::Protocol("no configuration came".into()))?;
    let config = serde_json::from_reader(File::from(file));
    config.map(Some).map_err(|error| Error::Protocol(format!("read the configuration: {error}")))
}

/// Serves the engine until it has gone.
pub(crate) fn run(engine: &Channel, config: WardenConfig) -> Result<(), Error> {
    match Warden::start(engine, config) {
        Ok(warden) if warden.config.is_survey() => {
            warden.finish();
            Ok(())
        }
        Ok(warden) => warden.serve(),
        Err(error) => {
            let (what, mend) = start::explain(error);
            let _ = engine.send(&Notice::Unable { what, mend }, &[]);
            Ok(())
        }
    }
}

struct Warden<'a> {
    engine: &'a Channel,
    /// Before the cgroups: what is in them ends with it.
    nursery: Inside,
    config: WardenConfig,
    uids: Uids,
    mapped: bool,
    maps: WorkspaceMaps,
    cgroups: Option<Base>,
    own_mounts: OwnedFd,
    /// `None` where workspaces are ordinary directories.
    disk: Option<Disk>,
    disk_owner: Option<Account>,
    /// How workspaces are mounted.
    workspace_mount: u64,
    rooms: HashMap<u64, Room>,
    /// Rooms that are being built, by the number of the request.
    building: HashMap<u64, u64>,
    free_slots: BTreeSet<u32>,
    next_slot: u32,
    /// Slots of rooms whose end is not verified.
    held: Vec<Held>,
    /// Held while uids of its range are given out.
    _claim: Option<Claim>,
}

struct Room {
    slot: u32,
    group: Option<Group>,
    mounts: Option<OwnedFd>,
    /// The name of its workspace, once it has one.
    workspace: Option<String>,
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
        identity::check_root(config.namespaces)?;
        let root = identity::has_range();
        let groups = start::open_cgroups(&config);
        // After the sweep, which may have emptied a range.
        let claim = if root { Some(Claim::take()?) } else { None };
        let uids = claim.as_ref().map_or(Uids::Own, |claim| Uids::Range { start: claim.start });
        if config.namespaces && !root {
            identity::enter_own_namespace()?;
        }
        let policy = RoomPolicy::read(&config.without)?;
        raise_left_out(&policy);
        // Before the nursery, whose mounts are copies of these.
        let (disk, disk_missing) = start::open_disk(&config, policy.mounts.workspace, root);
        let mut maps = WorkspaceMaps::of_owner(config.account.unwrap_or(Account::PRIVATE));
        let mapped = config.namespaces && start::can_map(&config.workspaces, uids, &mut maps)?;
        let own_mounts = identity::open_namespace(rustix::process::getpid(), "mnt")?;
        let workspace_mount = root::attributes(policy.mounts.workspace).bits().into();
        let shared = config.account.filter(|_| !mapped);
        let (nursery, zygote) = start::nursery(engine, &config, policy, uids, shared, landlock)?;
        let disk_owner = uids.disk_owner(mapped, config.account);
        let ready = Ready {
            owner: disk_owner.map_or((u32::MAX, u32::MAX), |owner| (owner.uid, owner.gid)),
            separate_uids: mapped,
            landlock,
            cgroup: groups.version,
            missing_controllers: groups.missing,
            swept: groups.swept,
            disk_missing,
            zygote,
        };
        let top: Vec<_> = disk.iter().map(Disk::root).collect();
        engine.send(&Notice::Ready(ready), &top).named("answer the engine")?;
        Ok(Self {
            engine,
            nursery,
            config,
            uids,
            mapped,
            maps,
            cgroups: groups.base,
            own_mounts,
            disk,
            disk_owner,
            workspace_mount,
            rooms: HashMap::new(),
            building: HashMap::new(),
            free_slots: BTreeSet::new(),
            next_slot: 1,
            held: Vec::new(),
            _claim: claim,
        })
    }

    /// Serves until the engine has gone. Then the nursery goes, and with it every room.
    fn serve(mut self) -> Result<(), Error> {
        loop {
            let mut wait =
                [PollFd::new(self.engine, PollFlags::IN), PollFd::new(&self.nursery.channel, PollFlags::IN)];
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
        let Packet { message: Request { number, act }, descriptors, cut } = packet;
        if cut {
            let message = "the warden has no file descriptors left".to_owned();
            self.say(&Notice::Failed { number, message }, &[])?;
        } else if let Err(error) = self.carry_out(number, act, &descriptors) {
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
            Act::Limits { room, limits } => {
                self.limit(*room, *limits)?;
                self.say(&Notice::Done { number }, &[])
            }
            Act::Identity { room, workspace, limits } => {
                self.identify(*room, workspace, *limits)?;
                self.say(&Notice::Done { number }, &[])
            }
            Act::Signal { .. } | Act::End { .. } => self.order(&Order { number, map: None, act }, &[]),
        }
    }

    fn prepare_room(&mut self, number: u64, room: u64, limits: RoomLimits, act: Act) -> Result<(), Error> {
        let slot = self.take_slot()?;
        let group = match &self.cgroups {
            Some(base) => match base.create(&format!("room-{room}"), &group_limits(limits)) {
                Ok(group) => Some(group),
                Err(error) => {
                    self.free_slots.insert(slot);
                    return Err(error.into());
                }
            },
            None => None,
        };
        self.rooms.insert(room, Room { slot, group, mounts: None, workspace: None });
        self.building.insert(number, room);
        let ordered = self.order_room(number, room, act);
        if ordered.is_err() {
            self.building.remove(&number);
            self.forget(room)?;
        }
        ordered
    }

    fn order_room(&self, number: u64, room: u64, act: Act) -> Result<(), Error> {
        let home = self.rooms.get(&room).ok_or_else(|| gone(room))?;
        let slot = match (self.mapped, self.config.account) {
            (true, _) => self.uid_of(home.slot),
            (false, None) => 1,
            (false, Some(_)) => identity::SHARED_SLOT,
        };
        let map = self.config.namespaces.then(|| self.uids.room_map(slot));
        let procs = procs_of(home.group.as_ref())?;
        let borrowed: Vec<_> = procs.iter().map(AsFd::as_fd).collect();
        self.order(&Order { number, map, act }, &borrowed)
    }

    /// Returns which uid of the range a room's slot gives it.
    fn uid_of(&self, slot: u32) -> u32 {
        if self.config.without.leaves_out("uids") { 0 } else { slot }
    }

    fn take_slot(&mut self) -> Result<u32, Error> {
        self.release()?;
        if let Some(slot) = self.free_slots.pop_first() {
            return Ok(slot);
        }
        if self.next_slot >= identity::SHARED_SLOT {
            return Err(Error::Protocol(format!("all {} uids are in use", identity::SHARED_SLOT)));
        }
        self.next_slot += 1;
        Ok(self.next_slot - 1)
    }

    fn limit(&mut self, room: u64, limits: RoomLimits) -> Result<(), Error> {
        let home = self.rooms.get_mut(&room).ok_or_else(|| gone(room))?;
        if let Some(group) = &mut home.group {
            group.set_limits(&group_limits(limits))?;
        }
        match (&self.disk, &home.workspace) {
            (Some(disk), Some(workspace)) => disk.settle(workspace, self.disk_owner, limits.disk_bytes),
            _ => Ok(()),
        }
    }

    /// Moves the workspace into a parked room: late identity (DESIGN §4).
    fn identify(&mut self, room: u64, workspace: &str, limits: RoomLimits) -> Result<(), Error> {
        let plain = !workspace.is_empty() && !workspace.contains(['/', '\0']) && !workspace.starts_with('.');
        if !plain {
            return Err(Error::Protocol(format!("`{}` is no workspace", workspace.escape_debug())));
        }
        self.rooms.get_mut(&room).ok_or_else(|| gone(room))?.workspace = Some(workspace.to_owned());
        self.limit(room, limits)?;
        let home = self.rooms.get(&room).ok_or_else(|| gone(room))?;
        let slot = self.uid_of(home.slot);
        let Some(mounts) = &home.mounts else { return Ok(()) };
        let path = self.config.workspaces.join(workspace).join("files");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The server may have become somebody's tool after it gave up root: no link that it made leads elsewhere.
        let directory = rustix::fs::openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .named("open the workspace")?;
        let tree = rustix::mount::open_tree(
            &directory,
            "",
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
        )
        .named("open_tree of the workspace")?;
        let idmap = if self.mapped { Some(self.maps.of_slot(self.uids, slot)?.as_fd()) } else { None };
        let set = self.workspace_mount;
        sys::set_mount(tree.as_fd(), MountChange { set, idmap, recursive: false })
            .named("map the workspace")?;
        move_into(mounts.as_fd(), self.own_mounts.as_fd(), &tree)
    }

    fn notice(&mut self) -> Result<bool, Error> {
        let Some(packet) = self.nursery.channel.receive::<Notice>().named("hear the nursery")? else {
            return Ok(false);
        };
        match &packet.message {
            Notice::Done { number } => {
                if let Some(room) = self.building.remove(number) {
                    if packet.cut && self.config.namespaces {
                        // Without its mounts it can be given to nobody; the engine ends it when it hears this.
                        let message = "the warden has no file descriptors left".to_owned();
                        return self.say(&Notice::Failed { number: *number, message }, &[]).map(|()| true);
                    }
                    return self.room_built(room, *number, packet.descriptors).map(|()| true);
                }
            }
            Notice::Failed { number, .. } => {
                if let Some(room) = self.building.remove(number) {
                    self.forget(room)?;
                }
            }
            // Told to the engine only after it: what was deleted is gone.
            Notice::RoomEnded { room } => self.forget(*room)?,
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
                events.extend(fds.memory.into_iter().chain(fds.pids).chain(fds.cpu));
            }
        }
        let borrowed: Vec<_> = events.iter().map(AsFd::as_fd).collect();
        self.say(&Notice::Done { number }, &borrowed)
    }

    fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        self.nursery.channel.send(order, descriptors).named("order the nursery")
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
        let Self { nursery, cgroups, .. } = self;
        drop(nursery);
        // What is still in them is killed.
        drop(cgroups);
    }
}

/// A room costs the warden three descriptors and the nursery as many; contexts get a limit of their own.
fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Then as many rooms as before is what fits.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// Raises the limits that a test leaves out: those of this process bound what its children may have.
fn raise_left_out(policy: &RoomPolicy) {
    for &(resource, _) in policy.rlimits.iter().filter(|(_, value)| *value == u64::MAX) {
        let _ = rustix::process::setrlimit(resource, Rlimit { current: None, maximum: None });
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
