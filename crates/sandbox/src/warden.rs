//! The engine's end of the warden: starts it, sends it acts, hears how contexts and rooms end. One that dies is
//! started again; its rooms are gone then, and sandboxes get new ones when they are used next.

mod keeper;
mod process;

use std::{
    collections::HashMap,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reckon_cage::{
    channel,
    message::{Act, Ending, Notice, Ready, Request},
};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{error::EngineError, lock::lock};
pub(crate) use keeper::Keeper;
use process::Process;
pub(crate) use process::Source;

/// Requests under way at once: what waits beyond them waits here, not in socket buffers that could fill both ways.
const IN_FLIGHT: usize = 32;
/// How long an answer may take. A zygote that starts anew in between takes seconds; a warden that is slower hangs.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a new room waits for a warden that is being started again.
const REVIVAL: Duration = Duration::from_secs(30);
/// Between two attempts to start a warden again, so that a broken host is not hammered.
const PAUSE: Duration = Duration::from_secs(1);

/// Limits that a context's own rlimits stand in for, because no cgroup enforces them here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StandIns {
    pub(crate) pids: bool,
    /// The kernel counts the host user's other processes too: no user namespace stands between.
    pub(crate) counts_own: bool,
    pub(crate) memory: bool,
}

impl StandIns {
    fn of(ready: &Ready, namespaces: bool) -> Self {
        let missing =
            |name: &str| ready.missing_controllers.iter().any(|(controller, ..)| controller == name);
        let counts_own = !namespaces && ready.owner.0 == u32::MAX;
        Self { pids: missing("pids"), counts_own, memory: missing("memory") }
    }
}

type Answer = Result<Vec<OwnedFd>, String>;

/// The warden of a running engine. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Warden(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// Uids that are given to nobody, because the end of their last room is not verified.
    held: AtomicUsize,
    numbers: AtomicU64,
    slots: Arc<Semaphore>,
    stand_ins: StandIns,
    state: Mutex<State>,
    /// Whether a warden answers now. Told by `supervise` alone.
    alive: watch::Sender<bool>,
    /// Rooms whose holder was dropped before it could end them. One number per room, so bounded by what was made.
    abandoned: mpsc::UnboundedSender<u64>,
    stopping: CancellationToken,
    /// `supervise` and `end_abandoned`.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` while there is no warden: nothing is answered.
    socket: Option<Arc<UnixStream>>,
    answers: HashMap<u64, Asked>,
    contexts: HashMap<u64, oneshot::Sender<Ending>>,
    rooms: HashMap<u64, oneshot::Sender<()>>,
}

/// A request under way. Its place is free when it is answered, not when its asker stops waiting.
#[derive(Debug)]
struct Asked {
    answer: oneshot::Sender<Answer>,
    _place: OwnedSemaphorePermit,
}

impl Warden {
    /// Starts a warden and waits until rooms can be made, which have namespaces or not. Returns beside it what stands, and
    /// the top directory of the disk where there is one.
    pub(crate) async fn start(
        source: Source,
        namespaces: bool,
    ) -> Result<(Self, Ready, Option<OwnedFd>), EngineError> {
        let (process, ready, disk) = Process::start(&source).await?;
        let (abandoned, rooms) = mpsc::unbounded_channel();
        let socket = Some(Arc::clone(&process.socket));
        let inner = Arc::new(Inner {
            source,
            held: AtomicUsize::new(0),
            numbers: AtomicU64::new(1),
            slots: Arc::new(Semaphore::new(IN_FLIGHT)),
            stand_ins: StandIns::of(&ready, namespaces),
            state: Mutex::new(State { socket, ..State::default() }),
            alive: watch::Sender::new(true),
            abandoned,
            stopping: CancellationToken::new(),
            tasks: Mutex::default(),
        });
        let warden = Self(inner);
        let supervising = tokio::spawn(supervise(warden.clone(), process));
        let ending = tokio::spawn(end_abandoned(warden.clone(), rooms));
        lock(&warden.0.tasks).extend([supervising, ending]);
        Ok((warden, ready, disk))
    }

    /// Returns a number that no room, context or request has had.
    pub(crate) fn number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns how many uids are held back.
    pub(crate) fn held_uids(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Returns what rlimits stand in for.
    pub(crate) fn stand_ins(&self) -> StandIns {
        self.0.stand_ins
    }

    /// Asks for an act. Returns the descriptors that came with its answer. When the caller stops waiting the act is
    /// carried out all the same.
    pub(crate) async fn ask(
        &self,
        act: Act,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Vec<OwnedFd>, EngineError> {
        let place = Arc::clone(&self.0.slots).acquire_owned().await.map_err(|_| ended())?;
        let number = self.number();
        let (sender, answer) = oneshot::channel();
        let socket = {
            let mut state = lock(&self.0.state);
            let socket = state.socket.clone().ok_or_else(ended)?;
            state.answers.insert(number, Asked { answer: sender, _place: place });
            socket
        };
        let request = Request { number, act };
        let send = || channel::send(&*socket, &request, descriptors);
        let asked = async {
            let sent = socket.async_io(Interest::WRITABLE, send).await;
            sent.map_err(|source| EngineError::io("ask the warden", source))?;
            answer.await.map_err(|_| ended())?.map_err(EngineError::Warden)
        };
        let Ok(result) = tokio::time::timeout(ANSWER, asked).await else {
            tracing::error!(number, "the warden does not answer and is started again");
            // `supervise` reads the end of the stream, and kills what does not end by itself.
            let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
            return Err(EngineError::Warden("the warden does not answer".into()));
        };
        if result.is_err() {
            lock(&self.0.state).answers.remove(&number);
        }
        result
    }

    /// Waits for a warden that is being started again.
    pub(crate) async fn revived(&self) -> Result<(), EngineError> {
        let mut alive = self.0.alive.subscribe();
        let waiting = tokio::time::timeout(REVIVAL, alive.wait_for(|alive| *alive));
        match self.0.stopping.run_until_cancelled(waiting).await {
            Some(Ok(Ok(_))) => Ok(()),
            _ => Err(ended()),
        }
    }

    /// Returns what tells how a context ends. Called before the context is asked for.
    pub(crate) fn watch_context(&self, context: u64) -> oneshot::Receiver<Ending> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.0.state);
        if state.socket.is_some() {
            state.contexts.insert(context, sender);
        }
        receiver
    }

