//! The tools of others that tidy asks: `cargo-deny` for licences, `cargo-machete` for
//! dependencies that nothing uses.
//!
//! Both come from cargo, are kept below the build directory, and are skipped when absent:
//! 31 s and 79 s to build on 2 cores without optimisation, which they do not need.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::running;
use crate::tally::{Skip, Tally};

struct Tool {
    name: &'static str,
    version: &'static str,
    arguments: &'static [&'static str],
}

const TOOLS: [Tool; 2] = [
    Tool {
        name: "cargo-deny",
        version: "^0.20",
        // Advisories need a database that is fetched from a git host, not a registry.
        arguments: &["--locked", "check", "licenses", "bans", "sources"],
    },
    Tool { name: "cargo-machete", version: "^0.9", arguments: &["--skip-target-dir"] },
];

/// Runs each tool that is there; shows what it says only when it complains.
pub(super) fn check(project: &Project) -> Result<Tally> {
    let mut tally = Tally::default();
    for tool in &TOOLS {
        let Some(program) = find(project, tool) else {
            let mend = "not installed: cargo xtask tidy --install-tools";
            tally.add(Tally::of_skip(Skip::new("tool", tool.name, mend)));
            continue;
        };
        let mut command = std::process::Command::new(program);
        command.args(tool.arguments).current_dir(&project.root);
        let transcript = running::read(&mut command)?;
        if !transcript.success {
            eprintln!("      {} complains:", tool.name);
            eprintln!("{}", transcript.lines.join("\n"));
        }
        tally.add(Tally::of_check(transcript.success));
    }
    Ok(tally)
}

/// Installs what is missing below the build directory.
pub(super) fn install(project: &Project) -> Result<()> {
    let root = project.target.join("tools");
    let build = root.join("build");
    for tool in &TOOLS {
        if find(project, tool).is_some() {
            continue;
        }
        eprintln!("      installing {} (once)", tool.name);
        // The unoptimised build is ready in a fraction of the time.
        let mut command = project.cargo(&["install", "--quiet", "--locked", "--debug"]);
        command.args(["--version", tool.version]);
        command.arg("--root").arg(&root);
        command.arg("--target-dir").arg(&build);
        command.arg(tool.name);
        if !running::shown(&mut command)? {
            bail!("cargo install {} failed", tool.name);
        }
    }
    if build.exists() {
        fs::remove_dir_all(&build)?;
    }
    Ok(())
}

/// Returns our own copy of the tool, or the user's.
fn find(project: &Project, tool: &Tool) -> Option<PathBuf> {
    let own = project.target.join("tools/bin").join(tool.name);
    [own, PathBuf::from(tool.name)]
        .into_iter()
        .find(|program| running::succeeds(std::process::Command::new(program).arg("--version")))
}
