//! The project's own chores: `cargo xtask test`, `tidy`, `bench`, `fuzz`, `soak`, `suites` and `guest`.
//!
//! Installs nothing outside the build directory and the user's caches, needs no root.

mod bench;
mod fuzz;
mod guest;
mod project;
mod python;
mod running;
mod soak;
mod suites;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::project::Project;

const USAGE: &str = "\
usage: cargo xtask <test|tidy|bench|fuzz|soak|suites|guest> [options]

test [--quick] [-p CRATE]... [--install-tools] [FILTER]...
    formatting, clippy, the binary, the Python driver's tests, the Rust tests, tidy
    --quick          only formatting, unit tests and the rules of tidy
    -p CRATE         only the lints and tests of this crate
    --install-tools  as with tidy
    FILTER           only the Rust tests whose name contains it

suites [cpython] [numpy]
    the tests of CPython and NumPy in sandboxes, whole; `test` runs most of them

guest [--short | PROGRAM...]
    the core of the tests on Debian's kernel with cgroup v2, emulated by qemu
    --short          what `test` runs of it
    PROGRAM          only this test program, such as sandbox/hostile or sandbox/hostile=some_test, as root

tidy [--install-tools]
    the rules of the tree, then cargo-deny and cargo-machete where they are installed
    --install-tools  installs these two below the build directory (two minutes, once)

bench [--quick] [--json] [--no-peers] [--check] [--write]
    measures the release build of reckon beside its peers
    --quick          fewer repetitions
    --json           the report as JSON on stdout instead of a table
    --no-peers       leaves out the peers
    --check          exit code 1 where a figure is worse than its baseline allows
    --write          writes docs/benchmarks.md, .json and .svg, and the baseline

fuzz [--seconds N] [TARGET]...
    feeds the fuzz targets of fuzz/ with what libFuzzer makes up (needs a C++ compiler)
    --seconds N      for each target; 60 unless said

soak [--count N] [--calls N] [--samples N] [--seed N] [--json]
    sandboxes made, used and destroyed while their processes are killed at random,
    file calls against racing code, and figures: time-outs, a neighbour's pace, file calls
    --count N        sandboxes; 10,000 unless said
    --calls N        file calls; a million unless said
    --samples N      of each figure; 100 unless said
    --seed N         repeats the decisions of an earlier run
    --json           the report as JSON on stdout instead of a table
";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((command, rest)) = arguments.split_first() else {
        print!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    if command == "help" || arguments.iter().any(|word| word == "--help" || word == "-h") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    match command.as_str() {
        "test" => test::run(&Project::locate()?, rest),
        "tidy" => tidy::run(&Project::locate()?, rest),
        "bench" => bench::run(&Project::locate()?, rest),
        "fuzz" => fuzz::run(&Project::locate()?, rest),
        "soak" => soak::run(&Project::locate()?, rest),
        "guest" => guest::run(&Project::locate()?, rest),
        "suites" => suites::run(&Project::locate()?, rest),
        other => bail!("no command `{other}`\n\n{USAGE}"),
    }
}
