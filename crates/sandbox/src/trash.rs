//! Removing the directories of sandboxes that are gone: renamed out of the way at once, taken apart in the background.
//! The tree is user code's work, so nothing here recurses, follows a link or builds a path from it.

use std::{
    ffi::{CStr, CString},
    fs::DirBuilder,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{error::EngineError, lock::lock, site::Site};

/// Its name on the disk, beside the sandboxes.
const OF_DISK: &str = ".trash";

/// The workspace in the directory of a sandbox.
const FILES: &CStr = c"files";

/// How often a removal is tried; what is left then is removed at the next start.
const TRIES: usize = 5;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);

/// The place where directories wait for their removal.
#[derive(Debug)]
pub(crate) struct Trash {
    directory: PathBuf,
    /// Keeps the path to it valid.
    _site: Site,
    count: AtomicU64,
    work: Mutex<Option<(mpsc::UnboundedSender<PathBuf>, JoinHandle<()>)>>,
}

impl Trash {
    /// Opens the place, and puts there what a server that was killed left: directories of anonymous sandboxes.
    /// `sandboxes` is where they are on the host, where a server without a disk had them.
    pub(crate) fn start(data_dir: &Path, sandboxes: &Path, site: &Site) -> Result<Self, EngineError> {
        // On the file system of the sandboxes, or nothing could be renamed into it.
        let on_host = data_dir.join("trash");
        let directory = if site.is_disk() { site.path().join(OF_DISK) } else { on_host.clone() };
        let act = |source| EngineError::Io { act: format!("make {}", directory.display()), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(act)?;
        // One path per deleted sandbox, so the queue is bounded by what was made.
        let (sender, receiver) = mpsc::unbounded_channel();
        let worker = tokio::spawn(remove_all(receiver));
        let covered: &[&Path] = if site.is_disk() { &[sandboxes, &on_host] } else { &[] };
        for place in covered.iter().chain([&directory.as_path()]) {
            for left in std::fs::read_dir(place).into_iter().flatten().flatten() {
                let _ = sender.send(left.path());
            }
        }
        let trash = Self {
            count: AtomicU64::new(0),
            work: Mutex::new(Some((sender, worker))),
            directory,
            _site: site.clone(),
        };
        let left = std::fs::read_dir(site.path()).into_iter().flatten().flatten();
        for left in left.filter(|left| left.file_name() != OF_DISK) {
            trash.discard(&left.path())?;
        }
        Ok(trash)
    }

    /// Returns a guard of a sandbox's directory.
    pub(crate) fn nest(self: &Arc<Self>, path: PathBuf) -> Nest {
        Nest { path, trash: Arc::clone(self) }
    }

    /// Moves a directory out of the way; it is removed in the background.
    pub(crate) fn discard(&self, path: &Path) -> Result<(), EngineError> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let name =
            format!("{}-{number}-{}", std::process::id(), path.file_name().unwrap_or_default().display());
        let target = self.directory.join(name);
        match std::fs::rename(path, &target) {
            Ok(()) => {
                let work = lock(&self.work);
                if let Some((sender, _)) = &*work {
                    let _ = sender.send(target);
                }
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(EngineError::Io { act: format!("discard {}", path.display()), source }),
        }
    }

    /// Waits until everything is removed.
    pub(crate) async fn stop(&self) {
        let work = lock(&self.work).take();
        if let Some((sender, worker)) = work {
            drop(sender);
            let _ = worker.await;
        }
    }
}

/// The directory of a live sandbox: discarded when this is dropped, however its sandbox ends.
#[derive(Debug)]
pub(crate) struct Nest {
    path: PathBuf,
    trash: Arc<Trash>,
}

impl Drop for Nest {
    fn drop(&mut self) {
        if let Err(error) = self.trash.discard(&self.path) {
            tracing::warn!(%error, "discard the directory of a sandbox");
        }
    }
}

async fn remove_all(mut waiting: mpsc::UnboundedReceiver<PathBuf>) {
    while let Some(path) = waiting.recv().await {
        for last in (0..TRIES).rev().map(|left| left == 0) {
            let place = path.clone();
            match tokio::task::spawn_blocking(move || remove_one(&place)).await {
                Ok(Err(error)) if last => {
                    tracing::warn!(path = %path.display(), %error, "remove the directory of a sandbox");
                }
                // A caller who was writing a file into it when it was deleted still holds it open.
                Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                Ok(Ok(())) | Err(_) => break,
            }
        }
    }
}

/// Removes the directory of a sandbox. On the disk its files are a subvolume, which the kernel removes whole and at once
/// for whoever may administer the disk; for others, and elsewhere, it is a tree like any other.
fn remove_one(path: &Path) -> Result<(), Errno> {
    let destroyed = open(CWD, path).is_ok_and(|top| reckon_cage::disk::destroy(top.as_fd(), FILES).is_ok());
    if !destroyed {
        // By itself: nothing can be renamed out of a subvolume.
        let _ = remove(&path.join("files"));
    }
    remove(path)
}

/// Removes a tree of any depth with two descriptors: directories found inside are first moved up to its top.
fn remove(path: &Path) -> Result<(), Errno> {
    let top = open(CWD, path)?;
    let mut moved = 0_u64;
    loop {
        let mut directories = Vec::new();
        empty(top.as_fd(), |name| directories.push(name))?;
        if directories.is_empty() {
            break;
        }
        for name in directories {
            let directory = open(top.as_fd(), &name)?;
            let mut inner = Vec::new();
            empty(directory.as_fd(), |name| inner.push(name))?;
            for name in inner {
                // A directory that moves is written to: its `..` changes.
                open(directory.as_fd(), &name)?;
                loop {
                    moved += 1;
                    let flags = rustix::fs::RenameFlags::NOREPLACE;
                    match rustix::fs::renameat_with(&directory, &name, &top, format!("{moved}"), flags) {
                        Err(Errno::EXIST) => {}
                        result => break result?,
                    }
                }
            }
            rustix::fs::unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)
}

/// Unlinks everything in a directory that is no directory, and tells the names of those that are.
fn empty(directory: BorrowedFd<'_>, mut found: impl FnMut(CString)) -> Result<(), Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let status = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            found(name.to_owned());
        } else {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Opens a directory, taking back the rights on it that user code may have given away. The mode is changed through a
/// descriptor: whatever the name has become meanwhile, nothing but a directory in this place is touched.
fn open(parent: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let seen = rustix::fs::openat(&parent, name, flags | OFlags::PATH, Mode::empty())?;
    rustix::fs::chmod(format!("/proc/self/fd/{}", seen.as_raw_fd()), Mode::from_raw_mode(0o700))?;
    rustix::fs::openat(&seen, ".", flags | OFlags::RDONLY, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let path = parent.path().join("deep");
        std::fs::create_dir(&path).expect("mkdir");
        let mut inner = open(CWD, &path).expect("open");
        for _ in 0..3000 {
            rustix::fs::mkdirat(&inner, "directory-with-a-name", Mode::from_raw_mode(0o755)).expect("mkdir");
            inner = open(inner.as_fd(), "directory-with-a-name").expect("open");
        }
        std::os::unix::fs::symlink("/etc/passwd", path.join("link")).expect("symlink");
        rustix::fs::fchmod(&inner, Mode::empty()).expect("chmod");
        remove(&path).expect("remove");
        assert!(!path.exists());
        assert!(Path::new("/etc/passwd").exists());
    }
}
