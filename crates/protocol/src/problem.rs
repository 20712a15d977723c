//! One problem of ours, as a few codes with words for people. Doors give it their own shape.

use serde::{Deserialize, Serialize};

/// What kind of problem; the native API's `error.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The body is not JSON.
    InvalidJson,
    /// A field has the wrong type, is missing, unknown or out of range.
    InvalidRequest,
    /// The content type is not JSON.
    UnsupportedMediaType,
    /// The body or a file is too large.
    TooLarge,
    /// No key, or a wrong one.
    Unauthorized,
    /// The Host or Origin is not allowed.
    Forbidden,
    /// No such route, sandbox, session or file.
    NotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The sandbox is in a state that does not allow this.
    Conflict,
    /// The sandbox ended while the call was under way.
    Gone,
    /// Too much at once; try again later.
    Busy,
    /// The language model could not be reached or answered with an error.
    ModelUnavailable,
    /// The host lacks something that isolation needs.
    IsolationUnavailable,
    /// A fault of ours.
    Internal,
}

/// A problem as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Its kind.
    pub code: ProblemCode,
    /// What happened, in a sentence.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// Returns a problem without a hint.
    pub fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Returns the same problem with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
