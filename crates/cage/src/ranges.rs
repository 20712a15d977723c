//! Which host uids a warden gives out: a range that no other living server of this host has.
//!
//! Held by a lock that the kernel lets go with the process; a range in which a process still lives is passed over, so
//! that what a killed server left cannot meet a new tenant.

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};

use crate::{
    error::{Error, Named},
    identity::{RANGE_LENGTH, RANGE_START, RANGES},
};

/// Root's alone, and emptied by a boot.
const LOCKS: &str = "/run/reckon/uids";

/// A range of host uids, ours while this lives.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Its first uid.
    pub(crate) start: u32,
    _lock: File,
}

impl Claim {
    /// Takes a range that is free.
    pub(crate) fn take() -> Result<Self, Error> {
        // Containers share the host's uids but see neither each other's locks nor processes: where each begins to look
        // is left to chance.
        let first = RandomState::new().build_hasher().finish() % u64::from(RANGES);
        let first = u32::try_from(first).unwrap_or_default();
        Self::take_from(Path::new(LOCKS), first, &inhabited(Path::new("/proc"))?)
    }

    fn take_from(locks: &Path, first: u32, inhabited: &BTreeSet<u32>) -> Result<Self, Error> {
        let refused = |source: std::io::Error| Error::Refused {
            what: format!("the lock of a range of uids cannot be made in {}: {source}", locks.display()),
            mend: "make /run writable; in a container start it with `--tmpfs /run`".into(),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(locks).map_err(refused)?;
        let free = |range: &u32| !inhabited.contains(range);
        for range in (0..RANGES).map(|step| (first + step) % RANGES).filter(free) {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let path = locks.join(range.to_string());
            let lock = rustix::fs::openat(CWD, &path, flags, mode).map_err(|errno| refused(errno.into()))?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self { start: RANGE_START + range * RANGE_LENGTH, _lock: lock.into() });
            }
        }
        Err(Error::Refused {
            what: format!("all {RANGES} ranges of uids are in use"),
            mend: "end servers that are not needed".into(),
        })
    }
}

/// Returns the ranges with a living process in them, by number.
fn inhabited(proc: &Path) -> Result<BTreeSet<u32>, Error> {
    let mut ranges = BTreeSet::new();
    for entry in std::fs::read_dir(proc).named("read /proc")?.flatten() {
        // One that ends meanwhile is in nobody's way.
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        ranges.extend(uids(&status).into_iter().filter_map(range_of));
    }
    Ok(ranges)
}

/// Returns the real, effective, saved and file system uid in a `status` file.
fn uids(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.unwrap_or_default().split_whitespace().filter_map(|uid| uid.parse().ok()).collect()
}

fn range_of(uid: u32) -> Option<u32> {
    let range = uid.checked_sub(RANGE_START)? / RANGE_LENGTH;
    (range < RANGES).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_living_servers_never_share_a_range() {
        let locks = tempfile::tempdir().expect("a temporary directory");
        let nobody = BTreeSet::new();
        let one = Claim::take_from(locks.path(), 7, &nobody).expect("free");
        let other = Claim::take_from(locks.path(), 7, &nobody).expect("the next is free");
        assert_eq!(one.start, RANGE_START + 7 * RANGE_LENGTH);
        assert_eq!(other.start, RANGE_START + 8 * RANGE_LENGTH);
        drop(one);
        assert_eq!(
            Claim::take_from(locks.path(), 7, &nobody).expect("free again").start,
            RANGE_START + 7 * RANGE_LENGTH
        );
    }

    #[test]
    fn a_range_with_a_living_process_is_passed_over() {
        let locks = tempfile::tempdir().expect("a temporary directory");
        let last = RANGES - 1;
        let claim =
            Claim::take_from(locks.path(), last, &BTreeSet::from([last, 0])).expect("the second is free");
        assert_eq!(claim.start, RANGE_START + RANGE_LENGTH);

        let proc = tempfile::tempdir().expect("a temporary directory");
        let process = proc.path().join("17");
        std::fs::create_dir(&process).expect("mkdir");
        let uid = RANGE_START + 3 * RANGE_LENGTH + 5;
        std::fs::write(process.join("status"), format!("Name:\tx\nUid:\t{uid}\t0\t1000\t{uid}\n"))
            .expect("write");
        assert_eq!(inhabited(proc.path()).expect("readable"), BTreeSet::from([3]));
        assert_eq!(range_of(RANGE_START - 1), None);
        assert_eq!(range_of(RANGE_START + RANGES * RANGE_LENGTH), None);
    }

    #[test]
    fn without_a_place_for_locks_nothing_is_given_out() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error =
            Claim::take_from(&file.path().join("uids"), 0, &BTreeSet::new()).expect_err("no directory");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
}
