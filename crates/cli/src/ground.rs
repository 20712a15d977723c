//! The directory that an engine works in, locked so that no two share it. That of a command is
//! removed at its end; what a killed command left is removed by the next one, since its lock is free.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use reckon_protocol::SessionId;
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::failure::Hinted;

/// The name of the lock, in the parent and in each directory.
const LOCK: &str = ".lock";

/// A directory in use by this process.
#[derive(Debug)]
pub(crate) struct Ground {
    path: PathBuf,
    end: End,
    /// Held while the directory is in use; the kernel lets it go with the process.
    _lock: File,
}

/// What becomes of the directory.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Stays,
    Removed,
}

impl Ground {
    /// Takes the directory of a server, which stays.
    pub(crate) fn of_server(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        let lock = lock(&path.join(LOCK), FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let hint = "name another directory with --data, or end that server";
            error.context(Hinted::new(format!("another server works in {}", path.display()), hint))
        })?;
        Ok(Self { path: path.to_owned(), end: End::Stays, _lock: lock })
    }

    /// Sweeps `parent` and makes a new directory in it, which is removed with this value.
    pub(crate) fn of_command(parent: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        check_owner(parent)?;
        // Held while sweeping and creating, so that nobody sweeps what is not locked yet.
        let _turn = lock(&parent.join(LOCK), FlockOperation::LockExclusive)?;
        sweep(parent);
        let path = parent.join(SessionId::new().as_str());
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        let lock = lock(&path.join(LOCK), FlockOperation::LockExclusive)?;
        Ok(Self { path, end: End::Removed, _lock: lock })
    }

    /// Returns the directory for the engine.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.end == End::Removed {
            // What cannot be removed now is swept by the next command.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Refuses a directory that somebody else has made: what is swept there, and what locks are opened, would be theirs.
fn check_owner(parent: &Path) -> anyhow::Result<()> {
    let found = fs::symlink_metadata(parent).with_context(|| format!("look at {}", parent.display()))?;
    if found.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let hint = "name another directory with --data".to_owned();
    Err(Hinted::new(format!("{} belongs to uid {}", parent.display(), found.uid()), hint).into())
}

fn lock(path: &Path, operation: FlockOperation) -> anyhow::Result<File> {
    // No link: root may come to a directory that its server has given away.
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = File::options().create(true).truncate(false).write(true).custom_flags(flags).open(path);
    let file = file.with_context(|| format!("create {}", path.display()))?;
    flock(&file, operation).with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// Removes the directories whose owner is dead. What refuses is left for another time.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    for path in entries.flatten().filter(is_directory).map(|entry| entry.path()) {
        if lock(&path.join(LOCK), FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_swept_and_the_living_are_not() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let living = Ground::of_command(parent.path()).expect("created");
        let dead = parent.path().join("ses_dead");
        fs::create_dir(&dead).expect("created");
        fs::write(dead.join("left"), "x").expect("written");

        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        std::os::unix::fs::symlink(elsewhere.path(), parent.path().join("ses_link")).expect("linked");

        let other = Ground::of_command(parent.path()).expect("created");
        assert!(!dead.exists());
        assert_eq!(fs::read_dir(elsewhere.path()).expect("read").count(), 0);
        assert!(living.path().exists() && other.path().exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }

    #[test]
    fn no_lock_is_opened_through_a_link_and_no_directory_of_others_is_used() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("victim");
        std::os::unix::fs::symlink(&victim, dir.path().join(LOCK)).expect("linked");
        Ground::of_server(dir.path()).expect_err("a link");
        assert!(!victim.exists());
        let foreign =
            if rustix::process::geteuid().is_root() { dir.path().join("foreign") } else { "/".into() };
        if foreign != Path::new("/") {
            fs::create_dir(&foreign).expect("created");
            std::os::unix::fs::chown(&foreign, Some(7), None).expect("given away");
        }
        check_owner(&foreign).expect_err("somebody else's");
        check_owner(dir.path()).expect("its own");
    }

    #[test]
    fn two_servers_do_not_share_a_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = Ground::of_server(dir.path()).expect("taken");
        let error = Ground::of_server(dir.path()).expect_err("refused");
        assert!(error.to_string().contains("another server"), "{error}");
        drop(first);
        Ground::of_server(dir.path()).expect("free again, and still there");
    }
}
