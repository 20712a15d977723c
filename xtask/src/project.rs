//! The workspace as cargo sees it: where it is, where it builds, what its crates are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::running;

/// The workspace that `cargo xtask` was called in.
pub(crate) struct Project {
    /// The directory of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's build directory.
    pub(crate) target: PathBuf,
    /// The member crates, as `cargo metadata` lists them.
    pub(crate) packages: Vec<Value>,
}

impl Project {
    /// Asks cargo about the workspace of this source tree.
    pub(crate) fn locate() -> Result<Self> {
        // Cargo names the directory at run time; the compiled-in one serves a copied binary.
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let mut command = Command::new(cargo_program());
        command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&here);
        let text = running::stdout_of(&mut command)?;
        let metadata: Value = serde_json::from_str(&text).context("read cargo metadata")?;
        let directory = |key: &str| {
            metadata[key].as_str().map(PathBuf::from).with_context(|| format!("cargo metadata has no {key}"))
        };
        Ok(Self {
            root: directory("workspace_root")?,
            target: directory("target_directory")?,
            packages: metadata["packages"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// Returns a call of cargo in the workspace's root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_program());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Returns whether cargo has this subcommand here.
    pub(crate) fn has_cargo(&self, subcommand: &str) -> bool {
        running::succeeds(&mut self.cargo(&[subcommand, "--version"]))
    }
}

fn cargo_program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
