//! `reckon serve`: the server, from its first line to its last process.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use reckon_model::{Provider, Selected, Source};
use reckon_sandbox::{CheckState, Engine};
use reckon_server::{Key, ServedModel, Server, ServerConfig, Speaker};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{ImageOptions, ModelOptions, SandboxOptions},
    commands::Call,
    config::{Config, Flags, parse_address},
    descent,
    failure::Exit,
    interrupts::Interrupts,
    start,
};

/// Serves `POST /run`, the native API and the page at `/`, until Ctrl-C or SIGTERM.
///
/// Running requests are finished first; nothing is left behind.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address and port; port 0 takes a free one. Beyond loopback a key is required.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// A file that holds the key which callers must send.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    image: ImageOptions,
}

/// Runs the command.
pub(crate) fn run(serve: &Serve, call: &Call) -> anyhow::Result<Exit> {
    let mut flags = Flags::default();
    flags.set("server.listen", "--listen", serve.listen.as_ref());
    flags.set("server.key_file", "--key-file", serve.key_file.as_ref());
    serve.model.flags(&mut flags, &call.environment)?;
    serve.sandbox.flags(&mut flags);
    serve.image.flags(&mut flags);
    let effective = call.effective(flags)?;
    let config = server_config(&effective.config)?;

    // Bound before the engine starts: a taken port is told at once, and early callers queue.
    let listener = Server::listen(&config)?;
    let prepared = descent::descend(&effective, &call.environment)?;

    start::block_on(async {
        let mut interrupts = Interrupts::take()?;
        let selected = interrupts.or_give_up(start::model(&effective, &call.environment)).await?;
        let server = Server::on(listener, config, served(&selected))?;
        let starting = start::server(&effective, &call.environment, prepared);
        let host = interrupts.or_give_up(starting).await?;
        start::announce_model(&selected);
        announce_engine(&host.engine);
        anstream::eprintln!("listening on http://{}", server.address());

        let shutdown = CancellationToken::new();
        let serving = server.serve(host.engine.clone(), shutdown.clone());
        until_interrupted(serving, &shutdown, &mut interrupts).await;
        interrupts.or_leave(host.end()).await;
        Ok(Exit::Success)
    })
}

/// Serves until the first signal, then drains; a second one leaves at once.
async fn until_interrupted(
    serving: impl Future<Output = ()>,
    shutdown: &CancellationToken,
    interrupts: &mut Interrupts,
) {
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = &mut serving => return,
        () = interrupts.next() => {}
    }
    anstream::eprintln!("finishing what runs; once more stops it");
    shutdown.cancel();
    interrupts.or_leave(serving).await;
}

fn served(selected: &Selected) -> ServedModel {
    let speaker = match (selected.provider, selected.source) {
        (Provider::Demo, Source::Fallback) => Speaker::DemoByDefault,
        (Provider::Demo, _) => Speaker::DemoNamed,
        _ => Speaker::LanguageModel,
    };
    ServedModel { model: selected.model.clone(), speaker }
}

fn server_config(config: &Config) -> anyhow::Result<ServerConfig> {
    let server = &config.server;
    Ok(ServerConfig {
        listen: server.listen,
        keys: keys(config)?,
        allowed_hosts: server.allowed_hosts.clone(),
        body_limit: usize::try_from(server.body_limit.0).context("server.body_limit")?,
        upload_limit: usize::try_from(server.upload_limit.0).context("server.upload_limit")?,
        max_sessions: server.max_sessions,
        session_idle: server.session_idle.0,
        drain: server.drain.0,
        limits: config.sandbox.limits(),
        agent: start::turns(config),
        ..ServerConfig::default()
    })
}

fn keys(config: &Config) -> anyhow::Result<Vec<Key>> {
    let server = &config.server;
    let mut keys = Vec::new();
    for hash in &server.key_hashes {
        keys.push(Key::from_sha256(hash).context("server.key_hashes")?);
    }
    if let Some(key) = &server.key {
        keys.push(Key::from_secret(key));
    }
    if let Some(path) = &server.key_file {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read the key in {}", path.display()))?;
        let key = text.trim();
        anyhow::ensure!(!key.is_empty(), "{} holds no key", path.display());
        keys.push(Key::from_secret(key));
    }
    Ok(keys)
}

/// Says what runs the code, and which of its walls are weaker than designed.
fn announce_engine(engine: &Engine) {
    let report = engine.report();
    anstream::eprintln!("image: {}", report.image);
    let weak: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| check.state != CheckState::Works)
        .map(|check| check.name.as_str())
        .collect();
    let tier = start::tier(report.isolation);
    if weak.is_empty() {
        anstream::eprintln!("isolation: {tier}");
    } else {
        anstream::eprintln!("isolation: {tier}; not as designed: {} (see `reckon doctor`)", weak.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, env::Environment};

    #[test]
    fn the_defaults_are_those_of_the_server() {
        let effective = config::load(Flags::default(), &Environment::default(), None).expect("loads");
        let ours = format!("{:?}", server_config(&effective.config).expect("valid"));
        assert_eq!(ours, format!("{:?}", ServerConfig::default()));
    }

    #[test]
    fn keys_come_from_every_place_and_an_empty_file_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("key");
        std::fs::write(&file, "from-file\n").expect("written");
        let mut flags = Flags::default();
        flags.set("server.key_file", "--key-file", Some(&file));
        let environment = Environment::of([("RECKON_SERVER_KEY".to_owned(), "from-environment".to_owned())]);
        let effective = config::load(flags, &environment, None).expect("loads");
        assert_eq!(keys(&effective.config).expect("two keys").len(), 2);
        std::fs::write(&file, "\n").expect("written");
        assert!(keys(&effective.config).is_err());
    }
}
