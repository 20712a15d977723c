//! `reckon init`: writes a commented configuration file.

use std::{fs::OpenOptions, io, io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::{
    config::commented_file,
    failure::{Exit, Hinted},
};

/// Writes a commented reckon.toml, in which every setting stands with its default.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file to write.
    #[arg(value_name = "FILE", default_value = "reckon.toml")]
    path: PathBuf,
    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(init: &Init) -> anyhow::Result<Exit> {
    let path = init.path.display();
    let mut options = OpenOptions::new();
    options.write(true);
    if init.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = match options.open(&init.path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Hinted::new(format!("{path} exists"), "--force overwrites it").into());
        }
        other => other.with_context(|| format!("create {path}"))?,
    };
    file.write_all(commented_file().as_bytes()).with_context(|| format!("write {path}"))?;
    anstream::eprintln!("wrote {path}; `reckon config show` tells what is in force");
    Ok(Exit::Success)
}
