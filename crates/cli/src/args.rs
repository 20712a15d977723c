//! The command line. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use reckon_protocol::{ParsePresetError, Preset};
use reckon_sandbox::Isolation;

use crate::{
    commands::{
        ask::Ask, bench_engine::BenchEngine, completions::Completions, config::ConfigCommand, doctor::Doctor,
        exec::Exec, image::ImageCommand, init::Init, models::Models, serve::Serve,
    },
    config::{Bytes, Flags, Period, SettingKind as _},
    env::Environment,
};

/// Answers questions by computing: a language model writes Python, Reckon runs it in an isolated sandbox.
#[derive(Debug, Parser)]
#[command(name = "reckon", version = VERSION, infer_subcommands = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// The configuration file; otherwise ./reckon.toml, then ~/.config/reckon/reckon.toml.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The version, and the commit where whoever built the binary named it.
const VERSION: &str = match option_env!("RECKON_VERSION_COMMIT") {
    Some(with_commit) => with_commit,
    None => env!("CARGO_PKG_VERSION"),
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ask(Ask),
    Exec(Exec),
    Serve(Serve),
    Init(Init),
    #[command(subcommand)]
    Config(ConfigCommand),
    Doctor(Doctor),
    Models(Models),
    #[command(subcommand)]
    Image(ImageCommand),
    Completions(Completions),
    #[command(hide = true)]
    BenchEngine(BenchEngine),
}

/// Which model answers.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelOptions {
    /// The model, as its server calls it; `demo` is the demo planner, not a language model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Base URL of an OpenAI-compatible server.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The environment variable that holds the key of that server (keys stay out of the process list).
    #[arg(long, value_name = "VARIABLE")]
    api_key_env: Option<String>,
    /// Refuse any model to which prompts would leave this machine.
    #[arg(long)]
    local: bool,
    /// Calls of the tool in one turn.
    #[arg(long, value_name = "COUNT")]
    max_steps: Option<u32>,
}

impl ModelOptions {
    /// Adds what was given to the flags. The key is looked up in `environment`.
    pub(crate) fn flags(&self, flags: &mut Flags, environment: &Environment) -> anyhow::Result<()> {
        if let Some(variable) = &self.api_key_env {
            let key = environment.variable(variable).map(str::to_owned);
            let key =
                key.ok_or_else(|| anyhow::anyhow!("--api-key-env: the variable {variable} is not set"))?;
            flags.set("model.api_key", "--api-key-env", Some(&key));
        }
        flags.set("model.name", "--model", self.model.as_ref());
        flags.set("model.base_url", "--base-url", self.base_url.as_ref());
        flags.set("model.local", "--local", self.local.then_some(&true));
        flags.set("model.max_steps", "--max-steps", self.max_steps.as_ref());
        Ok(())
    }
}

/// Where and within which limits code runs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sandbox")]
pub(crate) struct SandboxOptions {
    /// The walls: `room`, or the weaker tier `process` for hosts that refuse namespaces.
    #[arg(long, value_name = "TIER", value_parser = parse_isolation)]
    isolation: Option<Isolation>,
    /// Wall time of one execution, such as 10s or 2m.
    #[arg(long, value_name = "TIME")]
    timeout: Option<Period>,
    /// Memory of a sandbox, such as 512m or 2g.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// Processes and threads of a sandbox.
    #[arg(long, value_name = "COUNT")]
    pids: Option<u32>,
    /// A named size: lite, basic, standard-1 to standard-4. Single limits go before it.
    #[arg(long, value_name = "NAME", value_parser = parse_preset)]
    preset: Option<Preset>,
    /// Processor time of one execution, such as 30s.
    #[arg(long, value_name = "TIME")]
    cpu_time: Option<Period>,
    /// What the workspace may take on disk, such as 500m or 4g.
    #[arg(long, value_name = "SIZE")]
    disk: Option<Bytes>,
    /// Where sandboxes and sessions are kept.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl SandboxOptions {
    /// Adds what was given to the flags.
    pub(crate) fn flags(&self, flags: &mut Flags) {
        flags.set("sandbox.isolation", "--isolation", self.isolation.as_ref());
        flags.set("sandbox.timeout", "--timeout", self.timeout.as_ref());
        flags.set("sandbox.memory", "--memory", self.memory.as_ref());
        flags.set("sandbox.pids", "--pids", self.pids.as_ref());
        flags.set("sandbox.preset", "--preset", self.preset.as_ref());
        flags.set("sandbox.cpu_time", "--cpu-time", self.cpu_time.as_ref());
        flags.set("sandbox.disk_size", "--disk", self.disk.as_ref());
        flags.set("sandbox.data", "--data", self.data.as_ref());
    }
}

/// Which Python runs the code.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Image")]
pub(crate) struct ImageOptions {
    /// Where images are kept.
    #[arg(long, value_name = "DIR")]
    image_dir: Option<PathBuf>,
    /// The Python 3.11 or later from which the image is built.
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

impl ImageOptions {
    /// Adds what was given to the flags.
    pub(crate) fn flags(&self, flags: &mut Flags) {
        flags.set("image.dir", "--image-dir", self.image_dir.as_ref());
        flags.set("image.python", "--python", self.python.as_ref());
    }
}

fn parse_isolation(text: &str) -> Result<Isolation, String> {
    Isolation::read(&Isolation::from_text(text)?)
}

fn parse_preset(name: &str) -> Result<Preset, ParsePresetError> {
    name.parse()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_has_a_help_text() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().filter(|one| one.get_name() != "help").for_each(check);
        }
        let mut command = Cli::command();
        command.build();
        check(&command);
    }

    #[test]
    fn options_become_flags() {
        let cli = Cli::try_parse_from(["reckon", "exec", "-c", "1", "--memory", "512m", "--timeout", "1s"])
            .expect("parses");
        let Command::Exec(exec) = cli.command else { panic!("exec") };
        let mut flags = Flags::default();
        exec.sandbox.flags(&mut flags);
        let effective = crate::config::load(flags, &crate::env::Environment::default(), None).expect("loads");
        assert_eq!(effective.config.sandbox.memory, Bytes(512 << 20));
        assert_eq!(effective.config.sandbox.timeout.millis(), 1000);
        assert_eq!(effective.values["sandbox.memory"].source.to_string(), "flag --memory");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for arguments in [["reckon", "exec", "--memory", "lots"], ["reckon", "exec", "--isolation", "none"]] {
            let error = Cli::try_parse_from(arguments).expect_err("refused").to_string();
            assert!(error.contains(arguments[3]), "{error}");
        }
    }
}
