//! Saving plots and files of a sandbox on this machine, without ever overwriting anything.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Tries before giving up on a name; a directory with so many of them wants cleaning.
const MOST_NAMES: u32 = 10_000;

/// A directory into which things are saved; it is made when the first one comes.
#[derive(Debug, Clone)]
pub(crate) struct OutDir(PathBuf);

impl OutDir {
    /// Takes a directory, which need not exist yet.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Creates a new file called `name`, or `name-1`, `name-2` … where that exists, and returns it with its path.
    /// `name` may have directories, but no part may begin with a dot: what code in a sandbox made
    /// shall not become a shell's or a tool's configuration here.
    pub(crate) fn create(&self, name: &str) -> anyhow::Result<(File, PathBuf)> {
        if name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            anyhow::bail!("`{}` is hidden; it is not copied out of the sandbox", name.escape_debug());
        }
        let wanted = self.0.join(name);
        if let Some(parent) = wanted.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        for number in 0..MOST_NAMES {
            let path = numbered(&wanted, number);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("create {}", path.display())),
            }
        }
        anyhow::bail!("{} and {MOST_NAMES} names like it exist", wanted.display())
    }

    /// Saves bytes under a new name and returns the path.
    pub(crate) fn save(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let (mut file, path) = self.create(name)?;
        io::Write::write_all(&mut file, bytes).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension =
        path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let out = OutDir::new(dir.path().join("out"));
        let names: Vec<PathBuf> =
            (0..3).map(|number| out.save("plot.png", &[number]).expect("saved")).collect();
        let base = dir.path().join("out");
        assert_eq!(names, [base.join("plot.png"), base.join("plot-1.png"), base.join("plot-2.png")]);
        assert_eq!(std::fs::read(&names[0]).expect("read"), [0]);
    }

    #[test]
    fn hidden_names_and_ways_out_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let out = OutDir::new(dir.path().to_owned());
        for name in [".bashrc", "a/../../b", "/etc/passwd", "a//b", ".ssh/authorized_keys", ""] {
            assert!(out.save(name, b"x").is_err(), "{name}");
        }
        assert_eq!(out.save("a/b.csv", b"x").expect("saved"), dir.path().join("a/b.csv"));
    }
}
