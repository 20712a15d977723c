//! What can go wrong between us and a model, and what a person can do about it.
//!
//! Errors carry words of the server, never a key: what comes from outside passes through the wire's redaction first.

use std::time::Duration;

/// Why a model gave no (complete) answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No connection could be made.
    #[error("connect to the model server {url}: {detail}")]
    Unreachable {
        /// The base URL, without credentials.
        url: String,
        /// The cause.
        detail: String,
    },
    /// The server refused the key (401 or 403).
    #[error("the model server {url} refused the key ({status}): {message}")]
    Auth {
        /// The base URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The server does not know the model, or the URL is not its API (404).
    #[error("the model server {url} does not know {model}: {message}")]
    NotFound {
        /// The base URL.
        url: String,
        /// The model that was asked for.
        model: String,
        /// The server's words.
        message: String,
    },
    /// The server asks for patience, and went on asking after the retries.
    #[error("the model server limits the rate: {message}")]
    RateLimited {
        /// How long it asked to wait, where it said so.
        retry_after: Option<Duration>,
        /// The server's words.
        message: String,
    },
    /// The server refused the request, or failed (any other status).
    #[error("the model server answered {status}: {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The stream ended before the answer did.
    #[error("the model's answer was cut off before its end")]
    Cut,
    /// The server reported an error within the stream.
    #[error("the model server failed in the middle of its answer: {message}")]
    Upstream {
        /// The server's words.
        message: String,
    },
    /// Nothing came for too long.
    #[error("the model server sent nothing for {} s while {waiting_for}", .after.as_secs_f32())]
    Timeout {
        /// The limit that was reached.
        after: Duration,
        /// What was awaited: the connection, the first byte or the next one.
        waiting_for: &'static str,
    },
    /// The server sent something that is not its protocol.
    #[error("the model server sent something unexpected: {detail}")]
    Protocol {
        /// What it was.
        detail: String,
    },
    /// The configuration cannot work, or forbids what it asks for.
    #[error("{detail}")]
    Configuration {
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: String,
    },
}

impl ModelError {
    /// Returns what a person can do about it, as one sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreachable { url, .. } => {
                format!("check that the server at {url} is running and that the URL is right")
            }
            Self::Auth { .. } => {
                "check the API key in the configuration or in the environment, and that it may use this model".into()
            }
            Self::NotFound { model, .. } => format!(
                "check the model's name ({model}) against the server's list, and that the base URL ends where its API begins, usually in /v1"
            ),
            Self::RateLimited { retry_after: Some(wait), .. } => {
                format!("wait {} s and try again", wait.as_secs().max(1))
            }
            Self::RateLimited { .. } => "wait a while and try again, or check the quota of the key".into(),
            Self::Rejected { status: 402, .. } => "the account at the provider has no credit left".into(),
            Self::Rejected { status: 413, .. } => "the conversation is too long for the server: start a new session".into(),
            Self::Rejected { status: 500.., .. } | Self::Upstream { .. } | Self::Cut => {
                "try again; if it stays, look at the log of the model server".into()
            }
            Self::Rejected { .. } => "the server's words above say what it did not like".into(),
            Self::Timeout { .. } => {
                "the server may still be loading the model: try again, or raise the timeouts of the model in the configuration".into()
            }
            Self::Protocol { .. } => {
                "check that the base URL is that of an OpenAI-compatible API (Chat Completions)".into()
            }
            Self::Configuration { hint, .. } => hint.clone(),
        }
    }
}
