//! Rooms with a warm context in them, parked and without an identity until a sandbox takes them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use bytes::BytesMut;
use reckon_cage::{
    cgroup::{EventFds, Events},
    message::{Act, ContextSignal, Ending, RoomLimits},
};
use reckon_protocol::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
};

use crate::{
    cradle::Demand,
    error::EngineError,
    frames::{self, Order, Report},
    stream::OutputStream,
    warden::Warden,
};

/// How long the kernel may take to end what was killed; a process that hangs in it can take for ever.
const LAST_BREATH: Duration = Duration::from_secs(20);
/// Orders that a driver may leave unread; honest ones read each before they ask for the next.
const BACKLOG: usize = 256 * 1024;
/// What a small report fits into whole: one read then, which also tells the runtime that nothing is left.
const SMALL: usize = 4 * 1024;
/// What is read at once of one that does not.
const LARGE: usize = 128 * 1024;
/// How long a context may take to become warm.
const WARM: Duration = Duration::from_secs(60);

/// A room as the engine holds it. [`Room::end`] waits for its end; one that is dropped is ended behind the scenes.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) number: u64,
    warden: Warden,
    ended: oneshot::Receiver<()>,
    events: Option<EventFds>,
    /// Nothing is left of it, or nothing ever was.
    over: bool,
}

/// The connection to a context's driver, and its output.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) driver: Driver,
    pub(crate) stdout: OutputStream,
    pub(crate) stderr: OutputStream,
    pub(crate) process: Process,
}

/// The channel to a context's driver.
#[derive(Debug)]
pub(crate) struct Driver {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    arrived: BytesMut,
    /// What the driver has not taken yet; written while its reports are awaited, so that one who never reads stops
    /// nobody but himself.
    outgoing: BytesMut,
    /// Bytes of the last report.
    pub(crate) last_length: usize,
}

/// A context's process, as the warden reaches it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) handle: ProcessHandle,
    ended: oneshot::Receiver<Ending>,
    /// What `ended` told.
    told: Option<Told>,
}

/// What became of a context.
#[derive(Debug, Clone, Copy)]
enum Told {
    Ended(Ending),
    /// The warden has gone, and its contexts with it.
    Lost,
}

/// Where signals for a context go.
#[derive(Debug, Clone)]
pub(crate) struct ProcessHandle {
    number: u64,
    room: u64,
    warden: Warden,
}

/// A room with a context that waits for its identity.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) room: Room,
    pub(crate) connection: Connection,
    /// What it was built with; only the cgroup's limits can change later.
    pub(crate) limits: Limits,
}

impl Parked {
    /// Builds a room and a context in it, and waits until the context is ready.
    pub(crate) async fn build(warden: &Warden, limits: &Limits, demand: Demand) -> Result<Self, EngineError> {
        let room = Room::build(warden, limits).await?;
        let connection = Connection::open(warden, room.number, limits, demand).await?;
        Ok(Self { room, connection, limits: limits.clone() })
    }

    /// Returns whether it can still be given to a sandbox.
    pub(crate) fn is_alive(&mut self) -> bool {
        !self.room.is_gone() && !self.connection.process.has_ended()
    }

    /// Returns whether a sandbox with these limits can live in it.
    pub(crate) fn suits(&self, limits: &Limits) -> bool {
        let stand_ins = self.room.warden.stand_ins();
        (!stand_ins.pids || self.limits.pids == limits.pids)
            && (!stand_ins.memory || self.limits.memory_bytes == limits.memory_bytes)
            && self.limits.open_files == limits.open_files
            && self.limits.file_bytes == limits.file_bytes
            && self.limits.tmp_bytes == limits.tmp_bytes
    }
}

impl Room {
    /// Builds a room without an identity.
    pub(crate) async fn build(warden: &Warden, limits: &Limits) -> Result<Self, EngineError> {
        warden.revived().await?;
        let number = warden.number();
        let ended = warden.watch_room(number);
        // Before it is asked for: a caller who stops waiting leaves nothing behind.
        let mut room = Self { number, warden: warden.clone(), ended, events: None, over: false };
        let act = Act::Room { room: number, limits: room_limits(limits), tmp_bytes: limits.tmp_bytes };
        room.events = event_fds(warden.ask(act, &[]).await?);
        Ok(room)
    }

    /// Changes what the room may use.
    pub(crate) async fn limit(&self, limits: &Limits) -> Result<(), EngineError> {
        let act = Act::Limits { room: self.number, limits: room_limits(limits) };
        self.warden.ask(act, &[]).await.map(drop)
    }

