//! A group as the kernel has it: one directory on v2, one per hierarchy on v1. Made, killed and removed as one.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::hierarchy::{Controller, Version};
use super::{CgroupError, files};

/// How long killed processes may take to end; a process in uninterruptible sleep is the reason for the bound.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// How long the kernel may take to let go of an empty group.
const REMOVE_PATIENCE: Duration = Duration::from_millis(500);
/// How long v1's freezer may take to stop processes before they are killed unfrozen.
const FREEZE_PATIENCE: Duration = Duration::from_millis(100);
/// The first pause between two looks; killing a small group takes about 100 µs.
const PAUSE_FIRST: Duration = Duration::from_micros(50);
/// The longest pause between two looks.
const PAUSE_LONGEST: Duration = Duration::from_millis(4);

/// A bounded wait with growing pauses.
struct Patience {
    deadline: Instant,
    pause: Duration,
}

impl Patience {
    fn of(bound: Duration) -> Self {
        Self { deadline: Instant::now() + bound, pause: PAUSE_FIRST }
    }

    /// Waits a little; false, at once, when the bound is reached.
    fn wait(&mut self) -> bool {
        if Instant::now() > self.deadline {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
        true
    }
}

/// One directory and the controllers that act in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) controllers: Vec<Controller>,
}

/// A group in all its hierarchies.
#[derive(Debug, Clone)]
pub(super) struct Node {
    version: Version,
    places: Vec<Place>,
}

impl Node {
    pub(super) fn new(version: Version, places: Vec<Place>) -> Self {
        Self { version, places }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(|place| place.directory.as_path())
    }

    /// Returns the first directory, for messages.
    pub(super) fn path(&self) -> &Path {
        self.places.first().map_or(Path::new("(no cgroup)"), |place| &place.directory)
    }

    pub(super) fn directory_of(&self, controller: Controller) -> Option<&Path> {
        let place = self.places.iter().find(|place| place.controllers.contains(&controller));
        place.map(|place| place.directory.as_path())
    }

    /// Returns the group of that name below this one.
    pub(super) fn child(&self, name: &str) -> Self {
        let below = |place: &Place| Place {
            directory: place.directory.join(name),
            controllers: place.controllers.clone(),
        };
        Self { version: self.version, places: self.places.iter().map(below).collect() }
    }

