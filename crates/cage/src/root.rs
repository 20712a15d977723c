//! The root that the zygote and every room see: a small read-only tmpfs with the image's directories bound by list.
//! Built in a fresh mount namespace before any tenant byte exists; rooms copy it and mount only what is theirs.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
        OpenTreeFlags, UnmountFlags,
    },
};

use crate::{
    error::{Error, Named},
    message::{Visible, WardenConfig},
    refusal,
    sys::{self, MountChange},
};

/// Where the workspace appears.
pub(crate) const WORKSPACE: &str = "/workspace";
/// HOME of user code: not the workspace, so that dot files are not user files.
pub(crate) const HOME: &str = "/home/sandbox";
/// Reckon's own files inside.
pub(crate) const OWN: &str = "/run/reckon";
/// A directory that every host has and that anybody may pass; the new root is mounted over it, in a mount namespace
/// of its own, until it becomes the root.
const STAGE: &str = "/tmp";
/// The root tmpfs holds directories, links and our few files.
const ROOT_SIZE: &str = "size=16m,mode=0755";

/// What the zygote's imports may write, caches of fonts for example.
const SCRATCH_SIZE: &str = "size=64m,mode=1777";

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A part of the host, detached and ready to be attached inside.
#[derive(Debug)]
pub(crate) struct Detached {
    target: PathBuf,
    directory: bool,
    mount: OwnedFd,
}

impl AsFd for Detached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

/// Opens what rooms see of the host. Needs the right to mount in the caller's own namespace; it is called by the
/// warden, so that directories that only root may pass can be shown.
pub(crate) fn detach(visible: &[Visible]) -> Result<Vec<Detached>, Error> {
    let mut detached = Vec::new();
    for entry in visible {
        let (path, target, attributes) = match entry {
            Visible::Tree(path) => (path, path, READ_ONLY),
            Visible::Moved(path, target) => (path, target, READ_ONLY),
            Visible::Device(path) => (path, path, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC),
            Visible::Link(..) => continue,
        };
        let act = format!("show {}", path.display());
        let metadata = fs::metadata(path).named(&act)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | if metadata.is_dir() { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
        let mount = rustix::mount::open_tree(CWD, path, flags).named(&act)?;
        let change = MountChange { set: attributes, recursive: metadata.is_dir(), ..MountChange::default() };
        sys::set_mount(mount.as_fd(), change).named(&act)?;
        detached.push(Detached { target: target.clone(), directory: metadata.is_dir(), mount });
    }
    Ok(detached)
}

/// Builds the root and makes it this process's. Called by the nursery in its fresh namespaces, as pid 1.
pub(crate) fn enter(
    config: &WardenConfig,
    parts: Vec<Detached>,
    own_files: &[(&str, &[u8])],
) -> Result<(), Error> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .named("make all mounts private")?;
    let own_root = tmpfs(ROOT_SIZE)?;
    attach(&own_root, Path::new(STAGE))?;
    for directory in
        ["proc", "tmp", "dev", "dev/shm", "dev/pts", "workspace", "mnt", "home", "home/sandbox", "etc", "run"]
    {
        make_directory(&inside(Path::new(directory)))?;
    }
    for entry in &config.visible {
        if let Visible::Link(link, target) = entry {
            make_link(target, &inside(link))?;
        }
    }
    for (link, target) in [("/mnt/data", WORKSPACE), ("/home/user", WORKSPACE), ("/dev/ptmx", "pts/ptmx")] {
        make_link(Path::new(target), &inside(Path::new(link)))?;
    }
    for (link, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        make_link(Path::new("/proc/self").join(target).as_path(), &inside(&Path::new("/dev").join(link)))?;
    }
    for (path, content) in &config.files {
        write_file(&inside(path), content.as_bytes())?;
    }
    for (name, content) in own_files {
        write_file(&inside(&Path::new(OWN).join(name)), content)?;
    }
    for part in parts {
        let target = inside(&part.target);
        if part.directory {
            make_directory(&target)?;
        } else {
            write_file(&target, b"")?;
        }
        attach(&part.mount, &target)?;
    }
    mount_proc(&inside(Path::new("/proc")))?;
    // The zygote's scratch space; every room covers it with its own.
    attach(&tmpfs(SCRATCH_SIZE)?, &inside(Path::new("/tmp")))?;
    rustix::process::chdir(STAGE).named("chdir to the new root")?;
    // The old root ends up over the new one, and goes at once (pivot_root(2), NOTES).
    rustix::process::pivot_root(".", ".").named("pivot_root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).named("unmount the host's root")?;
    rustix::process::chdir("/").named("chdir /")?;
    let root = rustix::mount::open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC).named("open /")?;
    let change = MountChange { set: libc::MOUNT_ATTR_RDONLY, ..MountChange::default() };
    sys::set_mount(root.as_fd(), change).named("make / read-only")
}

/// Mounts a process file system of the caller's pid namespace.
pub(crate) fn mount_proc(target: &Path) -> Result<(), Error> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", target, "proc", flags, None).map_err(|source| {
        if source == rustix::io::Errno::PERM {
            refusal::of_proc()
        } else {
            Error::Call { act: format!("mount proc on {}", target.display()), source: source.into() }
        }
    })
}

/// Returns a detached tmpfs with these options, such as `size=16m,mode=0755`.
fn tmpfs(options: &str) -> Result<OwnedFd, Error> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).named("fsopen tmpfs")?;
    for option in options.split(',') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value).named(&format!("tmpfs {option}"))?;
    }
    rustix::mount::fsconfig_create(context.as_fd()).named("create tmpfs")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).named("fsmount tmpfs")
}

/// Attaches a detached mount.
pub(crate) fn attach(mount: &OwnedFd, target: &Path) -> Result<(), Error> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", CWD, target, flags)
        .named(&format!("move_mount to {}", target.display()))
}

/// Where an absolute path lies below the stage.
fn inside(path: &Path) -> PathBuf {
    Path::new(STAGE).join(path.strip_prefix("/").unwrap_or(path))
}

fn make_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).named(&format!("mkdir {}", path.display()))
}

fn make_link(target: &Path, link: &Path) -> Result<(), Error> {
    if let Some(parent) = link.parent() {
        make_directory(parent)?;
    }
    std::os::unix::fs::symlink(target, link).named(&format!("symlink {}", link.display()))
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    fs::write(path, content).named(&format!("write {}", path.display()))
}
