//! The one numbered stream of events (DESIGN §3): what an execution and a turn say as they go.
//! The same event travels unchanged from the sandbox to the screen; other shapes are made at doors.

use serde::{Deserialize, Serialize};

use crate::{
    execution::{LimitHit, MimeBundle, RaisedError, State, Status},
    id::{ExecutionId, SessionId},
    problem::Problem,
};

/// One event of a stream, with its number in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the stream, from 0, without gaps.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. On the wire an object whose `type` is the name in snake case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A turn began: a prompt was accepted.
    TurnStarted {
        /// The conversation it belongs to.
        session: SessionId,
        /// The model that answers.
        model: String,
    },
    /// More of the model's text.
    Text {
        /// The new characters.
        delta: String,
    },
    /// More of the model's reasoning, for a disclosure control; not part of the answer.
    Reasoning {
        /// The new characters.
        delta: String,
    },
    /// More of the code that the model is writing for its next call.
    CallDelta {
        /// Position of the call in the turn, from 0.
        call: u32,
        /// New characters of the code.
        delta: String,
    },
    /// The model calls `execute_python` with this code, which is complete now.
    Call {
        /// Position of the call in the turn, from 0.
        call: u32,
        /// The code that will run.
        code: String,
    },
    /// An execution began.
    Started {
        /// The execution.
        execution: ExecutionId,
    },
    /// Bytes written to descriptor 1, as text; never cut inside a character.
    Stdout {
        /// The text.
        text: String,
        /// True when it was written after its own execution had ended (by a thread or process).
        #[serde(default, skip_serializing_if = "is_false")]
        late: bool,
    },
    /// Bytes written to descriptor 2, as text; never cut inside a character.
    Stderr {
        /// The text.
        text: String,
        /// True when it was written after its own execution had ended (by a thread or process).
        #[serde(default, skip_serializing_if = "is_false")]
        late: bool,
    },
    /// Something was displayed.
    Display {
        /// Its representations.
        data: MimeBundle,
        /// Representation details such as an image's size.
        #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
        metadata: serde_json::Map<String, serde_json::Value>,
        /// Name by which it can be updated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        display_id: Option<String>,
    },
    /// An earlier display has new content.
    UpdateDisplay {
        /// Its representations.
        data: MimeBundle,
        /// Representation details.
        #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
        metadata: serde_json::Map<String, serde_json::Value>,
        /// The display that changes.
        display_id: String,
    },
    /// The output of this execution so far is to be cleared.
    ClearOutput {
        /// Clear only when the next output arrives.
        wait: bool,
    },
    /// The value of the last expression.
    Result {
        /// Its representations.
        data: MimeBundle,
        /// Representation details.
        #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
        metadata: serde_json::Map<String, serde_json::Value>,
        /// The number of the cell.
        execution_count: u64,
    },
    /// The code raised.
    Error(RaisedError),
    /// Something people should know: output was cut, variables were lost.
    Notice {
        /// A sentence.
        message: String,
    },
    /// An execution ended.
    Finished {
        /// The execution.
        execution: ExecutionId,
        /// How.
        status: Status,
        /// Limits reached on the way.
        limits_hit: Vec<LimitHit>,
        /// What became of the interpreter's variables.
        #[serde(default)]
        state: State,
        /// The number of the cell in its context.
        execution_count: u64,
        /// Wall time in milliseconds.
        duration_ms: f64,
    },
    /// Files of the workspace that the execution or the turn created or changed.
    Files {
        /// Those files.
        files: Vec<FileEntry>,
    },
    /// The turn ended with this answer.
    Answer {
        /// The whole text of the answer.
        output: String,
    },
    /// The turn or the execution could not go on, through no fault of the code.
    Problem(Problem),
}

/// A file of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the workspace, `/`-separated.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Media type, by the name's extension.
    pub mime: String,
    /// Where the file can be fetched from this server; absent where there is no server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

// serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_flat_on_the_wire() {
        let event = Event { seq: 3, kind: EventKind::Stdout { text: "hi".into(), late: false } };
        let wire = serde_json::to_string(&event).expect("events serialise");
        assert_eq!(wire, r#"{"seq":3,"type":"stdout","text":"hi"}"#);
        assert_eq!(serde_json::from_str::<Event>(&wire).expect("reads back"), event);
    }

    #[test]
    fn an_error_event_carries_its_fields_beside_the_type() {
        let raised = RaisedError { name: "E".into(), message: "m".into(), traceback: "t".into() };
        let wire = serde_json::to_value(EventKind::Error(raised)).expect("events serialise");
        assert_eq!(wire, serde_json::json!({"type": "error", "name": "E", "message": "m", "traceback": "t"}));
    }
}
