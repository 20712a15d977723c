//! How a command ends: its exit code, and the `error:` and `hint:` lines of what went wrong.

use std::{fmt, io, process::ExitCode};

use reckon_model::ModelError;
use reckon_sandbox::{EngineError, image::ImageError};
use reckon_server::ServeError;

use crate::render::style;

/// The exit codes (STYLE 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Success,
    /// The code that was run failed.
    CodeFailed,
    /// We failed.
    Failed,
    /// A person interrupted.
    Interrupted,
}

impl Exit {
    /// Returns the number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::CodeFailed => 1,
            Self::Failed => 2,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// An error of the command line itself, with what to do about it.
#[derive(Debug)]
pub(crate) struct Hinted {
    message: String,
    hint: Option<String>,
}

impl Hinted {
    /// Makes an error of a message and a hint.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

impl From<reckon_protocol::Problem> for Hinted {
    fn from(problem: reckon_protocol::Problem) -> Self {
        Self { message: problem.message, hint: problem.hint }
    }
}

/// A person gave the command up before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Tells people on stderr what went wrong and what to do, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        // The reader of our output has seen enough, as in `reckon exec … | head`.
        return Exit::Success;
    }
    if error.is::<Interrupted>() {
        anstream::eprintln!("{error}");
        return Exit::Interrupted;
    }
    anstream::eprintln!("{}error:{} {}", style::ERROR, style::END, told_once(error));
    for hint in hints(error) {
        anstream::eprintln!("{}hint:{} {hint}", style::HINT, style::END);
    }
    Exit::Failed
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Returns what can be done about an error.
pub(crate) fn hints(error: &anyhow::Error) -> Vec<String> {
    error.chain().flat_map(hints_of).collect()
}

fn hints_of(cause: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let hint = if let Some(hinted) = cause.downcast_ref::<Hinted>() {
        hinted.hint.clone()
    } else if let Some(error) = cause.downcast_ref::<EngineError>() {
        return engine_hints(error);
    } else if let Some(error) = cause.downcast_ref::<ImageError>() {
        error.hint()
    } else if let Some(error) = cause.downcast_ref::<ServeError>() {
        Some(error.hint())
    } else {
        cause.downcast_ref::<ModelError>().map(ModelError::hint)
    };
    hint.into_iter().collect()
}

/// Where walls are refused, a person may choose the weaker tier; it is never chosen for them.
fn engine_hints(error: &EngineError) -> Vec<String> {
    let mut hints: Vec<String> =
        error.to_problem().hint.into_iter().filter(|hint| !hint.is_empty()).collect();
    if matches!(error, EngineError::Isolation { .. }) {
        hints.push("`reckon doctor` lists what this host offers".to_owned());
        hints.push(
            "`--isolation process` runs code in a weaker tier: landlock, seccomp and rlimits, no namespaces"
                .to_owned(),
        );
    }
    hints
}

/// Joins an error and its causes; a cause that the text before it already ends with is not told again.
fn told_once(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        if told.is_empty() {
            cause
        } else if told.ends_with(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_found_below_contexts() {
        let error = anyhow::Error::new(Hinted::new("no", "do this")).context("while trying");
        assert_eq!(hints(&error), ["do this"]);
        assert_eq!(format!("{error:#}"), "while trying: no");
    }

    #[test]
    fn a_closed_reader_is_no_failure() {
        let error = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("write");
        assert_eq!(report(&error), Exit::Success);
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = anyhow::anyhow!("no").context("bind: no").context("serve");
        assert_eq!(told_once(&inner), "serve: bind: no");
    }
}
