//! What is mounted in a room, with which flags and sizes: `policy/mounts.policy`.

use std::path::PathBuf;

use rustix::mount::MountFlags;

use super::lines::{Line, lines};
use crate::error::Error;

pub(super) const TEXT: (&str, &str) = ("mounts.policy", include_str!("../../../../policy/mounts.policy"));

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tmpfs,
    Proc,
    Devpts,
}

/// How large a tmpfs may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// What the options say, or the kernel's default.
    Fixed,
    /// The sandbox's limits of `/tmp`.
    Tmp,
}

/// The sandbox's limits of `/tmp`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tmp {
    pub(crate) bytes: u64,
    /// Files and directories.
    pub(crate) inodes: u64,
}

/// A file system that is mounted.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) kind: Kind,
    pub(crate) target: PathBuf,
    pub(crate) flags: MountFlags,
    /// As the file system takes them, joined by commas; the size apart if it is the sandbox's.
    pub(crate) options: String,
    pub(crate) size: Size,
}

/// All that the policy mounts and links.
#[derive(Debug)]
pub(crate) struct Mounts {
    pub(crate) tree: MountFlags,
    pub(crate) device: MountFlags,
    pub(crate) workspace: MountFlags,
    /// Of the root that the zygote and all rooms see.
    pub(crate) root: Vec<Mount>,
    /// Of each room.
    pub(crate) room: Vec<Mount>,
    /// Path and target.
    pub(crate) links: Vec<(PathBuf, String)>,
}

impl Mounts {
    /// Returns how many lines they are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        3 + self.root.len() + self.room.len() + self.links.len()
    }
}

#[derive(Clone, Copy)]
enum Where {
    Shown,
    Root,
    Room,
    Link,
}

const PLACES: [(&str, Where); 4] =
    [("shown", Where::Shown), ("root", Where::Root), ("room", Where::Room), ("link", Where::Link)];
const KINDS: [(&str, Kind); 3] = [("tmpfs", Kind::Tmpfs), ("proc", Kind::Proc), ("devpts", Kind::Devpts)];
const FLAGS: [(&str, MountFlags); 4] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
];
/// Options of file systems that stand for themselves or have a value.
const OPTIONS: [&str; 4] = ["size", "mode", "newinstance", "ptmxmode"];
/// One of them stands for both.
const SIZE_OF_SANDBOX: [&str; 2] = ["size=tmp_bytes", "nr_inodes=tmp_inodes"];
const SHOWN: [(&str, usize); 3] = [("tree", 0), ("device", 1), ("workspace", 2)];

pub(super) fn parse(text: &str) -> Result<Mounts, Error> {
    let mut shown: [Option<MountFlags>; 3] = [None; 3];
    let (mut root, mut room, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines(TEXT.0, text) {
        let mut line = line?;
        match line.one_of("word", &PLACES)? {
            Where::Shown => {
                let index = line.one_of("kind", &SHOWN)?;
                let mut flags = MountFlags::empty();
                while let Some(word) = line.another() {
                    flags |= line.look_up("flag", word, &FLAGS)?;
                }
                if shown[index].replace(flags).is_some() {
                    return Err(line.error(&format!("a second line for {}", SHOWN[index].0)));
                }
            }
            Where::Root => root.push(mount(&mut line)?),
            Where::Room => room.push(mount(&mut line)?),
            Where::Link => {
                links.push((line.path()?, line.word("a target")?.to_owned()));
                line.end()?;
            }
        }
    }
    let missing = |index: usize| Error::Policy {
        file: TEXT.0,
        line: text.lines().count() + 1,
        problem: format!("the policy has no line for `shown {}`", SHOWN[index].0),
    };
    Ok(Mounts {
        tree: shown[0].ok_or_else(|| missing(0))?,
        device: shown[1].ok_or_else(|| missing(1))?,
        workspace: shown[2].ok_or_else(|| missing(2))?,
        root,
        room,
        links,
    })
}

fn mount(line: &mut Line<'_>) -> Result<Mount, Error> {
    let kind = line.one_of("file system", &KINDS)?;
    let target = line.path()?;
    let (mut flags, mut options, mut size) = (MountFlags::empty(), Vec::new(), Size::Fixed);
    while let Some(word) = line.another() {
        if SIZE_OF_SANDBOX.contains(&word) {
            size = Size::Tmp;
        } else if OPTIONS.contains(&word.split('=').next().unwrap_or(word)) {
            options.push(word);
        } else {
            flags |= line.look_up("flag", word, &FLAGS)?;
        }
    }
    Ok(Mount { kind, target, flags, options: options.join(","), size })
}
