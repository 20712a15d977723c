//! The table of modes: what each wall needs, and what each way of starting makes of it.
//! The one owner of these words: the checks of `doctor` and `/health` say them, and SPECIFICATION.md shows them.

use std::fmt::Write as _;

use reckon_cage::message::Ready;

use crate::{
    checks::CheckState::{self, Degraded, Missing, Works},
    engine::Isolation,
};

/// How an engine was started, as far as its walls depend on it. The numbers are the columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By root, and the owners of workspaces' mounts can be mapped.
    Root,
    /// By root, on a file system whose mounts cannot be mapped.
    RootUnmapped,
    /// By an ordinary user, who is also the root of a container that has no other uids.
    User,
    /// In the tier `process`, by root.
    ProcessRoot,
    /// In the tier `process`, by an ordinary user.
    ProcessUser,
}

/// All modes with their names, in the order of the columns.
pub(crate) const MODES: [(Mode, &str); 5] = [
    (Mode::Root, "root"),
    (Mode::RootUnmapped, "root, no mapped mounts"),
    (Mode::User, "ordinary user"),
    (Mode::ProcessRoot, "`process`, root"),
    (Mode::ProcessUser, "`process`, ordinary user"),
];

/// What a mode makes of a wall.
pub(crate) type Cell = (CheckState, &'static str);

/// A wall and what it comes to in each mode.
#[derive(Debug)]
pub(crate) struct Wall {
    pub(crate) name: &'static str,
    /// What it needs of the host; refused without, unless a cell says what stands in.
    pub(crate) needs: &'static str,
    pub(crate) cells: [Cell; 5],
}

const ROOM: Cell = (Works, "user, mount, pid, net, ipc, uts, cgroup; read-only root; own init");
const NO_ROOM: Cell = (Missing, "none: chosen by name");
const FILTER: Cell = (Works, "an allow-list of system calls");
const FILTER_WITHOUT_NETWORK: Cell = (Works, "an allow-list of system calls, without internet sockets");
const FILES: Cell = (Works, "files, beside the mounts of the room");
const FILES_ALONE: Cell = (Works, "files, TCP, signals and abstract sockets: the only wall for them");

pub(crate) const NAMESPACES: Wall = Wall {
    name: "namespaces",
    needs: "user namespaces; in a container also an unmasked `/proc`",
    cells: [ROOM, ROOM, ROOM, NO_ROOM, NO_ROOM],
};

pub(crate) const HOST_UIDS: Wall = Wall {
    name: "host uids",
    needs: "root, `/run` writable, and a file system whose mounts can be mapped",
    cells: [
        (Works, "one of its own for each sandbox, never 0, from a range that no other server has"),
        (Degraded, "one for all sandboxes, inside namespaces: this file system cannot map owners of mounts"),
        (Degraded, "the uid of who started Reckon for all sandboxes, inside namespaces"),
        (Degraded, "one for all sandboxes, not the server's"),
        (Degraded, "the uid of who started Reckon for all sandboxes and the server"),
    ],
};

pub(crate) const SERVER_UID: Wall = Wall {
    name: "server uid",
    needs: "a data directory that the account may reach",
    cells: [
        (Works, "`reckon serve` gives root up; its keeper and warden hold what rooms need"),
        (Works, "`reckon serve` gives root up; its keeper and warden hold what rooms need"),
        (Works, "who started it; nothing has a right over the host"),
        (Degraded, "root"),
        (Works, "who started it; nothing has a right over the host"),
    ],
};

pub(crate) const LANDLOCK: Wall = Wall {
    name: "landlock",
    needs: "version 1 (Linux 5.13)",
    cells: [FILES, FILES, FILES, FILES_ALONE, FILES_ALONE],
};

pub(crate) const SECCOMP: Wall = Wall {
    name: "seccomp",
    needs: "x86-64, refused when building",
    cells: [FILTER, FILTER, FILTER, FILTER_WITHOUT_NETWORK, FILTER_WITHOUT_NETWORK],
};

/// Every wall, in the order of the table.
pub(crate) const WALLS: [&Wall; 5] = [&NAMESPACES, &HOST_UIDS, &SERVER_UID, &LANDLOCK, &SECCOMP];

/// A limit of a whole sandbox and what enforces it on each kind of control groups.
#[derive(Debug)]
pub(crate) struct Grouped {
    /// The controller's name.
    pub(crate) name: &'static str,
    v2: &'static str,
    v1: &'static str,
    /// What stands in without it.
    pub(crate) without: Cell,
}

pub(crate) const GROUPED: [Grouped; 3] = [
    Grouped {
        name: "memory",
        v2: "`memory.max`, no swap",
        v1: "`memory.limit_in_bytes`, no swap where it is counted",
        without: (Degraded, "`RLIMIT_DATA` of each process stands in"),
    },
    Grouped {
        name: "pids",
        v2: "`pids.max`",
        v1: "`pids.max`",
        without: (Degraded, "`RLIMIT_NPROC` stands in"),
    },
    Grouped {
        name: "cpu",
        v2: "`cpu.max`",
        v1: "`cpu.cfs_quota_us`",
        without: (Missing, "nothing stands in: `cpu_millis` has no effect"),
    },
];

/// Versions of landlock: what each adds, and what closes it without.
pub(crate) const LANDLOCK_VERSIONS: [(u32, &str, &str); 6] = [
    (1, "reading, writing, executing and making files", "refused"),
    (2, "links and renames between directories that both allow them", "they fail with `EXDEV`"),
    (3, "truncating", "file modes and the read-only mounts of a room"),
    (4, "binding and connecting TCP", "the room's network namespace; in `process` the seccomp filter"),
    (5, "commands to devices", "the room's list of devices; in `process` their file modes"),
    (
        FIRST_WITH_SCOPES,
        "signals and abstract sockets",
        "the room's pid and network namespaces; in `process` nothing: announced",
    ),
];

/// The version from which landlock closes what only namespaces close before.
pub(crate) const FIRST_WITH_SCOPES: u32 = 6;

impl Mode {
    /// Returns the mode of an engine whose warden said this.
    pub(crate) fn of(isolation: Isolation, ready: &Ready) -> Self {
        let by_root = ready.owner.0 != u32::MAX;
        match (isolation, by_root, ready.separate_uids) {
            (Isolation::Room, true, true) => Self::Root,
            (Isolation::Room, true, false) => Self::RootUnmapped,
            (Isolation::Room, false, _) => Self::User,
            (Isolation::Process, true, _) => Self::ProcessRoot,
            (Isolation::Process, false, _) => Self::ProcessUser,
        }
    }

    /// Returns its name in the table.
    pub(crate) fn name(self) -> &'static str {
        MODES[self as usize].1
    }

    /// Returns what it makes of a wall.
    pub(crate) fn of_wall(self, wall: &Wall) -> Cell {
        wall.cells[self as usize]
    }
}

