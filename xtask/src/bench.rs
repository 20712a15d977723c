//! `cargo xtask bench`: Reckon's release build beside its peers, measured in one run.
//!
//! The report's shape is documented in `bench/report.rs`.

mod http;
mod machine;
mod memory;
mod peers;
mod reckon;
mod report;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::project::Project;
use report::Report;

/// How often each thing is done.
struct Repetitions {
    /// A process or server is started: tenths of seconds each.
    starts: usize,
    /// A sandbox is made or an interpreter started for one call.
    creations: usize,
    /// A cell in a context that is there already.
    cells: usize,
}

const WHOLE: Repetitions = Repetitions { starts: 10, creations: 50, cells: 500 };

/// Enough to see that everything still runs; too few for a p99.
const QUICK: Repetitions = Repetitions { starts: 3, creations: 10, cells: 50 };

/// Measures what can be measured here and prints the report on stdout.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let mut repetitions = &WHOLE;
    let (mut as_json, mut with_peers) = (false, true);
    for word in arguments {
        match word.as_str() {
            "--quick" => repetitions = &QUICK,
            "--json" => as_json = true,
            "--no-peers" => with_peers = false,
            other => bail!("no option `{other}` of xtask bench"),
        }
    }
    let mut report = Report::new(machine::describe(project));
    reckon::measure(project, repetitions, &mut report);
    if with_peers {
        peers::measure(project, repetitions, &mut report);
    }
    if as_json {
        println!("{:#}", report.to_json());
    } else {
        print!("{}", report.to_table());
    }
    // A figure that is missing is a failure of the bench, not of the code.
    Ok(ExitCode::from(if report.is_complete() { 0 } else { 2 }))
}
