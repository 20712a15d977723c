//! The inner half of the warden: pid 1 of the zygote's namespaces. It starts the zygote, builds rooms, is the parent
//! of every init and context, and says how they end. It holds no privilege over the host.

mod renewal;

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::epoll,
    process::{Pid, Signal, WaitId, WaitIdOptions},
};
use serde::{Deserialize, Serialize};

use crate::{
    channel::Channel,
    embedded,
    error::{Error, Named},
    identity,
    message::{Act, ContextSignal, Ending, Notice, WardenConfig},
    policy::{RoomPolicy, Tmp},
    room::{self, RoomPlan},
    warden::zygote::{Answered, Fork, Starting, Zygote},
};

/// An act as the warden hands it on: with the mapping of the room it makes, descriptors beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) map: Option<String>,
    pub(crate) act: Act,
}

/// Events of one wait; more come with the next.
const EVENTS: usize = 64;
const WARDEN: u64 = 0;
/// The token of a zygote that is importing; children count from 1.
const SUCCESSOR: u64 = u64::MAX;
/// How often orphans are looked for where no init reaps them.
const STRANGERS: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };

/// A child whose end matters.
#[derive(Debug, Clone, Copy)]
enum Child {
    Zygote { pid: Pid },
    Init { room: u64 },
    Context { room: u64, context: u64 },
}

pub(crate) struct Nursery {
    config: WardenConfig,
    policy: RoomPolicy,
    channel: Channel,
    init: OwnedFd,
    epoll: OwnedFd,
    /// `None` after one that could not be started again; the next context tries anew.
    zygote: Option<Zygote>,
    /// A zygote that is importing, to take the place of one that has grown old.
    successor: Option<Starting>,
    /// Children that nobody knows may exist: without a room's init always, else once a zygote has died between a fork
    /// and its answer. Unreaped, such a child keeps its killed room from ending.
    strangers: bool,
    rooms: HashMap<u64, Room>,
    /// Rooms without an init that end when their last context is reaped.
    ending: HashSet<u64>,
    /// By token of the epoll registration.
    children: HashMap<u64, (Child, Pid, OwnedFd)>,
    next_token: u64,
}

#[derive(Debug, Default)]
struct Room {
    init: Option<OwnedFd>,
    contexts: HashMap<u64, Pid>,
}

