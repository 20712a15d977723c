//! A live sandbox: its directory, its limits, and the way to the task that serves its context.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use reckon_protocol::{ExecutionId, Limits, MAXIMA, SandboxId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    context::{self, EVENTS, Home, QUEUE, Task},
    cradle::Newborn,
    error::EngineError,
    execution::{Execute, Execution},
    files::{Listing, RelativePath, Workspace, WorkspaceFile},
    gauge::Gauge,
    pool::Pool,
    site::Site,
    warden::Warden,
};

/// A live sandbox. Clones share it.
#[derive(Debug, Clone)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: SandboxId,
    limits: Limits,
    created_at: SystemTime,
    born: Instant,
    /// Milliseconds after `born`.
    last_used: AtomicU64,
    /// Executions that wait or run; a sandbox in use does not expire.
    in_use: Arc<AtomicUsize>,
    time_to_live: Option<Duration>,
    workspace: Workspace,
    tasks: mpsc::Sender<Task>,
    /// Cancelled when the sandbox is being deleted: what runs or waits in it ends at once.
    ending: CancellationToken,
    ended: watch::Receiver<Option<Result<(), String>>>,
}

/// How often a room is tried when the one that was waiting turns out to have ended.
const TRIES: usize = 3;

impl Sandbox {
    pub(crate) async fn make(
        warden: &Warden,
        pool: &Pool,
        (site, owner): (&Site, (u32, u32)),
        limits: Limits,
        time_to_live: Option<Duration>,
    ) -> Result<Self, EngineError> {
        let Newborn { id, parked, files, cwd, nest } = take_alive(pool, &limits).await?;
        let (ended, told) = watch::channel(None);
        let workspace = Workspace::new(files, owner, site.clone());
        let home = Home {
            warden: warden.clone(),
            workspace: id.as_str().to_owned(),
            cwd,
            env: BTreeMap::new(),
            limits: limits.clone(),
            gauge: Some(Gauge::new(workspace.clone(), &limits)),
            ending: CancellationToken::new(),
            ended,
            nest,
        };
        let ending = home.ending.clone();
        let (tasks, receiver) = mpsc::channel(QUEUE);
        // Ends when `ending` is cancelled, which `Engine::delete` and `shutdown` await, or by the last dropped sender.
        tokio::spawn(context::serve(home, parked, receiver));
        Ok(Self(Arc::new(Inner {
            id,
            limits,
            created_at: SystemTime::now(),
            born: Instant::now(),
            last_used: AtomicU64::new(0),
            in_use: Arc::default(),
            time_to_live,
            workspace,
            tasks,
            ending,
            ended: told,
        })))
    }

    /// Returns its id.
    pub fn id(&self) -> &SandboxId {
        &self.0.id
    }

    /// Returns its limits.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Returns when it was made.
    pub fn created_at(&self) -> SystemTime {
        self.0.created_at
    }

    /// Returns how long after its last use it ends; `None` for never.
    pub fn time_to_live(&self) -> Option<Duration> {
        self.0.time_to_live
    }

    /// Runs code in the sandbox's context; executions of one sandbox run one after another, in the order of the calls.
    pub async fn execute(&self, execute: Execute) -> Result<Execution, EngineError> {
        self.touch();
        let timeout = execute.timeout.unwrap_or(Duration::from_millis(self.0.limits.timeout_ms));
        let timeout = timeout.min(Duration::from_millis(MAXIMA.timeout_ms));
        let id = ExecutionId::new();
        let (events, receiver) = mpsc::channel(EVENTS);
        let interrupt = CancellationToken::new();
        let task = Task {
            id: id.clone(),
            code: execute.code,
            timeout,
            events,
            interrupt: interrupt.clone(),
            _use: InUse::new(&self.0.in_use),
        };
        let queued = self.0.ending.run_until_cancelled(self.0.tasks.send(task)).await;
        let queued = queued.and_then(Result::ok);
        queued.ok_or_else(|| EngineError::Gone(format!("{} was deleted", self.0.id)))?;
        Ok(Execution::new(id, receiver, interrupt))
    }

    /// Lists the regular files of the workspace, sorted by name, up to the bounds of a listing.
    pub async fn files(&self) -> Result<Vec<WorkspaceFile>, EngineError> {
        self.list_files().await.map(|listing| listing.files)
    }

    /// Lists the regular files of the workspace, and says what is left out.
    pub async fn list_files(&self) -> Result<Listing, EngineError> {
        self.0.workspace.list().await
    }

    /// Opens a regular file of the workspace for reading.
    pub async fn open_file(
        &self,
        path: &RelativePath,
    ) -> Result<(tokio::fs::File, WorkspaceFile), EngineError> {
        self.touch();
        self.0.workspace.open(path).await
    }

    /// Writes a file of the workspace, making its directories. Readers see the old content or the new, never a part.
    pub async fn write_file(&self, path: &RelativePath, bytes: &[u8]) -> Result<(), EngineError> {
        self.touch();
        self.0.workspace.write(path, bytes).await
    }

    /// Removes a file of the workspace, or whatever else but a directory has this name.
    pub async fn remove_file(&self, path: &RelativePath) -> Result<(), EngineError> {
        self.touch();
        self.0.workspace.remove(path).await
    }

    /// Has everything that runs in it ended, and its directory removed; [`Sandbox::ended`] waits for that.
    pub(crate) fn end(&self) {
        self.0.ending.cancel();
    }

    /// Waits until nothing is left of it.
    pub(crate) async fn ended(&self) -> Result<(), EngineError> {
        let mut ended = self.0.ended.clone();
        let told = ended.wait_for(Option::is_some).await.map(|told| told.clone());
        match told {
            Ok(Some(Err(message))) => Err(EngineError::Warden(message)),
            // Without its sender the runtime has gone, and the warden with it.
            _ => Ok(()),
        }
    }

    pub(crate) fn is_expired(&self) -> bool {
        let last_used = Duration::from_millis(self.0.last_used.load(Ordering::Relaxed));
        let idle = self.0.born.elapsed().saturating_sub(last_used);
        self.0.in_use.load(Ordering::Relaxed) == 0 && self.0.time_to_live.is_some_and(|limit| idle > limit)
    }

    fn touch(&self) {
        let now = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_used.store(now, Ordering::Relaxed);
    }
}

/// Takes a sandbox from the pool; another one when the first turns out to have ended.
async fn take_alive(pool: &Pool, limits: &Limits) -> Result<Newborn, EngineError> {
    let mut tries = TRIES;
    loop {
        match pool.take(limits).await {
            Err(error @ (EngineError::Gone(_) | EngineError::Warden(_) | EngineError::Io { .. })) => {
                tries -= 1;
                if tries == 0 {
                    return Err(error);
                }
                tracing::debug!(%error, "another room for a sandbox");
            }
            result => return result,
        }
    }
}

/// Counts an execution while it waits or runs.
#[derive(Debug)]
pub(crate) struct InUse(Arc<AtomicUsize>);

impl InUse {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
