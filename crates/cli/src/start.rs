//! What commands start with: the runtime, the image, the engine, the model. Each says on stderr
//! what a person must know before it is used: a weaker tier, where prompts go.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reckon_agent::Settings;
use reckon_model::{ModelConfig, Secret, Selected, Transport};
use reckon_sandbox::{
    Account, Engine, EngineConfig, Isolation, PoolSize, Prepared,
    image::{Image, ImageBuilder},
};

use crate::{
    config::{Config, Effective, SettingKind as _},
    descent,
    env::Environment,
    failure::Hinted,
    ground::Ground,
    interrupts::Interrupts,
    render::{progress::Progress, safe, style},
};

/// What an engine is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One sandbox, which ends with the command.
    OneShot,
    /// A server.
    Serve,
    /// To measure what depends on what is made ahead of demand.
    Measured(PoolSize),
    /// Hostile programs, in sandboxes with small limits.
    SelfTest,
}

/// The pool of a command: its one sandbox.
const ONE: PoolSize = PoolSize { floor: 1, ceiling: 1, rooms: 0 };

/// A running engine and what must outlive it.
#[derive(Debug)]
pub(crate) struct Host {
    /// The engine.
    pub(crate) engine: Engine,
    /// The directory it works in; that of a command is removed after the engine's end.
    ground: Ground,
}

impl Host {
    /// Returns the directory that the engine works in.
    pub(crate) fn directory(&self) -> &Path {
        self.ground.path()
    }

    /// Ends the engine; nothing is left behind.
    pub(crate) async fn end(self) {
        self.engine.shutdown().await;
        drop(self.ground);
    }
}

/// Runs a command's future on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let done = runtime.block_on(work);
    // A read of stdin or of a dead file system must not hold the process.
    runtime.shutdown_background();
    done
}

/// Starts an engine with its image, which is built if need be.
pub(crate) async fn engine(
    effective: &Effective,
    environment: &Environment,
    purpose: Purpose,
) -> anyhow::Result<Host> {
    announce_isolation(effective.config.sandbox.isolation);
    let data = data_dir(effective, environment)?;
    let image = image(effective, environment).await?;
    // An engine sweeps its directory when it starts, so that no two may share one.
    let ground = match purpose {
        Purpose::Serve => Ground::of_server(&data)?,
        Purpose::OneShot | Purpose::Measured(_) | Purpose::SelfTest => {
            Ground::of_command(&descent::place_of_commands(&data))?
        }
    };
    let config = engine_config(effective, purpose, ground.path().to_owned(), image, None)?;
    let engine = Engine::start(config).await?;
    Ok(Host { engine, ground })
}

/// Starts the engine of a server, which was prepared if the server has given up root.
pub(crate) async fn server(
    effective: &Effective,
    environment: &Environment,
    prepared: Option<Prepared>,
) -> anyhow::Result<Host> {
    let Some(prepared) = prepared else { return engine(effective, environment, Purpose::Serve).await };
    let ground = Ground::of_server(&data_dir(effective, environment)?)?;
    let engine = prepared.start().await?;
    Ok(Host { engine, ground })
}

/// Returns an engine's configuration. The account is who the server gives root up for.
pub(crate) fn engine_config(
    effective: &Effective,
    purpose: Purpose,
    data_dir: PathBuf,
    image: Image,
    account: Option<Account>,
) -> anyhow::Result<EngineConfig> {
    raise_open_files();
    let sandbox = &effective.config.sandbox;
    let limits = match purpose {
        Purpose::SelfTest => reckon_sandbox::hostile::limits(),
        _ => sandbox.limits(),
    };
    limits.check().context("the limits of [sandbox]")?;
    Ok(EngineConfig {
        data_dir,
        image,
        isolation: sandbox.isolation,
        heap: sandbox.heap,
        zygote_age: sandbox.zygote_age.0,
        pool: match purpose {
            Purpose::Serve => sandbox.pool_size(),
            Purpose::OneShot => ONE,
            Purpose::SelfTest => PoolSize { floor: 2, ceiling: 2, rooms: 0 },
            Purpose::Measured(pool) => pool,
        },
        max_sandboxes: match purpose {
            Purpose::Measured(_) => usize::MAX,
            Purpose::OneShot | Purpose::SelfTest | Purpose::Serve => sandbox.max_sandboxes,
        },
        limits,
        disk_bytes: sandbox.disk_total.map(|size| size.0),
        warden: warden()?,
        account,
    })
}

