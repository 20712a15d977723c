//! Files of a workspace, opened by descriptor beneath its directory; no link is followed and nothing but a regular
//! file is ever read or written (hardening sheet §2.9, way B). User code may change everything here at any moment.

mod list;
mod mime;

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    str::FromStr,
    time::{Duration, SystemTime},
};

use reckon_cage::disk::Meter;
use reckon_protocol::FileEntry;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

pub use list::Listing;
pub use mime::mime_of;

use crate::{error::EngineError, site::Site};

/// The kernel resolves none longer.
const LONGEST_PATH: usize = 4096;
/// How often a lookup is tried again that user code disturbs by renaming.
const TRIES: usize = 16;

/// A path below the workspace: no leading `/`, no `.` or `..`, no empty part, no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// Returns the path as text, parts separated by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RelativePath {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let whole = text.len() < LONGEST_PATH && !text.contains('\0');
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
        if whole && text.split('/').all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            let shown: String = text.chars().take(100).collect();
            Err(EngineError::Path(format!("`{}` is not a path below the workspace", shown.escape_debug())))
        }
    }
}

/// A regular file of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceFile {
    /// Name, size and type.
    pub entry: FileEntry,
    /// When its content last changed.
    pub modified: SystemTime,
}

/// The directory of a workspace on disk.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    directory: PathBuf,
    /// Who must own its files; `u32::MAX` where that is whoever writes them.
    owner: (u32, u32),
    /// Keeps the path to it valid.
    _site: Option<Site>,
}

impl Workspace {
    pub(crate) fn new(directory: PathBuf, owner: (u32, u32), site: Site) -> Self {
        Self { directory, owner, _site: Some(site) }
    }

    /// Returns the workspace in a directory of one's own.
    #[cfg(test)]
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory, owner: (u32::MAX, u32::MAX), _site: None }
    }

    /// Returns the kernel's account of it, where the disk keeps one.
    pub(crate) fn meter(&self) -> Option<Meter> {
        let root = self.root().ok()?;
        Meter::of(root.as_fd()).ok()
    }

    pub(crate) async fn list(&self) -> Result<Listing, EngineError> {
        let workspace = self.clone();
        blocking(move || {
            let root = workspace.root().map_err(|error| file_error("list", ".", error))?;
            Ok(list::list(root.as_fd()))
        })
        .await
    }

    pub(crate) async fn open(
        &self,
        path: &RelativePath,
    ) -> Result<(tokio::fs::File, WorkspaceFile), EngineError> {
        let (workspace, path) = (self.clone(), path.clone());
        let (file, entry) = blocking(move || workspace.open_now(&path)).await?;
        Ok((tokio::fs::File::from_std(file), entry))
    }

    pub(crate) async fn write(&self, path: &RelativePath, bytes: &[u8]) -> Result<(), EngineError> {
        let (workspace, path, bytes) = (self.clone(), path.clone(), bytes.to_vec());
        blocking(move || workspace.write_now(&path, &bytes)).await
    }

    pub(crate) async fn remove(&self, path: &RelativePath) -> Result<(), EngineError> {
        let (workspace, path) = (self.clone(), path.clone());
        blocking(move || workspace.remove_now(&path)).await
    }

    fn open_now(&self, path: &RelativePath) -> Result<(File, WorkspaceFile), EngineError> {
        let act = |error| file_error("open", path.as_str(), error);
        let root = self.root().map_err(act)?;
        // Without blocking: a FIFO must not hang us, and without a terminal becoming ours.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = beneath(root.as_fd(), path.as_str(), flags, Mode::empty()).map_err(act)?;
        let status = rustix::fs::fstat(&file).map_err(act)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(EngineError::Path(format!("`{}` is not a regular file", path.as_str())));
        }
        Ok((File::from(file), describe(path.as_str().to_owned(), &status)))
    }

    fn write_now(&self, path: &RelativePath, bytes: &[u8]) -> Result<(), EngineError> {
        let act = |error| file_error("write", path.as_str(), error);
        let root = self.root().map_err(act)?;
        let (directory, name) = split(path);
        let directory = self.made_directory(root.as_fd(), directory).map_err(act)?;
        // Under another name first: whoever reads sees the old content or the new, and a link at `name` is replaced.
        // User code may put something else under that name meanwhile, which is then its own loss.
        let temporary = format!(".reckon-{}", uuid_like());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&directory, &temporary, flags, Mode::from_raw_mode(0o644)).map_err(act)?;
        let mut file = File::from(file);
        let written = self
            .own(file.as_fd())
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| Ok(rustix::fs::renameat(&directory, &temporary, &directory, name)?));
        written.map_err(|source| {
            let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
            EngineError::File { act: "write", path: path.as_str().to_owned(), source }
        })
    }

    fn remove_now(&self, path: &RelativePath) -> Result<(), EngineError> {
        let act = |error| file_error("remove", path.as_str(), error);
        let root = self.root().map_err(act)?;
        let (directory, name) = split(path);
        let directory = open_directory(root.as_fd(), directory).map_err(act)?;
        rustix::fs::unlinkat(&directory, name, AtFlags::empty()).map_err(act)
    }

    /// Returns a directory, made where it was not. User code that takes it away meanwhile is outrun or given up on.
    fn made_directory(&self, root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
        for _ in 0..TRIES {
            match self.make_directories(root, path).and_then(|()| open_directory(root, path)) {
                Err(Errno::NOENT) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    fn make_directories(&self, root: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
        let mut made = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let parent = open_directory(root, &made)?;
            match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    self.own(rustix::fs::openat(&parent, part, flags, Mode::empty())?.as_fd())?;
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            if !made.is_empty() {
                made.push('/');
            }
            made.push_str(part);
        }
        Ok(())
    }

    fn own(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.owner.0 == u32::MAX {
            return Ok(());
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(self.owner.0), rustix::fs::Gid::from_raw(self.owner.1));
        rustix::fs::fchown(file, Some(uid), Some(gid))
    }

    /// Opens its top directory.
    pub(crate) fn root(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&self.directory, flags, Mode::empty())
    }
}

