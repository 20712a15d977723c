//! The root that the zygote and every room see: a small read-only tmpfs with the image's directories bound by list.
//! Built in a fresh mount namespace before any tenant byte exists; rooms copy it and mount only what is theirs.

use std::{
    ffi::CString,
    fmt::Write as _,
    fs, io,
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
    policy::{Kind, Mount, Mounts, Size, Tmp},
    refusal,
    sys::{self, MountChange},
};

/// Where the workspace appears.
pub(crate) const WORKSPACE: &str = "/workspace";
/// HOME of user code: not the workspace, so that dot files are not user files.
pub(crate) const HOME: &str = "/home/sandbox";
/// Reckon's own files inside.
pub(crate) const OWN: &str = "/run/reckon";
/// An empty directory, read-only as all of the root is, that covers directories of /proc.
pub(crate) const EMPTY: &str = "/run/reckon/empty";
/// A directory that every host has and that anybody may pass; the new root is mounted over it, in a mount namespace
/// of its own, until it becomes the root.
const STAGE: &str = "/tmp";
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
pub(crate) fn detach(visible: &[Visible], mounts: &Mounts) -> Result<Vec<Detached>, Error> {
    let tree = attributes(mounts.tree);
    let mut detached = Vec::new();
    for entry in visible {
        let (path, target, attributes) = match entry {
            Visible::Tree(path) => (path, path, tree),
            Visible::Moved(path, target) => (path, target, tree),
            Visible::Device(path) => (path, path, attributes(mounts.device)),
            Visible::Link(..) => continue,
        };
        let act = format!("show {}", path.display());
        let metadata = fs::metadata(path).named(&act)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | if metadata.is_dir() { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
        let mount = rustix::mount::open_tree(CWD, path, flags).named(&act)?;
        let set = attributes.bits().into();
        let change = MountChange { set, recursive: metadata.is_dir(), ..MountChange::default() };
        sys::set_mount(mount.as_fd(), change).named(&act)?;
        detached.push(Detached { target: target.clone(), directory: metadata.is_dir(), mount });
    }
    Ok(detached)
}

/// Builds the root and makes it this process's. Called by the nursery in its fresh namespaces, as pid 1.
pub(crate) fn enter(
    config: &WardenConfig,
    policy: &Mounts,
    parts: Vec<Detached>,
    own_files: &[(&str, &[u8])],
) -> Result<(), Error> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .named("make all mounts private")?;
    let (root, covered) = policy.root.split_first().ok_or_else(|| no_root("there is no root"))?;
    if root.kind != Kind::Tmpfs || root.target != Path::new("/") {
        return Err(no_root("the first mount of `root` is not the root"));
    }
    // Not read-only before everything is in it.
    let own_root = tmpfs(&root.options, attributes(root.flags - MountFlags::RDONLY))?;
    attach(&own_root, Path::new(STAGE))?;
    for mount in policy.root.iter().chain(&policy.room) {
        make_directory(&inside(&mount.target))?;
    }
    for directory in [WORKSPACE, HOME, EMPTY, "/etc"] {
        make_directory(&inside(Path::new(directory)))?;
    }
    for entry in &config.visible {
        if let Visible::Link(link, target) = entry {
            make_link(target, &inside(link))?;
        }
    }
    for (link, target) in &policy.links {
        make_link(Path::new(target), &inside(link))?;
    }
    let covers = |path: &Path| parts.iter().any(|part| part.directory && path.starts_with(&part.target));
    let (covering, free): (Vec<_>, Vec<_>) = config.files.iter().partition(|(path, _)| covers(path));
    for (path, content) in free {
        write_file(&inside(path), content.as_bytes())?;
    }
    let mut covers = Vec::new();
    for (number, (path, content)) in covering.into_iter().enumerate() {
        let source = inside(&Path::new(OWN).join("covers").join(number.to_string()));
        write_file(&source, content.as_bytes())?;
        covers.push((source, inside(path)));
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
    for (source, target) in covers {
        let act = format!("cover {}", target.display());
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mount = rustix::mount::open_tree(CWD, &source, flags).named(&act)?;
        let set = attributes(policy.tree).bits().into();
        sys::set_mount(mount.as_fd(), MountChange { set, ..MountChange::default() }).named(&act)?;
        attach(&mount, &target)?;
    }
    for mount in covered {
        self::mount(mount, &inside(&mount.target), Tmp { bytes: 0, inodes: 0 })?;
    }
    rustix::process::chdir(STAGE).named("chdir to the new root")?;
    // The old root ends up over the new one, and goes at once (pivot_root(2), NOTES).
    rustix::process::pivot_root(".", ".").named("pivot_root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).named("unmount the host's root")?;
    rustix::process::chdir("/").named("chdir /")?;
    if !root.flags.contains(MountFlags::RDONLY) {
        return Ok(());
    }
    let root = rustix::mount::open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC).named("open /")?;
    let change = MountChange { set: libc::MOUNT_ATTR_RDONLY, ..MountChange::default() };
    sys::set_mount(root.as_fd(), change).named("make / read-only")
}

fn no_root(problem: &str) -> Error {
    Error::Protocol(format!("policy/mounts.policy: {problem}"))
}

/// Mounts a file system as the policy says. A process file system is of the caller's pid namespace.
pub(crate) fn mount(mount: &Mount, target: &Path, tmp: Tmp) -> Result<(), Error> {
    let name = match mount.kind {
        Kind::Tmpfs => "tmpfs",
        Kind::Proc => "proc",
        Kind::Devpts => "devpts",
    };
    let mut options = mount.options.clone();
    if mount.size == Size::Tmp {
        let comma = if options.is_empty() { "" } else { "," };
        let _ = write!(options, "{comma}size={},nr_inodes={}", tmp.bytes, tmp.inodes);
    }
    let options = CString::new(options).map_err(io::Error::other).named("options")?;
    let options = Some(options.as_c_str()).filter(|options| !options.is_empty());
    rustix::mount::mount(name, target, name, mount.flags, options).map_err(|source| {
        if mount.kind == Kind::Proc && source == rustix::io::Errno::PERM {
            refusal::of_proc()
        } else {
            Error::Call { act: format!("mount {name} on {}", target.display()), source: source.into() }
        }
    })
}

/// Returns a detached tmpfs with these options, such as `size=16m,mode=0755`.
fn tmpfs(options: &str, attributes: MountAttrFlags) -> Result<OwnedFd, Error> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).named("fsopen tmpfs")?;
    for option in options.split(',') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value).named(&format!("tmpfs {option}"))?;
    }
    rustix::mount::fsconfig_create(context.as_fd()).named("create tmpfs")?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).named("fsmount tmpfs")
}

/// Returns flags of mount(2) as the attributes that the newer calls take.
pub(crate) fn attributes(flags: MountFlags) -> MountAttrFlags {
    let pairs = [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ];
    let named = pairs.into_iter().filter(|(flag, _)| flags.contains(*flag));
    named.fold(MountAttrFlags::empty(), |all, (_, attribute)| all | attribute)
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