    /// Returns the names of the groups below this one, of all hierarchies.
    pub(super) fn children(&self) -> Result<Vec<String>, CgroupError> {
        let mut names = Vec::new();
        for directory in self.directories() {
            names.extend(files::directories(directory)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    pub(super) fn make(&self) -> Result<(), CgroupError> {
        self.directories().try_for_each(files::make_directory)
    }

    /// Kills all processes in the group itself and waits until it is empty.
    pub(super) fn kill_all(&self) -> Result<(), CgroupError> {
        let mut patience = Patience::of(KILL_PATIENCE);
        loop {
            let alive = self.processes()?;
            if alive.is_empty() {
                return Ok(());
            }
            let own = rustix::process::getpid().as_raw_nonzero().get();
            if alive.contains(&own) {
                return Err(CgroupError::HoldsCaller { path: self.path().to_owned() });
            }
            match self.version {
                Version::V2 if self.kill_by_kernel()? => {}
                _ => self.kill_each()?,
            }
            if !patience.wait() {
                return Err(CgroupError::StillPopulated { path: self.path().to_owned(), count: alive.len() });
            }
        }
    }

    /// Has the kernel kill the group at one stroke; false where it cannot (before 5.14).
    fn kill_by_kernel(&self) -> Result<bool, CgroupError> {
        let path = self.path().join("cgroup.kill");
        match files::write(&path, "1") {
            Ok(()) => Ok(true),
            Err(CgroupError::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // Gone with the whole group, or never there.
                Ok(!self.path().exists())
            }
            Err(error) => Err(error),
        }
    }

    /// Kills each process by its pidfd, frozen meanwhile so that none forks away.
    fn kill_each(&self) -> Result<(), CgroupError> {
        self.freeze();
        let killed = self.signal_each();
        // A frozen process of v1 dies only when it is thawed.
        self.thaw();
        killed
    }

    fn signal_each(&self) -> Result<(), CgroupError> {
        let open = |pid: i32| {
            let pid = Pid::from_raw(pid).filter(|_| pid > 0)?;
            pidfd_open(pid, PidfdFlags::empty()).ok().map(|fd| (pid, fd))
        };
        let opened: Vec<_> = self.processes()?.into_iter().filter_map(open).collect();
        // A pid may have passed to a stranger before it was opened; whoever is still listed now is ours.
        let listed = self.processes()?;
        for (pid, fd) in opened {
            if listed.contains(&pid.as_raw_nonzero().get()) {
                // ESRCH: it is dead already, which is all we want.
                let _ = pidfd_send_signal(&fd, Signal::KILL);
            }
        }
        Ok(())
    }

    /// Stops all processes where a freezer exists. It only helps the kill, so that a failure changes nothing.
    fn freeze(&self) {
        let (file, value, check, frozen) = match self.version {
            Version::V1 => ("freezer.state", "FROZEN", "freezer.state", "FROZEN"),
            _ => ("cgroup.freeze", "1", "cgroup.events", "frozen 1"),
        };
        let Some(directory) = self.directory_of(Controller::Freezer) else { return };
        if files::write(&directory.join(file), value).is_err() {
            return;
        }
        let mut patience = Patience::of(FREEZE_PATIENCE);
        let is_frozen = |text: String| text.lines().any(|line| line.trim() == frozen);
        while !files::read(&directory.join(check)).is_ok_and(is_frozen) && patience.wait() {}
    }

    fn thaw(&self) {
        let (file, value) = match self.version {
            Version::V1 => ("freezer.state", "THAWED"),
            _ => ("cgroup.freeze", "0"),
        };
        if let Some(directory) = self.directory_of(Controller::Freezer) {
            // Best effort: the group may be gone, and the next round thaws again.
            let _ = files::write(&directory.join(file), value);
        }
    }

    /// Returns the processes in any of the directories, each once.
    fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = Vec::new();
        for directory in self.directories() {
            pids.extend(files::processes(directory)?);
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Tells whether no process is in the group itself; one that does not exist is empty.
    pub(super) fn is_empty(&self) -> Result<bool, CgroupError> {
        Ok(self.processes()?.is_empty())
    }

    /// Removes the empty directories; those that are gone already are fine.
    pub(super) fn remove(&self) -> Result<(), CgroupError> {
        let mut patience = Patience::of(REMOVE_PATIENCE);
        self.directories().try_for_each(|directory| remove_directory(directory, &mut patience))
    }

    /// Removes the directories if nothing is in them; false, without waiting, where something is.
    pub(super) fn remove_if_empty(&self) -> Result<bool, CgroupError> {
        for directory in self.directories() {
            match rustix::fs::rmdir(directory) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(rustix::io::Errno::BUSY) => return Ok(false),
                Err(errno) => return Err(CgroupError::io("rmdir", directory, errno)),
            }
        }
        Ok(true)
    }

    /// Kills and removes the group with all that is below it, deepest first.
    pub(super) fn remove_tree(&self) -> Result<(), CgroupError> {
        // Rooms have no groups of their own today; the depth is bounded by what the kernel's tree has.
        for name in self.children()? {
            self.child(&name).remove_tree()?;
        }
        self.kill_all()?;
        self.remove()
    }
}

fn remove_directory(directory: &Path, patience: &mut Patience) -> Result<(), CgroupError> {
    loop {
        match rustix::fs::rmdir(directory) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::BUSY) if patience.wait() => {}
            Err(errno) => return Err(CgroupError::io("rmdir", directory, errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::super::{Hierarchy, Owner, Roots};
    use super::*;

    /// Makes a group in the v2 hierarchy, which also hosts without v2 controllers have for killing and freezing.
    fn unified(label: &str) -> Option<Node> {
        let parent = Hierarchy::unified_directory(&Roots::default()).expect("readable proc");
        let parent = parent.filter(|parent| files::writable(parent).is_ok());
        let Some(parent) = parent else {
            reckon_e2e::skip("isolation-cgroup", label, "no v2 hierarchy in which a group can be made");
            return None;
        };
        let owner = Owner::of_self(Path::new("/proc")).expect("own mark");
        let place = Place {
            directory: parent.join(format!("{owner}-{label}")),
            controllers: vec![Controller::Freezer],
        };
        let node = Node::new(Version::V2, vec![place]);
        node.make().expect("mkdir");
        Some(node)
    }

    fn sleeper_in(node: &Node) -> Option<Child> {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep starts");
        match files::write(&node.path().join("cgroup.procs"), &child.id().to_string()) {
            Ok(()) => Some(child),
            Err(error) => {
                child.kill().expect("kill");
                child.wait().expect("wait");
                node.remove().expect("rmdir");
                reckon_e2e::skip("isolation-cgroup", "sleeper_in", &error.to_string());
                None
            }
        }
    }

    fn signal_of(mut child: Child) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        child.wait().expect("wait").signal()
    }

    #[test]
    fn v2_kills_and_removes_a_group() {
        let Some(node) = unified("kill") else { return };
        let Some(child) = sleeper_in(&node) else { return };
        node.kill_all().expect("kill");
        assert_eq!(signal_of(child), Some(9));
        node.remove().expect("remove");
        assert!(!node.path().exists());
        assert!(node.kill_by_kernel().expect("a group that is gone needs no kill"));
    }

    #[test]
    fn v2_without_a_kill_file_kills_each_frozen_process() {
        let Some(node) = unified("each") else { return };
        let Some(child) = sleeper_in(&node) else { return };
        node.kill_each().expect("kill");
        assert_eq!(signal_of(child), Some(9));
        node.remove_tree().expect("remove");
    }

    #[test]
    fn the_caller_is_never_killed() {
        let tree = tempfile::tempdir().expect("temporary directory");
        std::fs::write(tree.path().join("cgroup.procs"), std::process::id().to_string()).expect("write");
        let place = Place { directory: tree.path().to_owned(), controllers: Vec::new() };
        let node = Node::new(Version::V2, vec![place]);
        assert!(matches!(node.kill_all(), Err(CgroupError::HoldsCaller { .. })));
    }
}
