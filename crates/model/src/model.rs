//! The one trait that every model implements: the wires, the demo planner and the scripted model of the tests.

use std::fmt;

use futures_util::stream::BoxStream;

use crate::{Delta, ModelError, Request};

/// The deltas of one answer, in order.
///
/// A complete answer ends with [`Delta::Finished`]; a stream that fails ends with one `Err` instead, and never with both.
/// Dropping the stream cancels the request at its server.
pub type Answer = BoxStream<'static, Result<Delta, ModelError>>;

/// A language model, or something that speaks like one.
pub trait Model: Send + Sync + fmt::Debug {
    /// The name that is shown to people and returned by the doors, for example `gpt-oss:20b`.
    fn name(&self) -> &str;

    /// Where prompts go.
    fn endpoint(&self) -> &Endpoint;

    /// How many tokens the model reads at once, where that is known.
    fn context_tokens(&self) -> Option<u32> {
        None
    }

    /// Whether images in a [`crate::Message::User`] reach the model.
    ///
    /// Where this is false the wire leaves images out, so the caller describes them in the text.
    fn sees_images(&self) -> bool {
        false
    }

    /// Asks the model for the next message of the conversation.
    ///
    /// Nothing is sent before the stream is polled.
    fn ask(&self, request: Request) -> Answer;
}

/// Where the prompts of a model go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// They stay in this process.
    InProcess,
    /// They go to a server on this machine; the URL carries no credentials.
    Loopback(String),
    /// They leave this machine; the URL carries no credentials.
    Remote(String),
}

impl Endpoint {
    /// Whether prompts leave the machine.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess => formatter.write_str("this process"),
            Self::Loopback(url) => write!(formatter, "{url} (this machine)"),
            Self::Remote(url) => formatter.write_str(url),
        }
    }
}
