//! Stateful rooms: images, the zygote, the pool, contexts, executions and files.
//! Knows Python and rooms; knows no language model and no HTTP.

mod census;
mod checks;
mod context;
mod cradle;
pub mod engine;
pub mod error;
pub mod execution;
pub mod files;
mod frames;
mod gauge;
pub mod image;
mod lock;
mod pool;
mod reached;
mod room;
mod run;
mod sandbox;
mod site;
mod start;
mod stream;
mod trash;
mod visible;
mod warden;
mod watch;

pub use checks::{Check, CheckState};
pub use engine::{Engine, EngineConfig, EngineReport, Isolation, SandboxSpec, survey};
pub use error::EngineError;
pub use execution::{Execute, Execution};
pub use files::{RelativePath, WorkspaceFile};
pub use sandbox::Sandbox;
