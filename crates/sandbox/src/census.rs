//! Counting what a tree of files takes, however user code has built it: without recursion, without following links,
//! and with no more descriptors than directories that wait to be read.

use std::{
    ffi::CString,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use crate::files::Workspace;

/// Directories above that are held open at once. A tree in which more of them branch counts as endless.
const OPEN: usize = 512;
/// In what `st_blocks` counts.
const BLOCK: u64 = 512;

/// Bytes on disk and number of files, directories among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// Counts a workspace, up to what is allowed and a little beyond; `None` when it cannot be opened.
pub(crate) fn of(workspace: &Workspace, allowed: Census) -> Option<Census> {
    let root = Arc::new(workspace.root().ok()?);
    let mut census = Census::default();
    let mut waiting = vec![(Arc::clone(&root), CString::from(c"."))];
    let mut held: Vec<std::sync::Weak<OwnedFd>> = Vec::new();
    drop(root);
    while let Some((parent, name)) = waiting.pop() {
        let Ok(directory) = open(&parent, &name).map(Arc::new) else { continue };
        drop(parent);
        let branches = waiting.len();
        if count_one(&directory, &mut census, &mut waiting).is_err() {
            continue;
        }
        if census.bytes > allowed.bytes || census.inodes > allowed.inodes {
            return Some(census);
        }
        if waiting.len() > branches {
            held.retain(|fd| fd.strong_count() > 0);
            held.push(Arc::downgrade(&directory));
            if held.len() > OPEN {
                return Some(Census { bytes: u64::MAX, inodes: u64::MAX });
            }
        }
    }
    Some(census)
}

/// Opens a directory, also one that user code has closed to its owner, who is this process where it is not root.
fn open(parent: &Arc<OwnedFd>, name: &CString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => {}
        result => return result,
    }
    // Through a descriptor: whatever the name has become, nothing but this directory is touched.
    let seen = rustix::fs::openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
    let closed = Mode::from_raw_mode(rustix::fs::fstat(&seen)?.st_mode);
    let path = format!("/proc/self/fd/{}", seen.as_raw_fd());
    rustix::fs::chmod(&path, closed | Mode::RWXU)?;
    let opened = rustix::fs::openat(&seen, ".", flags | OFlags::RDONLY, Mode::empty());
    rustix::fs::chmod(&path, closed)?;
    opened
}

/// Counts the entries of one directory, and puts those that are directories among the waiting.
fn count_one(
    directory: &Arc<OwnedFd>,
    census: &mut Census,
    waiting: &mut Vec<(Arc<OwnedFd>, CString)>,
) -> Result<(), Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // It may be gone by now.
        let Ok(status) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        census.inodes += 1;
        let blocks = u64::try_from(status.st_blocks).unwrap_or(0);
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            census.bytes += blocks * BLOCK;
            waiting.push((Arc::clone(directory), name.to_owned()));
        } else {
            // A file of several names is all of one workspace's, so its parts add up to one.
            census.bytes += blocks * BLOCK / u64::from(status.st_nlink.max(1) as u32);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Census = Census { bytes: u64::MAX - 1, inodes: u64::MAX - 1 };

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let workspace = Workspace::at(directory.path().to_owned());
        (directory, workspace)
    }

    #[test]
    fn holes_and_second_names_are_not_counted_and_links_are_not_followed() {
        let (directory, workspace) = workspace();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("full"), vec![1; 1 << 20]).expect("write");
        std::fs::hard_link(path("full"), path("again")).expect("link");
        std::fs::File::create(path("sparse")).and_then(|file| file.set_len(1 << 30)).expect("sparse");
        std::os::unix::fs::symlink("/usr", path("away")).expect("symlink");
        let census = of(&workspace, ALL).expect("counted");
        assert_eq!(census.inodes, 4);
        assert!(census.bytes >= 1 << 20 && census.bytes < (1 << 20) + (1 << 18), "{census:?}");
    }

    #[test]
    fn a_deep_tree_is_counted_and_one_that_branches_too_deep_is_endless() {
        let (directory, workspace) = workspace();
        let build = |branches: bool| {
            let mut inner = workspace.root().expect("open");
            for _ in 0..600 {
                let mode = Mode::from_raw_mode(0o755);
                // Which of the two is read first is the file system's choice; both lead on.
                for name in if branches { &["a", "b"][..] } else { &["a"][..] } {
                    match rustix::fs::mkdirat(&inner, *name, mode) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => panic!("mkdir: {error}"),
                    }
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                inner = rustix::fs::openat(&inner, "a", flags, Mode::empty()).expect("open");
            }
        };
        build(false);
        assert_eq!(of(&workspace, ALL).expect("counted").inodes, 600);
        build(true);
        let census = of(&workspace, ALL).expect("counted");
        // Read in the one order each level waits with its brother, in the other none does.
        assert!(census.inodes == 1200 || census.inodes == u64::MAX, "{census:?}");
        drop(directory);
    }

    #[test]
    fn counting_ends_soon_beyond_what_is_allowed() {
        let (directory, workspace) = workspace();
        for number in 0..50 {
            let inner = directory.path().join(format!("{number}"));
            std::fs::create_dir(&inner).expect("mkdir");
            (0..10).for_each(|name| std::fs::write(inner.join(format!("{name}")), b"").expect("write"));
        }
        let census = of(&workspace, Census { inodes: 60, ..ALL }).expect("counted");
        assert!(census.inodes > 60 && census.inodes < 100, "{census:?}");
    }
}
