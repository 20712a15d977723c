//! What every door shares: the engine, the model, the sessions and the settings.

use std::sync::Arc;

use reckon_protocol::{Problem, ProblemCode, SandboxId};
use reckon_sandbox::{Engine, Sandbox};
use tokio::sync::Semaphore;

use crate::{
    config::{ServedModel, ServerConfig},
    sessions::Sessions,
};

/// Uploads that are held in memory at once.
const UPLOADS_AT_ONCE: usize = 2;

/// The server's state; clones share it.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) engine: Engine,
    pub(crate) served: ServedModel,
    pub(crate) sessions: Sessions,
    pub(crate) uploads: Semaphore,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    pub(crate) fn new(config: ServerConfig, engine: Engine, served: ServedModel) -> Self {
        let sessions = Sessions::new(&config, engine.clone(), served.model.clone());
        let uploads = Semaphore::new(UPLOADS_AT_ONCE);
        Self(Arc::new(Shared { config, engine, served, sessions, uploads }))
    }

    /// Returns a live sandbox by its id as text; a malformed id is as unknown as any other.
    pub(crate) fn sandbox(&self, id: &str) -> Result<Sandbox, Problem> {
        let sandbox = id.parse::<SandboxId>().ok().and_then(|id| self.engine.sandbox(&id));
        sandbox.ok_or_else(|| {
            Problem::new(ProblemCode::NotFound, "There is no such sandbox.")
                .with_hint("it was deleted or its time to live is over; create a new one")
        })
    }
}
