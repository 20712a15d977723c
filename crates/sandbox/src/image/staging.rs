//! A directory is either whole or not there: one builder at a time by a lock that
//! the kernel drops with its last holder, a staging directory, one rename.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::error::ImageError;

/// Staging directories start with this; without the lock being held, such a
/// directory is what a dead builder left.
const PREFIX: &str = ".building-";

/// How often a waiting builder asks for the lock: a build takes seconds.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// How long removal may be retried while killed processes are still on their way out.
const REMOVE_TRIES: u32 = 200;

/// The right to build in a directory.
#[derive(Debug)]
pub(super) struct BuildLock {
    directory: PathBuf,
    file: File,
}

impl BuildLock {
    /// Waits for the right to build in a directory, which is created if need be;
    /// `waiting` is called once if another process has it.
    pub(super) async fn acquire(directory: &Path, waiting: impl FnOnce() + Send) -> Result<Self, ImageError> {
        let mut waiting = Some(waiting);
        loop {
            if let Some(lock) = Self::try_acquire(directory)? {
                return Ok(lock);
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// Takes the right to build in a directory, if nobody has it.
    pub(super) fn try_acquire(directory: &Path) -> Result<Option<Self>, ImageError> {
        fs::create_dir_all(directory).map_err(ImageError::io("create", directory))?;
        let path = directory.join(".lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(ImageError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { directory: directory.to_owned(), file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(ImageError::io("lock", path)(source)),
        }
    }

    /// Removes what dead builders left.
    pub(super) fn sweep(&self) -> Result<(), ImageError> {
        let read = ImageError::io("read", &self.directory);
        for entry in fs::read_dir(&self.directory).map_err(read)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                remove(&entry.path()).map_err(ImageError::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    /// Returns the lock as a child's standard input. A child that outlives a killed
    /// builder keeps the lock by it, so that nobody sweeps what it still writes.
    pub(super) fn as_stdin(&self) -> Result<Stdio, ImageError> {
        let clone = self.file.try_clone();
        Ok(clone.map_err(ImageError::io("clone the lock of", &self.directory))?.into())
    }

    /// Makes an empty staging directory.
    pub(super) fn stage(&self) -> Result<Staging, ImageError> {
        let root = self.directory.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&root).map_err(ImageError::io("create", &root))?;
        let staging = Staging { root };
        for directory in [staging.content(), staging.scratch()] {
            fs::create_dir(&directory).map_err(ImageError::io("create", directory))?;
        }
        Ok(staging)
    }
}

/// A directory in the making; dropping it removes it with all that is in it.
#[derive(Debug)]
pub(super) struct Staging {
    root: PathBuf,
}

impl Staging {
    /// What will be moved to its place.
    pub(super) fn content(&self) -> PathBuf {
        self.root.join("content")
    }

    /// A place for what children leave behind, such as a HOME.
    pub(super) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Moves the content to its place at once; what stood there goes.
    pub(super) fn publish(self, place: &Path) -> Result<(), ImageError> {
        if place.exists() {
            let old = self.root.join("old");
            fs::rename(place, &old).map_err(ImageError::io("move away", place))?;
        }
        fs::rename(self.content(), place).map_err(ImageError::io("move into place", place))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now, the next builder sweeps.
        if let Err(error) = remove(&self.root) {
            tracing::warn!(path = %self.root.display(), %error, "a staging directory remains");
        }
    }
}

/// Removes a directory, also while killed processes are ending in it.
fn remove(directory: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty && tries < REMOVE_TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_swept_and_images_stay() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join(".building-1/content/env")).unwrap();
        fs::create_dir_all(directory.path().join("core-abc")).unwrap();
        let lock = BuildLock::try_acquire(directory.path()).unwrap().unwrap();
        assert!(BuildLock::try_acquire(directory.path()).unwrap().is_none());
        lock.sweep().unwrap();
        assert!(!directory.path().join(".building-1").exists());
        assert!(directory.path().join("core-abc").exists());
    }

    #[test]
    fn a_child_that_survives_its_builder_keeps_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let lock = BuildLock::try_acquire(directory.path()).unwrap().unwrap();
        let mut child =
            std::process::Command::new("sleep").arg("600").stdin(lock.as_stdin().unwrap()).spawn().unwrap();
        drop(lock);
        assert!(BuildLock::try_acquire(directory.path()).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(BuildLock::try_acquire(directory.path()).unwrap().is_some());
    }

    #[test]
    fn publishing_replaces_and_dropping_removes() {
        let directory = tempfile::tempdir().unwrap();
        let lock = BuildLock::try_acquire(directory.path()).unwrap().unwrap();
        let place = directory.path().join("core-abc");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("old"), "").unwrap();
        let staging = lock.stage().unwrap();
        fs::write(staging.content().join("new"), "").unwrap();
        staging.publish(&place).unwrap();
        assert!(place.join("new").exists() && !place.join("old").exists());

        drop(lock.stage().unwrap());
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
