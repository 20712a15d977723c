//! One execution as its caller holds it: a stream of events, and one outcome at the end.

use std::time::Duration;

use reckon_protocol::{EventKind, ExecutionId, ExecutionOutcome, fold::OutcomeFold};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Code to run.
#[derive(Debug, Clone, Default)]
pub struct Execute {
    /// The code.
    pub code: String,
    /// Wall time; the sandbox's limit otherwise.
    pub timeout: Option<Duration>,
}

/// A running execution. Dropping it interrupts the code.
#[derive(Debug)]
pub struct Execution {
    id: ExecutionId,
    events: mpsc::Receiver<EventKind>,
    interrupt: CancellationToken,
    _dropped: DropGuard,
}

impl Execution {
    pub(crate) fn new(
        id: ExecutionId,
        events: mpsc::Receiver<EventKind>,
        interrupt: CancellationToken,
    ) -> Self {
        let dropped = interrupt.clone().drop_guard();
        Self { id, events, interrupt, _dropped: dropped }
    }

    /// Returns its id.
    pub fn id(&self) -> &ExecutionId {
        &self.id
    }

    /// Returns the next event; `None` after `Finished`, or when the sandbox was deleted meanwhile. Cancel-safe.
    pub async fn next(&mut self) -> Option<EventKind> {
        self.events.recv().await
    }

    /// Interrupts the code: SIGINT, then SIGKILL after a grace period. Events go on until `Finished`.
    pub fn interrupt(&self) {
        self.interrupt.cancel();
    }

    /// Waits for the end and returns the whole as one value.
    pub async fn outcome(mut self) -> ExecutionOutcome {
        let mut fold = OutcomeFold::new(self.id.clone());
        while let Some(event) = self.events.recv().await {
            fold.absorb(&event);
        }
        fold.finish()
    }
}
