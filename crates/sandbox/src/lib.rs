//! Stateful rooms: images, the zygote, the pool, contexts, executions and files.
//! Knows Python and rooms; knows no language model and no HTTP.

mod checks;
mod context;
mod cradle;
pub mod engine;
pub mod error;
pub mod execution;
pub mod files;
mod frames;
pub mod hostile;
pub mod image;
mod lock;
mod pool;
mod room;
mod run;
mod sandbox;
mod start;
mod stream;
mod trash;
mod visible;
mod warden;

pub use checks::{Check, CheckState};
pub use engine::{Engine, EngineConfig, EngineReport, Isolation, SandboxSpec, survey};
pub use error::EngineError;
pub use execution::{Execute, Execution};
pub use files::{RelativePath, WorkspaceFile};
pub use sandbox::Sandbox;
