//! What a model is asked: the conversation so far, the tools, and the few numbers that all wires share.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Call, EXECUTE_PYTHON};

/// One question to a model: the whole conversation, since every wire is used stateless.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The system prompt; empty means none.
    pub system: String,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not call them.
    pub tool_choice: ToolChoice,
    /// The most tokens that the model may write in this answer, reasoning included.
    pub max_tokens: u32,
    /// The sampling temperature; `None` leaves it to the server.
    pub temperature: Option<f32>,
    /// How long to think first; `None` leaves it to the server where that is safe.
    pub reasoning_effort: Option<Effort>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            system: String::new(),
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            // Room for a long cell plus the reasoning before it; small server defaults cut code in mid-string.
            max_tokens: 8192,
            temperature: None,
            reasoning_effort: None,
        }
    }
}

impl Request {
    /// Returns the text of the last user message, or an empty string.
    pub fn last_user_text(&self) -> &str {
        self.messages
            .iter()
            .rev()
            .find_map(|message| match message {
                Message::User { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .unwrap_or_default()
    }
}

/// One message of a conversation.
///
/// Serializable because sessions keep their conversation across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// What a person said, or what the agent says in their place.
    User {
        /// The words.
        text: String,
        /// Images that go with them, for models that see.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
    },
    /// What the model answered.
    Assistant {
        /// The visible words; may be empty when there are calls.
        text: String,
        /// The chain of thought, sent back between the calls of one turn where the server wants it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reasoning: String,
        /// The tool calls, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<Call>,
    },
    /// What one tool call came to.
    ToolResult {
        /// The [`Call::id`] that is answered.
        call_id: String,
        /// The name of the tool.
        name: String,
        /// The outcome as the model shall read it.
        text: String,
    },
}

impl Message {
    /// Makes a user message without images.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User { text: text.into(), images: Vec::new() }
    }

    /// Makes the message that answers `call`.
    pub fn tool_result(call: &Call, text: impl Into<String>) -> Self {
        Self::ToolResult { call_id: call.id.clone(), name: call.name.clone(), text: text.into() }
    }
}

/// An image for a model that sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The MIME type, for example `image/png`.
    pub mime: String,
    /// The bytes as standard base64 without line breaks.
    pub base64: String,
}

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// The name; never `python`, `bash` or `browser`, which collide with tools that gpt-oss was trained on.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
}

impl Tool {
    /// Makes the declaration of `execute_python{code}` with the given description.
    pub fn execute_python(description: impl Into<String>) -> Self {
        Self {
            name: EXECUTE_PYTHON.to_owned(),
            description: description.into(),
            parameters: json!({
                "type": "object",
                "properties": {"code": {"type": "string", "description": "The Python code to run."}},
                "required": ["code"],
                "additionalProperties": false,
            }),
        }
    }
}

/// Whether the model may call tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// It must answer in words; the tools stay declared so that earlier calls keep their meaning.
    None,
    /// It must call one. Several servers treat this as advice only.
    Required,
}

/// How long a reasoning model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// Little; with a Python tool this is often enough.
    Low,
    /// The default of most servers.
    Medium,
    /// As long as it takes.
    High,
}

impl Effort {
    /// The word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}
