//! `cargo xtask suites`: what others wrote to test Python and NumPy, run in sandboxes.
//!
//! The tests of CPython are compared with a run outside; the places where the two differ are listed, each with its
//! reason, in `suites/differences.txt`.

mod cases;
mod cpython;
mod crew;
mod differences;
mod numpy;
mod place;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::running;
use crate::tally::Tally;

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// What fits between the other tests.
    Short,
    /// Everything.
    Long,
}

/// Builds the binary, runs all suites whole and prints the counts.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    if let Some(word) = arguments.first() {
        bail!("no option `{word}` of xtask suites");
    }
    if !running::shown(&mut project.cargo(&["build", "--locked", "--package", "reckon-cli"]))? {
        return Ok(ExitCode::from(1));
    }
    let tally = test(project, Form::Long)?;
    print!("{}", tally.summary());
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}

/// Runs the suites in this form with the binary that was built.
pub(crate) fn test(project: &Project, form: Form) -> Result<Tally> {
    let grounds = place::Grounds::prepare(project)?;
    let mut tally = cpython::test(project, &grounds)?;
    tally.add(numpy::test(project, &grounds, form)?);
    Ok(tally)
}
