//! Instructions of the engine's hot path, by callgrind: the one figure that no other load on the machine moves.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::report::{Report, Run};
use crate::running;

/// Two runs that differ by so many cells differ by the instructions of these alone.
const CELLS: [u64; 2] = [200, 1200];

/// Adds the count of one cell; without valgrind it says what to install.
pub(super) fn measure(binary: &Path, data: &Path, report: &mut Report) {
    match cell(binary, data) {
        Ok(count) => {
            let note = "of the server's process for a trivial cell, counted by callgrind";
            report.add(Run::once("engine_cell_instructions", "instructions", count, note));
        }
        Err(error) => report.miss("engine_cell_instructions", &format!("{error:#}")),
    }
}

fn cell(binary: &Path, data: &Path) -> Result<f64> {
    if !running::succeeds(Command::new("valgrind").arg("--version")) {
        bail!("valgrind is missing: sudo apt-get install valgrind");
    }
    let [few, many] = CELLS;
    let (less, more) = (counted(binary, data, few)?, counted(binary, data, many)?);
    Ok((more - less) as f64 / (many - few) as f64)
}

fn counted(binary: &Path, data: &Path, cells: u64) -> Result<i64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .args(["bench-engine", "--json", "--only", "cells", "--repetitions", &cells.to_string()])
        .env("RECKON_SANDBOX_DATA", data)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .context("run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("under valgrind: {}", said.lines().last().unwrap_or(""));
    }
    collected(&said).context("callgrind says what it collected")
}

fn collected(said: &str) -> Option<i64> {
    let (_, count) = said.lines().find_map(|line| line.split_once("Collected : "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read() {
        assert_eq!(
            collected("==9== Events    : Ir\n==9== Collected : 123122502\n==9== \n"),
            Some(123_122_502)
        );
        assert_eq!(collected("nothing"), None);
    }
}
