//! The group of one room: its limits, what it used, what the kernel refused it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;

use super::hierarchy::{Controller, Version};
use super::node::Node;
use super::v1::SwapAccounting;
use super::{CgroupError, files, v1, v2};

/// What a room may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLimits {
    /// Memory of all processes together, page cache and kernel memory included, in bytes.
    pub memory_bytes: u64,
    /// Swap beside it, in bytes; rooms have none, so that a limit is felt at once.
    pub swap_bytes: u64,
    /// Processes and threads together.
    pub pids: u32,
    /// Processor time in thousandths of a core (1000 is one core); `None` for no limit.
    pub cpu_millis: Option<u32>,
}

impl GroupLimits {
    pub(super) fn memory_and_swap(&self) -> u64 {
        self.memory_bytes.saturating_add(self.swap_bytes)
    }
}

/// One write that sets a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LimitWrite {
    pub(super) controller: Controller,
    pub(super) file: &'static str,
    pub(super) value: String,
}

impl LimitWrite {
    pub(super) fn new(controller: Controller, file: &'static str, value: String) -> Self {
        Self { controller, file, value }
    }
}

/// What a room uses and used; `None` where this host does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory charged now, in bytes.
    pub memory_bytes: Option<u64>,
    /// The most memory that was ever charged, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time used by all processes that ever were in the group, in microseconds.
    pub cpu_usec: Option<u64>,
    /// Processes and threads now, those included that are dead but not yet reaped.
    pub pids: Option<u64>,
}

/// How often the kernel refused the room something since it was made; compare before and after an execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events {
    /// Processes that were killed because the room was out of memory.
    pub oom_kills: u64,
    /// Processes or threads that were refused because of the limit of pids.
    pub pids_refused: u64,
}

/// Open files from which [`Events`] are read, also by a process that may not open them itself.
#[derive(Debug)]
pub struct EventFds {
    /// `memory.oom_control` or `memory.events`, where memory is controlled.
    pub memory: Option<OwnedFd>,
    /// `pids.events`, where pids are controlled.
    pub pids: Option<OwnedFd>,
    /// `cpuacct.usage` or `cpu.stat`, where processor time is counted.
    pub cpu: Option<OwnedFd>,
}

impl EventFds {
    /// Returns the processor time that the room has used since it was made, in microseconds; `None` where nobody
    /// counts.
    pub fn cpu_usec(&self) -> io::Result<Option<u64>> {
        use std::os::fd::AsFd;
        let Some(fd) = &self.cpu else { return Ok(None) };
        let text = read_few_lines(fd.as_fd())?;
        // v1's file is one number of nanoseconds.
        let nanoseconds = text.trim().parse::<u64>().ok();
        let used = nanoseconds.map(|number| number / 1000).or_else(|| files::keyed(&text, "usage_usec"));
        used.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no processor time"))
    }
}

impl Events {
    /// Reads the counters of both files now. Fails with `ENODEV` when the group has been removed.
    pub fn read(fds: &EventFds) -> io::Result<Self> {
        use std::os::fd::AsFd;
        // v1's `memory.oom_control` and v2's `memory.events` use the same key.
        let counter =
            |fd: &Option<OwnedFd>, key| fd.as_ref().map_or(Ok(0), |fd| read_counter(fd.as_fd(), key));
        Ok(Self { oom_kills: counter(&fds.memory, "oom_kill")?, pids_refused: counter(&fds.pids, "max")? })
    }
}

fn read_counter(fd: BorrowedFd<'_>, key: &str) -> io::Result<u64> {
    files::keyed(&read_few_lines(fd)?, key)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no counter {key} in events")))
}

