//! The engine's end of the warden: starts it, sends it acts, hears how contexts and rooms end.

use std::{
    collections::HashMap,
    ffi::OsString,
    io::Write as _,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use reckon_cage::{
    channel::{self, Channel, Packet},
    message::{Act, Ending, Notice, Ready, Request, WardenConfig},
};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};

use crate::error::EngineError;

/// Requests under way at once: what waits beyond them waits here, not in socket buffers that could fill both ways.
const IN_FLIGHT: usize = 32;

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
    socket: UnixStream,
    numbers: AtomicU64,
    slots: Semaphore,
    stand_ins: StandIns,
    state: Mutex<State>,
    child: Mutex<Option<Child>>,
    hearing: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// The warden has ended; nothing more will be answered.
    closed: bool,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    contexts: HashMap<u64, oneshot::Sender<Ending>>,
    rooms: HashMap<u64, oneshot::Sender<()>>,
}

impl Warden {
    /// Starts the program and waits until rooms can be made.
    pub(crate) async fn start(
        program: &[OsString],
        config: &WardenConfig,
    ) -> Result<(Self, Ready), EngineError> {
        let (ours, theirs) = Channel::pair().map_err(|source| io_error("socketpair", source))?;
        let child = spawn(program, theirs)?;
        let mut document =
            tempfile_in_memory().map_err(|source| io_error("make the warden's configuration", source))?;
        let text = serde_json::to_vec(config).map_err(|error| EngineError::Warden(error.to_string()))?;
        document
            .write_all(&text)
            .and_then(|()| std::io::Seek::rewind(&mut document))
            .map_err(|source| io_error("write the warden's configuration", source))?;
        ours.send(&(), &[document.as_fd()]).map_err(|source| io_error("configure the warden", source))?;
        let socket = register(ours).map_err(|source| io_error("register the warden's socket", source))?;
        let first = receive(&socket).await?;
        let ready = match first.map(|packet| packet.message) {
            Some(Notice::Ready(ready)) => ready,
            Some(Notice::Unable { what, mend }) if mend.is_empty() => return Err(EngineError::Warden(what)),
            Some(Notice::Unable { what, mend }) => return Err(EngineError::Isolation { what, mend }),
            Some(other) => return Err(EngineError::Warden(format!("the warden began with {other:?}"))),
            None => return Err(EngineError::Warden("the warden ended at its start".into())),
        };
        let inner = Arc::new(Inner {
            socket,
            numbers: AtomicU64::new(1),
            slots: Semaphore::new(IN_FLIGHT),
            stand_ins: StandIns::of(&ready, config.namespaces),
            state: Mutex::default(),
            child: Mutex::new(Some(child)),
            hearing: Mutex::new(None),
        });
        let hearing = tokio::spawn(hear(Arc::clone(&inner)));
        *lock(&inner.hearing) = Some(hearing);
        Ok((Self(inner), ready))
    }

    /// Returns a number that no room, context or request has had.
    pub(crate) fn number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns what rlimits stand in for.
    pub(crate) fn stand_ins(&self) -> StandIns {
        self.0.stand_ins
    }

