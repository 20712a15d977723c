//! `cargo xtask bench`: Reckon's release build beside its peers, measured in one run.
//!
//! The report's shape is documented in `bench/report.rs`, what it is held to in `bench/targets.rs`.

mod baseline;
mod http;
mod instructions;
mod load;
mod machine;
mod memory;
mod page;
mod peers;
mod plot;
mod reckon;
mod report;
mod sandboxers;
mod targets;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

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
    /// Each of the engine's own figures.
    engine: usize,
    /// Sandboxes that live at once when their cost is measured.
    density: usize,
}

const WHOLE: Repetitions = Repetitions { starts: 10, creations: 50, cells: 500, engine: 200, density: 3000 };

/// Enough to see that everything still runs; too few for a p99.
const QUICK: Repetitions = Repetitions { starts: 3, creations: 10, cells: 50, engine: 10, density: 100 };

/// What is done with the report.
#[derive(Default)]
struct Wishes {
    as_json: bool,
    is_written: bool,
    is_checked: bool,
}

/// Measures what can be measured here and prints the report on stdout.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let mut repetitions = &WHOLE;
    let (mut wishes, mut with_peers) = (Wishes::default(), true);
    for word in arguments {
        match word.as_str() {
            "--quick" => repetitions = &QUICK,
            "--json" => wishes.as_json = true,
            "--no-peers" => with_peers = false,
            "--write" => wishes.is_written = true,
            "--check" => wishes.is_checked = true,
            other => bail!("no option `{other}` of xtask bench"),
        }
    }
    let mut report = Report::new(machine::describe(project));
    let data = project.target.join(format!("bench-data-{}", std::process::id()));
    fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
    if with_peers {
        peers::measure(project, repetitions, &mut report);
        sandboxers::measure(&data.join("peers"), repetitions, &mut report);
    }
    // Of its own: a server that root starts takes no directory that holds anything else.
    let own = data.join("reckon");
    fs::create_dir_all(&own).with_context(|| format!("make {}", own.display()))?;
    reckon::measure(project, &own, repetitions, &mut report);
    // Nothing below is of use to a later run.
    let _ = fs::remove_dir_all(&data);
    tell(project, &report, &wishes)
}

fn tell(project: &Project, report: &Report, wishes: &Wishes) -> Result<ExitCode> {
    if wishes.as_json {
        println!("{:#}", report.to_json());
    } else {
        print!("{}", report.to_table());
    }
    let worse = if wishes.is_checked { baseline::regressions(project, report)? } else { Vec::new() };
    for line in &worse {
        eprintln!("worse: {line}");
    }
    if wishes.is_written {
        page::write(project, report)?;
        baseline::write(project, report)?;
    }
    // A figure that is missing is a failure of the bench, not of the code.
    let code = if report.is_complete() { u8::from(!worse.is_empty()) } else { 2 };
    Ok(ExitCode::from(code))
}
