//! The virtual machine: qemu's software emulation, which needs no rights and no hardware.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::initramfs::Archive;
use super::kernel::Kernel;
use crate::running::{self, Transcript};

pub(super) const QEMU: &str = "qemu-system-x86_64";

/// Enough for two engines at once; the guest takes only what it uses.
const MEMORY: &str = "3G";
/// The scratch disk, which is sparse.
const DISK_BYTES: u64 = 4 << 30;

const INIT: &str = include_str!("init.sh");

/// Boots the kernel with `work` as its work and returns what that wrote.
///
/// `seconds` is how long the machine may run.
pub(super) fn run(kernel: &Kernel, directory: &Path, work: &str, seconds: u32) -> Result<Transcript> {
    // Two guests of one build directory must not share a disk.
    let own = |name: &str| directory.join(format!("{name}-{}", std::process::id()));
    let (first_files, disk) = (own("initramfs"), own("disk"));
    fs::write(&first_files, initramfs(kernel, work)?).context("write the initramfs")?;
    make_disk(&disk)?;
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &seconds.to_string(), QEMU]);
    // The guest's clock counts its instructions: however busy the host is, no deadline inside comes too early.
    command.args(["-accel", "tcg", "-icount", "shift=2", "-cpu", "max", "-M", "q35", "-m", MEMORY]);
    command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    // The first serial port is the kernel's, the second is what the work writes.
    command.arg("-serial").arg(format!("file:{}", directory.join("console.log").display()));
    command.args(["-serial", "stdio"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&first_files);
    command.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
    command.arg("-drive").arg(format!("if=none,id=disk,format=raw,cache=unsafe,file={}", disk.display()));
    command.args(["-device", "virtio-blk-pci,drive=disk"]);
    // Files of several file systems of the host must not share their numbers in the guest.
    command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
    command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
    let transcript = running::shown_and_read(&mut command);
    for file in [&first_files, &disk] {
        fs::remove_file(file).with_context(|| format!("remove {}", file.display()))?;
    }
    transcript
}

fn initramfs(kernel: &Kernel, work: &str) -> Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "modules", "proc", "top"] {
        archive.directory(directory);
    }
    archive.file("bin/busybox", &read(&kernel.busybox)?);
    let mut names = Vec::new();
    for (name, path) in &kernel.modules {
        archive.file(&format!("modules/{name}.ko"), &read(path)?);
        names.push(name.as_str());
    }
    archive.file("init", INIT.replace("@MODULES@", &names.join(" ")).as_bytes());
    archive.file("work.sh", work.as_bytes());
    Ok(archive.finish())
}

/// Makes an empty disk with ext4, whose mounts can be idmapped on every kernel that has that.
fn make_disk(path: &Path) -> Result<()> {
    let disk = File::create(path).with_context(|| format!("make {}", path.display()))?;
    disk.set_len(DISK_BYTES).context("size the disk")?;
    let program = mkfs().context("mkfs.ext4 is missing: sudo apt-get install e2fsprogs")?;
    running::stdout_of(Command::new(program).args(["-q", "-F"]).arg(path)).map(drop)
}

/// Returns the program, which is outside of an ordinary user's search path.
pub(super) fn mkfs() -> Option<&'static str> {
    ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"].into_iter().find(|path| Path::new(path).exists())
}
