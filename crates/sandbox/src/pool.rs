//! The pool: sandboxes with a warm context, made ahead of demand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use reckon_protocol::Limits;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    cradle::{Cradle, Demand, Newborn},
    error::EngineError,
    lock::lock,
};

/// After a room was taken, before the next is built: the taker's first cell has the processors to itself.
const DEFERENCE: Duration = Duration::from_millis(4);
/// After a failure to build, so that a broken host is not hammered.
const PAUSE: Duration = Duration::from_millis(500);

/// Warm rooms. [`Pool::stop`] ends the task that fills it.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    filling: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    cradle: Cradle,
    limits: Limits,
    size: usize,
    waiting: Mutex<VecDeque<Newborn>>,
    /// Told when a room was taken.
    taken: Notify,
    stopping: CancellationToken,
}

impl Pool {
    /// Starts filling a pool of `size` rooms with these limits.
    pub(crate) fn start(cradle: Cradle, limits: Limits, size: usize) -> Self {
        let shared = Arc::new(Shared {
            cradle,
            limits,
            size,
            waiting: Mutex::default(),
            taken: Notify::new(),
            stopping: CancellationToken::new(),
        });
        let filling = tokio::spawn(fill(Arc::clone(&shared)));
        Self { shared, filling: Mutex::new(Some(filling)) }
    }

    /// Returns a sandbox with these limits: one that was waiting, or else a new one.
    pub(crate) async fn take(&self, limits: &Limits) -> Result<Newborn, EngineError> {
        let waiting = self.take_waiting(limits);
        self.shared.taken.notify_one();
        match waiting {
            Some(newborn) if self.shared.limits == *limits => Ok(newborn),
            Some(newborn) => newborn.parked.room.limit(limits).await.map(|()| newborn),
            None => self.shared.cradle.bear(limits, Demand::Now).await,
        }
    }

    /// Returns how many rooms are waiting; those that have ended are let go of and replaced.
    pub(crate) fn waiting(&self) -> usize {
        let mut waiting = lock(&self.shared.waiting);
        let before = waiting.len();
        waiting.retain_mut(|newborn| newborn.parked.is_alive());
        if waiting.len() < before {
            self.shared.taken.notify_one();
        }
        waiting.len()
    }

    /// Stops filling and lets go of what is waiting; the rooms end with the warden.
    pub(crate) async fn stop(&self) {
        self.shared.stopping.cancel();
        let filling = lock(&self.filling).take();
        if let Some(filling) = filling {
            let _ = filling.await;
        }
        lock(&self.shared.waiting).clear();
    }

    fn take_waiting(&self, limits: &Limits) -> Option<Newborn> {
        let mut waiting = lock(&self.shared.waiting);
        while let Some(mut first) = waiting.pop_front() {
            if !first.parked.is_alive() {
                continue;
            }
            if first.parked.suits(limits) {
                return Some(first);
            }
            waiting.push_front(first);
            return None;
        }
        None
    }
}

async fn fill(shared: Arc<Shared>) {
    while !shared.stopping.is_cancelled() {
        if lock(&shared.waiting).len() >= shared.size {
            let next = async {
                shared.taken.notified().await;
                tokio::time::sleep(DEFERENCE).await;
            };
            if shared.stopping.run_until_cancelled(next).await.is_none() {
                return;
            }
            continue;
        }
        let building = shared.cradle.bear(&shared.limits, Demand::Ahead);
        let Some(built) = shared.stopping.run_until_cancelled(building).await else { return };
        match built {
            Ok(newborn) => lock(&shared.waiting).push_back(newborn),
            Err(error) => {
                tracing::warn!(%error, "fill the pool");
                if shared.stopping.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        }
    }
}
