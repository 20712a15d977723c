//! The commands, one file each. A command finds its configuration, does its work and says how it ended.

pub(crate) mod ask;
pub(crate) mod bench_engine;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod models;
pub(crate) mod serve;

use std::path::PathBuf;

use crate::{
    args::{Cli, Command},
    config::{Effective, Flags},
    env::Environment,
    failure::Exit,
    log,
};

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Call {
    /// The environment of the process.
    pub(crate) environment: Environment,
    /// The file that `--config` names.
    pub(crate) config: Option<PathBuf>,
}

impl Call {
    /// Finds the effective configuration.
    pub(crate) fn effective(&self, flags: Flags) -> anyhow::Result<Effective> {
        crate::config::load(flags, &self.environment, self.config.clone())
    }
}

/// Runs the command of the command line.
pub(crate) fn run(cli: Cli, environment: Environment) -> anyhow::Result<Exit> {
    let usual = if matches!(cli.command, Command::Serve(_)) { "info" } else { "warn" };
    log::begin(&environment, usual)?;
    let call = Call { environment, config: cli.config };
    match cli.command {
        Command::Ask(ask) => ask::run(&ask, &call),
        Command::Exec(exec) => exec::run(&exec, &call),
        Command::Serve(serve) => serve::run(&serve, &call),
        Command::Init(init) => init::run(&init),
        Command::Config(command) => config::run(&command, &call),
        Command::Doctor(doctor) => doctor::run(&doctor, &call),
        Command::Models(models) => models::run(&models, &call),
        Command::Image(command) => image::run(&command, &call),
        Command::Completions(completions) => completions::run(&completions),
        Command::BenchEngine(bench) => bench_engine::run(&bench, &call),
    }
}
