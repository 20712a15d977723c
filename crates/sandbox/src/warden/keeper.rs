//! The engine's end of the keeper, which starts wardens for a server that has given up root (`reckon_cage::keeper`).

use std::{
    ffi::OsString,
    os::fd::{AsFd as _, OwnedFd},
    process::Child,
    sync::{Arc, Mutex},
    time::Duration,
};

use reckon_cage::{
    channel::Channel,
    keeper::{Answer, Order},
    message::WardenConfig,
};

use super::process;
use crate::{error::EngineError, lock::lock};

/// The argument that makes the warden's program the keeper.
const KEEP: &str = "keep";
/// How long it may take to answer: it forks, and at most reaps a killed warden before.
const ANSWER: Duration = Duration::from_secs(10);

/// A running keeper. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    /// `None` once it was told to end.
    channel: Arc<Mutex<Option<Channel>>>,
    child: Arc<Mutex<Child>>,
}

impl Keeper {
    /// Starts the program as a keeper of wardens with this configuration. Before the server gives up root.
    pub(crate) fn start(program: &[OsString], config: &WardenConfig) -> Result<Self, EngineError> {
        let (ours, theirs) = Channel::pair().map_err(|source| EngineError::io("socketpair", source))?;
        process::configure(&ours, config)?;
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&ours, timeout, Some(ANSWER))
            .map_err(|errno| EngineError::io("bound the keeper's answers", errno.into()))?;
        let mut program = program.to_vec();
        program.push(KEEP.into());
        let child = process::spawn(&program, theirs)?;
        let channel = Arc::new(Mutex::new(Some(ours)));
        Ok(Self { channel, child: Arc::new(Mutex::new(child)) })
    }

    /// Has a warden started on this socket. Returns a pidfd of it.
    pub(super) async fn start_warden(&self, socket: Channel) -> Result<OwnedFd, EngineError> {
        let descriptors = self.ask(Order::Start, Some(socket)).await?;
        let pidfd = descriptors.into_iter().next();
        pidfd.ok_or_else(|| EngineError::Warden("the keeper sent no pidfd".into()))
    }

    /// Has the warden killed.
    pub(super) async fn kill_warden(&self) {
        if let Err(error) = self.ask(Order::Kill, None).await {
            tracing::error!(%error, "kill the warden");
        }
    }

    async fn ask(&self, order: Order, socket: Option<Channel>) -> Result<Vec<OwnedFd>, EngineError> {
        let channel = Arc::clone(&self.channel);
        let asked = tokio::task::spawn_blocking(move || {
            // Held until the answer is there: one question after the other.
            let channel = lock(&channel);
            let Some(channel) = &*channel else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
            let socket: Vec<_> = socket.iter().map(Channel::as_fd).collect();
            channel.send(&order, &socket)?;
            channel.receive::<Answer>()
        });
        let packet = asked.await.map_err(|error| EngineError::Warden(error.to_string()))?;
        match packet.map_err(|source| EngineError::io("ask the keeper", source))? {
            None => Err(EngineError::Warden("the keeper has ended: restart the server".into())),
            Some(packet) => match packet.message {
                Answer::Done => Ok(packet.descriptors),
                Answer::Failed(message) => Err(EngineError::Warden(format!("the keeper: {message}"))),
            },
        }
    }

    /// Tells the keeper to end, which ends its warden if there still is one, and waits for it.
    pub(super) async fn end(&self) {
        drop(lock(&self.channel).take());
        let child = Arc::clone(&self.child);
        if !process::within(process::PATIENCE, || !matches!(lock(&child).try_wait(), Ok(None))).await {
            tracing::error!("the keeper did not end");
        }
    }
}
