//! An engine for the tests of this crate and of the server: the real warden, the real zygote, the
//! user's core image, which is built on first use.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use reckon_protocol::Limits;
use reckon_sandbox::{
    Engine, EngineConfig, EngineError, Heap, Isolation, PoolSize,
    image::{Image, ImageBuilder},
};
use tempfile::TempDir;

/// A running engine and its data directory.
pub struct House {
    pub engine: Engine,
    _directory: TempDir,
}

impl House {
    /// Starts an engine; `None` (and a counted skip) where this host refuses rooms.
    pub async fn open(test: &str) -> Option<Self> {
        Self::with(test, |_| {}).await
    }

    /// The same with another configuration.
    pub async fn with(test: &str, change: impl FnOnce(&mut EngineConfig)) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut config = EngineConfig {
            disk_bytes: Some(8 << 30),
            data_dir: directory.path().join("data"),
            image: core_image().await,
            isolation: Isolation::Room,
            heap: Heap::Sealed,
            zygote_age: std::time::Duration::ZERO,
            pool: PoolSize { floor: 1, ceiling: 1, rooms: 0 },
            max_sandboxes: 64,
            limits: Limits::default(),
            warden: vec![warden().into()],
            account: None,
        };
        change(&mut config);
        match Engine::start(config).await {
            Ok(engine) => Some(Self { engine, _directory: directory }),
            Err(EngineError::Isolation { what, mend }) => {
                reckon_e2e::skip("isolation", test, &format!("{what}; {mend}"));
                None
            }
            Err(error) => panic!("start the engine: {error}"),
        }
    }

    pub async fn close(self) {
        self.engine.shutdown().await;
    }
}

async fn core_image() -> Image {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap()
        .join("reckon");
    let builder = ImageBuilder::new(cache.join("images"), cache, std::env::vars_os().collect());
    builder.open_or_build(|_| {}).await.unwrap()
}

/// Returns the warden of reckon-sandbox, which cargo builds for the tests of that crate only. It is
/// built here when it is absent or older than its sources.
fn warden() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.ancestors().nth(2).unwrap();
    let program = profile.join("reckon-warden");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = ["cage", "sandbox"].iter().filter_map(|name| newest(&crates.join(name))).max();
    let built = fs::metadata(&program).and_then(|file| file.modified()).ok();
    if built < sources {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "reckon-sandbox", "--bin", "reckon-warden"]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap()).current_dir(crates);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "build the warden");
    }
    program
}

/// Returns when anything below a directory was last changed.
fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let times = entries.filter_map(|entry| {
        let kind = entry.file_type().ok()?;
        if kind.is_dir() { newest(&entry.path()) } else { entry.metadata().ok()?.modified().ok() }
    });
    times.max()
}
