//! The pool: sandboxes with a warm context, and rooms for more of them, made ahead of demand and as demand asks.

mod size;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reckon_protocol::Limits;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    cradle::{Cradle, Demand, Newborn, Spare},
    error::EngineError,
    lock::lock,
};
use size::Lately;
pub use size::PoolSize;

/// After one was taken, before the next is built: the taker's first cell has the processors to itself.
const DEFERENCE: Duration = Duration::from_millis(4);
/// After a failure to build, so that a broken host is not hammered.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at whether a pool that has grown may shrink. At its floor it has no timer at all.
const SHRINKING: Duration = Duration::from_secs(15);

/// What is ready. [`Pool::stop`] ends the task that fills it.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    filling: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    cradle: Cradle,
    limits: Limits,
    size: PoolSize,
    ready: Mutex<Ready>,
    /// Told when one was taken, and when nobody waits any more.
    taken: Notify,
    /// Callers whose sandbox is being made while they wait: nothing is built ahead beside them.
    hurrying: AtomicUsize,
    stopping: CancellationToken,
}

#[derive(Debug)]
struct Ready {
    warm: VecDeque<Newborn>,
    rooms: VecDeque<Spare>,
    lately: Lately,
}

/// What the pool lacks, or has too much of.
enum Next {
    /// A context in this room, or in a new one.
    Context(Option<Box<Spare>>),
    Room,
    /// Let go of these: demand has gone.
    Surplus(Box<(Option<Newborn>, Option<Spare>)>),
    /// Nothing before one is taken.
    Rest,
    /// Nothing before one is taken or time has passed.
    RestWhileLarge,
}

impl Pool {
    /// Starts filling a pool of rooms with these limits.
    pub(crate) fn start(cradle: Cradle, limits: Limits, size: PoolSize) -> Self {
        let ready =
            Ready { warm: VecDeque::new(), rooms: VecDeque::new(), lately: Lately::new(Instant::now()) };
        let shared = Arc::new(Shared {
            cradle,
            limits,
            size,
            ready: Mutex::new(ready),
            taken: Notify::new(),
            hurrying: AtomicUsize::new(0),
            stopping: CancellationToken::new(),
        });
        let filling = tokio::spawn(fill(Arc::clone(&shared)));
        Self { shared, filling: Mutex::new(Some(filling)) }
    }

    /// Returns a sandbox with these limits: one that was ready, or one made in a room that was, or else a new one.
    pub(crate) async fn take(&self, limits: &Limits) -> Result<Newborn, EngineError> {
        let shared = &self.shared;
        let waiting = shared.take_warm(limits);
        shared.taken.notify_one();
        match waiting {
            Some(newborn) if shared.limits == *limits => Ok(newborn),
            Some(newborn) => newborn.parked.room.limit(limits).await.map(|()| newborn),
            None => {
                let _hurry = Hurry::new(shared);
                match shared.take_room(limits) {
                    Some(spare) => shared.cradle.furnish(spare, limits, Demand::Now).await,
                    None => shared.cradle.bear(limits, Demand::Now).await,
                }
            }
        }
    }

    /// Returns how many sandboxes are ready, and how many rooms beside them; those that have ended are let go of and
    /// replaced.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let mut ready = lock(&self.shared.ready);
        let before = ready.warm.len() + ready.rooms.len();
        ready.warm.retain_mut(|newborn| newborn.parked.is_alive());
        ready.rooms.retain_mut(|spare| !spare.room.is_gone());
        if ready.warm.len() + ready.rooms.len() < before {
            self.shared.taken.notify_one();
        }
        (ready.warm.len(), ready.rooms.len())
    }

    /// Stops filling and lets go of what is ready; the rooms end with the warden.
    pub(crate) async fn stop(&self) {
        self.shared.stopping.cancel();
        let filling = lock(&self.filling).take();
        if let Some(filling) = filling {
            let _ = filling.await;
        }
        let mut ready = lock(&self.shared.ready);
        ready.warm.clear();
        ready.rooms.clear();
    }
}

impl Shared {
    fn take_warm(&self, limits: &Limits) -> Option<Newborn> {
        let mut ready = lock(&self.ready);
        ready.lately.add(Instant::now());
        while let Some(mut first) = ready.warm.pop_front() {
            if !first.parked.is_alive() {
                continue;
            }
            if first.parked.suits(limits) {
                return Some(first);
            }
            ready.warm.push_front(first);
            return None;
        }
        None
    }

    fn take_room(&self, limits: &Limits) -> Option<Spare> {
        // What was built with another `/tmp` stays for those who want that.
        if limits.tmp_bytes != self.limits.tmp_bytes {
            return None;
        }
        let mut ready = lock(&self.ready);
        while let Some(mut first) = ready.rooms.pop_front() {
            if !first.room.is_gone() {
                return Some(first);
            }
        }
        None
    }

    /// Decides what to do next: contexts up to their number, then rooms, then what demand no longer asks for.
    fn next(&self) -> Next {
        let mut ready = lock(&self.ready);
        let wanted = self.size.wanted(ready.lately.value(Instant::now()));
        if ready.warm.len() < wanted.warm {
            return Next::Context(ready.rooms.pop_front().map(Box::new));
        }
        if ready.rooms.len() < wanted.rooms {
            return Next::Room;
        }
        let surplus = (ready.warm.len() > wanted.warm).then(|| ready.warm.pop_back()).flatten();
        let surplus_room = (ready.rooms.len() > wanted.rooms).then(|| ready.rooms.pop_back()).flatten();
        if surplus.is_some() || surplus_room.is_some() {
            return Next::Surplus(Box::new((surplus, surplus_room)));
        }
        let least = self.size.wanted(0.0);
        if wanted == least { Next::Rest } else { Next::RestWhileLarge }
    }

    /// Waits until nobody's sandbox is being made and the last taker has had its moment.
    async fn defer(&self) {
        while self.hurrying.load(Ordering::Acquire) > 0 {
            self.taken.notified().await;
        }
    }

    async fn build(&self, next: Next) -> Result<(), EngineError> {
        match next {
            Next::Context(spare) => {
                let newborn = match spare {
                    Some(spare) => self.cradle.furnish(*spare, &self.limits, Demand::Ahead).await?,
                    None => self.cradle.bear(&self.limits, Demand::Ahead).await?,
                };
                lock(&self.ready).warm.push_back(newborn);
            }
            Next::Room => {
                let spare = self.cradle.room(&self.limits).await?;
                lock(&self.ready).rooms.push_back(spare);
            }
            // Dropped, they are ended behind the scenes.
            Next::Surplus(surplus) => drop(surplus),
            Next::Rest => {
                self.taken.notified().await;
                tokio::time::sleep(DEFERENCE).await;
            }
            Next::RestWhileLarge => {
                if tokio::time::timeout(SHRINKING, self.taken.notified()).await.is_ok() {
                    tokio::time::sleep(DEFERENCE).await;
                }
            }
        }
        Ok(())
    }
}

/// Counts a caller who waits while its sandbox is being made.
struct Hurry<'a>(&'a Shared);

impl<'a> Hurry<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.hurrying.fetch_add(1, Ordering::AcqRel);
        Self(shared)
    }
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        if self.0.hurrying.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.taken.notify_one();
        }
    }
}

async fn fill(shared: Arc<Shared>) {
    let stopping = &shared.stopping;
    while let Some(()) = stopping.run_until_cancelled(shared.defer()).await {
        let next = shared.next();
        let Some(built) = stopping.run_until_cancelled(shared.build(next)).await else { return };
        if let Err(error) = built {
            tracing::warn!(%error, "fill the pool");
            if stopping.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }
}
