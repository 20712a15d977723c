//! Talking to language models: one streaming trait, its wires, and the demo planner.
//!
//! This crate knows nothing of sandboxes, HTTP servers or the agent's loop; it reads no environment and prints nothing.
//! A model is asked with a [`Request`] and answers with a stream of [`Delta`]s; dropping the stream cancels the request.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod call;
mod demo;
mod error;
mod http;
mod model;
mod probe;
mod quirks;
mod repair;
mod reply;
mod request;
mod salvage;
#[cfg(feature = "scripted")]
pub mod scripted;
mod select;
mod sse;
mod wire;

pub use call::{BadCall, EXECUTE_PYTHON, parse_execute_python};
pub use demo::{DEMO_MODEL, DemoPlanner, Intent, intents};
pub use error::ModelError;
pub use http::{Secret, Transport};
pub use model::{Answer, Endpoint, Model};
pub use quirks::{Provider, Quirks, ReasoningBack};
pub use reply::{Call, Delta, Finish, Reply, Usage};
pub use request::{Effort, Image, Message, Request, Tool, ToolChoice};
pub use salvage::only_python_fence;
pub use select::{
    Environment, GROQ_MODEL, ModelConfig, OPENAI_MODEL, OPENROUTER_MODEL, Selected, Source, WORKERS_AI_MODEL,
    select,
};
pub use wire::chat::{ChatModel, ChatSettings};
