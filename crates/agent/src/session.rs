//! A session: a conversation with its sandbox, whose state lives on between turns.

use std::sync::{Arc, Mutex, PoisonError};

use reckon_model::Model;
use reckon_protocol::{FileEntry, SessionId};
use reckon_sandbox::{Engine, EngineError, RelativePath, Sandbox};

use crate::{
    history::History,
    settings::Settings,
    turn::{Turn, Work},
};

/// A conversation with its sandbox. One turn runs at a time.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    engine: Engine,
    model: Arc<dyn Model>,
    settings: Settings,
    /// Replaced when the sandbox was gone at a call. Locked only to be read or replaced.
    sandbox: Mutex<Sandbox>,
    /// Files that people added since the last turn; the next turn tells the model of them.
    attached: Mutex<Vec<FileEntry>>,
    /// Held by the turn that runs.
    history: Arc<tokio::sync::Mutex<History>>,
}

/// The session is answering another prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is answering another prompt")]
pub struct SessionAtWork;

impl Session {
    /// Begins a session with a new sandbox.
    pub async fn begin(
        engine: Engine,
        model: Arc<dyn Model>,
        settings: Settings,
    ) -> Result<Arc<Self>, EngineError> {
        let sandbox = engine.create(settings.sandbox.clone()).await?;
        Ok(Arc::new(Self {
            id: SessionId::new(),
            engine,
            model,
            settings,
            sandbox: Mutex::new(sandbox),
            attached: Mutex::default(),
            history: Arc::default(),
        }))
    }

    /// Returns its id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns the model that answers.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    /// Returns the settings of its turns.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns its sandbox.
    pub fn sandbox(&self) -> Sandbox {
        self.sandbox.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a turn is running.
    pub fn is_at_work(&self) -> bool {
        self.history.try_lock().is_err()
    }

    /// Writes a file into the workspace; the next turn tells the model of it.
    pub async fn attach(&self, path: &RelativePath, bytes: &[u8]) -> Result<FileEntry, EngineError> {
        let sandbox = self.sandbox();
        sandbox.write_file(path, bytes).await?;
        let (_, written) = sandbox.open_file(path).await?;
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|file| file.name != written.entry.name);
        attached.push(written.entry.clone());
        Ok(written.entry)
    }

    /// Answers a prompt: a stream of numbered events that ends with `Answer` or `Problem`.
    ///
    /// Nothing happens before the stream is polled. Dropping it aborts the model's request and
    /// interrupts the code; the session can be used again at once.
    pub fn turn(self: &Arc<Self>, prompt: impl Into<String>) -> Result<Turn, SessionAtWork> {
        let history = Arc::clone(&self.history).try_lock_owned().map_err(|_| SessionAtWork)?;
        Ok(Turn::new(|events| Work::new(Arc::clone(self), history, prompt.into(), events)))
    }

    /// Ends the session: its sandbox is deleted with its files.
    pub async fn end(&self) -> Result<(), EngineError> {
        self.engine.delete(self.sandbox().id()).await.map(|_| ())
    }

    /// Takes the files that came since the last turn.
    pub(crate) fn take_attached(&self) -> Vec<FileEntry> {
        std::mem::take(&mut *self.attached.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the sandbox was deleted or has ended.
    pub(crate) fn sandbox_is_gone(&self) -> bool {
        self.engine.sandbox(self.sandbox().id()).is_none()
    }

    /// Makes a new sandbox in place of one that is gone.
    pub(crate) async fn renew_sandbox(&self) -> Result<(), EngineError> {
        let renewed = self.engine.create(self.settings.sandbox.clone()).await?;
        *self.sandbox.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}