    /// Gives the room its sandbox.
    pub(crate) async fn identify(&self, workspace: &str, limits: &Limits) -> Result<(), EngineError> {
        let act =
            Act::Identity { room: self.number, workspace: workspace.to_owned(), limits: room_limits(limits) };
        self.warden.ask(act, &[]).await.map(drop)
    }

    /// Returns how often the kernel refused the room something; zeros where it does not count.
    pub(crate) fn events(&self) -> Events {
        self.events.as_ref().and_then(|fds| Events::read(fds).ok()).unwrap_or_default()
    }

    /// Returns whether the room has ended by itself: its init is gone, or the warden with all its rooms.
    pub(crate) fn is_gone(&mut self) -> bool {
        if self.over {
            return true;
        }
        match self.ended.try_recv() {
            Ok(()) => {
                self.over = true;
                true
            }
            Err(oneshot::error::TryRecvError::Closed) => true,
            Err(oneshot::error::TryRecvError::Empty) => false,
        }
    }

    /// Kills everything in the room and returns when nothing is left.
    pub(crate) async fn end(mut self) -> Result<(), EngineError> {
        if self.is_gone() {
            return Ok(());
        }
        if let Err(error) = self.warden.ask(Act::End { room: self.number }, &[]).await {
            // It may have ended, or the warden with it, between the two lines above.
            return if self.is_gone() { Ok(()) } else { Err(error) };
        }
        // An error says that the warden has gone, and every room with it.
        let ended = tokio::time::timeout(LAST_BREATH, &mut self.ended).await;
        self.over = ended.is_ok();
        ended.map(drop).map_err(|_| EngineError::Warden(format!("room {} does not end", self.number)))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.over {
            self.warden.unwatch(self.number);
            self.warden.abandon(self.number);
        }
    }
}

impl Connection {
    /// Forks a context into a room and waits until it is warm.
    pub(crate) async fn open(
        warden: &Warden,
        room: u64,
        limits: &Limits,
        demand: Demand,
    ) -> Result<Self, EngineError> {
        let (ours, theirs) =
            std::os::unix::net::UnixStream::pair().map_err(|error| EngineError::io("socketpair", error))?;
        let (stdout_reader, stdout_writer) = io::pipe().map_err(|error| EngineError::io("pipe", error))?;
        let (stderr_reader, stderr_writer) = io::pipe().map_err(|error| EngineError::io("pipe", error))?;
        let number = warden.number();
        let ended = warden.watch_context(number);
        let stand_ins = warden.stand_ins();
        let act = Act::Context {
            room,
            context: number,
            open_files: limits.open_files,
            file_bytes: limits.file_bytes,
            processes: stand_ins.pids.then(|| {
                let others = if stand_ins.counts_own { own_threads() } else { 0 };
                u64::from(limits.pids) + others
            }),
            data_bytes: stand_ins.memory.then_some(limits.memory_bytes),
            warm: demand == Demand::Ahead,
        };
        let descriptors = [theirs.as_fd(), stdout_writer.as_fd(), stderr_writer.as_fd()];
        if let Err(error) = warden.ask(act, &descriptors).await {
            warden.unwatch(number);
            return Err(error);
        }
        drop((theirs, stdout_writer, stderr_writer));
        ours.set_nonblocking(true).map_err(|error| EngineError::io("ioctl FIONBIO", error))?;
        let (reader, writer) = UnixStream::from_std(ours)
            .map_err(|error| EngineError::io("register a socket", error))?
            .into_split();
        let stream = |fd| OutputStream::new(fd).map_err(|error| EngineError::io("register a pipe", error));
        let handle = ProcessHandle { number, room, warden: warden.clone() };
        let mut connection = Self {
            driver: Driver {
                reader,
                writer,
                arrived: BytesMut::new(),
                outgoing: BytesMut::new(),
                last_length: 0,
            },
            stdout: stream(stdout_reader.into())?,
            stderr: stream(stderr_reader.into())?,
            process: Process { handle, ended, told: None },
        };
        match tokio::time::timeout(WARM, connection.await_ready()).await {
            Ok(ready) => ready.map(|()| connection),
            Err(_) => Err(EngineError::Warden(format!("a context was not warm within {WARM:?}"))),
        }
    }

    async fn await_ready(&mut self) -> Result<(), EngineError> {
        match self.driver.report().await {
            Ok(Some(Report::Ready {})) => Ok(()),
            Ok(Some(Report::Fatal { message })) | Err(message) => Err(EngineError::Warden(message)),
            Ok(Some(other)) => Err(EngineError::Warden(format!("a context began with {other:?}"))),
            Ok(None) => {
                let ending = self.process.ending().await;
                Err(EngineError::Warden(format!("a context ended at its start: {ending:?}")))
            }
        }
    }
}

