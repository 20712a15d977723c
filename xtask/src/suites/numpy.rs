//! NumPy's own tests, which its wheel brings along, inside a sandbox.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Form;
use super::crew;
use super::place::{Grounds, Place};
use crate::project::Project;
use crate::python;
use crate::running;
use crate::tally::{Skip, Tally};

/// What NumPy's tests need and the image does not have.
const PACKAGES: [&str; 2] = ["pytest==9.2.0", "hypothesis==6.170.17"];

/// Where rooms see the image's interpreter.
const PYTHON: &str = "/opt/reckon/env/bin/python";

/// What is run in one sandbox each, the longest first: a minute and a half of one core. The short form leaves out
/// what is pure Python on top of these.
const SHORT: [&str; 5] = ["numpy._core", "numpy.random", "numpy.lib", "numpy.linalg", "numpy.fft"];
const LONG: [&str; 8] = [
    "numpy._core",
    "numpy.random",
    "numpy.lib",
    "numpy.ma",
    "numpy.linalg",
    "numpy.polynomial",
    "numpy.fft",
    "numpy.matrixlib",
];

const SCRIPT: &str = include_str!("run_numpy.py");

/// Runs the packages' tests and counts each package as one test.
pub(super) fn test(project: &Project, grounds: &Grounds, form: Form) -> Result<Tally> {
    if python::on_host().is_none() {
        return Ok(Tally::of_skip(Skip::new("python", "NumPy's own tests", python::MEND)));
    }
    let tests = packed_tests(project)?;
    let script = project.target.join("run_numpy.py");
    fs::write(&script, SCRIPT).with_context(|| format!("write {}", script.display()))?;
    let packages: &[&str] = match form {
        Form::Short => &SHORT,
        Form::Long => &LONG,
    };
    let counts = crew::work(packages, |package| {
        let program = [PYTHON, "@run_numpy.py", package].map(str::to_owned);
        grounds.run(Place::Inside, &program, &[&script, &tests]).map(|transcript| transcript.lines)
    });
    let mut tally = Tally::default();
    for (package, lines) in packages.iter().zip(counts) {
        let lines = lines?;
        let failures = failures(package, &lines);
        tally.passed += u64::from(failures.is_empty());
        tally.failed += u64::from(!failures.is_empty());
        for failure in failures {
            eprintln!("        {failure}");
        }
    }
    Ok(tally)
}

/// Says what came of a package, and returns what must not be.
fn failures(package: &str, lines: &[String]) -> Vec<String> {
    let Some(counts) = lines.iter().find_map(|line| counts(line)) else {
        let last: Vec<&str> = lines.iter().rev().take(5).rev().map(String::as_str).collect();
        return vec![format!("{package} did not end: {}", last.join("; "))];
    };
    let failed: Vec<String> =
        counts["failed"].as_array().into_iter().flatten().map(|one| format!("{package}: {one}")).collect();
    eprintln!(
        "      inside: {package}, {} passed, {} failed, {} skipped",
        counts["passed"],
        failed.len(),
        counts["skipped"]
    );
    match (failed.is_empty(), counts["exit"] == 0, counts["passed"].as_u64()) {
        (true, true, Some(1..)) => Vec::new(),
        (true, ..) => vec![format!("{package}: pytest ended with {}", counts["exit"])],
        (false, ..) => failed,
    }
}

fn counts(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    value.get("passed").is_some().then_some(value)
}

/// Returns an archive of pytest and what it needs, made once below the build directory.
fn packed_tests(project: &Project) -> Result<PathBuf> {
    let directory = project.target.join("numpy-tests");
    let site = directory.join("site");
    let site_text = site.display().to_string();
    let mut arguments = vec!["--no-compile", "--target", &site_text];
    arguments.extend(PACKAGES);
    let python = python::environment(&directory, &PACKAGES.join("\n"), &arguments)?;
    let archive = directory.join("tests.zip");
    if !archive.exists() {
        let mut pack = Command::new(python);
        // With `.` the names in the archive are those below the directory.
        pack.args(["-m", "zipfile", "-c"]).arg(&archive).arg(".").current_dir(&site);
        running::stdout_of(&mut pack)?;
    }
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clean_end_with_passed_tests_is_none_of_a_failure() {
        let lines = |text: &str| vec!["....".to_owned(), text.to_owned()];
        let clean = lines(r#"{"exit": 0, "passed": 3, "skipped": 1, "failed": []}"#);
        assert!(failures("numpy.fft", &clean).is_empty());
        for unclean in [
            r#"{"exit": 1, "passed": 3, "skipped": 1, "failed": ["a: b"]}"#,
            r#"{"exit": 5, "passed": 0, "skipped": 0, "failed": []}"#,
            r#"{"exit": 3, "passed": 3, "skipped": 0, "failed": []}"#,
            "killed",
        ] {
            assert_eq!(failures("numpy.fft", &lines(unclean)).len(), 1, "{unclean}");
        }
    }
}
