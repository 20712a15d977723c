//! The engine: sandboxes by id, made from the pool, each with a context that runs code.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use reckon_cage::{Account, Without, message::Ready};
use reckon_protocol::{Limits, SandboxId};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    checks::{self, Check},
    cradle::Cradle,
    error::EngineError,
    image::Image,
    lock::lock,
    pool::{Pool, PoolSize},
    sandbox::Sandbox,
    site::Site,
    start::{self, Prepared},
    trash::Trash,
    warden::{Source, Warden},
};

/// How often expired sandboxes are looked for.
const EXPIRY_ROUND: Duration = Duration::from_secs(5);

/// How strong the walls are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces, cgroup, landlock and seccomp (DESIGN §4): the default.
    Room,
    /// Landlock, seccomp and rlimits only: a weaker tier that a person chooses by name.
    Process,
}

/// How contexts are forked from the zygote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Heap {
    /// From memory that was moved into a sealed memory file once (ADR 0007): less to copy, and shared until written.
    Sealed,
    /// As `fork` has always done it, which works everywhere.
    Plain,
}

impl Heap {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Plain => "plain",
        }
    }
}

/// What an engine needs to start.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Holds the sandboxes' directories.
    pub data_dir: PathBuf,
    /// The image whose interpreter serves contexts.
    pub image: Image,
    /// The strength of the walls.
    pub isolation: Isolation,
    /// How contexts are forked.
    pub heap: Heap,
    /// A zygote older than this is replaced; zero for never.
    pub zygote_age: Duration,
    /// What is made ahead of demand.
    pub pool: PoolSize,
    /// Sandboxes that may live at once.
    pub max_sandboxes: usize,
    /// Limits of a sandbox whose maker asks for nothing else.
    pub limits: Limits,
    /// Size of the disk of all workspaces together, where the host's root has one; most of what is free where unset.
    pub disk_bytes: Option<u64>,
    /// The program and its leading arguments that become the warden (this binary, hidden command).
    pub warden: Vec<OsString>,
    /// Who the server becomes between [`Engine::prepare`] and [`Prepared::start`], to give up root; only in the tier
    /// [`Isolation::Room`]. `None` where it keeps the uid that it was started with.
    pub account: Option<Account>,
}

/// What the maker of a sandbox may choose.
#[derive(Debug, Clone, Default)]
pub struct SandboxSpec {
    /// Its limits; the engine's defaults otherwise.
    pub limits: Option<Limits>,
    /// Ends this long after its last use; `None` for never.
    pub time_to_live: Option<Duration>,
}

/// What is going on in an engine.
#[derive(Debug, Clone, Serialize)]
pub struct EngineReport {
    /// The strength of the walls.
    pub isolation: Isolation,
    /// Each wall, and what stands in its place where it is substituted or absent.
    pub checks: Vec<Check>,
    /// Live sandboxes.
    pub sandboxes: usize,
    /// Sandboxes with a warm context that wait for whoever asks.
    pub pooled: usize,
    /// Rooms that wait beside them, without a context.
    pub rooms: usize,
    /// The image's name and Python version.
    pub image: String,
}

/// A running engine. Clones share it; [`Engine::shutdown`] ends it.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
    ready: Ready,
    warden: Warden,
    pool: Pool,
    trash: Arc<Trash>,
    site: Site,
    sandboxes: Mutex<Live>,
    stopping: CancellationToken,
    expiry: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Live {
    by_id: HashMap<SandboxId, Sandbox>,
    /// Places taken by sandboxes that are being made.
    reserved: usize,
}

/// Tries the walls without an image: starts a warden that builds one room and ends. `directory` exists and is on the
/// file system where workspaces will be.
pub async fn survey(
    warden: &[OsString],
    directory: &std::path::Path,
    isolation: Isolation,
) -> Result<Vec<Check>, EngineError> {
    let config = start::survey_config(directory, isolation)?;
    let disk = config.disk.directory.clone();
    let source = Source::Program(warden.to_owned(), Box::new(config));
    let started = Warden::start(source, isolation == Isolation::Room).await;
    if let Ok((warden, ..)) = &started {
        warden.stop().await;
    }
    // Of the disk that it tried.
    let _ = std::fs::remove_dir_all(&disk);
    let (_, ready, _) = started?;
    Ok(checks::of_engine(isolation, None, &ready, 0))
}

impl Engine {
    /// Starts the warden, the zygote and the pool. Returns once a context can be made.
    pub async fn start(config: EngineConfig) -> Result<Self, EngineError> {
        Self::start_without(config, Without::default()).await
    }

    /// Starts as [`Engine::start`] does, with walls left out; only a build for tests can name any.
    pub async fn start_without(config: EngineConfig, without: Without) -> Result<Self, EngineError> {
        Prepared::new(config, without)?.start().await
    }

    /// Does what needs the rights that the server was started with and no runtime; for a server that gives up root
    /// before it goes on.
    pub fn prepare(config: EngineConfig) -> Result<Prepared, EngineError> {
        Prepared::new(config, Without::default())
    }

