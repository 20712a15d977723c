//! Places for connections: bounded, and when all are taken, the oldest that has nothing answered gives way. Who only
//! holds connections open keeps nobody else out.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The places of a server. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    numbers: AtomicU64,
    /// Who holds a place, in the order in which they came.
    guests: Mutex<BTreeMap<u64, Guest>>,
}

#[derive(Debug, Clone)]
struct Guest {
    requests: Arc<AtomicUsize>,
    leave: CancellationToken,
}

/// A connection's place; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    guest: Guest,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

/// Counts a request of a connection until the last byte of its answer.
#[derive(Debug)]
pub(crate) struct AtWork(Arc<AtomicUsize>);

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        let free = Arc::new(Semaphore::new(most));
        Self(Arc::new(Shared { free, numbers: AtomicU64::new(0), guests: Mutex::default() }))
    }

    /// Returns a place; waits when all are taken by connections that have something answered. Cancel-safe.
    pub(crate) async fn take(&self) -> Place {
        let shared = &self.0;
        let free = Arc::clone(&shared.free);
        let permit = if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            permit
        } else {
            shared.ask_one_to_leave();
            free.acquire_owned().await.expect("the semaphore is never closed")
        };
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        let guest = Guest { requests: Arc::default(), leave: CancellationToken::new() };
        shared.guests().insert(number, guest.clone());
        Place { number, guest, shared: Arc::clone(shared), _permit: permit }
    }
}

impl Shared {
    fn guests(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Guest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_one_to_leave(&self) {
        let guests = self.guests();
        let idle = guests.values().find(|guest| guest.is_idle() && !guest.leave.is_cancelled());
        if let Some(guest) = idle {
            guest.leave.cancel();
        }
    }
}

impl Guest {
    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0
    }
}

impl Place {
    /// Waits until somebody else needs the place and nothing is answered on it. Cancel-safe.
    pub(crate) async fn given_up(&self) {
        self.guest.leave.cancelled().await;
        if !self.guest.is_idle() {
            // A request came between: it is answered, and its connection stays.
            std::future::pending::<()>().await;
        }
    }

    /// Says that a request is being answered.
    pub(crate) fn at_work(&self) -> AtWork {
        self.guest.requests.fetch_add(1, Ordering::AcqRel);
        AtWork(Arc::clone(&self.guest.requests))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.guests().remove(&self.number);
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body that keeps its connection at work until it has been sent.
pub(crate) struct Held {
    body: Body,
    _at_work: AtWork,
}

impl Held {
    pub(crate) fn new(body: Body, at_work: AtWork) -> Self {
        Self { body, _at_work: at_work }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_for_nothing_gives_way_and_who_is_answered_does_not() {
        let places = Places::new(2);
        let (idle, busy) = (places.take().await, places.take().await);
        let at_work = busy.at_work();
        let mut third = Box::pin(places.take());
        assert!(futures_util::poll!(&mut third).is_pending());
        idle.given_up().await;
        drop(idle);
        let third = third.await;
        assert!(futures_util::poll!(Box::pin(busy.given_up())).is_pending());
        // The next takes the place of the newcomer, for as long as the other is answered.
        let mut fourth = Box::pin(places.take());
        assert!(futures_util::poll!(&mut fourth).is_pending());
        third.given_up().await;
        drop((third, at_work));
        let fourth = fourth.await;
        assert!(!fourth.guest.leave.is_cancelled());
    }
}
