//! What the kernel counts while code runs but does not stop by itself: processor time, and a workspace that no disk
//! limits. The execution is told when either is beyond its limit.

use std::{sync::Arc, time::Duration};

use reckon_cage::cgroup::EventFds;
use reckon_protocol::LimitHit;
use tokio::time::Instant;

use crate::gauge::Gauge;

/// How soon processor time is looked at again at the earliest: the most that an execution gets beyond its limit, times
/// its processors.
const SOONEST: Duration = Duration::from_millis(5);

/// Watches one execution.
#[derive(Debug)]
pub(crate) struct Watch {
    processor: Option<Processor>,
    /// Seconds of processor time that an rlimit holds instead.
    stand_in: Option<u64>,
    gauge: Gauge,
}

/// The processor time of a room, from the start of an execution.
#[derive(Debug)]
struct Processor {
    account: Arc<EventFds>,
    /// When it has used so many microseconds since it was made, the time is up.
    end: u64,
    next: Instant,
    processors: u64,
}

impl Watch {
    /// Begins to watch. Processor time is watched where it is limited and the kernel counts it.
    pub(crate) fn new(account: Option<Arc<EventFds>>, cpu_ms: u64, gauge: Gauge) -> Self {
        let processor = account.filter(|_| cpu_ms > 0).and_then(|account| {
            let used = account.cpu_usec().ok()??;
            let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
            Some(Processor { account, end: used + cpu_ms * 1000, next: Instant::now(), processors })
        });
        let stand_in = (cpu_ms > 0 && processor.is_none()).then(|| cpu_ms.div_ceil(1000));
        Self { processor, stand_in, gauge }
    }

    /// Waits until a limit is exceeded, and says which. Cancel-safe.
    pub(crate) async fn exceeded(&mut self) -> LimitHit {
        let Self { processor, gauge, .. } = self;
        let processor_time = async {
            match processor {
                Some(processor) => processor.used_up().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = processor_time => LimitHit::Cpu,
            hit = gauge.exceeded() => hit,
        }
    }

    /// Returns the seconds of processor time that an rlimit has to hold, where nobody counts that of the room.
    pub(crate) fn stand_in(&self) -> Option<u64> {
        self.stand_in
    }

    /// Watches the workspace alone from now on.
    pub(crate) fn forget_processor(&mut self) {
        self.processor = None;
    }

    /// Stops watching.
    pub(crate) fn into_gauge(self) -> Gauge {
        self.gauge
    }
}

/// Waits as the watch does that is there, if one is.
pub(crate) async fn exceeded(watch: &mut Option<Watch>) -> LimitHit {
    match watch {
        Some(watch) => watch.exceeded().await,
        None => std::future::pending().await,
    }
}

impl Processor {
    async fn used_up(&mut self) {
        loop {
            tokio::time::sleep_until(self.next).await;
            // A room that has gone uses nothing any more.
            let used = self.account.cpu_usec().ok().flatten().unwrap_or(0);
            let Some(left) = self.end.checked_sub(used).filter(|left| *left > 0) else { return };
            // All processors together cannot use it up sooner.
            self.next = Instant::now() + Duration::from_micros(left / self.processors).max(SOONEST);
        }
    }
}
