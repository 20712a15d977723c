//! The tests of `python/`, run with the Python of the default image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::project::Project;
use crate::python;
use crate::running;
use crate::tally::{Skip, Tally, parse_unittest};

/// Seconds: building the image takes a minute or two, all tests together less.
const PATIENCE: &str = "600";

/// Runs `python/tests` with `unittest` and counts its tests.
pub(super) fn test(project: &Project) -> Result<Tally> {
    let directory = project.root.join("python");
    if !has_tests(&directory.join("tests")) {
        return Ok(Tally::default());
    }
    if python::on_host().is_none() {
        let skip = Skip::new("python", "python/tests", python::MEND);
        return Ok(Tally::of_skip(skip));
    }
    let python = image_python(project)?;
    let mut command = bounded(&python);
    command
        .args(["-m", "unittest", "discover", "--verbose", "-s", "tests"])
        .current_dir(&directory)
        .env("PYTHONPATH", &directory)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let transcript = running::read(&mut command)?;
    if !transcript.success {
        eprintln!("{}", transcript.lines.join("\n"));
    }
    let mut tally = parse_unittest(&transcript.lines);
    if !transcript.success && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Returns a call of the program that is ended when it hangs.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", PATIENCE]).arg(program);
    command
}

fn has_tests(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("test") && name.ends_with(".py")
    })
}

/// Asks the binary for the Python of its default image, which it builds on first use.
pub(crate) fn image_python(project: &Project) -> Result<PathBuf> {
    let mut command = bounded(&project.target.join("debug/reckon"));
    command.args(["image", "build", "--json"]);
    let text = running::stdout_of(&mut command)?;
    let answer: Value = serde_json::from_str(&text).context("reckon image build --json")?;
    let python = answer["python"].as_str().context("the image has a python")?;
    Ok(PathBuf::from(python))
}
