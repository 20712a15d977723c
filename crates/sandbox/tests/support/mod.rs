//! An engine for tests: the real warden, the real zygote, the user's core image (built on first use).
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::PathBuf;

use reckon_protocol::{ExecutionOutcome, Limits};
use reckon_sandbox::{
    Engine, EngineConfig, EngineError, Execute, Heap, Isolation, PoolSize, Sandbox, SandboxSpec,
    image::{Image, ImageBuilder},
};
use tempfile::TempDir;

/// A running engine and its data directory.
pub struct House {
    pub engine: Engine,
    pub directory: TempDir,
}

impl House {
    /// Starts an engine; `None` (and a counted skip) where this host refuses rooms.
    pub async fn open(test: &str) -> Option<Self> {
        Self::with(test, |_| {}).await
    }

    /// Returns how starting fails; an engine that starts is ended again.
    pub async fn with_error(change: impl FnOnce(&mut EngineConfig)) -> Option<EngineError> {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Self::config(&directory).await;
        change(&mut config);
        match Engine::start(config).await {
            Ok(engine) => {
                engine.shutdown().await;
                None
            }
            Err(error) => Some(error),
        }
    }

    pub async fn config(directory: &TempDir) -> EngineConfig {
        EngineConfig {
            data_dir: directory.path().join("data"),
            image: core_image().await,
            isolation: Isolation::Room,
            heap: Heap::Sealed,
            zygote_age: std::time::Duration::ZERO,
            pool: PoolSize { floor: 1, ceiling: 1, rooms: 0 },
            max_sandboxes: 64,
            limits: Limits::default(),
            disk_bytes: Some(8 << 30),
            warden: vec![env!("CARGO_BIN_EXE_reckon-warden").into()],
            account: None,
        }
    }

    pub async fn with(test: &str, change: impl FnOnce(&mut EngineConfig)) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Self::config(&directory).await;
        change(&mut config);
        match Engine::start(config).await {
            Ok(engine) => Some(Self { engine, directory }),
            Err(EngineError::Isolation { what, mend }) => {
                reckon_e2e::skip("isolation", test, &format!("{what}; {mend}"));
                None
            }
            Err(error) => panic!("start the engine: {error}"),
        }
    }

    /// Starts an engine with walls left out.
    pub async fn without(test: &str, walls: &[&str], change: impl FnOnce(&mut EngineConfig)) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Self::config(&directory).await;
        change(&mut config);
        let without = reckon_cage::Without::walls(walls).unwrap();
        match Engine::start_without(config, without).await {
            Ok(engine) => Some(Self { engine, directory }),
            Err(EngineError::Isolation { what, mend }) => {
                reckon_e2e::skip("isolation", test, &format!("{what}; {mend}"));
                None
            }
            Err(error) => panic!("start the engine without {walls:?}: {error}"),
        }
    }

    pub async fn sandbox(&self) -> Sandbox {
        self.engine.create(SandboxSpec::default()).await.unwrap()
    }

    /// Returns whether a wall with this name is substituted or absent here.
    pub fn lacks(&self, name: &str) -> bool {
        let checks = self.engine.report().checks;
        checks.iter().any(|check| check.name == name && check.state != reckon_sandbox::CheckState::Works)
    }

    /// Returns whether sandboxes share one host uid here.
    pub fn lacks_own_uids(&self) -> bool {
        let mode = self.engine.report().checks.into_iter().find(|check| check.name == "mode");
        !mode.unwrap().detail.starts_with("root;")
    }

    pub async fn close(self) {
        self.engine.shutdown().await;
    }
}

/// Runs code and returns its outcome.
pub async fn run(sandbox: &Sandbox, code: &str) -> ExecutionOutcome {
    sandbox.execute(Execute { code: code.into(), timeout: None }).await.unwrap().outcome().await
}

/// The user's core image, the same that `reckon` uses.
pub async fn core_image() -> Image {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap()
        .join("reckon");
    let builder = ImageBuilder::new(cache.join("images"), cache, std::env::vars_os().collect());
    builder.open_or_build(|_| {}).await.unwrap()
}

/// Every process below this one: pid and name, in the order of `/proc`.
pub fn descendants(of: u32) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    let mut waiting = vec![of];
    while let Some(pid) = waiting.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().map(|pid| pid.parse().unwrap()) {
                let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                all.push((child, name.trim().to_owned()));
                waiting.push(child);
            }
        }
    }
    all
}