impl Nursery {
    /// Starts the zygote and waits until it has imported everything.
    pub(crate) fn start(
        config: WardenConfig,
        policy: RoomPolicy,
        channel: Channel,
    ) -> Result<(Self, serde_json::Value), Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).named("epoll_create")?;
        let events = epoll::EventFlags::IN;
        epoll::add(&epoll, &channel, epoll::EventData::new_u64(WARDEN), events).named("epoll_ctl")?;
        let (zygote, pidfd, hello) = Zygote::start(&config.zygote)?;
        let init = embedded::init(&config.without)?;
        let (pid, strangers) = (zygote.pid, !config.namespaces);
        let mut nursery = Self {
            config,
            policy,
            channel,
            init,
            epoll,
            zygote: Some(zygote),
            successor: None,
            strangers,
            rooms: HashMap::new(),
            ending: HashSet::new(),
            children: HashMap::new(),
            next_token: WARDEN + 1,
        };
        nursery.watch(Child::Zygote { pid }, pid, pidfd)?;
        Ok((nursery, hello))
    }

    /// Serves orders until the warden goes away.
    pub(crate) fn serve(mut self) -> Result<(), Error> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let timeout = self.strangers.then_some(&STRANGERS);
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(source) => return Err(source).named("epoll_wait"),
            }
            for event in &events {
                match event.data.u64() {
                    WARDEN if !self.order()? => return Ok(()),
                    WARDEN => {}
                    SUCCESSOR => self.succeed()?,
                    child => self.child_ended(child)?,
                }
            }
            if self.strangers {
                self.reap_strangers();
            }
        }
    }

    fn order(&mut self) -> Result<bool, Error> {
        let Some(packet) = self.channel.receive::<Order>().named("receive an order")? else {
            return Ok(false);
        };
        let number = packet.message.number;
        if packet.cut {
            // Above all a room must not be built outside its cgroup.
            let message = "the nursery has no file descriptors left".to_owned();
            return self.say(&Notice::Failed { number, message }, &[]).map(|()| true);
        }
        match self.carry_out(&packet.message, &packet.descriptors) {
            Ok(answer) => {
                let borrowed: Vec<_> = answer.iter().map(AsFd::as_fd).collect();
                self.say(&Notice::Done { number }, &borrowed)?;
            }
            Err(error) => self.say(&Notice::Failed { number, message: error.to_string() }, &[])?,
        }
        Ok(true)
    }

    fn carry_out(&mut self, order: &Order, descriptors: &[OwnedFd]) -> Result<Option<OwnedFd>, Error> {
        match order.act {
            Act::Room { room, tmp_bytes, tmp_inodes, .. } => {
                let tmp = Tmp { bytes: tmp_bytes, inodes: tmp_inodes };
                self.build(room, order.map.as_deref(), tmp, descriptors)
            }
            Act::Context { room, context, open_files, file_bytes, processes, data_bytes, warm } => {
                let limits = [
                    (libc::RLIMIT_NOFILE, Some(open_files)),
                    (libc::RLIMIT_FSIZE, Some(file_bytes)),
                    (libc::RLIMIT_NPROC, processes),
                    (libc::RLIMIT_DATA, data_bytes),
                ];
                let limits: Vec<_> =
                    limits.into_iter().filter_map(|(resource, value)| Some((resource, value?))).collect();
                self.fork(room, context, &Fork { limits, warm }, descriptors).map(|()| None)
            }
            Act::Signal { room, context, signal } => self.signal(room, context, signal).map(|()| None),
            Act::End { room } => self.end(room).map(|()| None),
            Act::Identity { .. } | Act::Limits { .. } => {
                Err(Error::Protocol("identity and limits are the warden's".into()))
            }
        }
    }

    fn build(
        &mut self,
        room: u64,
        map: Option<&str>,
        tmp: Tmp,
        procs: &[OwnedFd],
    ) -> Result<Option<OwnedFd>, Error> {
        let Some(map) = map else {
            self.rooms.insert(room, Room::default());
            return Ok(None);
        };
        let (policy, without) = (&self.policy, &self.config.without);
        let plan = RoomPlan { policy, without, map, tmp, procs, init: self.init.as_fd() };
        let (pid, pidfd) = room::build(&plan)?;
        let held = identity::open_namespace(pid, "mnt").and_then(|mounts| {
            let watched = rustix::io::fcntl_dupfd_cloexec(&pidfd, 0).named("dup a pidfd")?;
            self.watch(Child::Init { room }, pid, watched).map(|()| mounts)
        });
        let mounts = match held {
            Ok(mounts) => mounts,
            Err(error) => {
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
                return Err(error);
            }
        };
        self.rooms.insert(room, Room { init: Some(pidfd), ..Room::default() });
        Ok(Some(mounts))
    }

    fn fork(&mut self, room: u64, context: u64, fork: &Fork, descriptors: &[OwnedFd]) -> Result<(), Error> {
        let Some(home) = self.rooms.get(&room) else { return Err(gone(room)) };
        let init = home.init.as_ref().map(|init| rustix::io::fcntl_dupfd_cloexec(init, 0)).transpose();
        let init = init.named("dup a pidfd")?;
        let borrowed: Vec<BorrowedFd<'_>> =
            init.iter().map(AsFd::as_fd).chain(descriptors.iter().map(AsFd::as_fd)).collect();
        let pid = self.ask_zygote(&borrowed, fork)?;
        // The child cannot vanish before this: only this process reaps it.
        let watched = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .named("pidfd_open")
            .and_then(|pidfd| self.watch(Child::Context { room, context }, pid, pidfd));
        if let Err(error) = watched {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            return Err(error);
        }
        if let Some(home) = self.rooms.get_mut(&room) {
            home.contexts.insert(context, pid);
        }
        self.renew_if_old();
        Ok(())
    }

    /// Has a context forked. A zygote that has died or hangs is replaced, and asked once more.
    fn ask_zygote(&mut self, descriptors: &[BorrowedFd<'_>], fork: &Fork) -> Result<Pid, Error> {
        if let Some(zygote) = &self.zygote {
            match zygote.fork(descriptors, fork) {
                Answered::Forked(pid) => return Ok(pid),
                Answered::Refused(error) => return Err(error),
                Answered::Broken(error) => self.discard_zygote(&error)?,
            }
        }
        self.start_zygote()?;
        match &self.zygote {
            Some(zygote) => zygote.fork(descriptors, fork).into_result(),
            None => Err(Error::Protocol("there is no zygote".into())),
        }
    }

    /// Kills a zygote that does not answer, and the child that it may have forked without saying so: that one has the
    /// same channel as the next will have.
    fn discard_zygote(&mut self, error: &Error) -> Result<(), Error> {
        let Some(mut zygote) = self.zygote.take() else { return Ok(()) };
        self.bury(zygote.pid);
        self.strangers = true;
        if self.config.namespaces {
            self.kill_strangers();
        }
        let message = format!("{error}: {}", zygote.last_words());
        self.say(&Notice::ZygoteEnded { message }, &[])
    }

    fn start_zygote(&mut self) -> Result<(), Error> {
        let (zygote, pidfd, _) = Zygote::start(&self.config.zygote)?;
        let pid = zygote.pid;
        self.watch(Child::Zygote { pid }, pid, pidfd)?;
        self.zygote = Some(zygote);
        Ok(())
    }

    fn signal(&self, room: u64, context: u64, signal: ContextSignal) -> Result<(), Error> {
        let home = self.rooms.get(&room).ok_or_else(|| gone(room))?;
        let pid = *home.contexts.get(&context).ok_or_else(|| gone(room))?;
        match signal {
            // Until it has called setsid there is no such group, and nothing to interrupt.
            ContextSignal::Interrupt => match rustix::process::kill_process_group(pid, Signal::INT) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(source) => Err(source).named("interrupt"),
            },
            ContextSignal::Kill => rustix::process::kill_process(pid, Signal::KILL).named("kill"),
        }
    }

    fn end(&mut self, room: u64) -> Result<(), Error> {
        let home = self.rooms.get(&room).ok_or_else(|| gone(room))?;
        if let Some(init) = &home.init {
            // The kernel kills everything in the pid namespace with its pid 1.
            return rustix::process::pidfd_send_signal(init, Signal::KILL).named("kill init");
        }
        for &pid in home.contexts.values() {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        self.ending.insert(room);
        self.room_without_init_ended(room)
    }

    fn room_without_init_ended(&mut self, room: u64) -> Result<(), Error> {
        let empty = self.rooms.get(&room).is_some_and(|home| home.init.is_none() && home.contexts.is_empty());
        if empty && self.ending.remove(&room) {
            self.rooms.remove(&room);
            self.say(&Notice::RoomEnded { room }, &[])?;
        }
        Ok(())
    }

    fn child_ended(&mut self, token: u64) -> Result<(), Error> {
        // A second event of the same wait for a child that is already reaped finds nothing.
        let Some((child, _, pidfd)) = self.children.remove(&token) else { return Ok(()) };
        let _ = epoll::delete(&self.epoll, &pidfd);
        let status =
            rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).named("waitid")?;
        let ending = match status {
            Some(status) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ending::Exited(code),
                (None, Some(signal)) => Ending::Signaled(signal),
                (None, None) => Ending::Exited(-1),
            },
            None => Ending::Exited(-1),
        };
        match child {
            Child::Zygote { pid } => self.zygote_ended(pid, ending),
            Child::Init { room } => {
                self.rooms.remove(&room);
                self.say(&Notice::RoomEnded { room }, &[])
            }
            Child::Context { room, context } => {
                if let Some(home) = self.rooms.get_mut(&room) {
                    home.contexts.remove(&context);
                }
                self.say(&Notice::ContextEnded { room, context, ending }, &[])?;
                self.room_without_init_ended(room)
            }
        }
    }

    fn zygote_ended(&mut self, pid: Pid, ending: Ending) -> Result<(), Error> {
        self.strangers = true;
        let words = match self.zygote.take_if(|zygote| zygote.pid == pid) {
            Some(mut zygote) => zygote.last_words(),
            None => return Ok(()),
        };
        // Contexts go on without it; the next one tries again.
        let started = self.start_zygote().map_or_else(|error| format!("; {error}"), |()| String::new());
        let message = format!("the zygote ended ({ending:?}): {words}{started}");
        self.say(&Notice::ZygoteEnded { message }, &[])
    }

    /// Reaps children that nobody waits for: what contexts without a pid namespace left behind (this process is their
    /// subreaper), and what a dead zygote forked without saying so.
    fn reap_strangers(&self) {
        for pid in self.unknown_children() {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        }
    }

    fn kill_strangers(&self) {
        for pid in self.unknown_children() {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }

    fn unknown_children(&self) -> Vec<Pid> {
        let successor = self.successor.as_ref().map(Starting::pid);
        let own: HashSet<Pid> = self.children.values().map(|&(_, pid, _)| pid).chain(successor).collect();
        children().into_iter().filter(|pid| !own.contains(pid)).collect()
    }

    fn watch(&mut self, child: Child, pid: Pid, pidfd: OwnedFd) -> Result<(), Error> {
        let token = self.next_token;
        self.next_token += 1;
        let events = epoll::EventFlags::IN;
        epoll::add(&self.epoll, &pidfd, epoll::EventData::new_u64(token), events).named("epoll_ctl")?;
        self.children.insert(token, (child, pid, pidfd));
        Ok(())
    }

    fn say(&self, notice: &Notice, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match self.channel.send(notice, descriptors) {
            // The warden is gone; the next receive ends this process.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.named("answer the warden"),
        }
    }
}

/// Kills whatever is below this process, generation by generation, until nothing is left.
pub(crate) fn kill_descendants() {
    loop {
        let pids = children();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            // Its own children become ours, and come next.
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
}

fn children() -> Vec<Pid> {
    let path = format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

fn gone(room: u64) -> Error {
    Error::Protocol(format!("room {room} is gone"))
}