    /// Returns what tells that nothing of a room is left. Called before the room is asked for.
    pub(crate) fn watch_room(&self, room: u64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.0.state);
        if state.socket.is_some() {
            state.rooms.insert(room, sender);
        }
        receiver
    }

    /// Forgets a context or room that was never made.
    pub(crate) fn unwatch(&self, number: u64) {
        let mut state = lock(&self.0.state);
        state.contexts.remove(&number);
        state.rooms.remove(&number);
    }

    /// Has a room ended that nobody holds any more.
    pub(crate) fn abandon(&self, room: u64) {
        // After the end of the warden there is no room either.
        let _ = self.0.abandoned.send(room);
    }

    /// Returns whether no warden answers now.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.0.state).socket.is_none()
    }

    /// Ends the warden, and with it every room, and waits until it has cleaned up.
    pub(crate) async fn stop(&self) {
        self.0.stopping.cancel();
        let tasks = std::mem::take(&mut *lock(&self.0.tasks));
        for task in tasks {
            let _ = task.await;
        }
        if let Source::Keeper(keeper) = &self.0.source {
            keeper.end().await;
        }
    }
}

/// Hears the warden, and starts it again when it ends unasked.
async fn supervise(warden: Warden, mut process: Process) {
    let Warden(inner) = &warden;
    loop {
        if inner.stopping.run_until_cancelled(hear(inner, &process.socket)).await.is_none() {
            // Half-closed: the warden reads the end of its orders, cleans up and closes its own half.
            process.dismiss();
            let _ = tokio::time::timeout(process::PATIENCE, hear(inner, &process.socket)).await;
        }
        inner.alive.send_replace(false);
        // Whoever waits learns it by the dropped senders.
        *lock(&inner.state) = State::default();
        process.finish().await;
        // The next warden has a range of its own.
        inner.held.store(0, Ordering::Relaxed);
        if inner.stopping.is_cancelled() {
            return;
        }
        tracing::error!("the warden has ended and is started again; interpreters are lost, files are kept");
        let Some(next) = inner.stopping.run_until_cancelled(start_again(inner)).await else { return };
        process = next;
        lock(&inner.state).socket = Some(Arc::clone(&process.socket));
        inner.alive.send_replace(true);
    }
}

async fn start_again(inner: &Inner) -> Process {
    loop {
        match Process::start(&inner.source).await {
            // Its disk is the same file system as before: the descriptor that is there leads into it.
            Ok((process, ..)) => return process,
            Err(error) => tracing::error!(%error, "start the warden again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends rooms whose holders were dropped.
async fn end_abandoned(warden: Warden, mut rooms: mpsc::UnboundedReceiver<u64>) {
    while let Some(Some(room)) = warden.0.stopping.run_until_cancelled(rooms.recv()).await {
        if let Err(error) = warden.ask(Act::End { room }, &[]).await {
            tracing::debug!(room, %error, "end an abandoned room");
        }
    }
}

/// Hears notices until the warden closes its end. Cancel-safe.
async fn hear(inner: &Inner, socket: &UnixStream) {
    loop {
        let packet = match process::receive(socket).await {
            Ok(Some(packet)) => packet,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "hear the warden");
                return;
            }
        };
        let mut state = lock(&inner.state);
        match packet.message {
            Notice::Done { number } => {
                if let Some(asked) = state.answers.remove(&number) {
                    let lost = "the server has no file descriptors left".to_owned();
                    let _ = asked.answer.send(if packet.cut { Err(lost) } else { Ok(packet.descriptors) });
                }
            }
            Notice::Failed { number, message } => {
                if let Some(asked) = state.answers.remove(&number) {
                    let _ = asked.answer.send(Err(message));
                }
            }
            Notice::ContextEnded { context, ending, .. } => {
                if let Some(sender) = state.contexts.remove(&context) {
                    let _ = sender.send(ending);
                }
            }
            Notice::RoomEnded { room } => {
                if let Some(sender) = state.rooms.remove(&room) {
                    let _ = sender.send(());
                }
            }
            Notice::Quarantine { held, message } => {
                inner.held.store(held, Ordering::Relaxed);
                if let Some(left) = message {
                    tracing::error!(held, %left, "a room did not end; its uid is held back");
                } else {
                    tracing::info!(held, "what was left of a room is gone");
                }
            }
            Notice::ZygoteRenewed {} => tracing::info!("a new zygote took the place of an old one"),
            Notice::ZygoteEnded { message } => tracing::warn!(%message, "the zygote was restarted"),
            Notice::Ready(_) | Notice::Unable { .. } => {}
        }
    }
}

fn ended() -> EngineError {
    EngineError::Warden("the warden has ended".into())
}
