//! Rooms with a warm context in them, parked and without an identity until a sandbox takes them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use reckon_cage::{
    cgroup::{EventFds, Events},
    message::{Act, ContextSignal, Ending, RoomLimits},
};
use reckon_protocol::Limits;
use tokio::sync::oneshot;

use crate::{
    cradle::Demand,
    driver::Driver,
    error::EngineError,
    frames::Report,
    stream::OutputStream,
    warden::{StandIns, Warden},
};

/// How long the kernel may take to end what was killed; a process that hangs in it can take for ever.
const LAST_BREATH: Duration = Duration::from_secs(20);
/// How long a context may take to become warm.
const WARM: Duration = Duration::from_secs(60);

/// A room as the engine holds it. [`Room::end`] waits for its end; one that is dropped is ended behind the scenes.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) number: u64,
    warden: Warden,
    ended: oneshot::Receiver<()>,
    events: Option<Arc<EventFds>>,
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
            && self.limits.tmp_inodes == limits.tmp_inodes
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
        let act = Act::Room {
            room: number,
            limits: room_limits(limits),
            tmp_bytes: limits.tmp_bytes,
            tmp_inodes: limits.tmp_inodes,
        };
        room.events = event_fds(warden.ask(act, &[]).await?, warden.stand_ins()).map(Arc::new);
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

    /// Returns the files in which the kernel counts what the room uses.
    pub(crate) fn account(&self) -> Option<Arc<EventFds>> {
        self.events.clone()
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
        let asked = self.warden.ask(Act::End { room: self.number }, &[]).await;
        // Waited for whatever was answered: the room may have ended by itself just now, or the warden with every room,
        // which shows by an error here, before it is known that it has gone.
        let ended = tokio::time::timeout(LAST_BREATH, &mut self.ended).await;
        self.over = ended.is_ok();
        match (ended, asked) {
            (Ok(_), _) => Ok(()),
            (Err(_), Err(error)) => Err(error),
            (Err(_), Ok(_)) => Err(EngineError::Warden(format!("room {} does not end", self.number))),
        }
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
        let (driver, theirs) = Driver::pair().map_err(|error| EngineError::io("socketpair", error))?;
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
        let stream = |fd| OutputStream::new(fd).map_err(|error| EngineError::io("register a pipe", error));
        let handle = ProcessHandle { number, room, warden: warden.clone() };
        let mut connection = Self {
            driver,
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
        disk_bytes: limits.disk_bytes,
    }
}

/// Tells the descriptors apart that came with a room; each is there where its controller is.
fn event_fds(descriptors: Vec<OwnedFd>, stand_ins: StandIns) -> Option<EventFds> {
    let mut descriptors = descriptors.into_iter();
    let memory = if stand_ins.memory { None } else { descriptors.next() };
    let pids = if stand_ins.pids { None } else { descriptors.next() };
    let cpu = descriptors.next();
    (memory.is_some() || pids.is_some() || cpu.is_some()).then_some(EventFds { memory, pids, cpu })
}
