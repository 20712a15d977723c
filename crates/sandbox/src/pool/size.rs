//! How large the pool is to be: between a floor and a ceiling, by how many sandboxes were taken lately.

use std::time::{Duration, Instant};

/// In this time the memory of a sandbox that was taken fades to a half: a burst is remembered for some minutes.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Below this a remembered sandbox asks for no place of its own.
const FORGOTTEN: f64 = 0.5;

/// What is kept ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// Sandboxes with a warm context, always.
    pub floor: usize,
    /// The most of them, under demand.
    pub ceiling: usize,
    /// Rooms that have everything but a context, always; under demand as many more as the ceiling allows.
    pub rooms: usize,
}

impl PoolSize {
    /// Nothing is made ahead of demand.
    pub const NONE: Self = Self { floor: 0, ceiling: 0, rooms: 0 };

    /// Returns how many are to be ready when so many were taken lately.
    pub(super) fn wanted(self, lately: f64) -> Wanted {
        let asked = (lately - FORGOTTEN).max(0.0).ceil() as usize;
        let rooms = if self.rooms == 0 { 0 } else { (self.rooms + asked).min(self.rooms.max(self.ceiling)) };
        // A room is a tenth of a context's memory, so that contexts follow at half the pace.
        Wanted { warm: (self.floor + asked / 2).min(self.ceiling.max(self.floor)), rooms }
    }
}

/// How many are to be ready now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) warm: usize,
    pub(super) rooms: usize,
}

/// How many sandboxes were taken lately: a count that fades, without a timer.
#[derive(Debug)]
pub(super) struct Lately {
    count: f64,
    at: Instant,
}

impl Lately {
    pub(super) fn new(now: Instant) -> Self {
        Self { count: 0.0, at: now }
    }

    pub(super) fn add(&mut self, now: Instant) {
        self.count = self.value(now) + 1.0;
        self.at = now;
    }

    pub(super) fn value(&self, now: Instant) -> f64 {
        let lives = now.saturating_duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.count * 0.5_f64.powf(lives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PoolSize = PoolSize { floor: 2, ceiling: 32, rooms: 4 };

    #[test]
    fn demand_moves_the_pool_between_its_floor_and_its_ceiling() {
        assert_eq!(SIZE.wanted(0.0), Wanted { warm: 2, rooms: 4 });
        assert_eq!(SIZE.wanted(0.4), Wanted { warm: 2, rooms: 4 });
        assert_eq!(SIZE.wanted(8.0), Wanted { warm: 6, rooms: 12 });
        assert_eq!(SIZE.wanted(1000.0), Wanted { warm: 32, rooms: 32 });
        assert_eq!(PoolSize::NONE.wanted(1000.0), Wanted { warm: 0, rooms: 0 });
    }

    #[test]
    fn a_ceiling_below_the_floor_is_no_ceiling() {
        let size = PoolSize { floor: 3, ceiling: 1, rooms: 2 };
        assert_eq!(size.wanted(100.0), Wanted { warm: 3, rooms: 2 });
    }

    #[test]
    fn what_was_taken_is_forgotten_by_and_by() {
        let start = Instant::now();
        let mut lately = Lately::new(start);
        for _ in 0..8 {
            lately.add(start);
        }
        assert!((lately.value(start) - 8.0).abs() < 1e-9);
        assert!((lately.value(start + HALF_LIFE) - 4.0).abs() < 1e-9);
        assert!(lately.value(start + HALF_LIFE * 6) < FORGOTTEN);
        lately.add(start + HALF_LIFE);
        assert!((lately.value(start + HALF_LIFE) - 5.0).abs() < 1e-9);
    }
}
