//! Memory of a process and its descendants, read from `/proc`.

use std::collections::HashMap;
use std::fs;

/// What a process of the tree belongs to.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) enum Part {
    Server,
    Warden,
    Zygote,
    /// Inits, contexts and what they started.
    Rooms,
}

/// Memory in MB: resident as the kernel counts it, and with shared pages divided by sharers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) processes: usize,
    pub(super) resident: f64,
    pub(super) proportional: f64,
}

struct Process {
    pid: u32,
    parent: u32,
    /// How many pid namespaces it is in: a room's is one below the zygote's.
    depth: usize,
    /// Its command line and short name, in lower case.
    words: String,
}

/// Adds up the memory of the tree below `server` by part.
pub(super) fn of_tree(server: u32) -> HashMap<Part, Memory> {
    let processes = processes();
    let mut sums: HashMap<Part, Memory> = HashMap::new();
    for process in &processes {
        let Some(part) = part_of(process, &processes, server) else {
            continue;
        };
        let Some((resident, proportional)) = read(process.pid) else {
            continue;
        };
        let sum = sums.entry(part).or_default();
        sum.processes += 1;
        sum.resident += resident;
        sum.proportional += proportional;
    }
    sums
}

fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    let name = head.split_once('(')?.1;
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let depth = pids.split_whitespace().count();
    Some(Process { pid, parent, depth, words: format!("{name} {line}").to_lowercase() })
}

/// Returns which part of the tree a process is, or nothing if it is not of the tree.
///
/// A context keeps the command line of the zygote that it was forked from, but lives in a
/// room, so it is deeper in the pid namespaces than any zygote of the tree.
fn part_of(process: &Process, processes: &[Process], server: u32) -> Option<Part> {
    if process.pid == server {
        return Some(Part::Server);
    }
    if !is_below(process, processes, server) {
        return None;
    }
    let is_zygote = |process: &Process| process.words.contains("zygote");
    let is_in_room = || {
        processes
            .iter()
            .filter(|other| is_zygote(other) && other.depth < process.depth)
            .any(|other| is_below(other, processes, server))
    };
    Some(match () {
        () if is_in_room() => Part::Rooms,
        () if is_zygote(process) => Part::Zygote,
        () if process.words.contains("warden") => Part::Warden,
        () => Part::Rooms,
    })
}

fn is_below(process: &Process, processes: &[Process], server: u32) -> bool {
    let mut parent = process.parent;
    // The table is not read at one instant; a pid that is used again must not make a ring.
    for _ in processes {
        if parent == server {
            return true;
        }
        let Some(next) = processes.iter().find(|other| other.pid == parent) else {
            return false;
        };
        parent = next.parent;
    }
    false
}

/// Returns resident and proportional memory in MB.
fn read(pid: u32) -> Option<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some((megabytes(&text, "Rss:")?, megabytes(&text, "Pss:")?))
}

fn megabytes(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pid: u32, parent: u32, depth: usize, words: &str) -> Process {
        Process { pid, parent, depth, words: words.to_owned() }
    }

    #[test]
    fn the_tree_is_divided_into_its_parts() {
        let all = [
            named(1, 0, 1, "init"),
            named(10, 1, 1, "reckon reckon serve"),
            named(11, 10, 1, "reckon reckon warden"),
            named(12, 11, 2, "reckon reckon warden"),
            named(13, 12, 2, "python python reckon_zygote.py"),
            // Twice forked, so a child of the warden again.
            named(14, 12, 3, "python python reckon_zygote.py"),
            named(15, 12, 3, "reckon-init"),
            named(16, 15, 3, "sleep sleep 9"),
            named(20, 1, 1, "reckon reckon serve"),
        ];
        let parts: Vec<Option<Part>> = all.iter().map(|one| part_of(one, &all, 10)).collect();
        let (warden, rooms) = (Some(Part::Warden), Some(Part::Rooms));
        assert_eq!(parts[..2], [None, Some(Part::Server)]);
        assert_eq!(parts[2..5], [warden, warden, Some(Part::Zygote)]);
        assert_eq!(parts[5..], [rooms, rooms, rooms, None]);
    }

    #[test]
    fn this_process_has_memory() {
        let sums = of_tree(std::process::id());
        let server = sums[&Part::Server];
        assert_eq!(server.processes, 1);
        assert!(server.resident >= server.proportional && server.proportional > 0.0);
    }
}
