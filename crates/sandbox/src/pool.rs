//! The pool: rooms with a warm context, built ahead of demand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reckon_protocol::Limits;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{error::EngineError, room::Parked, warden::Warden};

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
    warden: Warden,
    limits: Limits,
    size: usize,
    parked: Mutex<VecDeque<Parked>>,
    /// Told when a room was taken.
    taken: Notify,
    stopping: CancellationToken,
}

impl Pool {
    /// Starts filling a pool of `size` rooms with these limits.
    pub(crate) fn start(warden: Warden, limits: Limits, size: usize) -> Self {
        let shared = Arc::new(Shared {
            warden,
            limits,
            size,
            parked: Mutex::default(),
            taken: Notify::new(),
            stopping: CancellationToken::new(),
        });
        let filling = tokio::spawn(fill(Arc::clone(&shared)));
        Self { shared, filling: Mutex::new(Some(filling)) }
    }

    /// Returns a warm room that suits these limits; builds one when none is waiting.
    pub(crate) async fn take(&self, limits: &Limits) -> Result<Parked, EngineError> {
        let waiting = self.take_waiting(limits);
        self.shared.taken.notify_one();
        match waiting {
            Some(parked) => Ok(parked),
            None => Parked::build(&self.shared.warden, limits).await,
        }
    }

    /// Returns how many rooms are waiting; those that have ended are let go of and replaced.
    pub(crate) fn waiting(&self) -> usize {
        let mut parked = lock(&self.shared.parked);
        let before = parked.len();
        parked.retain_mut(Parked::is_alive);
        if parked.len() < before {
            self.shared.taken.notify_one();
        }
        parked.len()
    }

    /// Stops filling and lets go of what is waiting; the rooms end with the warden.
    pub(crate) async fn stop(&self) {
        self.shared.stopping.cancel();
        let filling = lock(&self.filling).take();
        if let Some(filling) = filling {
            let _ = filling.await;
        }
        lock(&self.shared.parked).clear();
    }

    fn take_waiting(&self, limits: &Limits) -> Option<Parked> {
        let mut parked = lock(&self.shared.parked);
        while let Some(mut first) = parked.pop_front() {
            if !first.is_alive() {
                continue;
            }
            if first.suits(limits) {
                return Some(first);
            }
            parked.push_front(first);
            return None;
        }
        None
    }
}

async fn fill(shared: Arc<Shared>) {
    while !shared.stopping.is_cancelled() {
        if lock(&shared.parked).len() >= shared.size {
            let next = async {
                shared.taken.notified().await;
                tokio::time::sleep(DEFERENCE).await;
            };
            if shared.stopping.run_until_cancelled(next).await.is_none() {
                return;
            }
            continue;
        }
        let building = Parked::build(&shared.warden, &shared.limits);
        let Some(built) = shared.stopping.run_until_cancelled(building).await else { return };
        match built {
            Ok(parked) => lock(&shared.parked).push_back(parked),
            Err(error) => {
                tracing::warn!(%error, "fill the pool");
                if shared.stopping.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