/// Returns the tables as Markdown.
pub fn markdown() -> String {
    let word = |state| match state {
        Works => "",
        Degraded => "*degraded:* ",
        Missing => "*missing:* ",
    };
    let names = MODES.map(|(_, name)| name).join(" | ");
    let mut text = format!("| wall | needs | {names} |\n|---|---|---|---|---|---|---|\n");
    for wall in WALLS {
        let cells = wall.cells.map(|(state, words)| format!("{}{words}", word(state))).join(" | ");
        let _ = writeln!(text, "| {} | {} | {cells} |", wall.name, wall.needs);
    }
    text.push_str("\n| limit of a sandbox | cgroup v2 | cgroup v1 | none |\n|---|---|---|---|\n");
    for Grouped { name, v2, v1, without: (state, words) } in GROUPED {
        let _ = writeln!(text, "| {name} | {v2} | {v1} | {}{words} |", word(state));
    }
    text.push_str("\n| landlock | adds | without it |\n|---|---|---|\n");
    for (version, adds, without) in LANDLOCK_VERSIONS {
        let _ = writeln!(text, "| {version} | {adds} | {without} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_table_of_modes_in_the_specification_is_the_codes_own() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SPECIFICATION.md");
        let text = std::fs::read_to_string(path).expect("SPECIFICATION.md can be read");
        assert!(text.contains(&markdown()), "put this into SPECIFICATION.md:\n\n{}", markdown());
    }

    #[test]
    fn every_mode_is_its_own_column() {
        for (column, (mode, name)) in MODES.into_iter().enumerate() {
            assert_eq!((mode as usize, mode.name()), (column, name));
        }
    }
}
