//! The words of cgroup v1: which files hold a limit, and the order in which they may be written.

use std::path::Path;

use super::files;
use super::group::{GroupLimits, LimitWrite};
use super::hierarchy::Controller;

/// Whether the kernel accounts swap to groups (`memory.memsw.*` exists).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SwapAccounting {
    Present,
    Absent,
}

/// The kernel's default period, which we never change.
const PERIOD_US: u64 = 100_000;
/// The smallest quota that the kernel accepts.
const QUOTA_MINIMUM_US: u64 = 1_000;

/// Returns the writes that lead from one set of limits (none: a fresh group) to the next, in their order.
pub(super) fn limit_writes(
    before: Option<&GroupLimits>,
    after: &GroupLimits,
    swap: SwapAccounting,
) -> Vec<LimitWrite> {
    let mut writes = Vec::with_capacity(4);
    memory_writes(before, after, swap, &mut writes);
    if before.is_none_or(|before| before.pids != after.pids) {
        writes.push(LimitWrite::new(Controller::Pids, "pids.max", after.pids.to_string()));
    }
    if before.and_then(|before| before.cpu_millis) != after.cpu_millis {
        let quota = after.cpu_millis.map_or_else(|| "-1".to_owned(), |millis| quota_us(millis).to_string());
        writes.push(LimitWrite::new(Controller::Cpu, "cpu.cfs_quota_us", quota));
    }
    writes
}

/// Returns the quota in a period of 100 ms, in microseconds, for thousandths of a core.
pub(super) fn quota_us(millis: u32) -> u64 {
    (u64::from(millis) * PERIOD_US / 1000).max(QUOTA_MINIMUM_US)
}

/// Returns the processor time that a group has itself, in thousandths of a core; nothing for no limit.
///
/// The kernel refuses a larger quota below it, so that a room's wish has to be cut.
pub(super) fn cpu_ceiling(own: &Path) -> Option<u32> {
    let number = |file: &str| files::read(&own.join(file)).ok()?.trim().parse::<i64>().ok();
    let quota = u64::try_from(number("cpu.cfs_quota_us")?).ok()?;
    let period = u64::try_from(number("cpu.cfs_period_us")?).ok().filter(|period| *period > 0)?;
    u32::try_from(quota.saturating_mul(1000) / period).ok()
}

fn memory_writes(
    before: Option<&GroupLimits>,
    after: &GroupLimits,
    swap: SwapAccounting,
    writes: &mut Vec<LimitWrite>,
) {
    let memory = LimitWrite::new(Controller::Memory, "memory.limit_in_bytes", after.memory_bytes.to_string());
    let memory_differs = before.is_none_or(|before| before.memory_bytes != after.memory_bytes);
    if swap == SwapAccounting::Absent {
        if before.is_none() && after.swap_bytes == 0 {
            // Without accounting this is the only way to keep a room out of the swap.
            writes.push(LimitWrite::new(Controller::Memory, "memory.swappiness", "0".to_owned()));
        }
        writes.extend(memory_differs.then_some(memory));
        return;
    }
    let total_before = before.map_or(u64::MAX, GroupLimits::memory_and_swap);
    let total_after = after.memory_and_swap();
    let total = LimitWrite::new(Controller::Memory, "memory.memsw.limit_in_bytes", total_after.to_string());
    // The kernel refuses a state in which memory may exceed memory and swap together, even for an instant.
    if total_after > total_before {
        writes.push(total);
        writes.extend(memory_differs.then_some(memory));
    } else {
        writes.extend(memory_differs.then_some(memory));
        writes.extend((total_after != total_before).then_some(total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARKED: GroupLimits = GroupLimits { memory_bytes: 100, swap_bytes: 0, pids: 10, cpu_millis: None };

    fn plan(before: Option<&GroupLimits>, after: &GroupLimits, swap: SwapAccounting) -> Vec<String> {
        limit_writes(before, after, swap)
            .iter()
            .map(|write| format!("{}={}", write.file, write.value))
            .collect()
    }

    #[test]
    fn a_fresh_group_is_lowered_memory_first() {
        assert_eq!(
            plan(None, &PARKED, SwapAccounting::Present),
            ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=100", "pids.max=10"]
        );
    }

    #[test]
    fn raising_writes_the_sum_first_and_only_what_differs() {
        let larger = GroupLimits { memory_bytes: 200, cpu_millis: Some(500), ..PARKED };
        assert_eq!(
            plan(Some(&PARKED), &larger, SwapAccounting::Present),
            ["memory.memsw.limit_in_bytes=200", "memory.limit_in_bytes=200", "cpu.cfs_quota_us=50000"]
        );
        assert_eq!(
            plan(Some(&larger), &PARKED, SwapAccounting::Present),
            ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=100", "cpu.cfs_quota_us=-1"]
        );
        assert!(plan(Some(&PARKED), &PARKED, SwapAccounting::Present).is_empty());
    }

    #[test]
    fn less_memory_with_more_swap_never_breaks_the_order() {
        let swapping = GroupLimits { memory_bytes: 50, swap_bytes: 100, ..PARKED };
        assert_eq!(
            plan(Some(&PARKED), &swapping, SwapAccounting::Present),
            ["memory.memsw.limit_in_bytes=150", "memory.limit_in_bytes=50"]
        );
    }

    #[test]
    fn without_swap_accounting_the_room_is_kept_out_of_swap() {
        assert_eq!(
            plan(None, &PARKED, SwapAccounting::Absent),
            ["memory.swappiness=0", "memory.limit_in_bytes=100", "pids.max=10"]
        );
    }

    #[test]
    fn a_tiny_share_is_the_smallest_that_the_kernel_takes() {
        assert_eq!(quota_us(1), 1_000);
        assert_eq!(quota_us(2_500), 250_000);
    }
}
