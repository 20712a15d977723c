//! The live sessions: a bounded number, each ended a while after its last use, and the ones that
//! nobody named again first when room is needed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reckon_agent::{Session, Settings};
use reckon_model::Model;
use reckon_protocol::{Problem, ProblemCode, SessionId};
use reckon_sandbox::{Engine, EngineError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ServerConfig;

/// Whether somebody means to come back to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bond {
    /// Begun by a request that named none; may be ended early when room is needed.
    Passing,
    /// Made on purpose, or named by a request.
    Kept,
}

/// The live sessions of a server.
pub(crate) struct Sessions {
    engine: Engine,
    model: Arc<dyn Model>,
    settings: Settings,
    maximum: usize,
    /// One for each session that may live; a session holds its own.
    places: Arc<Semaphore>,
    idle: Duration,
    live: Arc<Live>,
}

/// Locked for look-ups only, never across an await.
type Live = Mutex<HashMap<SessionId, Entry>>;

struct Entry {
    session: Arc<Session>,
    bond: Bond,
    used: Instant,
    _place: OwnedSemaphorePermit,
}

/// A session in use; its last use is when this is dropped.
pub(crate) struct Lease {
    live: Arc<Live>,
    id: SessionId,
}

impl Sessions {
    pub(crate) fn new(config: &ServerConfig, engine: Engine, model: Arc<dyn Model>) -> Self {
        Self {
            engine,
            model,
            settings: config.agent.clone(),
            maximum: config.max_sessions,
            places: Arc::new(Semaphore::new(config.max_sessions)),
            idle: config.session_idle,
            live: Arc::default(),
        }
    }

    /// Begins a session, ending one that nobody came back to where there is no room.
    pub(crate) async fn begin(&self, bond: Bond) -> Result<Arc<Session>, Problem> {
        let place = loop {
            match self.places.clone().try_acquire_owned() {
                Ok(place) => break place,
                Err(_) if self.end_one_passing().await => {}
                Err(_) => return Err(self.full()),
            }
        };
        let session = loop {
            match Session::begin(self.engine.clone(), self.model.clone(), self.settings.clone()).await {
                Ok(session) => break session,
                // Other doors make sandboxes too; a passing session gives its own up.
                Err(EngineError::Busy { .. }) if self.end_one_passing().await => {}
                Err(error) => return Err(error.to_problem()),
            }
        };
        let entry = Entry { session: session.clone(), bond, used: Instant::now(), _place: place };
        self.lock().insert(session.id().clone(), entry);
        Ok(session)
    }

    /// Returns a live session by its id as text, which keeps it from then on.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Session>, Problem> {
        let id = id.parse::<SessionId>().map_err(|_| unknown())?;
        let mut live = self.lock();
        let entry = live.get_mut(&id).ok_or_else(unknown)?;
        entry.bond = Bond::Kept;
        entry.used = Instant::now();
        Ok(entry.session.clone())
    }

    /// Ends a session.
    pub(crate) async fn end(&self, id: &str) -> Result<(), Problem> {
        let id = id.parse::<SessionId>().map_err(|_| unknown())?;
        let entry = self.lock().remove(&id).ok_or_else(unknown)?;
        entry.session.end().await.map_err(|error| error.to_problem())
    }

    /// Marks a session as in use until the lease is dropped.
    pub(crate) fn lease(&self, session: &Session) -> Lease {
        Lease { live: self.live.clone(), id: session.id().clone() }
    }

    /// Ends the sessions that were idle for too long.
    pub(crate) async fn sweep(&self) {
        let now = Instant::now();
        let over: Vec<Arc<Session>> = {
            let mut live = self.lock();
            let ids: Vec<SessionId> = live
                .iter()
                .filter(|(_, entry)| {
                    now.duration_since(entry.used) >= self.idle && !entry.session.is_at_work()
                })
                .map(|(id, _)| id.clone())
                .collect();
            ids.iter().filter_map(|id| live.remove(id)).map(|entry| entry.session).collect()
        };
        for session in over {
            end_quietly(&session).await;
        }
    }

    /// Returns how often to sweep, so that a session outlives its time by a tenth at most.
    pub(crate) fn sweep_interval(&self) -> Duration {
        (self.idle / 10).clamp(Duration::from_millis(10), Duration::from_secs(30))
    }

    /// Ends the least recently used session that nobody named; false when there is none.
    pub(crate) async fn end_one_passing(&self) -> bool {
        let oldest = {
            let mut live = self.lock();
            let id = live
                .iter()
                .filter(|(_, entry)| entry.bond == Bond::Passing && !entry.session.is_at_work())
                .min_by_key(|(_, entry)| entry.used)
                .map(|(id, _)| id.clone());
            id.and_then(|id| live.remove(&id))
        };
        match oldest {
            Some(entry) => {
                end_quietly(&entry.session).await;
                true
            }
            None => false,
        }
    }

    fn full(&self) -> Problem {
        Problem::new(ProblemCode::Busy, format!("All {} sessions are in use.", self.maximum))
            .with_hint("try again later, end a session, or raise max_sessions of the server")
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
        lock(&self.live)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.live).get_mut(&self.id) {
            entry.used = Instant::now();
        }
    }
}

fn lock(live: &Live) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn end_quietly(session: &Session) {
    if let Err(error) = session.end().await {
        tracing::warn!(session = %session.id(), %error, "could not delete the sandbox of an ended session");
    }
}

fn unknown() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such session.")
        .with_hint("sessions end some time after their last use; leave out `session` to begin a new one")
}
