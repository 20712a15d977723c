//! One run of the warden's program: how it is started, told its configuration, and reaped.

use std::{
    ffi::OsString,
    io::Write as _,
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use reckon_cage::{
    channel::{self, Channel, Packet},
    message::{Notice, Ready, WardenConfig},
};
use rustix::event::{PollFd, PollFlags};
use tokio::{io::Interest, net::UnixStream, time::Instant};

use super::keeper::Keeper;
use crate::error::EngineError;

/// How long a warden may take to clean up when it was told to end, before it is killed.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a killed process is waited for; one that hangs in the kernel is left to it.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// How long a zygote may take to import everything on a slow disk.
const START: Duration = Duration::from_secs(120);

/// Where wardens come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// This process starts the program, and tells each warden its configuration.
    Program(Vec<OsString>, Box<WardenConfig>),
    /// The keeper starts them, with the configuration that it has.
    Keeper(Keeper),
}

/// A running warden. Dropping it closes nothing that a clone of its socket holds open: call [`Process::finish`].
#[derive(Debug)]
pub(super) struct Process {
    pub(super) socket: Arc<UnixStream>,
    body: Body,
}

/// The process as this one can see and end it.
#[derive(Debug)]
enum Body {
    Child(Child),
    /// The keeper's child. It is no longer ours to signal.
    Kept(OwnedFd, Keeper),
}

impl Process {
    /// Starts a warden and waits until rooms can be made. Returns what stands and the top of the disk, if any.
    pub(super) async fn start(source: &Source) -> Result<(Self, Ready, Option<OwnedFd>), EngineError> {
        let (ours, theirs) = Channel::pair().map_err(|source| EngineError::io("socketpair", source))?;
        if let Source::Program(_, config) = source {
            configure(&ours, config)?;
        }
        let socket =
            register(ours).map_err(|source| EngineError::io("register the warden's socket", source))?;
        let body = match source {
            Source::Program(program, _) => Body::Child(spawn(program, theirs)?),
            Source::Keeper(keeper) => Body::Kept(keeper.start_warden(theirs).await?, keeper.clone()),
        };
        let process = Self { body, socket: Arc::new(socket) };
        match tokio::time::timeout(START, process.first_word()).await {
            Ok(Ok((ready, disk))) => {
                for line in &ready.swept {
                    tracing::info!("what a dead warden left: {line}");
                }
                Ok((process, ready, disk))
            }
            Ok(Err(error)) => {
                process.finish().await;
                Err(error)
            }
            Err(_) => {
                process.finish().await;
                Err(EngineError::Warden(format!("the zygote was not ready within {START:?}")))
            }
        }
    }

    async fn first_word(&self) -> Result<(Ready, Option<OwnedFd>), EngineError> {
        let packet = receive(&self.socket).await?;
        let (message, descriptors) = packet.map(|packet| (packet.message, packet.descriptors)).unzip();
        match message {
            Some(Notice::Ready(ready)) => Ok((ready, descriptors.and_then(|found| found.into_iter().next()))),
            Some(Notice::Unable { what, mend }) if mend.is_empty() => Err(EngineError::Warden(what)),
            Some(Notice::Unable { what, mend }) => Err(EngineError::Isolation { what, mend }),
            Some(other) => Err(EngineError::Warden(format!("the warden began with {other:?}"))),
            None => Err(EngineError::Warden("the warden ended at its start".into())),
        }
    }

    /// Tells the warden to clean up and end.
    pub(super) fn dismiss(&self) {
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Write);
    }

    /// Returns when the process has ended; one that does not end by itself is killed, and its rooms with it.
    pub(super) async fn finish(mut self) {
        self.dismiss();
        if within(PATIENCE, || self.body.has_ended()).await {
            return;
        }
        tracing::error!("the warden did not end and is killed");
        match &mut self.body {
            Body::Child(child) => drop(child.kill()),
            Body::Kept(_, keeper) => keeper.kill_warden().await,
        }
        within(LAST_PATIENCE, || self.body.has_ended()).await;
    }
}

impl Body {
    fn has_ended(&mut self) -> bool {
        match self {
            Self::Child(child) => !matches!(child.try_wait(), Ok(None)),
            Self::Kept(pidfd, _) => {
                let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                let mut look = [PollFd::new(pidfd, PollFlags::IN)];
                !matches!(rustix::event::poll(&mut look, Some(&now)), Ok(0))
            }
        }
    }
}

/// Waits until something holds; false where it does not within `patience`.
pub(super) async fn within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    true
}

/// Sends a configuration, which the other end reads first.
pub(super) fn configure(channel: &Channel, config: &WardenConfig) -> Result<(), EngineError> {
    let document = document(config)?;
    channel.send(&(), &[document.as_fd()]).map_err(|source| EngineError::io("configure the warden", source))
}

/// Receives what the warden says; `None` when it has closed its end. Cancel-safe.
pub(super) async fn receive(socket: &UnixStream) -> Result<Option<Packet<Notice>>, EngineError> {
    match socket.async_io(Interest::READABLE, || channel::receive(socket)).await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
        result => result.map_err(|source| EngineError::io("hear the warden", source)),
    }
}

/// The configuration in a file of memory: it may be longer than a packet.
fn document(config: &WardenConfig) -> Result<std::fs::File, EngineError> {
    let text = serde_json::to_vec(config).map_err(|error| EngineError::Warden(error.to_string()))?;
    let write = || -> std::io::Result<std::fs::File> {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let mut file = std::fs::File::from(rustix::fs::memfd_create("warden-config", flags)?);
        file.write_all(&text)?;
        std::io::Seek::rewind(&mut file)?;
        Ok(file)
    };
    write().map_err(|source| EngineError::io("write the warden's configuration", source))
}

/// Registers the socket with the runtime. Only readiness is used of tokio's type: packets go through [`channel`].
fn register(channel: Channel) -> std::io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(OwnedFd::from(channel));
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

pub(super) fn spawn(program: &[OsString], socket: Channel) -> Result<Child, EngineError> {
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
        .map_err(|source| EngineError::io("start the warden", source))
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
