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

/// The suites.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Suite {
    CPython,
    NumPy,
}

/// Builds the binary, runs the named suites (without names all) whole and prints the counts.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let suites = chosen(arguments)?;
    if !running::shown(&mut project.cargo(&["build", "--locked", "--package", "reckon-cli"]))? {
        return Ok(ExitCode::from(1));
    }
    let tally = perform(project, &suites, Form::Long)?;
    print!("{}", tally.summary());
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}

/// Runs the suites in this form with the binary that was built.
pub(crate) fn test(project: &Project, form: Form) -> Result<Tally> {
    perform(project, &[Suite::CPython, Suite::NumPy], form)
}

fn perform(project: &Project, suites: &[Suite], form: Form) -> Result<Tally> {
    let grounds = place::Grounds::prepare(project)?;
    let mut tally = Tally::default();
    for suite in suites {
        tally.add(match suite {
            Suite::CPython => cpython::test(project, &grounds)?,
            Suite::NumPy => numpy::test(project, &grounds, form)?,
        });
    }
    Ok(tally)
}

fn chosen(arguments: &[String]) -> Result<Vec<Suite>> {
    if arguments.is_empty() {
        return Ok(vec![Suite::CPython, Suite::NumPy]);
    }
    let suite = |word: &String| match word.as_str() {
        "cpython" => Ok(Suite::CPython),
        "numpy" => Ok(Suite::NumPy),
        other => bail!("no suite `{other}`: cpython, numpy"),
    };
    arguments.iter().map(suite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_name() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(chosen(&[]).expect("all").len(), 2);
        assert_eq!(chosen(&words("numpy")).expect("one"), [Suite::NumPy]);
        assert!(chosen(&words("--all")).is_err());
    }
}
