//! What the engine may ask of the warden and what it is told: a small fixed protocol by number.
//! Paths appear only once, in the configuration that the operator's server gives at start.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{account::Account, without::Without};

/// What the warden needs to know before it makes rooms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WardenConfig {
    /// Whether rooms have namespaces; without them contexts are only landlocked, filtered and limited.
    pub namespaces: bool,
    /// The directory whose subdirectories are workspaces.
    pub workspaces: PathBuf,
    /// What of the host is visible in every room, read-only.
    pub visible: Vec<Visible>,
    /// Files that every room sees beside that, or in place of one that a tree has: path and content.
    pub files: Vec<(PathBuf, String)>,
    /// The program from which contexts are forked. Without arguments there is none: the warden builds one room to see
    /// that it can, says what stands, and ends.
    pub zygote: Program,
    /// A zygote older than this is replaced by a new one when it has forked next; 0 for never.
    #[serde(default)]
    pub zygote_millis: u64,
    /// Where Reckon's own files are seen from inside; without namespaces a private directory of the host.
    pub own: PathBuf,
    /// The server that asks; on cgroup v2 it may be moved into a leaf beside the rooms.
    pub server_pid: u32,
    /// Who the server is once it has given up root, and owns workspaces on disk; `None` where it keeps the uid that it
    /// was started with. A keeper starts the warden then.
    #[serde(default)]
    pub account: Option<Account>,
    /// Walls that a test leaves out; a shipped build refuses any.
    #[serde(default)]
    pub without: Without,
    /// The disk that holds the workspaces where the host's root starts the warden.
    pub disk: DiskConfig,
}

/// The file system of all workspaces, in one sparse file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskConfig {
    /// The directory of the file, root's alone; both are made when they are missing.
    pub directory: PathBuf,
    /// Its size, which it is made with or grows to.
    pub bytes: u64,
}

impl WardenConfig {
    /// Returns whether only the walls are to be tried: there is no zygote to start.
    pub fn is_survey(&self) -> bool {
        self.zygote.arguments.is_empty()
    }
}

/// A program with its arguments and its whole environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// Path and arguments, seen from inside.
    pub arguments: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
}

/// Something of the host that rooms see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visible {
    /// A directory or a file at its own path, read-only.
    Tree(PathBuf),
    /// A directory or a file at another path: what it is on the host, and where it is seen.
    Moved(PathBuf, PathBuf),
    /// A device node that may be read and written.
    Device(PathBuf),
    /// A symbolic link: its path, and what it leads to.
    Link(PathBuf, PathBuf),
}

/// Limits of a room that its cgroup and the disk enforce and that may change while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLimits {
    /// Memory in bytes; there is no swap.
    pub memory_bytes: u64,
    /// Processes and threads, init included.
    pub pids: u32,
    /// Thousandths of a core; `None` for no limit.
    pub cpu_millis: Option<u32>,
    /// What its workspace may take on the disk, where there is one.
    pub disk_bytes: u64,
}

/// A request with the number that its answer carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the asker, from 1.
    pub number: u64,
    /// What is asked.
    pub act: Act,
}

/// What can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Build room `room`. Answered by `Done` with the descriptors of its memory and pids events and of its account of
    /// processor time, as available.
    Room {
        /// A number never used before.
        room: u64,
        /// Limits of its cgroup.
        limits: RoomLimits,
        /// Size of `/tmp` and of `/dev/shm` in bytes.
        tmp_bytes: u64,
        /// Files and directories of each of them.
        tmp_inodes: u64,
    },
    /// Fork a context into a room. Carries its control socket, its stdout and its stderr.
    Context {
        /// The room.
        room: u64,
        /// A number never used before.
        context: u64,
        /// `RLIMIT_NOFILE`.
        open_files: u64,
        /// `RLIMIT_FSIZE`.
        file_bytes: u64,
        /// `RLIMIT_NPROC`, where no cgroup limits pids; the kernel counts it per user namespace.
        processes: Option<u64>,
        /// `RLIMIT_DATA`, where no cgroup limits memory; it counts per process.
        data_bytes: Option<u64>,
        /// Whether the context warms up before it says that it is ready.
        warm: bool,
    },
    /// Change the limits of a room's cgroup.
    Limits {
        /// The room.
        room: u64,
        /// Its new limits.
        limits: RoomLimits,
    },
    /// Give a room its sandbox: the limits, and the workspace mounted at `/workspace`. On the disk its files are made
    /// if they are not there yet.
    Identity {
        /// The room.
        room: u64,
        /// Name of the directory below `workspaces`.
        workspace: String,
        /// Limits of its cgroup.
        limits: RoomLimits,
    },
    /// Send a signal to a context's process group (interrupt) or to the context alone (kill).
    Signal {
        /// The room.
        room: u64,
        /// The context.
        context: u64,
        /// Which.
        signal: ContextSignal,
    },
    /// Kill everything in a room and remove it. `RoomEnded` follows when nothing is left.
    End {
        /// The room.
        room: u64,
    },
}

/// Signals that the engine sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextSignal {
    /// SIGINT to the process group: Python raises KeyboardInterrupt.
    Interrupt,
    /// SIGKILL to the context.
    Kill,
}

/// What the warden says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Rooms can be made now. Comes once, first, with a descriptor of the disk's top directory where there is one.
    Ready(Ready),
    /// The warden cannot start; it ends after this.
    Unable {
        /// What this host refuses.
        what: String,
        /// What a person can do.
        mend: String,
    },
    /// An act was carried out.
    Done {
        /// The request.
        number: u64,
    },
    /// An act failed and changed nothing.
    Failed {
        /// The request.
        number: u64,
        /// Why.
        message: String,
    },
    /// A context ended, by itself or by a signal.
    ContextEnded {
        /// The room.
        room: u64,
        /// The context.
        context: u64,
        /// How the kernel says it ended.
        ending: Ending,
    },
    /// Nothing of the room is left.
    RoomEnded {
        /// The room.
        room: u64,
    },
    /// The end of a room was not verified, or was verified later: so many uids are held back now, and given to nobody.
    Quarantine {
        /// How many.
        held: usize,
        /// What is left of a room, when one was added.
        message: Option<String>,
    },
    /// A new zygote took the place of one that had grown old; contexts of either go on.
    ZygoteRenewed {},
    /// The zygote ended and a new one is being started; rooms and contexts go on.
    ZygoteEnded {
        /// How, with the last lines that it wrote.
        message: String,
    },
}

/// What stands, told once at start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// Who must own the files of workspaces on disk: uid and gid.
    pub owner: (u32, u32),
    /// Whether each room has a host uid of its own, mapped at its workspace's mount.
    pub separate_uids: bool,
    /// Version of landlock in use.
    pub landlock: u32,
    /// cgroup version (`v1`, `v2`, `none`) and what it enforces.
    pub cgroup: String,
    /// Controllers that are missing, each with why and what mends it.
    pub missing_controllers: Vec<(String, String, String)>,
    /// Control groups of dead servers that were killed and removed, and those that could not be.
    #[serde(default)]
    pub swept: Vec<String>,
    /// Where there is no disk with a quota for each workspace: why, and what mends it.
    pub disk_missing: Option<(String, String)>,
    /// What the zygote said of itself.
    pub zygote: serde_json::Value,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}
