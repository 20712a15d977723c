//! What an execution comes to: its outcome as one value, for callers that do not stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ExecutionId;

/// How an execution ended (DESIGN §4, *Outcomes*). Code that fails is an outcome, not our error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The code ran to its end.
    Ok,
    /// The code raised.
    Error,
    /// The wall time or the processor time was up; the code was interrupted, and killed if it did not stop.
    Timeout,
    /// Somebody interrupted the code.
    Interrupted,
    /// The kernel killed the interpreter because the sandbox reached its memory limit.
    OutOfMemory,
    /// A signal from outside ended the interpreter, ours among them where the kernel cannot keep a workspace small.
    Killed,
    /// The interpreter ended by itself: a crash or `os._exit`.
    InterpreterDied,
}

impl Status {
    /// Returns the word that the wire uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::OutOfMemory => "out_of_memory",
            Self::Killed => "killed",
            Self::InterpreterDied => "interpreter_died",
        }
    }
}

/// A limit that was reached on the way, which the code itself may have noticed and caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitHit {
    /// Wall time of the execution.
    Time,
    /// Processor time of the execution.
    Cpu,
    /// Memory of the sandbox.
    Memory,
    /// Processes and threads of the sandbox.
    Pids,
    /// Bytes of stdout and stderr; the rest was counted and dropped.
    Output,
    /// Bytes of the workspace, or of `/tmp` and its like.
    Disk,
    /// Open files, the size of a file, or the number of files.
    Files,
}

/// What became of the interpreter's variables by an execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The interpreter lives: the next execution finds them as the code left them.
    #[default]
    Kept,
    /// The interpreter has ended: the next execution begins without them. Files are kept.
    Lost,
}

/// One value in several representations: MIME type to data. Text types are strings, images are
/// base64 strings, JSON types are JSON values (the form of Jupyter's `display_data`).
pub type MimeBundle = BTreeMap<String, serde_json::Value>;

/// The exception that the code raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaisedError {
    /// The exception's class, `ZeroDivisionError`.
    pub name: String,
    /// Its text.
    pub message: String,
    /// The traceback as Python prints it, frames of the user's code only.
    pub traceback: String,
}

/// An execution as one value: the shape of `POST /api/sandboxes/{id}/executions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionOutcome {
    /// The execution.
    pub id: ExecutionId,
    /// How it ended.
    pub status: Status,
    /// Limits reached on the way.
    pub limits_hit: Vec<LimitHit>,
    /// What became of the interpreter's variables.
    #[serde(default)]
    pub state: State,
    /// Everything written to descriptor 1, up to the output limit.
    pub stdout: String,
    /// Everything written to descriptor 2, up to the output limit.
    pub stderr: String,
    /// Displays and the last value, in order.
    pub results: Vec<MimeBundle>,
    /// The exception, if the code raised.
    pub error: Option<RaisedError>,
    /// The number of the cell in its context, from 1.
    pub execution_count: u64,
    /// Wall time in milliseconds.
    pub duration_ms: f64,
    /// What happened to the interpreter's variables: absent when they are as the code left them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub notice: Option<String>,
}
