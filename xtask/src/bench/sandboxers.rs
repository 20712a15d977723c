//! Peers that start an isolated process per call: `bwrap`, `crun` and `runc`, each with the host's own Python.
//!
//! Like against like: a fresh interpreter in namespaces, without seccomp policy, cgroup limits or state.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Repetitions;
use super::report::{Report, Run};
use crate::running;

/// The host's Python sees its files at their own paths.
const PYTHON: &str = "/usr/bin/python3";

/// Adds a run for each that is installed; the others are said to be missing.
pub(super) fn measure(scratch: &Path, repetitions: &Repetitions, report: &mut Report) {
    for name in ["bwrap", "crun", "runc"] {
        let run_name = format!("{name}_python_print");
        let package = if name == "bwrap" { "bubblewrap" } else { name };
        if !running::succeeds(Command::new(name).arg("--version")) {
            report.absent(&run_name, &format!("{name} is missing: sudo apt-get install {package}"));
            continue;
        }
        let mut run = Run::milliseconds(&run_name, "spawn in namespaces, python3 print(1), exit");
        for number in 0..repetitions.creations {
            run.take(call(name, scratch, number));
        }
        if run.samples.is_empty() {
            report.absent(&run_name, &run.note);
        } else {
            report.add(run);
        }
    }
}

fn call(name: &str, scratch: &Path, number: usize) -> Result<f64> {
    let mut command = Command::new(name);
    if name == "bwrap" {
        command.args([
            "--unshare-all",
            "--die-with-parent",
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]);
        command.args(["--tmpfs", "/tmp", PYTHON, "-c", "print(1)"]);
    } else {
        let bundle = scratch.join("bundle");
        fs::create_dir_all(bundle.join("rootfs")).context("make a bundle")?;
        fs::write(bundle.join("config.json"), container().to_string()).context("write config.json")?;
        command.arg("--root").arg(scratch.join(name)).arg("run").arg("--bundle").arg(&bundle);
        command.arg(format!("reckon-bench-{}-{number}", std::process::id()));
    }
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {name}"))?;
    let took = begin.elapsed();
    if output.stdout != b"1\n" {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} printed {:?}: {}", String::from_utf8_lossy(&output.stdout), said.trim());
    }
    Ok(took.as_secs_f64() * 1000.0)
}

/// A container that sees the host's programs, read-only, with all namespaces of its own.
fn container() -> Value {
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}),
    ];
    for path in ["/usr", "/bin", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists()) {
        mounts.push(json!({"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}));
    }
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "cwd": "/", "noNewPrivileges": true,
            "user": {"uid": 0, "gid": 0},
            "args": [PYTHON, "-c", "print(1)"],
            "env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"],
        },
        "root": {"path": "rootfs", "readonly": false},
        "mounts": mounts,
        "linux": {"namespaces": namespaces},
    })
}
