//! The mark in the names of our groups: which process owns them, so that only those of the dead are swept.

use std::fmt;
use std::path::Path;

use super::{CgroupError, files};

/// The process that owns a base, written into its name as `reckon-<pid>-<start time>-<pid namespace>`.
///
/// The start time (clock ticks since boot) tells a process from a later one with the same pid; the pid namespace keeps
/// a server in a container from judging the pids of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Process id in its own pid namespace.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
    /// Inode number of the pid namespace.
    pub pid_namespace: u64,
}

impl Owner {
    /// Returns the mark of the calling process.
    pub fn of_self(proc: &Path) -> Result<Self, CgroupError> {
        let path = proc.join("self/stat");
        let stat = files::read(&path)?;
        let parse = |what| CgroupError::Parse { path: path.clone(), what };
        let pid = stat.split(' ').next().and_then(|pid| pid.parse().ok()).ok_or_else(|| parse("pid"))?;
        let start_time = alive_since(&stat).ok_or_else(|| parse("start time"))?;
        Ok(Self { pid, start_time, pid_namespace: pid_namespace(proc)? })
    }

    /// Reads the mark at the front of a group's name; nothing where it is not ours.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut fields = name.strip_prefix("reckon-")?.split(['-', '.']);
        let mark = Self {
            pid: fields.next()?.parse().ok()?,
            start_time: fields.next()?.parse().ok()?,
            pid_namespace: fields.next()?.parse().ok()?,
        };
        // Printed back it must be the same text: `+7` or `007` was not written by us.
        let rest = name.strip_prefix(&mark.to_string())?;
        (rest.is_empty() || rest.starts_with(['-', '.'])).then_some(mark)
    }

    /// Tells whether the owner is known to be dead: one of another pid namespace never is.
    pub fn is_gone(&self, proc: &Path) -> Result<bool, CgroupError> {
        if self.pid_namespace != pid_namespace(proc)? {
            return Ok(false);
        }
        let stat = files::read_if_present(&proc.join(self.pid.to_string()).join("stat"));
        match stat {
            Ok(Some(stat)) => Ok(alive_since(&stat) != Some(self.start_time)),
            Ok(None) => Ok(true),
            // ESRCH: it died between the open and the read.
            Err(CgroupError::Io { source, .. })
                if source.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
            {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reckon-{}-{}-{}", self.pid, self.start_time, self.pid_namespace)
    }
}

/// Returns the start time in a `stat` line; nothing for a zombie, which runs no more.
fn alive_since(stat: &str) -> Option<u64> {
    // The command's name may hold spaces and parentheses: fields are counted from the last one.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn pid_namespace(proc: &Path) -> Result<u64, CgroupError> {
    let path = proc.join("self/ns/pid");
    let target = std::fs::read_link(&path).map_err(|source| CgroupError::io("readlink", &path, source))?;
    let number = target.to_str().and_then(|text| text.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok());
    number.ok_or(CgroupError::Parse { path, what: "pid namespace" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_mark_survives_its_name_and_is_not_gone() {
        let proc = Path::new("/proc");
        let own = Owner::of_self(proc).expect("own mark");
        assert_eq!(own.pid, std::process::id());
        assert_eq!(Owner::from_name(&format!("{own}-rooms")), Some(own));
        assert_eq!(Owner::from_name(&format!("{own}.scope")), Some(own));
        assert!(!own.is_gone(proc).expect("readable"));
        assert!(Owner { start_time: own.start_time + 1, ..own }.is_gone(proc).expect("readable"));
        let elsewhere = Owner { start_time: 1, pid_namespace: own.pid_namespace + 1, ..own };
        assert!(!elsewhere.is_gone(proc).expect("readable"));
    }

    #[test]
    fn foreign_names_carry_no_mark() {
        for name in [
            "reckon-supervisor",
            "reckon-1",
            "reckon-1-2",
            "reckon-01-2-3",
            "reckon-+1-2-3",
            "reckon-1-2-3x",
            "docker-1-2-3",
            "reckon.slice",
            "",
        ] {
            assert_eq!(Owner::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_with_parentheses_and_a_zombie_are_read_right() {
        let fields = "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(alive_since(&format!("5 (a) b (c)) S {fields}")), Some(4711));
        assert_eq!(alive_since(&format!("5 (python3) Z {fields}")), None);
    }
}
