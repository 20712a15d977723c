//! The disk of workspaces: one btrfs in a sparse file for all sandboxes of a data directory, and in it a subvolume with
//! a quota for each (ADR 0005). It is mounted in the warden's own mount namespace, so that it ends with the warden and
//! with the last descriptor that leads into it. Only the host's root can have it; what takes its place is the engine's.

mod backing;
mod meter;

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags},
};

use crate::{
    account::Account,
    error::{Error, Named},
    message::DiskConfig,
    sys::{self, BtrfsAct},
};
pub use meter::Meter;

/// What freed space costs: holes are punched into the backing file with the commit that frees it, every five seconds
/// at most, so that a deleted sandbox gives its space back soon.
/// A server that has given up root removes the subvolumes that its account owns.
const OPTIONS: &CStr = c"discard,commit=5,user_subvol_rm_allowed";
/// How often a device is tried that the kernel takes away just then.
const TRIES: usize = 3;
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The file system of workspaces, mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    root: OwnedFd,
}

impl Disk {
    /// Opens the disk, or makes it, and mounts it at `workspaces` where only this process and its children see it.
    /// Mounted as workspaces are, `flags`. Its top belongs to the server's account, which makes and removes the directories of sandboxes in it.
    pub(crate) fn open(
        config: &DiskConfig,
        workspaces: &Path,
        flags: MountFlags,
        account: Option<Account>,
    ) -> Result<Self, Error> {
        let backing = backing::open(config)?;
        sys::unshare(sys::namespace::MOUNT).named("unshare(CLONE_NEWNS)")?;
        // What the operator mounts later is still seen; what is mounted here is seen nowhere else.
        let change = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", change).named("make all mounts follow the host's")?;
        mount(&backing, workspaces, flags | MountFlags::NOATIME)?;
        let root = rustix::fs::open(workspaces, OFlags::RDONLY | DIRECTORY, Mode::empty())
            .named(&format!("open {}", workspaces.display()))?;
        sys::btrfs(root.as_fd(), BtrfsAct::Resize, c"max").named("resize the disk")?;
        sys::btrfs_enable_quota(root.as_fd()).named("enable quotas")?;
        // Passed by whom the directory above lets pass, as without a disk.
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o711)).named("chmod the disk")?;
        if let Some(account) = account {
            give(root.as_fd(), account).named("chown the disk")?;
        }
        Ok(Self { root })
    }

    /// Returns its top directory, for the engine.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Makes the files of a workspace, whose directory exists, if they are not there yet, and limits them.
    pub(crate) fn settle(&self, workspace: &str, owner: Option<Account>, bytes: u64) -> Result<(), Error> {
        let home = open_beneath(self.root(), workspace)?;
        let files = match rustix::fs::openat(&home, "files", OFlags::RDONLY | DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {
                sys::btrfs(home.as_fd(), BtrfsAct::CreateSubvolume, c"files").named("make a subvolume")?;
                let files = open_beneath(home.as_fd(), "files")?;
                rustix::fs::fchmod(&files, Mode::from_raw_mode(0o755)).named("chmod a workspace")?;
                if let Some(owner) = owner {
                    give(files.as_fd(), owner).named("chown a workspace")?;
                }
                files
            }
            opened => opened.named("open a workspace")?,
        };
        sys::btrfs_limit(files.as_fd(), bytes).named("limit a workspace")
    }
}

fn give(file: BorrowedFd<'_>, owner: Account) -> rustix::io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    rustix::fs::fchown(file, Some(uid), Some(gid))
}

/// Removes the subvolume `name` of a directory, whatever it holds. Needs to own the subvolume or the right to
/// administer the file system; without it the directory can still be emptied and removed as any other.
pub fn destroy(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    sys::btrfs(directory, BtrfsAct::DestroySubvolume, name)
}

fn mount(backing: &OwnedFd, target: &Path, flags: MountFlags) -> Result<(), Error> {
    let mut tries = TRIES;
    loop {
        // Held until the mount holds it: the kernel clears a device that nobody has open.
        let device = backing::device(backing)?;
        let mounted = rustix::mount::mount(&device.path, target, "btrfs", flags, Some(OPTIONS));
        tries -= 1;
        match mounted {
            // One that still showed the file to rooms of a dead warden, and went with them.
            Err(Errno::NXIO | Errno::BUSY | Errno::INVAL) if tries > 0 => {}
            Err(Errno::NODEV) => {
                return Err(Error::Refused {
                    what: "this kernel has no btrfs".into(),
                    mend: "load it with `modprobe btrfs`".into(),
                });
            }
            result => return result.named(&format!("mount {} as btrfs", device.path.display())),
        }
    }
}

fn open_beneath(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Error> {
    let path = CString::new(name).map_err(io::Error::from).named("name a workspace")?;
    rustix::fs::openat(directory, path, OFlags::RDONLY | DIRECTORY, Mode::empty())
        .named(&format!("open the workspace {name}"))
}

/// Returns the bytes that are free on the file system of a directory.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let directory = rustix::fs::openat(CWD, directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let status = rustix::fs::fstatvfs(directory)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}
