//! What a model answers: deltas as they come, and the reply that they add up to.

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::{Answer, Message, ModelError};

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// More visible text.
    Text(String),
    /// More of the chain of thought.
    Reasoning(String),
    /// A tool call begins. Indices count up from 0 within one answer.
    CallStarted {
        /// The place of the call in the answer.
        index: usize,
        /// The id that its result must name.
        id: String,
        /// The name of the tool, already mended.
        name: String,
    },
    /// More of the arguments of a call, as raw text that is usually JSON.
    CallArguments {
        /// The place of the call in the answer.
        index: usize,
        /// The text to append.
        fragment: String,
    },
    /// The answer is complete. Always the last delta.
    Finished {
        /// Why the model stopped. Act on the presence of calls, not on this: servers disagree.
        reason: Finish,
        /// The tokens used, where the server tells.
        usage: Option<Usage>,
    },
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It said what it wanted to say.
    #[default]
    Stop,
    /// It reached `max_tokens` or the end of its context.
    Length,
    /// It wants its calls answered.
    Calls,
    /// A filter of the server stopped it.
    Filtered,
    /// Anything else, in the word of the server.
    Other(String),
}

/// The tokens of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens of `input_tokens` that came from the server's cache.
    pub cached_tokens: u64,
    /// Tokens written, reasoning included.
    pub output_tokens: u64,
    /// Tokens of `output_tokens` that were reasoning.
    pub reasoning_tokens: u64,
}

/// One complete tool call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Call {
    /// The id that its result must name.
    pub id: String,
    /// The name of the tool, already mended.
    pub name: String,
    /// The arguments as the model wrote them; read them with [`crate::parse_execute_python`].
    pub arguments: String,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The visible text.
    pub text: String,
    /// The chain of thought.
    pub reasoning: String,
    /// The tool calls, in order.
    pub calls: Vec<Call>,
    /// Why the model stopped; `None` until [`Delta::Finished`] was absorbed.
    pub finish: Option<Finish>,
    /// The tokens used, where known.
    pub usage: Option<Usage>,
}

impl Reply {
    /// Adds one delta; the loop calls this while it forwards the delta.
    pub fn absorb(&mut self, delta: &Delta) {
        match delta {
            Delta::Text(text) => self.text.push_str(text),
            Delta::Reasoning(text) => self.reasoning.push_str(text),
            Delta::CallStarted { id, name, .. } => {
                self.calls.push(Call { id: id.clone(), name: name.clone(), arguments: String::new() });
            }
            Delta::CallArguments { index, fragment } => {
                if let Some(call) = self.calls.get_mut(*index) {
                    call.arguments.push_str(fragment);
                }
            }
            Delta::Finished { reason, usage } => {
                self.finish = Some(reason.clone());
                self.usage = *usage;
            }
        }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// The error of the stream, or [`ModelError::Cut`] when it ended without [`Delta::Finished`].
    pub async fn collect(mut answer: Answer) -> Result<Self, ModelError> {
        let mut reply = Self::default();
        while let Some(delta) = answer.next().await {
            reply.absorb(&delta?);
        }
        if reply.finish.is_none() {
            return Err(ModelError::Cut);
        }
        Ok(reply)
    }

    /// Whether the model said and called nothing; such a turn is worth one retry.
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.calls.is_empty()
    }

    /// Turns the reply into the message that joins the conversation.
    pub fn into_message(self) -> Message {
        Message::Assistant { text: self.text, reasoning: self.reasoning, calls: self.calls }
    }
}
