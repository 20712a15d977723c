//! A problem as an HTTP response: the status of each code, in the native API's shape or as the
//! plain string of `/run`.

use std::io::ErrorKind;

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use reckon_protocol::{Problem, ProblemCode};
use reckon_sandbox::EngineError;
use serde_json::json;

/// How long a caller that met a full server waits, in seconds.
const RETRY_AFTER: &str = "2";

/// A problem on its way to a caller of the native API: `{"error":{"code","message","hint"?}}`.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    /// Answers with another status than the code's own.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Turns it into the shape of `/run`: `{"error": "what to do"}`.
    pub(crate) fn plain(self) -> PlainRefusal {
        PlainRefusal(self)
    }

    /// Answers in the shape that belongs to a path.
    pub(crate) fn respond_at(self, path: &str) -> Response {
        if path == "/api" || path.starts_with("/api/") {
            self.into_response()
        } else {
            self.plain().into_response()
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { status: status_of(problem.code), problem }
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let EngineError::File { source, .. } = &error else { return error.to_problem().into() };
        let words = error.to_string();
        match source.kind() {
            // A path through a file, a link or to a directory: the caller's, not ours.
            ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename => Problem::new(ProblemCode::InvalidRequest, words).into(),
            ErrorKind::PermissionDenied => Problem::new(ProblemCode::Forbidden, words).into(),
            // Code of the sandbox renames faster than it can be followed.
            ErrorKind::WouldBlock | ErrorKind::ResourceBusy => {
                Problem::new(ProblemCode::Conflict, words).with_hint("try again").into()
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                let problem =
                    Problem::new(ProblemCode::TooLarge, words).with_hint("delete files of the sandbox");
                Self::from(problem).with_status(StatusCode::INSUFFICIENT_STORAGE)
            }
            _ => error.to_problem().into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.problem }));
        (self.status, header_of(self.problem.code), body).into_response()
    }
}

/// A problem on its way to a caller of `/run`.
#[derive(Debug)]
pub(crate) struct PlainRefusal(Refusal);

impl PlainRefusal {
    /// Returns the one sentence that `/run` answers with.
    pub(crate) fn words(problem: &Problem) -> String {
        match &problem.hint {
            Some(hint) => format!("{} ({hint})", problem.message),
            None => problem.message.clone(),
        }
    }
}

impl<E: Into<Refusal>> From<E> for PlainRefusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PlainRefusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": Self::words(&self.0.problem) }));
        (self.0.status, header_of(self.0.problem.code), body).into_response()
    }
}

/// Returns the header that belongs to a code.
pub(crate) fn header_of(code: ProblemCode) -> HeaderMap {
    let header = match code {
        ProblemCode::Busy => Some((header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER))),
        ProblemCode::Unauthorized => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        _ => None,
    };
    header.into_iter().collect()
}

/// Returns the status of a code.
pub(crate) fn status_of(code: ProblemCode) -> StatusCode {
    match code {
        ProblemCode::InvalidJson | ProblemCode::InvalidRequest => StatusCode::BAD_REQUEST,
        ProblemCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ProblemCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ProblemCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ProblemCode::Forbidden => StatusCode::FORBIDDEN,
        ProblemCode::NotFound => StatusCode::NOT_FOUND,
        ProblemCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ProblemCode::Conflict => StatusCode::CONFLICT,
        ProblemCode::Gone => StatusCode::GONE,
        ProblemCode::Busy | ProblemCode::IsolationUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ProblemCode::ModelUnavailable => StatusCode::BAD_GATEWAY,
        ProblemCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
