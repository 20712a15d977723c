//! The program `reckon`: parses the command line, finds the configuration and runs one command.
//! What a command does is in `commands/`, what people see of it in `render/`.

mod args;
mod attachments;
mod commands;
mod config;
mod descent;
mod env;
mod failure;
mod ground;
mod interrupts;
mod log;
mod render;
mod start;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Cli, env::Environment};

fn main() -> ExitCode {
    // The warden forks and changes its namespaces, so it must come before any thread and any runtime.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "warden") {
        return warden(arguments.next().is_some_and(|second| second == "keep"));
    }
    let cli = Cli::parse();
    let environment = Environment::of_process();
    match commands::run(cli, environment) {
        Ok(exit) => exit.into(),
        Err(error) => failure::report(&error).into(),
    }
}

fn warden(keep: bool) -> ExitCode {
    let (name, ended) =
        if keep { ("keeper", reckon_cage::keeper::main()) } else { ("warden", reckon_cage::warden::main()) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: the {name}: {error}");
            failure::Exit::Failed.into()
        }
    }
}
