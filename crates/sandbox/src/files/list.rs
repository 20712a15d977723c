//! The list of a workspace's files. The tree is user code's work and may grow while it is read, so everything that is
//! looked at or kept is bounded, and what is left out is said.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, FileType};

use super::{LONGEST_PATH, WorkspaceFile, describe, open_directory};

/// Files that a listing holds.
const LISTED: usize = 10_000;
/// Entries that a listing looks at, so that a tree that grows faster than it is read ends too.
const SEEN: usize = 200_000;
/// Directories deep that a listing goes.
const DEPTH: usize = 32;
/// Bytes of paths that a listing keeps: ten thousand files with names of honest length, and not gigabytes of others.
const TEXT: usize = 8 * 1024 * 1024;

/// The regular files of a workspace, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The files.
    pub files: Vec<WorkspaceFile>,
    /// What people should know when files are missing in it.
    pub notice: Option<String>,
}

/// What is left out of a listing.
#[derive(Default)]
struct LeftOut {
    cut: bool,
    nameless: usize,
}

/// Lists what is beneath `root`.
pub(super) fn list(root: BorrowedFd<'_>) -> Listing {
    let mut files = Vec::new();
    let mut left_out = LeftOut::default();
    // Prefix and depth of directories still to be read; each is opened anew beneath the root.
    let mut waiting = vec![(String::new(), 0)];
    let (mut seen, mut text) = (0, 0);
    'tree: while let Some((prefix, depth)) = waiting.pop() {
        // Gone, or closed to us: whoever reads a tree that changes sees some of it.
        let Ok(directory) = open_directory(root, &prefix) else { continue };
        let Ok(entries) = Dir::read_from(&directory) else { continue };
        for entry in entries.filter_map(Result::ok) {
            seen += 1;
            if seen > SEEN {
                left_out.cut = true;
                break 'tree;
            }
            if entry.file_name() == c"." || entry.file_name() == c".." {
                continue;
            }
            let Ok(status) = rustix::fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            else {
                continue;
            };
            let kind = FileType::from_raw_mode(status.st_mode);
            if kind != FileType::Directory && kind != FileType::RegularFile {
                continue;
            }
            // A name that is not text cannot be asked for either.
            let Ok(name) = entry.file_name().to_str() else {
                left_out.nameless += 1;
                continue;
            };
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            text += path.len();
            let fits = path.len() < LONGEST_PATH && text <= TEXT;
            match kind {
                FileType::Directory if fits && depth < DEPTH => waiting.push((path, depth + 1)),
                FileType::RegularFile if fits && files.len() < LISTED => files.push(describe(path, &status)),
                _ => left_out.cut = true,
            }
        }
        text -= prefix.len();
    }
    files.sort_by(|one, other| one.entry.name.cmp(&other.entry.name));
    Listing { notice: left_out.say(files.len()), files }
}

impl LeftOut {
    fn say(&self, listed: usize) -> Option<String> {
        let mut words = Vec::new();
        if self.cut {
            words.push(format!(
                "The list holds {listed} files and is cut: it goes up to {LISTED} files, {SEEN} entries and \
                 {DEPTH} directories deep."
            ));
        }
        if self.nameless > 0 {
            words.push(format!("{} names are not UTF-8 and are left out.", self.nameless));
        }
        (!words.is_empty()).then(|| words.join(" "))
    }
}
