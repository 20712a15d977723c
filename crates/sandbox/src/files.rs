//! Files of a workspace, opened by descriptor beneath its directory; no link is followed and nothing but a regular
//! file is ever opened (hardening sheet §2.9, way B).

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
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::{error::EngineError, site::Site};

/// Files that a listing holds; beyond it the rest is left out.
const LISTED: usize = 10_000;
/// Entries that a listing looks at, so that a tree that grows faster than it is read ends too.
const SEEN: usize = 200_000;
/// Directories deep that a listing goes.
const DEPTH: usize = 32;
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
        let whole = text.len() <= 4096 && !text.contains('\0');
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

    pub(crate) async fn list(&self) -> Result<Vec<WorkspaceFile>, EngineError> {
        let workspace = self.clone();
        blocking(move || workspace.list_now()).await
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

    fn list_now(&self) -> Result<Vec<WorkspaceFile>, EngineError> {
        let root = self.root().map_err(|error| file_error("open", ".", error))?;
        let mut found = Vec::new();
        // Prefix and depth of directories still to be read; each is opened anew beneath the root.
        let mut waiting = vec![(String::new(), 0)];
        let mut left = SEEN;
        while let Some((prefix, depth)) = waiting.pop() {
            let Ok(directory) = open_directory(root.as_fd(), &prefix) else { continue };
            let Ok(entries) = Dir::read_from(&directory) else { continue };
            for entry in entries.filter_map(Result::ok) {
                left = left.saturating_sub(1);
                if left == 0 {
                    waiting.clear();
                    break;
                }
                // A name that is not text cannot be asked for either.
                let Ok(name) = entry.file_name().to_str() else { continue };
                if name == "." || name == ".." {
                    continue;
                }
                let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
                let Ok(status) = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
                    continue;
                };
                match FileType::from_raw_mode(status.st_mode) {
                    FileType::Directory if depth < DEPTH => waiting.push((path, depth + 1)),
                    FileType::RegularFile if found.len() < LISTED => found.push(describe(path, &status)),
                    _ => {}
                }
            }
        }
        found.sort_by(|one, other| one.entry.name.cmp(&other.entry.name));
        Ok(found)
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
        let (directory, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        self.make_directories(root.as_fd(), directory).map_err(act)?;
        let directory = open_directory(root.as_fd(), directory).map_err(act)?;
        // Under another name first: whoever reads sees the old content or the new, and a link at `name` is replaced.
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

/// Returns the media type of a file by its extension; contents are never looked at.
pub fn mime_of(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref().unwrap_or("") {
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "txt" | "log" | "dat" => "text/plain",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "xml" => "application/xml",
        "py" => "text/x-python",
        "ipynb" => "application/x-ipynb+json",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xls" => "application/vnd.ms-excel",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "parquet" => "application/vnd.apache.parquet",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "mp4" => "video/mp4",
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        _ => "application/octet-stream",
    }
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
        error => EngineError::File { act, path: path.to_owned(), source: error.into() },
    }
}

/// A name that nobody else uses at the same time.
fn uuid_like() -> String {
    reckon_protocol::ExecutionId::new().as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let workspace = Workspace::at(directory.path().to_owned());
        (directory, workspace)
    }

    fn path(text: &str) -> RelativePath {
        text.parse().expect("a path")
    }

    #[test]
    fn paths_that_leave_the_workspace_are_none() {
        for text in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", ".", "a\0b", &"x".repeat(5000)] {
            assert!(text.parse::<RelativePath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_is_written_listed_and_read() {
        let (_directory, workspace) = workspace();
        workspace.write_now(&path("deep/er/data.csv"), b"a,b\n").expect("write");
        let listed = workspace.list_now().expect("list");
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].entry.name.as_str(), listed[0].entry.size), ("deep/er/data.csv", 4));
        assert_eq!(listed[0].entry.mime, "text/csv");
        let (file, _) = workspace.open_now(&path("deep/er/data.csv")).expect("open");
        assert_eq!(std::io::read_to_string(file).expect("read"), "a,b\n");
    }

    #[test]
    fn links_are_neither_followed_nor_written_through() {
        let (directory, workspace) = workspace();
        let outside = tempfile::NamedTempFile::new().expect("a file");
        std::os::unix::fs::symlink(outside.path(), directory.path().join("link")).expect("symlink");
        std::os::unix::fs::symlink("/etc", directory.path().join("etc")).expect("symlink");
        assert!(matches!(workspace.open_now(&path("link")), Err(EngineError::Path(_))));
        assert!(workspace.open_now(&path("etc/passwd")).is_err());
        assert!(workspace.write_now(&path("etc/evil"), b"x").is_err());
        workspace.write_now(&path("link"), b"replaced").expect("write");
        assert_eq!(std::fs::read(outside.path()).expect("read"), b"");
        assert!(workspace.list_now().expect("list").iter().any(|file| file.entry.name == "link"));
    }

    #[test]
    fn a_fifo_is_refused_without_waiting() {
        let (directory, workspace) = workspace();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o644), 0)
            .expect("mkfifo");
        assert!(matches!(workspace.open_now(&path("fifo")), Err(EngineError::Path(_))));
    }
}