    /// Asks for an act. Returns the descriptors that came with its answer.
    pub(crate) async fn ask(
        &self,
        act: Act,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Vec<OwnedFd>, EngineError> {
        let _slot = self.0.slots.acquire().await.map_err(|_| ended())?;
        let number = self.number();
        let (sender, answer) = oneshot::channel();
        {
            let mut state = lock(&self.0.state);
            if state.closed {
                return Err(ended());
            }
            state.answers.insert(number, sender);
        }
        let request = Request { number, act };
        let sent = self.send(&request, descriptors).await;
        if let Err(source) = sent {
            lock(&self.0.state).answers.remove(&number);
            return Err(io_error("ask the warden", source));
        }
        match answer.await {
            Ok(Ok(descriptors)) => Ok(descriptors),
            Ok(Err(message)) => Err(EngineError::Warden(message)),
            Err(_) => Err(ended()),
        }
    }

    /// Returns what tells how a context ends. Called before the context is asked for.
    pub(crate) fn watch_context(&self, context: u64) -> oneshot::Receiver<Ending> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.0.state);
        if !state.closed {
            state.contexts.insert(context, sender);
        }
        receiver
    }

    /// Returns what tells that nothing of a room is left. Called before the room is asked for.
    pub(crate) fn watch_room(&self, room: u64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.0.state);
        if !state.closed {
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

    /// Returns whether the warden has ended.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.0.state).closed
    }

    /// Ends the warden, and with it every room, and waits until it has cleaned up.
    pub(crate) async fn stop(&self) {
        // Half-closed: the warden reads the end of its orders, cleans up and closes its own half.
        let _ = rustix::net::shutdown(&self.0.socket, rustix::net::Shutdown::Write);
        let child = lock(&self.0.child).take();
        if let Some(mut child) = child {
            let _ = tokio::task::spawn_blocking(move || child.wait()).await;
        }
        let hearing = lock(&self.0.hearing).take();
        if let Some(hearing) = hearing {
            let _ = hearing.await;
        }
    }

    async fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let send = || channel::send(&self.0.socket, request, descriptors);
        self.0.socket.async_io(Interest::WRITABLE, send).await
    }
}

/// Hears notices until the warden closes its end.
async fn hear(inner: Arc<Inner>) {
    while let Ok(Some(packet)) = receive(&inner.socket).await {
        let mut state = lock(&inner.state);
        match packet.message {
            Notice::Done { number } => {
                if let Some(sender) = state.answers.remove(&number) {
                    let _ = sender.send(Ok(packet.descriptors));
                }
            }
            Notice::Failed { number, message } => {
                if let Some(sender) = state.answers.remove(&number) {
                    let _ = sender.send(Err(message));
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
            Notice::ZygoteEnded { message } => tracing::warn!(%message, "the zygote was restarted"),
            Notice::Ready(_) | Notice::Unable { .. } => {}
        }
    }
    // Whoever waits learns it by the dropped senders.
    let mut state = lock(&inner.state);
    state.closed = true;
    state.answers.clear();
    state.contexts.clear();
    state.rooms.clear();
}

async fn receive(socket: &UnixStream) -> Result<Option<Packet<Notice>>, EngineError> {
    match socket.async_io(Interest::READABLE, || channel::receive(socket)).await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
        result => result.map_err(|source| io_error("hear the warden", source)),
    }
}

/// Registers the socket with the runtime. Only readiness is used of tokio's type: packets go through [`channel`].
fn register(channel: Channel) -> std::io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(OwnedFd::from(channel));
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

fn spawn(program: &[OsString], socket: Channel) -> Result<Child, EngineError> {
    let (executable, arguments) = program
        .split_first()
        .ok_or_else(|| EngineError::Warden("no program is named for the warden".into()))?;
    Command::new(executable)
        .args(arguments)
        // Nothing of the server's environment, where keys are.
        .env_clear()
        .envs(bus_variables())
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .spawn()
        .map_err(|source| io_error("start the warden", source))
}

/// The way to an ordinary user's systemd, which the warden asks for a delegated cgroup.
fn bus_variables() -> impl Iterator<Item = (&'static str, OsString)> {
    let runtime = format!("/run/user/{}", rustix::process::getuid().as_raw());
    [
        ("PATH", OsString::from("/usr/local/bin:/usr/bin:/bin")),
        ("DBUS_SESSION_BUS_ADDRESS", OsString::from(format!("unix:path={runtime}/bus"))),
        ("XDG_RUNTIME_DIR", OsString::from(runtime)),
    ]
    .into_iter()
}

fn tempfile_in_memory() -> std::io::Result<std::fs::File> {
    Ok(rustix::fs::memfd_create("warden-config", rustix::fs::MemfdFlags::CLOEXEC)?.into())
}

fn ended() -> EngineError {
    EngineError::Warden("the warden has ended".into())
}

fn io_error(act: &str, source: std::io::Error) -> EngineError {
    EngineError::Io { act: act.to_owned(), source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds these; were it so, the maps are still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