/// Reads one of the kernel's short files again from its start.
fn read_few_lines(fd: BorrowedFd<'_>) -> io::Result<String> {
    let mut buffer = [0_u8; 1024];
    let length = rustix::io::pread(fd, &mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The control group of one room. Dropping it leaves the group in place: [`Group::remove`] ends it.
#[derive(Debug)]
pub struct Group {
    node: Node,
    limits: GroupLimits,
    swap: SwapAccounting,
    /// The share of processor time that our own group has, beyond which v1 refuses a larger one below it.
    cpu_ceiling: Option<u32>,
}

impl Group {
    pub(super) fn make(
        node: Node,
        limits: &GroupLimits,
        swap: SwapAccounting,
        cpu_ceiling: Option<u32>,
    ) -> Result<Self, CgroupError> {
        let limits = under_ceiling(limits, cpu_ceiling);
        let group = Self { node, limits, swap, cpu_ceiling };
        let made = group.node.make().and_then(|()| group.write_limits(None, &limits));
        match made {
            Ok(()) => Ok(group),
            Err(error) => {
                // Nothing half-made stays; the first error is the one to tell.
                let _ = group.node.remove();
                Err(error)
            }
        }
    }

    /// Opens `cgroup.procs` of each hierarchy for writing (v2: one). A process that writes `0` to each enters the
    /// group, also one without the right to open them.
    pub fn procs_fds(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |directory: &Path| {
            rustix::fs::open(
                directory.join("cgroup.procs"),
                OFlags::WRONLY | OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
        };
        self.node.directories().map(|directory| open(directory).map_err(io::Error::from)).collect()
    }

    /// Opens the v2 directory for `clone3(CLONE_INTO_CGROUP)`; nothing on v1.
    pub fn clone_into_fd(&self) -> Result<Option<OwnedFd>, CgroupError> {
        if self.node.version() != Version::V2 {
            return Ok(None);
        }
        let directory = self.node.directories().next();
        directory.map(|path| files::open(path, OFlags::RDONLY | OFlags::DIRECTORY)).transpose()
    }

    /// Moves a process, with all its threads, into the group.
    pub fn attach(&self, pid: u32) -> Result<(), CgroupError> {
        self.node
            .directories()
            .try_for_each(|directory| files::write(&directory.join("cgroup.procs"), &pid.to_string()))
    }

    /// Returns the limits in force, with processor time cut to what our own group has.
    pub fn limits(&self) -> GroupLimits {
        self.limits
    }

    /// Changes the limits, writing only what differs. On an error some may have been written: kill the room.
    pub fn set_limits(&mut self, limits: &GroupLimits) -> Result<(), CgroupError> {
        let limits = under_ceiling(limits, self.cpu_ceiling);
        self.write_limits(Some(&self.limits), &limits)?;
        self.limits = limits;
        Ok(())
    }

    fn write_limits(&self, before: Option<&GroupLimits>, after: &GroupLimits) -> Result<(), CgroupError> {
        let writes = match self.node.version() {
            Version::V1 => v1::limit_writes(before, after, self.swap),
            Version::V2 => v2::limit_writes(before, after, self.swap),
            Version::None => Vec::new(),
        };
        for write in writes {
            if let Some(directory) = self.node.directory_of(write.controller) {
                files::write(&directory.join(write.file), &write.value)?;
            }
        }
        Ok(())
    }

    /// Returns what the room uses and used.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        let (memory, peak) = match self.node.version() {
            Version::V1 => ("memory.usage_in_bytes", "memory.max_usage_in_bytes"),
            _ => ("memory.current", "memory.peak"),
        };
        let number = |controller, file| -> Result<Option<u64>, CgroupError> {
            let Some(directory) = self.node.directory_of(controller) else { return Ok(None) };
            let path = directory.join(file);
            // `memory.peak` is younger (5.19) than the kernels that we accept.
            if file == "memory.peak" && !path.exists() {
                return Ok(None);
            }
            files::read_number(&path).map(Some)
        };
        Ok(Usage {
            memory_bytes: number(Controller::Memory, memory)?,
            memory_peak_bytes: number(Controller::Memory, peak)?,
            cpu_usec: self.cpu_usec()?,
            pids: number(Controller::Pids, "pids.current")?,
        })
    }

    fn cpu_usec(&self) -> Result<Option<u64>, CgroupError> {
        let Some(directory) = self.node.directory_of(Controller::CpuAccounting) else { return Ok(None) };
        if self.node.version() == Version::V1 {
            return Ok(Some(files::read_number(&directory.join("cpuacct.usage"))? / 1000));
        }
        let path = directory.join("cpu.stat");
        let text = files::read(&path)?;
        files::keyed(&text, "usage_usec").map(Some).ok_or(CgroupError::Parse { path, what: "usage_usec" })
    }

    /// Returns the counters of what was refused.
    pub fn events(&self) -> Result<Events, CgroupError> {
        Events::read(&self.event_fds()?)
            .map_err(|source| CgroupError::io("read events of", self.path(), source))
    }

    /// Opens the files of the counters, to be passed to the server.
    pub fn event_fds(&self) -> Result<EventFds, CgroupError> {
        let (memory, cpu) = match self.node.version() {
            Version::V1 => ("memory.oom_control", "cpuacct.usage"),
            _ => ("memory.events", "cpu.stat"),
        };
        let open = |controller, file| {
            let directory = self.node.directory_of(controller);
            directory.map(|directory| files::open(&directory.join(file), OFlags::RDONLY)).transpose()
        };
        Ok(EventFds {
            memory: open(Controller::Memory, memory)?,
            pids: open(Controller::Pids, "pids.events")?,
            cpu: open(Controller::CpuAccounting, cpu)?,
        })
    }

    /// Kills every process in the group and waits, within two seconds, until it is empty.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        self.node.kill_all()
    }

    /// Removes the empty group, waiting up to half a second for the kernel to let it go; one that is gone is fine.
    pub fn remove(&self) -> Result<(), CgroupError> {
        self.node.remove()
    }

    /// Removes the group if nothing is in it; false, without waiting, where something is.
    pub fn remove_if_empty(&self) -> Result<bool, CgroupError> {
        self.node.remove_if_empty()
    }

    /// Returns the (first) directory of the group, for messages.
    pub fn path(&self) -> &Path {
        self.node.path()
    }
}

fn under_ceiling(limits: &GroupLimits, ceiling: Option<u32>) -> GroupLimits {
    let cpu_millis = match (limits.cpu_millis, ceiling) {
        (Some(millis), Some(ceiling)) => Some(millis.min(ceiling)),
        (millis, _) => millis,
    };
    GroupLimits { cpu_millis, ..*limits }
}
