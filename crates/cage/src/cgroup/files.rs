//! Reading and writing the kernel's interface files: one open, one read or write each, nothing created.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::CgroupError;

/// Writes a value by exactly one `write`, as interface files require.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let refused =
        |source: io::Error| CgroupError::Write { path: path.to_owned(), value: value.to_owned(), source };
    let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| refused(errno.into()))?;
    rustix::io::write(&fd, value.as_bytes()).map_err(|errno| refused(errno.into()))?;
    Ok(())
}

/// Returns a file's text.
pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    std::fs::read_to_string(path).map_err(|source| CgroupError::io("read", path, source))
}

/// Returns a file's text, or nothing where the file or its controller does not exist.
pub(super) fn read_if_present(path: &Path) -> Result<Option<String>, CgroupError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CgroupError::io("read", path, source)),
    }
}

/// Returns the number that a file consists of.
pub(super) fn read_number(path: &Path) -> Result<u64, CgroupError> {
    let text = read(path)?;
    text.trim().parse().map_err(|_| CgroupError::Parse { path: path.to_owned(), what: "number" })
}

/// Returns the number behind `key` in lines of `key number`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Opens a file for reading or writing, closed on exec.
pub(super) fn open(path: &Path, access: OFlags) -> Result<OwnedFd, CgroupError> {
    rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| CgroupError::io("open", path, errno))
}

/// Tells whether we may write to a file or make directories in a directory, by effective identity.
pub(super) fn writable(path: &Path) -> Result<(), io::Error> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).map_err(io::Error::from)
}

/// Makes a directory; one that exists already is taken over (its name carries our mark).
pub(super) fn make_directory(path: &Path) -> Result<(), CgroupError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(CgroupError::io("mkdir", path, errno)),
    }
}

/// Returns the names of the directories in a directory; none where it does not exist.
pub(super) fn directories(path: &Path) -> Result<Vec<String>, CgroupError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(CgroupError::io("list", path, source)),
    };
    Ok(entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

/// Returns the processes listed in `cgroup.procs`; zero stands for those outside our pid namespace.
pub(super) fn processes(directory: &Path) -> Result<Vec<i32>, CgroupError> {
    let path = directory.join("cgroup.procs");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect()),
        // ENODEV: the group was removed between the open and the read.
        Err(error) if gone(&error) => Ok(Vec::new()),
        Err(source) => Err(CgroupError::io("read", path, source)),
    }
}

/// Tells whether an error means that the group does not exist any more.
pub(super) fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_takes_whole_keys_only() {
        let text = "oom 1\noom_kill 7\noom_group_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), Some(7));
        assert_eq!(keyed(text, "oom"), Some(1));
        assert_eq!(keyed(text, "max"), None);
    }

    #[test]
    fn nothing_is_created_by_a_write() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("memory.max");
        assert!(write(&path, "1").is_err());
        assert!(!path.exists());
    }
}
