//! Ctrl-C and its relatives, one after another. The first asks the work to stop; whoever waits
//! for a second leaves at once.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Exit, Interrupted};

/// The signals by which people and supervisors end a program.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interrupts {
    /// Takes the signals over from the default, which is to die at once.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("take over signals");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hang_up: take(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// Waits for `work`, and gives it up at the next signal.
    pub(crate) async fn or_give_up<T, E: Into<anyhow::Error>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done.map_err(Into::into),
            () = self.next() => Err(Interrupted.into()),
        }
    }

    /// Waits for the last work of a command, and leaves the process at the next signal: the
    /// kernel closes what the warden listens to, and the warden takes the rooms down.
    pub(crate) async fn or_leave<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.next() => leave(),
        }
    }
}

/// Leaves the process at once.
pub(crate) fn leave() -> ! {
    std::process::exit(Exit::Interrupted.number().into())
}
