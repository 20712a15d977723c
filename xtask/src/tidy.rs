//! `cargo xtask tidy`: the rules of the tree that no compiler checks.
//!
//! Each rule is a pure function over text; this file reads the tree and puts them in order.

mod crates;
mod exceptions;
mod markdown;
mod promises;
mod source;
mod tools;

use std::fmt;
use std::fs;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::running;
use crate::tally::Tally;

/// A text file of the tree; its path is relative to the root.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Returns what follows the last dot of the name; Unix names are case-sensitive.
    pub(crate) fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or("");
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

/// A place that breaks a rule.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    /// The rule's name, which `exceptions` refers to.
    pub(crate) rule: &'static str,
    pub(crate) path: String,
    /// Counted from one; zero when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(rule: &'static str, path: &str, line: usize, what: String) -> Self {
        Self { rule, path: path.to_owned(), line, what }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {} [{}]", self.path, self.what, self.rule),
            line => write!(formatter, "{}:{line}: {} [{}]", self.path, self.what, self.rule),
        }
    }
}

/// Runs tidy alone, as a command.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let mut install = false;
    for word in arguments {
        match word.as_str() {
            "--install-tools" => install = true,
            other => bail!("no option `{other}` of xtask tidy"),
        }
    }
    let tally = check(project, install)?;
    for skip in &tally.skips {
        eprintln!("skipped: {}: {}", skip.test, skip.reason);
    }
    if tally.failed == 0 {
        eprintln!("tidy");
    }
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}

/// Checks the rules of the tree, then what `cargo-deny` and `cargo-machete` say.
pub(crate) fn check(project: &Project, install_tools: bool) -> Result<Tally> {
    let mut tally = rules_only(project)?;
    if install_tools {
        tools::install(project)?;
    }
    tally.add(tools::check(project)?);
    Ok(tally)
}

/// Checks the rules of the tree alone.
pub(crate) fn rules_only(project: &Project) -> Result<Tally> {
    let files = read_tree(project)?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(source::check(file));
        findings.extend(markdown::check(file));
    }
    findings.extend(markdown::check_links(&files, |path| project.root.join(path).exists()));
    findings.extend(promises::check(&files));
    findings.extend(crates::check(&project.packages, &files));
    findings.retain(|finding| !exceptions::allow(finding));
    for finding in &findings {
        eprintln!("      {finding}");
    }
    Ok(Tally::of_check(findings.is_empty()))
}

/// Reads every text file that git tracks or would track.
fn read_tree(project: &Project) -> Result<Vec<File>> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&project.root);
    let mut files = Vec::new();
    for path in running::stdout_of(&mut git)?.split_terminator('\0') {
        // A tracked file may be deleted in the working tree; a picture is not text.
        if let Ok(text) = fs::read_to_string(project.root.join(path)) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}