    pub(crate) async fn begin(
        config: EngineConfig,
        directory: PathBuf,
        source: Source,
    ) -> Result<Self, EngineError> {
        let (warden, ready, disk) = Warden::start(source, config.isolation == Isolation::Room).await?;
        let site = Site::new(directory.clone(), disk);
        let trash = match Trash::start(&config.data_dir, &directory, &site) {
            Ok(trash) => Arc::new(trash),
            Err(error) => {
                warden.stop().await;
                return Err(error);
            }
        };
        let cradle = Cradle {
            warden: warden.clone(),
            trash: Arc::clone(&trash),
            site: site.clone(),
            directory,
            owner: ready.owner,
            isolation: config.isolation,
        };
        let pool = Pool::start(cradle, config.limits.clone(), config.pool);
        let engine = Self(Arc::new(Inner {
            ready,
            warden,
            pool,
            trash,
            site,
            sandboxes: Mutex::default(),
            stopping: CancellationToken::new(),
            expiry: Mutex::new(None),
            config,
        }));
        let expiry = tokio::spawn(end_expired(Arc::downgrade(&engine.0), engine.0.stopping.clone()));
        *lock(&engine.0.expiry) = Some(expiry);
        Ok(engine)
    }

    /// Makes a sandbox.
    pub async fn create(&self, spec: SandboxSpec) -> Result<Sandbox, EngineError> {
        let limits = spec.limits.unwrap_or_else(|| self.0.config.limits.clone());
        limits.check()?;
        let _place = self.reserve()?;
        let shared = &self.0;
        let place = (&shared.site, shared.ready.owner);
        let making = Sandbox::make(&shared.warden, &shared.pool, place, limits, spec.time_to_live);
        let sandbox = making.await?;
        let mut live = lock(&self.0.sandboxes);
        // Looked at under the lock: whoever shuts down takes this map after the token is cancelled.
        if self.0.stopping.is_cancelled() {
            sandbox.end();
            return Err(stopped());
        }
        live.by_id.insert(sandbox.id().clone(), sandbox.clone());
        drop(live);
        Ok(sandbox)
    }

    /// Returns a live sandbox.
    pub fn sandbox(&self, id: &SandboxId) -> Option<Sandbox> {
        lock(&self.0.sandboxes).by_id.get(id).cloned()
    }

    /// Returns all live sandboxes, oldest first.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        let mut all: Vec<_> = lock(&self.0.sandboxes).by_id.values().cloned().collect();
        all.sort_by(|one, other| one.id().cmp(other.id()));
        all
    }

    /// Ends a sandbox and removes its directory. Returns false when there was none.
    pub async fn delete(&self, id: &SandboxId) -> Result<bool, EngineError> {
        let Some(sandbox) = lock(&self.0.sandboxes).by_id.remove(id) else { return Ok(false) };
        // From here on it ends by itself, also when the caller stops waiting.
        sandbox.end();
        sandbox.ended().await.map(|()| true)
    }

    /// Returns what is going on.
    pub fn report(&self) -> EngineReport {
        let (pooled, rooms) = self.0.pool.waiting();
        EngineReport {
            isolation: self.0.config.isolation,
            checks: checks::of_engine(
                self.0.config.isolation,
                self.0.config.account,
                &self.0.ready,
                self.0.warden.held_uids(),
            ),
            sandboxes: lock(&self.0.sandboxes).by_id.len(),
            pooled,
            rooms,
            image: format!("{} (Python {})", self.0.config.image.id, self.0.config.image.version),
        }
    }

    /// Returns the directory that holds the sandboxes' directories, as this process reaches it while the engine lives:
    /// on the disk it has no path on the host.
    pub fn directory(&self) -> PathBuf {
        self.0.site.path().to_owned()
    }

    /// Returns whether the engine can still make rooms.
    pub fn is_alive(&self) -> bool {
        !self.0.warden.is_closed()
    }

    /// Ends every sandbox, the zygote and the warden; no process, mount or cgroup is left behind.
    pub async fn shutdown(&self) {
        self.0.stopping.cancel();
        let expiry = lock(&self.0.expiry).take();
        if let Some(expiry) = expiry {
            let _ = expiry.await;
        }
        self.0.pool.stop().await;
        let sandboxes: Vec<_> = lock(&self.0.sandboxes).by_id.drain().collect();
        // The rooms end with the warden, all at once; the directories are anonymous and go too.
        self.0.warden.stop().await;
        for (id, sandbox) in sandboxes {
            sandbox.end();
            if let Err(error) = sandbox.ended().await {
                tracing::warn!(%id, %error, "end a sandbox");
            }
        }
        self.0.trash.stop().await;
        start::remove_private_files(&self.0.config);
    }

    fn reserve(&self) -> Result<Place, EngineError> {
        if self.0.stopping.is_cancelled() {
            return Err(stopped());
        }
        let mut live = lock(&self.0.sandboxes);
        if live.by_id.len() + live.reserved >= self.0.config.max_sandboxes {
            return Err(EngineError::Busy { maximum: self.0.config.max_sandboxes });
        }
        live.reserved += 1;
        Ok(Place(Arc::clone(&self.0)))
    }
}

/// A place among the live sandboxes, held while one is being made.
struct Place(Arc<Inner>);

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.0.sandboxes).reserved -= 1;
    }
}

/// Ends sandboxes whose time to live is over.
async fn end_expired(engine: std::sync::Weak<Inner>, stopping: CancellationToken) {
    while stopping.run_until_cancelled(tokio::time::sleep(EXPIRY_ROUND)).await.is_some() {
        let Some(engine) = engine.upgrade().map(Engine) else { return };
        let expired: Vec<_> = engine
            .sandboxes()
            .into_iter()
            .filter(Sandbox::is_expired)
            .map(|sandbox| sandbox.id().clone())
            .collect();
        for id in expired {
            if let Err(error) = engine.delete(&id).await {
                tracing::warn!(%id, %error, "end an expired sandbox");
            }
        }
    }
}

fn stopped() -> EngineError {
    EngineError::Warden("the engine has been shut down".into())
}
