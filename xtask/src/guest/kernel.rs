//! The kernel of the guest and its first program, from Debian's packages: downloaded and unpacked below the build
//! directory, never installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::running;

/// The package that names the newest kernel of the release.
const LATEST: &str = "linux-image-amd64";
const BUSYBOX: &str = "busybox-static";

/// What the guest needs of the kernel that is not built in: its root, its disk, and what sandboxes may use.
const MODULES: [&str; 8] =
    ["virtio_pci", "9pnet_virtio", "9p", "virtio_blk", "ext4", "crc32c_generic", "overlay", "loop"];

/// An unpacked kernel.
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    pub(super) busybox: PathBuf,
    /// The modules by name, each after those that it needs.
    pub(super) modules: Vec<(String, PathBuf)>,
}

impl Kernel {
    /// Opens what was unpacked below this directory, and fetches it first where there is none.
    pub(super) fn open_or_fetch(directory: &Path) -> Result<Self> {
        let tree = directory.join("tree");
        if !tree.exists() {
            fetch(directory, &tree)?;
        }
        let boot = tree.join("boot");
        let image = fs::read_dir(&boot)
            .with_context(|| format!("list {}", boot.display()))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
            .with_context(|| format!("no kernel in {}", boot.display()))?;
        let mut found = BTreeMap::new();
        find_modules(&tree.join("lib/modules"), &mut found)?;
        let mut modules = Vec::new();
        for name in MODULES {
            need(name, &found, &mut modules)?;
        }
        Ok(Self { image, busybox: tree.join("bin/busybox"), modules })
    }
}

/// Downloads the two packages and unpacks them; an interrupted call leaves no tree.
fn fetch(directory: &Path, tree: &Path) -> Result<()> {
    let part = directory.join("part");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
    }
    fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
    let depends = running::stdout_of(Command::new("apt-cache").args(["depends", LATEST]))?;
    let kernel = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.starts_with("linux-image-"))
        .with_context(|| format!("{LATEST} names no kernel: apt-get update"))?;
    eprintln!("      downloading {kernel} and {BUSYBOX} (once)");
    let mut download = Command::new("apt-get");
    download.args(["-o", "Acquire::Retries=3", "download", kernel, BUSYBOX]).current_dir(&part);
    running::stdout_of(&mut download)?;
    let whole = part.join("tree");
    for entry in fs::read_dir(&part).with_context(|| format!("list {}", part.display()))?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            running::stdout_of(Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(&whole))?;
        }
    }
    fs::rename(&whole, tree).with_context(|| format!("rename {} into place", whole.display()))?;
    fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))
}

fn find_modules(directory: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_modules(&path, found)?;
        } else if let Some(name) = name.strip_suffix(".ko") {
            found.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// Adds a module after everything that it needs; one that is no file is built into the kernel.
fn need(name: &str, found: &BTreeMap<String, PathBuf>, modules: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let name = name.replace('-', "_");
    let Some(path) = found.get(&name) else { return Ok(()) };
    if modules.iter().any(|(known, _)| *known == name) {
        return Ok(());
    }
    let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    for needed in depends(&content).with_context(|| format!("{} names what it needs", path.display()))? {
        need(&needed, found, modules)?;
    }
    modules.push((name, path.clone()));
    Ok(())
}

/// Reads what a module needs from its section `.modinfo`, which is `key=value` and a zero byte each.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        bail!("no line `depends` in its .modinfo");
    };
    let value = module[at + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    Ok(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn what_a_module_needs_is_read() {
        let of = |text: &[u8]| depends(text).expect("a module");
        assert_eq!(of(b"ELF\0license=GPL\0depends=netfs,9pnet\0retpoline=Y\0"), ["netfs", "9pnet"]);
        assert!(of(b"\0depends=\0name=virtio\0").is_empty());
        assert!(depends(b"ELF").is_err());
    }
}
