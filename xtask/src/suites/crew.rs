//! Several jobs at once: many of the suites' cases wait more than they compute.

use std::num::NonZero;
use std::sync::Mutex;
use std::thread;

/// Does every job and returns the results in the order of the jobs. The first ones are begun first.
pub(super) fn work<Job: Sync, Done: Send>(jobs: &[Job], each: impl Fn(&Job) -> Done + Sync) -> Vec<Done> {
    let hands = (2 * thread::available_parallelism().map_or(1, NonZero::get)).min(jobs.len());
    let next = Mutex::new(0..jobs.len());
    let done = Mutex::new(Vec::with_capacity(jobs.len()));
    thread::scope(|scope| {
        for _ in 0..hands {
            scope.spawn(|| {
                loop {
                    // A statement of its own, so that the lock ends before the job begins.
                    let taken = unpoisoned(&next).next();
                    let Some(index) = taken else { break };
                    let result = each(&jobs[index]);
                    unpoisoned(&done).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// A hand that panicked ends the scope; until then the others go on.
fn unpoisoned<Held>(mutex: &Mutex<Held>) -> std::sync::MutexGuard<'_, Held> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::work;

    #[test]
    fn jobs_are_done_at_once() {
        // Each of the two waits for the other: one hand alone would never end.
        let meeting = std::sync::Barrier::new(2);
        work(&[(), ()], |()| meeting.wait());
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u32> = (0..100).collect();
        let expected: Vec<u32> = jobs.iter().map(|job| job * 2).collect();
        assert_eq!(work(&jobs, |job| job * 2), expected);
        assert!(work(&[] as &[u32], |job| job * 2).is_empty());
    }
}
