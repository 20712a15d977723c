//! The keeper: what is left of root's rights once the server has given them up, beside the warden.
//!
//! It starts wardens, one at a time and each with the one configuration that it was given while the server was still
//! root, and ends them when asked. It takes nothing else from the server, and ends with it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    event::{PollFd, PollFlags},
    process::{Signal, WaitId, WaitIdOptions},
};
use serde::{Deserialize, Serialize};

use crate::{
    channel::Channel,
    error::{Error, Named},
    message::WardenConfig,
    sys::{self, Cloned},
    warden,
};

/// What the server may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Start a warden on the socket that comes along. One that still lives is killed first.
    Start,
    /// Kill the warden.
    Kill,
}

/// The answer to an [`Order`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done; the pidfd of a warden that was started comes along.
    Done,
    /// It was not.
    Failed(String),
}

/// Runs the keeper on the socket that is this process's stdin. Returns when the server has gone.
///
/// Must be called before the process has a second thread.
pub fn main() -> Result<(), Error> {
    let server = warden::settle(c"reckon-keeper")?;
    let Some(config) = warden::receive_config(&server)? else { return Ok(()) };
    let mut warden = None;
    loop {
        let ended = await_either(&server, warden.as_ref())?;
        if ended && let Some(pidfd) = warden.take() {
            reap(&pidfd)?;
        }
        if !ended && !serve(&server, &config, &mut warden)? {
            // The warden sees the end of its own socket, and takes its rooms down.
            return warden.as_ref().map_or(Ok(()), reap);
        }
    }
}

/// Waits for the server or for the end of the warden; true for the latter.
fn await_either(server: &Channel, warden: Option<&OwnedFd>) -> Result<bool, Error> {
    let mut wait = vec![PollFd::new(server, PollFlags::IN)];
    wait.extend(warden.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
    loop {
        match rustix::event::poll(&mut wait, None) {
            Ok(_) => return Ok(wait.get(1).is_some_and(|warden| !warden.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => {}
            Err(source) => return Err(source).named("poll"),
        }
    }
}

/// Carries out one order; false when the server has gone.
fn serve(server: &Channel, config: &WardenConfig, warden: &mut Option<OwnedFd>) -> Result<bool, Error> {
    let Some(packet) = server.receive::<Order>().named("receive an order")? else { return Ok(false) };
    if let Some(pidfd) = warden.take() {
        // ESRCH: it ended by itself, and is reaped all the same.
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        reap(&pidfd)?;
    }
    let socket = packet.descriptors.into_iter().next();
    let answered = match (packet.message, socket) {
        (Order::Kill, _) => server.send(&Answer::Done, &[]),
        (Order::Start, None) => server.send(&Answer::Failed("no socket came".into()), &[]),
        (Order::Start, Some(socket)) => match start(config, socket) {
            Ok(pidfd) => {
                let answered = server.send(&Answer::Done, &[pidfd.as_fd()]);
                *warden = Some(pidfd);
                answered
            }
            Err(error) => server.send(&Answer::Failed(error.to_string()), &[]),
        },
    };
    match answered {
        // The next receive finds the end.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        result => result.named("answer the server").map(|()| true),
    }
}

fn start(config: &WardenConfig, socket: OwnedFd) -> Result<OwnedFd, Error> {
    match sys::clone_process(0).named("clone the warden")? {
        Cloned::Child => {
            sys::close_all_but(&[socket.as_fd()]);
            let ended = warden::set_apart(c"reckon-warden")
                .and_then(|()| warden::run(&Channel::from_fd(socket), config.clone()));
            sys::exit_now(i32::from(ended.is_err()) * 2)
        }
        Cloned::Parent(_, pidfd) => Ok(pidfd),
    }
}

fn reap(pidfd: &OwnedFd) -> Result<(), Error> {
    rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).named("waitid").map(drop)
}
