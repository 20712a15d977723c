//! The Rust tests: by nextest where it is installed, else by `cargo test`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Options, choose_packages};
use crate::project::Project;
use crate::running::{self, Transcript};
use crate::tally::{Tally, parse_cargo_test, parse_nextest, parse_skip_log};

/// Runs the tests of the chosen crates and counts them, with what they reported as skipped.
pub(super) fn test(project: &Project, options: &Options) -> Result<Tally> {
    let skip_log = project.target.join("skipped-tests.tsv");
    fs::write(&skip_log, "").with_context(|| format!("empty {}", skip_log.display()))?;
    let by_nextest = project.has_cargo("nextest");
    let mut command = if by_nextest {
        nextest(project, options)
    } else {
        eprintln!("      cargo-nextest is not installed: using cargo test");
        cargo_test(project, options)
    };
    command.env("RECKON_SKIP_LOG", &skip_log);
    let transcript = running::shown_and_read(&mut command)?;
    let parse = if by_nextest { parse_nextest } else { parse_cargo_test };
    let mut tally = counted(&transcript, parse);
    let log = fs::read_to_string(&skip_log).with_context(|| format!("read {}", skip_log.display()))?;
    tally.move_to_skips(parse_skip_log(&log));
    Ok(tally)
}

/// Runs the examples in the crates' documentation, which nextest does not.
pub(super) fn test_documentation(project: &Project) -> Result<Tally> {
    let mut command = project.cargo(&["test", "--locked", "--doc", "--workspace", "--quiet"]);
    let transcript = running::read(&mut command)?;
    if !transcript.success {
        eprintln!("{}", transcript.lines.join("\n"));
    }
    Ok(counted(&transcript, parse_cargo_test))
}

fn counted(transcript: &Transcript, parse: fn(&[String]) -> Tally) -> Tally {
    let mut tally = parse(&transcript.lines);
    if !transcript.success && tally.failed == 0 {
        // It ended before it could count: a build error, a signal.
        tally.failed = 1;
    }
    tally
}

fn nextest(project: &Project, options: &Options) -> Command {
    let mut command = project.cargo(&["nextest", "run", "--locked", "--no-fail-fast"]);
    command.arg("--no-tests=pass");
    choose_packages(&mut command, options);
    choose_targets(&mut command, options);
    command.args(&options.filters);
    command
}

fn cargo_test(project: &Project, options: &Options) -> Command {
    let mut command = project.cargo(&["test", "--locked", "--no-fail-fast"]);
    choose_packages(&mut command, options);
    if options.quick {
        choose_targets(&mut command, options);
    } else {
        // Documentation has a step of its own.
        command.args(["--lib", "--bins", "--tests"]);
    }
    // What nextest's groups do for the tests that are hard on the kernel.
    command.args(["--", "--test-threads=2"]);
    command.args(&options.filters);
    command
}

fn choose_targets(command: &mut Command, options: &Options) {
    if options.quick {
        command.args(["--lib", "--bins"]);
    }
}
