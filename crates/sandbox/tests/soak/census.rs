//! What there is of ours on this host, now and ever: processes, cgroups, mounts, namespaces, loop devices, descriptors
//! and files. Other engines run beside this one, so everything is told by whose it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long the kernel may take over what has ended: namespaces and cgroups go behind the scenes.
const SETTLE: Duration = Duration::from_secs(60);

/// A process below this one.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) name: String,
}

/// What a quiet engine holds.
#[derive(Debug)]
pub(crate) struct Stock {
    /// Resident memory of this process, which is the server's.
    pub(crate) resident: u64,
    pub(crate) descriptors: BTreeMap<String, usize>,
}

impl Stock {
    pub(crate) fn take() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = line.trim_end_matches("kB").trim().parse().unwrap();
        Self { resident: kilobytes * 1024, descriptors: descriptors() }
    }
}

/// Everything that was ever seen of an engine.
#[derive(Debug)]
pub(crate) struct Census {
    directory: PathBuf,
    /// By pid and start time, which no later process has.
    processes: BTreeSet<(u32, u64)>,
    /// Inode numbers of network namespaces.
    networks: BTreeSet<String>,
    /// The marks in names of cgroups: the pids of all wardens, and our own.
    owners: BTreeSet<u32>,
}

impl Census {
    /// Begins one of the engine whose data is below `directory`.
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            processes: BTreeSet::new(),
            networks: BTreeSet::new(),
            owners: BTreeSet::from([std::process::id()]),
        }
    }

    /// Takes in what is there now.
    pub(crate) fn look(&mut self) {
        let own = network_of("self");
        for Process { pid, name, .. } in descendants() {
            if name == "reckon-warden" {
                self.owners.insert(pid);
            }
            if let Some(started) = start_time(pid) {
                self.processes.insert((pid, started));
            }
            self.networks
                .extend(network_of(&pid.to_string()).filter(|network| Some(network) != own.as_ref()));
        }
    }

    /// Returns whether there is nothing but the rooms of a pool of this size. `sandboxes` is where the engine has their
    /// directories.
    pub(crate) fn is_at_rest(&self, pool: usize, sandboxes: &Path) -> bool {
        let all = descendants();
        let inits = all.iter().filter(|process| process.name == "reckon-init").count();
        // Warden, nursery, zygote; an init and a context in each room.
        let processes = all.len() == 3 + 2 * pool;
        let (kept, trash) = self.directories(sandboxes);
        inits == pool && processes && trash.is_empty() && kept.len() == pool
    }

    /// Returns the sandboxes' directories, and those that wait for their removal: beside them on a disk with quotas.
    fn directories(&self, sandboxes: &Path) -> (Vec<String>, Vec<String>) {
        let mut kept = names(sandboxes);
        let on_disk = kept.iter().position(|name| name == ".trash").map(|place| kept.swap_remove(place));
        let trash = on_disk.map_or_else(|| self.files("trash"), |name| names(&sandboxes.join(name)));
        (kept, trash)
    }

    /// Says what there is, for people who want to know why it does not come to rest.
    pub(crate) fn describe(&self, sandboxes: &Path) -> String {
        format!("{:?}, sandboxes and trash {:?}", descendants(), self.directories(sandboxes))
    }

    /// Panics with what is left of the engine after its end.
    pub(crate) fn nothing_is_left(&self) {
        let begun = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < SETTLE, "left behind: {left:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = descendants().iter().map(|process| format!("{process:?}")).collect();
        for (pid, started) in &self.processes {
            if start_time(*pid) == Some(*started) {
                left.push(format!("process {pid}"));
            }
        }
        for pid in pids() {
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            if self.owners.iter().any(|owner| groups.contains(&format!("/reckon-{owner}-"))) {
                left.push(format!("process {pid} in {groups}"));
            }
            let in_ours =
                network_of(&pid.to_string()).is_some_and(|network| self.networks.contains(&network));
            // The kernel gives the numbers of namespaces that have gone to those of other engines; ours has no warden
            // any more.
            if in_ours && !has_warden(pid) {
                left.push(format!("process {pid} in a network namespace of ours"));
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.directory.to_str().unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(ours)).map(|line| format!("mount {line}")));
        left.extend(self.groups().into_iter().map(|path| format!("cgroup {}", path.display())));
        for device in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let file = std::fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
            if file.contains(ours) {
                left.push(format!("loop device of {file}"));
            }
        }
        for place in ["trash", "sandboxes"] {
            left.extend(self.files(place).into_iter().map(|name| format!("{place}/{name}")));
        }
        left
    }

    fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut waiting = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(place) = waiting.pop() {
            for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let name = entry.file_name().into_string().unwrap_or_default();
                if self.owners.iter().any(|owner| name.starts_with(&format!("reckon-{owner}-"))) {
                    found.push(entry.path());
                }
                waiting.push(entry.path());
            }
        }
        found
    }

    fn files(&self, place: &str) -> Vec<String> {
        names(&self.directory.join("data").join(place))
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Returns this process's descriptors, how many of each kind.
pub(crate) fn descriptors() -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        // The directory that is being read has gone when it is looked at.
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        let target = target.split(['[', '(']).next().unwrap();
        // Files of a cgroup carry the number of its room in their path.
        let kind =
            if target.starts_with("/sys/fs/cgroup") { target.rsplit('/').next().unwrap() } else { target };
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds.retain(|kind, _| !kind.contains("/fd"));
    kinds
}

/// Returns every process below this one.
pub(crate) fn descendants() -> Vec<Process> {
    let mut all = Vec::new();
    let mut waiting = vec![std::process::id()];
    while let Some(parent) = waiting.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for pid in children.split_whitespace().map(|pid| pid.parse().unwrap()) {
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                all.push(Process { pid, parent, name: name.trim().to_owned() });
                waiting.push(pid);
            }
        }
    }
    all
}

/// Returns when a process was started, in the kernel's ticks (field 22 of its stat).
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Returns whether a warden is among the ancestors of a process.
fn has_warden(pid: u32) -> bool {
    let mut next = Some(pid);
    while let Some(pid) = next.filter(|pid| *pid > 1) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.contains("(reckon-warden)") {
            return true;
        }
        next = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    }
    false
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn network_of(pid: &str) -> Option<String> {
    Some(std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()?.to_string_lossy().into_owned())
}
