//! Talking to language models: one streaming trait, its wires, and the demo planner.
//!
//! This crate knows nothing of sandboxes, HTTP servers or the agent's loop; it reads no environment and prints nothing.
//! A model is asked with a [`Request`] and answers with a stream of [`Delta`]s; dropping the stream cancels the request.

mod call;
mod error;
mod model;
mod reply;
mod request;
#[cfg(feature = "scripted")]
pub mod scripted;

pub use call::{BadCall, EXECUTE_PYTHON, parse_execute_python};
pub use error::ModelError;
pub use model::{Answer, Endpoint, Model};
pub use reply::{Call, Delta, Finish, Reply, Usage};
pub use request::{Effort, Image, Message, Request, Tool, ToolChoice};
