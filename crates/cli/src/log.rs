//! The log, for operators: to stderr, filtered by `RECKON_LOG`.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::env::Environment;

/// Begins the log; `usual` is its filter unless the environment says otherwise.
pub(crate) fn begin(environment: &Environment, usual: &str) -> anyhow::Result<()> {
    let filter = environment.variable("RECKON_LOG").unwrap_or(usual);
    let filter = EnvFilter::try_new(filter).with_context(|| format!("RECKON_LOG: {filter}"))?;
    let colours = std::io::stderr().is_terminal() && environment.variable("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .try_init()
        .map_err(|error| anyhow::anyhow!("begin the log: {error}"))
}
