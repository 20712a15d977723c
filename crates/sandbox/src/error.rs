//! What can go wrong with the engine itself. Code that fails is an outcome, not one of these.

use reckon_protocol::{LimitError, Problem, ProblemCode};

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The sandbox does not exist, or ended while the call was under way.
    #[error("the sandbox is gone: {0}")]
    Gone(String),
    /// As many sandboxes live as the configuration allows.
    #[error("all {maximum} sandboxes are in use")]
    Busy {
        /// The configured maximum.
        maximum: usize,
    },
    /// This host refuses something that isolation needs.
    #[error("{what}")]
    Isolation {
        /// What is missing.
        what: String,
        /// The command or setting that mends it.
        mend: String,
    },
    /// A limit is out of range.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A path is not one of the workspace.
    #[error("{0}")]
    Path(String),
    /// A file of the workspace could not be used.
    #[error("{act} {path}: {source}")]
    File {
        /// What was tried: `open`, `write`.
        act: &'static str,
        /// The path below the workspace.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The warden or the zygote failed.
    #[error("{0}")]
    Warden(String),
    /// A program of the hostile suite is not well-formed.
    #[error("{0}")]
    Program(String),
    /// A system call of ours failed.
    #[error("{act}: {source}")]
    Io {
        /// What was tried.
        act: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl EngineError {
    pub(crate) fn io(act: &str, source: std::io::Error) -> Self {
        Self::Io { act: act.to_owned(), source }
    }

    /// Returns the error as people see it at a door.
    pub fn to_problem(&self) -> Problem {
        let message = self.to_string();
        match self {
            Self::Gone(_) => Problem::new(ProblemCode::Gone, message).with_hint("create a new sandbox"),
            Self::Busy { .. } => Problem::new(ProblemCode::Busy, message)
                .with_hint("delete a sandbox, or raise max_sandboxes in the configuration"),
            Self::Isolation { mend, .. } => {
                Problem::new(ProblemCode::IsolationUnavailable, message).with_hint(mend.clone())
            }
            Self::Limit(_) | Self::Path(_) => Problem::new(ProblemCode::InvalidRequest, message),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Problem::new(ProblemCode::NotFound, message)
            }
            Self::File { source, .. }
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::StorageFull
                ) =>
            {
                Problem::new(ProblemCode::TooLarge, message)
                    .with_hint("remove files of the workspace, or make a sandbox with more `disk_bytes`")
            }
            Self::File { .. } | Self::Warden(_) | Self::Program(_) | Self::Io { .. } => {
                Problem::new(ProblemCode::Internal, message)
            }
        }
    }
}