impl Driver {
    /// Receives what the driver says, handing over meanwhile what was queued; `None` when it has closed its end.
    /// Cancel-safe.
    pub(crate) async fn report(&mut self) -> Result<Option<Report>, String> {
        loop {
            if let Some(report) = self.arrived()? {
                return Ok(Some(report));
            }
            self.make_space();
            tokio::select! {
                read = self.reader.read_buf(&mut self.arrived) => match read {
                    Ok(0) | Err(_) => return Ok(None),
                    Ok(_) => {}
                },
                written = self.writer.write_buf(&mut self.outgoing), if !self.outgoing.is_empty() => {
                    if written.is_err() {
                        // Nobody will read it; what was said before shows in the other arm.
                        self.outgoing.clear();
                    }
                }
            }
        }
    }

    /// Returns a report that has already come, without waiting.
    pub(crate) fn report_now(&mut self) -> Result<Option<Report>, String> {
        loop {
            if let Some(report) = self.arrived()? {
                return Ok(Some(report));
            }
            self.make_space();
            match self.reader.try_read_buf(&mut self.arrived) {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    fn make_space(&mut self) {
        if self.arrived.is_empty() && self.arrived.capacity() > LARGE {
            // What a figure needed is not kept for as long as the sandbox lives.
            self.arrived = BytesMut::new();
        }
        self.arrived.reserve(if self.arrived.len() < SMALL { SMALL } else { LARGE });
    }

    fn arrived(&mut self) -> Result<Option<Report>, String> {
        let before = self.arrived.len();
        let report = frames::decode(&mut self.arrived);
        self.last_length = before - self.arrived.len();
        report
    }

    /// Queues an order that [`Driver::report`] hands over. Fails when the driver has left too many unread.
    pub(crate) fn queue(&mut self, order: &Order<'_>) -> Result<(), String> {
        if self.outgoing.len() > BACKLOG {
            return Err("it does not read what it asked for".into());
        }
        self.outgoing.extend_from_slice(&frames::encode(order));
        Ok(())
    }

    /// Tells a driver something that no user code has reached yet, at once.
    pub(crate) async fn order(&mut self, order: &Order<'_>) -> io::Result<()> {
        self.writer.write_all(&frames::encode(order)).await
    }
}

impl Process {
    /// Waits for the context's end, as the kernel tells it; `None` when the warden has gone. Cancel-safe.
    pub(crate) async fn ending(&mut self) -> Option<Ending> {
        if self.told.is_none() {
            self.told = Some((&mut self.ended).await.map_or(Told::Lost, Told::Ended));
        }
        match self.told {
            Some(Told::Ended(ending)) => Some(ending),
            Some(Told::Lost) | None => None,
        }
    }

    /// Returns whether the context has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        if self.told.is_none() {
            self.told = match self.ended.try_recv() {
                Ok(ending) => Some(Told::Ended(ending)),
                Err(oneshot::error::TryRecvError::Closed) => Some(Told::Lost),
                Err(oneshot::error::TryRecvError::Empty) => None,
            };
        }
        self.told.is_some()
    }
}

impl ProcessHandle {
    /// Sends a signal; a context that has ended needs none.
    pub(crate) async fn signal(&self, signal: ContextSignal) {
        let act = Act::Signal { room: self.room, context: self.number, signal };
        if let Err(error) = self.warden.ask(act, &[]).await {
            tracing::debug!(%error, "signal a context");
        }
    }
}

/// Counts the threads that this user runs now, anywhere on the host.
fn own_threads() -> u64 {
    let own = rustix::process::getuid().as_raw();
    let threads = |status: &str| {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let uid: u32 = field("Uid:")?.split_whitespace().next()?.parse().ok()?;
        (uid == own).then(|| field("Threads:")?.trim().parse::<u64>().ok())?
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok())
        .filter_map(|status| threads(&status))
        .sum()
}

fn room_limits(limits: &Limits) -> RoomLimits {
    RoomLimits {
        memory_bytes: limits.memory_bytes,
        pids: limits.pids,
        cpu_millis: (limits.cpu_millis > 0).then_some(limits.cpu_millis),
    }
}

fn event_fds(descriptors: Vec<OwnedFd>) -> Option<EventFds> {
    let mut descriptors = descriptors.into_iter();
    let memory = descriptors.next();
    let pids = descriptors.next();
    memory.is_some().then_some(EventFds { memory, pids })
}
