//! Stateful rooms: images, the zygote, the pool, contexts, executions and files.
//! Knows Python and rooms; knows no language model and no HTTP.

mod census;
mod checks;
mod context;
mod cradle;
mod driver;
pub mod engine;
pub mod error;
pub mod execution;
pub mod files;
mod frames;
mod gauge;
pub mod hostile;
pub mod image;
mod lock;
pub mod modes;
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
pub use engine::{Engine, EngineConfig, EngineReport, Heap, Isolation, SandboxSpec, survey};
pub use error::EngineError;
pub use execution::{Execute, Execution};
pub use files::{Listing, RelativePath, WorkspaceFile};
pub use pool::PoolSize;
pub use reckon_cage::Account;
pub use sandbox::Sandbox;
pub use start::Prepared;