/// Returns the image without a thread that stays: built, if need be, on a runtime of its own.
pub(crate) fn image_now(effective: &Effective, environment: &Environment) -> anyhow::Result<Image> {
    if let Some(image) = image_builder(effective, environment)?.open() {
        return Ok(image);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    // Dropped here, it waits for the threads that it had.
    runtime.block_on(async {
        let mut interrupts = Interrupts::take()?;
        interrupts.or_give_up(image(effective, environment)).await
    })
}

/// A sandbox costs the server five descriptors: its channel, two pipes, and two counters of its cgroup.
fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // Then as many sandboxes as before is what fits.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

/// Returns the image, and builds it under a progress bar if it is not built.
pub(crate) async fn image(effective: &Effective, environment: &Environment) -> anyhow::Result<Image> {
    let mut progress = Progress::new("building the Python image (once)");
    let built = image_builder(effective, environment)?.open_or_build(|event| progress.event(&event)).await;
    progress.finish(built.is_ok());
    Ok(built?)
}

/// Returns what opens and builds the configured image.
pub(crate) fn image_builder(
    effective: &Effective,
    environment: &Environment,
) -> anyhow::Result<ImageBuilder> {
    let configured = &effective.config.image;
    let images = configured.dir.clone().or_else(|| environment.images_dir());
    let images = images.ok_or_else(|| no_home("image.dir", "--image-dir"))?;
    let cache = environment.cache_dir().unwrap_or_else(|| images.join("cache"));
    let mut builder = ImageBuilder::new(images, cache, environment.all());
    builder.python.clone_from(&configured.python);
    Ok(builder)
}

/// Returns where sandboxes and sessions are kept.
pub(crate) fn data_dir(effective: &Effective, environment: &Environment) -> anyhow::Result<PathBuf> {
    let data = effective.config.sandbox.data.clone().or_else(|| environment.data_dir());
    let data = data.ok_or_else(|| no_home("sandbox.data", "--data"))?;
    std::path::absolute(&data).with_context(|| format!("find the directory {}", data.display()))
}

fn no_home(setting: &str, flag: &str) -> anyhow::Error {
    Hinted::new(
        format!("neither HOME nor {setting} says where to keep things"),
        format!("name a directory with {flag}"),
    )
    .into()
}

/// This very program, with the hidden command that makes it the warden.
pub(crate) fn warden() -> anyhow::Result<Vec<std::ffi::OsString>> {
    let program = std::env::current_exe().context("find this program")?;
    Ok(vec![program.into(), "warden".into()])
}

/// Returns the settings of turns.
pub(crate) fn turns(config: &Config) -> Settings {
    let model = &config.model;
    Settings {
        max_steps: model.max_steps,
        turn_time: model.turn_time.0,
        max_tokens: model.max_tokens,
        temperature: model.temperature,
        reasoning_effort: model.reasoning_effort,
        ..Settings::default()
    }
}

/// Returns the name of a tier, as people choose it.
pub(crate) fn tier(isolation: Isolation) -> String {
    isolation.write().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Chooses the model. A configured one that fails is an error and never replaced.
pub(crate) async fn model(effective: &Effective, environment: &Environment) -> anyhow::Result<Selected> {
    let config = model_config(&effective.config, environment);
    Ok(reckon_model::select(&config, &environment.of_models()).await?)
}

/// Returns what the configuration says about the model, in the model crate's words.
pub(crate) fn model_config(config: &Config, environment: &Environment) -> ModelConfig {
    let model = &config.model;
    ModelConfig {
        name: model.name.clone(),
        provider: model.provider,
        base_url: model.base_url.clone(),
        api_key: model.api_key.as_deref().map(Secret::new),
        context_tokens: model.context_tokens,
        sees_images: model.sees_images,
        reasoning_effort: model.reasoning_effort,
        local_only: model.local,
        transport: Transport {
            first_byte_timeout: model.patience.0,
            idle_timeout: model.patience.0,
            ..environment.transport()
        },
        ..ModelConfig::default()
    }
}

/// Says which model answers, why that one, and whether prompts leave this machine, before the first one does.
pub(crate) fn announce_model(selected: &Selected) {
    let leaves = if selected.model.endpoint().is_remote() { "; prompts leave this machine" } else { "" };
    anstream::eprintln!("{}model: {}{leaves}{}", style::DIM, safe::clean(&selected.why), style::END);
    if let Some(warning) = &selected.warning {
        anstream::eprintln!("{}warning:{} {}", style::WARNING, style::END, safe::clean(warning));
    }
}

/// A person chose the weaker tier; every start says so.
fn announce_isolation(isolation: Isolation) {
    if isolation == Isolation::Process {
        anstream::eprintln!(
            "{}warning:{} isolation `process`: landlock, seccomp and rlimits only; no namespaces, no private network, no memory limit for a whole sandbox",
            style::WARNING,
            style::END
        );
    }
}
