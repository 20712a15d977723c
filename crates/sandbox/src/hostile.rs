//! Hostile programs: what code that was talked into anything would try, each with the walls that stop it and what
//! being stopped looks like. `reckon doctor --self-test` runs them on a user's host; the tests also run each without
//! its walls, where it must succeed, so that none is contained by accident.
//!
//! The programs are data, in `hostile/programs/`; `hostile/parse.rs` says how they are written.

mod ground;
mod parse;
mod suite;
mod verdict;

use std::collections::BTreeMap;

use reckon_protocol::Limits;

pub use ground::Ground;
pub use suite::{Suite, Tried};
pub use verdict::Verdict;

use crate::error::EngineError;

const MIB: u64 = 1024 * 1024;

/// One program.
#[derive(Debug, Clone)]
pub struct Program {
    /// Unique, such as `proc-keys`.
    pub id: String,
    /// The file it is in: `filesystem`, `proc` and so on; `control` for honest programs.
    pub category: &'static str,
    /// What it tries, in a few words.
    pub says: String,
    /// The walls that stop it, left out together to see it succeed. `engine` where it is one that cannot be left out:
    /// Reckon's own code, the user and mount namespaces, owners of files on the host.
    pub walls: Vec<String>,
    /// Lines of the policy that it holds: words with which they begin.
    pub holds: Vec<String>,
    /// How being stopped looks: names of errors, of exceptions or of ends of an execution.
    pub contained: Vec<String>,
    /// Ends of an execution that mean success.
    pub escaped: Vec<String>,
    /// A wall that a host may lack, by the name of its check: where it does not stand the program is not tried.
    pub needs: Option<String>,
    /// Changes to the limits of its sandbox.
    limits: BTreeMap<String, u64>,
    /// A file of its workspace that the host then reads.
    read: Option<String>,
    code: String,
    /// What the neighbour does first.
    neighbour: Option<String>,
}

/// The texts, by category.
const TEXTS: [(&str, &str); 13] = [
    ("control", include_str!("hostile/programs/control.py")),
    ("filesystem", include_str!("hostile/programs/filesystem.py")),
    ("proc", include_str!("hostile/programs/proc.py")),
    ("namespaces", include_str!("hostile/programs/namespaces.py")),
    ("capabilities", include_str!("hostile/programs/capabilities.py")),
    ("syscalls", include_str!("hostile/programs/syscalls.py")),
    ("network", include_str!("hostile/programs/network.py")),
    ("resources", include_str!("hostile/programs/resources.py")),
    ("life", include_str!("hostile/programs/life.py")),
    ("channel", include_str!("hostile/programs/channel.py")),
    ("output", include_str!("hostile/programs/output.py")),
    ("workspace", include_str!("hostile/programs/workspace.py")),
    ("siblings", include_str!("hostile/programs/siblings.py")),
];

/// Category of the honest programs, which must run with all walls up.
pub const CONTROL: &str = "control";

/// Returns the names of the categories.
pub fn categories() -> [&'static str; TEXTS.len()] {
    TEXTS.map(|(category, _)| category)
}

/// Returns all programs.
///
/// # Errors
/// A mistake in one of the texts, with its place.
pub fn programs() -> Result<Vec<Program>, EngineError> {
    let mut all: Vec<Program> = Vec::new();
    for (category, text) in TEXTS {
        for program in parse::parse(category, text)? {
            if all.iter().any(|other| other.id == program.id) {
                return Err(EngineError::Program(format!("two hostile programs are called {}", program.id)));
            }
            all.push(program);
        }
    }
    Ok(all)
}

/// Returns the limits of the sandboxes that hostile programs run in: small, so that reaching them costs the host little.
pub fn limits() -> Limits {
    Limits {
        memory_bytes: 384 * MIB,
        pids: 64,
        timeout_ms: 10_000,
        open_files: 256,
        file_bytes: 8 * MIB,
        tmp_bytes: 16 * MIB,
        output_bytes: MIB,
        ..Limits::default()
    }
}

impl Program {
    /// Returns its Python.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns whether it is honest: it must run to its end with all walls up.
    pub fn is_control(&self) -> bool {
        self.category == CONTROL
    }

    /// Returns the program with the limits lifted that are its walls, and the walls that are none.
    #[must_use]
    pub fn lifted(&self) -> (Self, Vec<&str>) {
        let mut program = self.clone();
        let mut others = Vec::new();
        for wall in &self.walls {
            let limit = wall.strip_prefix("limit ").and_then(|rest| rest.split_once('='));
            match limit.and_then(|(name, value)| Some((name, value.parse().ok()?))) {
                Some((name, value)) => drop(program.limits.insert(name.to_owned(), value)),
                None => others.push(wall.as_str()),
            }
        }
        (program, others)
    }

    /// Returns whether the wall is Reckon's own code, which cannot be left out.
    pub fn is_held_by_engine(&self) -> bool {
        self.walls.iter().any(|wall| wall == "engine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_says_what_it_tries_and_what_stops_it() {
        let all = programs().expect("the programs are well-formed");
        let hostile: Vec<_> = all.iter().filter(|program| !program.is_control()).collect();
        assert!(hostile.len() >= 120, "{} hostile programs", hostile.len());
        for program in hostile {
            assert!(!program.says.is_empty(), "{} says nothing", program.id);
            assert!(!program.walls.is_empty(), "{} names no wall", program.id);
            assert!(
                !program.contained.is_empty(),
                "{} does not say what being stopped looks like",
                program.id
            );
        }
    }
}