/// Returns a path's directory, empty for the workspace itself, and its last part.
fn split(path: &RelativePath) -> (&str, &str) {
    path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()))
}

fn open_directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    beneath(root, if path.is_empty() { "." } else { path }, flags, Mode::empty())
}

/// Opens beneath `root` without following any link, whatever user code renames meanwhile.
fn beneath(root: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    for _ in 0..TRIES {
        match rustix::fs::openat2(root, path, flags, mode, resolve) {
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

fn describe(name: String, status: &rustix::fs::Stat) -> WorkspaceFile {
    let mime = mime_of(&name).to_owned();
    let size = u64::try_from(status.st_size).unwrap_or(0);
    let seconds = u64::try_from(status.st_mtime).unwrap_or(0);
    let nanoseconds = u32::try_from(status.st_mtime_nsec).unwrap_or(0);
    let modified = SystemTime::UNIX_EPOCH
        .checked_add(Duration::new(seconds, nanoseconds.min(999_999_999)))
        .unwrap_or(SystemTime::UNIX_EPOCH);
    WorkspaceFile { entry: FileEntry { name, size, mime, url: None }, modified }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(EngineError::Warden(format!("a file task ended: {error}"))),
    }
}

fn file_error(act: &'static str, path: &str, error: Errno) -> EngineError {
    match error {
        // A link, or a way out of the workspace.
        Errno::LOOP | Errno::XDEV => {
            EngineError::Path(format!("`{path}` leads over a link or out of the workspace"))
        }
        // A socket, or a FIFO that nobody holds.
        Errno::NXIO => EngineError::Path(format!("`{path}` is not a regular file")),
        error => EngineError::File { act, path: path.to_owned(), source: error.into() },
    }
}

/// A name that nobody else uses at the same time.
fn uuid_like() -> String {
    reckon_protocol::ExecutionId::new().as_str().to_owned()
}

#[cfg(test)]
mod tests;
