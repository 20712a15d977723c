//! `reckon completions`: completions for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{args::Cli, failure::Exit};

/// Prints completions for a shell, to be sourced by it.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(completions: &Completions) -> anyhow::Result<Exit> {
    // Written at once, so that a closed reader is an error of ours and not a panic of the generator.
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "reckon", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(Exit::Success)
}
