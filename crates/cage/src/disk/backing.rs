//! The file behind the disk, and the loop device through which the kernel mounts it.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    error::{Error, Named},
    message::DiskConfig,
    sys,
};

/// btrfs begins at about 110 MiB; below this there is no room for metadata of many sandboxes.
const LEAST: u64 = 512 << 20;
/// As the file systems beneath use it: the kernel can then pass requests on without a copy.
const BLOCK: u32 = 4096;
/// How often a free loop device is asked for that somebody else takes first.
const TRIES: usize = 16;
/// Where the program may be; the warden's own search path is short.
const MKFS: [&str; 4] =
    ["/usr/sbin/mkfs.btrfs", "/sbin/mkfs.btrfs", "/usr/bin/mkfs.btrfs", "/usr/local/sbin/mkfs.btrfs"];

/// The file in its directory, and while it is being made.
const NAME: &str = "disk.btrfs";
const NEW: &str = "disk.new";

/// A loop device. It is the kernel's again when the last descriptor and mount of it are gone.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) path: PathBuf,
    _open: OwnedFd,
}

/// Opens the file, which is made when it is missing and grows when more is asked for.
///
/// The directory around its own may belong to a server that has given up root. So the file lies in one of root's that
/// nobody else may enter, reached without following a link, and everything is done beneath that.
pub(super) fn open(config: &DiskConfig) -> Result<OwnedFd, Error> {
    let directory = own_directory(config)?;
    let act = format!("open {}", config.directory.join(NAME).display());
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&directory, NAME, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            make(&directory, config)?;
            rustix::fs::openat(&directory, NAME, flags, Mode::empty())
        }
        opened => opened,
    };
    let file = File::from(file.named(&act)?);
    if file.metadata().named(&act)?.len() < config.bytes {
        file.set_len(config.bytes).named(&format!("grow {}", config.directory.join(NAME).display()))?;
    }
    Ok(file.into())
}

fn own_directory(config: &DiskConfig) -> Result<OwnedFd, Error> {
    let path = &config.directory;
    let act = format!("open {}", path.display());
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(source) => return Err(source).named(&format!("make {}", path.display())),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).named(&act)?;
    let status = rustix::fs::fstat(&directory).named(&act)?;
    let own = status.st_uid == rustix::process::geteuid().as_raw();
    if !own || status.st_mode & 0o077 != 0 {
        return Err(Error::Refused {
            what: format!("{} is not root's alone, as the disk of workspaces has to be", path.display()),
            mend: format!("remove it, or run `sudo chown root {0} && sudo chmod 700 {0}`", path.display()),
        });
    }
    Ok(directory)
}

/// Makes the file under another name first: what is there under its own is whole.
fn make(directory: &OwnedFd, config: &DiskConfig) -> Result<(), Error> {
    if config.bytes < LEAST {
        let what = format!("only {} MiB are there for the disk of workspaces", config.bytes >> 20);
        return Err(Error::Refused {
            what,
            mend: "free at least 1 GiB on the file system of the data directory".into(),
        });
    }
    let program = MKFS.iter().find(|path| Path::new(path).exists());
    let program = program.ok_or_else(|| Error::Refused {
        what: "mkfs.btrfs is not installed".into(),
        mend: "run `sudo apt-get install btrfs-progs`".into(),
    })?;
    let act = format!("make {}", config.directory.join(NAME).display());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = File::from(rustix::fs::openat(directory, NEW, flags, mode).named(&act)?);
    file.set_len(config.bytes).named(&act)?;
    let made = Command::new(program)
        .args(["--quiet", "--metadata", "single", "--label", "reckon"])
        // This process has it open; the program opens what the name leads to.
        .arg(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .named(&format!("run {program}"))?;
    if !made.status.success() {
        let words = String::from_utf8_lossy(&made.stderr);
        let last = words.lines().last().unwrap_or("it said nothing");
        return Err(Error::Protocol(format!("{program} failed: {last}")));
    }
    rustix::fs::renameat(directory, NEW, directory, NAME).named(&act)
}

/// Returns a loop device that shows the file.
pub(super) fn device(file: &OwnedFd) -> Result<Device, Error> {
    // Rooms of a warden that was killed may hold it a moment longer; the kernel mounts one btrfs through one device.
    if let Some(device) = device_in_use(file)? {
        return Ok(device);
    }
    let control = rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| no_loop_devices(&format!("open /dev/loop-control: {source}")))?;
    for _ in 0..TRIES {
        let number = sys::free_loop_device(control.as_fd()).named("ask for a loop device")?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let open = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| no_loop_devices(&format!("open {}: {source}", path.display())))?;
        match sys::show_in_loop_device(open.as_fd(), file.as_fd(), BLOCK) {
            Ok(()) => return Ok(Device { path, _open: open }),
            // Somebody was faster.
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
            Err(source) => return Err(source).named(&format!("show the disk in {}", path.display())),
        }
    }
    Err(no_loop_devices("others took each that was free"))
}

fn device_in_use(file: &OwnedFd) -> Result<Option<Device>, Error> {
    let status = rustix::fs::fstat(file).named("stat the disk")?;
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        // Only a device that shows something has this directory.
        if !entry.path().join("loop").exists() {
            continue;
        }
        let path = Path::new("/dev").join(entry.file_name());
        let Ok(open) = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
            continue;
        };
        if sys::shown_by_loop_device(open.as_fd()).is_ok_and(|shown| shown == (status.st_dev, status.st_ino))
        {
            return Ok(Some(Device { path, _open: open }));
        }
    }
    Ok(None)
}

fn no_loop_devices(why: &str) -> Error {
    Error::Refused {
        what: format!("no loop device can be had ({why})"),
        mend: "in a container, start it with `--privileged`, or have `modprobe loop` run on the host".into(),
    }
}
