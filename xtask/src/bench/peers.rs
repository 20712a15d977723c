//! The peers in Python: a fresh `python3` for each call, `ipykernel` through `jupyter_client`, Jupyter Kernel Gateway
//! over HTTP, and `pydantic-monty`.
//!
//! Their packages are installed by pip, with the user's settings, below the build directory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Repetitions;
use super::report::{Report, Run};
use crate::project::Project;
use crate::python;
use crate::running;

const PACKAGES: [&str; 5] = ["ipykernel", "jupyter_client", "numpy", "pandas<3", "matplotlib"];

/// What Reckon's zygote has imported before the first cell, and a peer has not.
const IMPORTS: &str = "import numpy, pandas, matplotlib.pyplot";

const GATEWAYS: [&str; 3] = ["ipykernel", "jupyter_kernel_gateway", "pydantic-monty"];

const GATEWAYS_PROGRAM: &str = include_str!("gateways.py");

/// Drives the kernels and prints its samples as JSON.
const IPYKERNEL: &str = include_str!("peers.py");

/// Adds the peers' runs; without Python or packages it says that they are missing.
pub(super) fn measure(project: &Project, repetitions: &Repetitions, report: &mut Report) {
    eprintln!("peers");
    let environment = project.target.join("bench-venv");
    let python = match python::environment(&environment, &PACKAGES.join("\n"), &PACKAGES) {
        Ok(python) => python,
        Err(error) => return report.miss("peers", &format!("{error:#}")),
    };
    if let Ok(versions) = versions(&python) {
        report.describe("packages", versions);
    }
    fresh_python(&python, repetitions, report);
    if let Err(error) = ipykernel(&python, repetitions, report) {
        report.miss("ipykernel", &format!("{error:#}"));
    }
    gateways(project, repetitions, report);
}

/// What pip may not have on every platform; then it is said to be absent.
fn gateways(project: &Project, repetitions: &Repetitions, report: &mut Report) {
    let environment = project.target.join("bench-gateways");
    let samples = python::environment(&environment, &GATEWAYS.join("\n"), &GATEWAYS).and_then(|python| {
        let mut command = Command::new(python);
        command.args(["-c", GATEWAYS_PROGRAM]).arg(repetitions.cells.to_string());
        let text = running::stdout_of(&mut command)?;
        serde_json::from_str::<Value>(text.trim()).context("samples of the gateways")
    });
    match samples {
        Ok(answer) => {
            for run in runs_of(&answer) {
                if run.samples.is_empty() {
                    report.absent(&run.name, &run.note);
                } else {
                    report.add(run);
                }
            }
        }
        Err(error) => report.absent("kernel gateway and monty", &format!("{error:#}")),
    }
}

fn fresh_python(python: &Path, repetitions: &Repetitions, report: &mut Report) {
    let mut bare = Run::milliseconds("python3_fresh_print", "spawn, print(1), exit");
    let mut full = Run::milliseconds(
        "python3_fresh_imports_print",
        "spawn, import NumPy, pandas and pyplot, print(1), exit",
    );
    // The first of each reads the files from disk, which is not what is compared.
    let _ = call(python, &format!("{IMPORTS}; print(1)"));
    for _ in 0..repetitions.creations {
        bare.take(call(python, "print(1)"));
    }
    for _ in 0..repetitions.starts {
        full.take(call(python, &format!("{IMPORTS}; print(1)")));
    }
    report.add(bare);
    report.add(full);
}

fn call(python: &Path, code: &str) -> Result<f64> {
    let begin = Instant::now();
    let output = Command::new(python).args(["-c", code]).stdin(Stdio::null()).output()?;
    let took = begin.elapsed();
    if output.stdout != b"1\n" {
        bail!("python printed {:?}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(took.as_secs_f64() * 1000.0)
}

fn ipykernel(python: &Path, repetitions: &Repetitions, report: &mut Report) -> Result<()> {
    let mut command = Command::new(python);
    command
        .args(["-c", IPYKERNEL])
        .arg(repetitions.starts.to_string())
        .arg(repetitions.cells.to_string())
        .arg(IMPORTS);
    let text = running::stdout_of(&mut command)?;
    let answer: Value = serde_json::from_str(text.trim()).context("samples of ipykernel")?;
    for run in runs_of(&answer) {
        report.add(run);
    }
    Ok(())
}

/// Reads `{"runs": [{"name", "unit"?, "samples": […], "failures"?, "note"?}]}`.
///
/// `reckon bench-engine --json` answers in the same shape.
pub(super) fn runs_of(answer: &Value) -> Vec<Run> {
    let list = answer["runs"].as_array().map(Vec::as_slice);
    list.unwrap_or_default().iter().map(run_of).collect()
}

fn run_of(value: &Value) -> Run {
    let text = |key: &str, default: &str| value[key].as_str().unwrap_or(default).to_owned();
    let samples = value["samples"].as_array().map(Vec::as_slice);
    Run {
        name: text("name", "unnamed"),
        unit: text("unit", "ms"),
        samples: samples.unwrap_or_default().iter().filter_map(Value::as_f64).collect(),
        failures: value["failures"].as_u64().unwrap_or(0),
        note: text("note", ""),
    }
}

/// Returns the versions that pip chose, as `name version, …`.
fn versions(python: &Path) -> Result<String> {
    let code = "import platform; from importlib.metadata import version; \
                print('python ' + platform.python_version(), *(f'{n} {version(n)}' for n in \
                ('ipykernel', 'jupyter_client', 'numpy', 'pandas', 'matplotlib')), sep=', ')";
    let text = running::stdout_of(Command::new(python).args(["-c", code]))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn samples_of_another_program_become_runs() {
        let answer = json!({"runs": [
            {"name": "engine_cell", "samples": [0.2, 0.3], "failures": 1},
            {"name": "memory", "unit": "MB", "samples": [120], "note": "idle"},
        ]});
        let runs = runs_of(&answer);
        assert_eq!(runs.len(), 2);
        assert_eq!((runs[0].unit.as_str(), runs[0].failures), ("ms", 1));
        assert_eq!(runs[1].samples, [120.0]);
        assert!(runs_of(&json!({})).is_empty());
    }
}
