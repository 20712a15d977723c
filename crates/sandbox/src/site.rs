//! Where the directories of sandboxes are, as this process reaches them: below a path of the host, or on the disk that
//! only the warden has mounted, through a descriptor that it passed.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The directory that holds the sandboxes' directories. Whoever keeps a path made from it keeps this too: the number
/// in it means another file once the descriptor is closed.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    path: PathBuf,
    disk: Option<Arc<OwnedFd>>,
}

impl Site {
    /// Returns the directory at `path` of the host, or else the top of the disk.
    pub(crate) fn new(path: PathBuf, disk: Option<OwnedFd>) -> Self {
        match disk {
            Some(disk) => {
                let path = PathBuf::from(format!("/proc/self/fd/{}", disk.as_raw_fd()));
                Self { path, disk: Some(Arc::new(disk)) }
            }
            None => Self { path, disk: None },
        }
    }

    /// Returns the path of this process to it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether it is on the disk, where the warden makes each workspace with a quota of its own.
    pub(crate) fn is_disk(&self) -> bool {
        self.disk.is_some()
    }
}
