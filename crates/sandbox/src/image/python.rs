//! The host's Python that an image is built on: found, asked what it is, judged.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;

use super::command::{ToolCommand, find_program, is_executable};
use super::distro::{Missing, install_command};
use super::environment::Environment;
use super::error::ImageError;
use super::redact::Redactor;

/// The minor versions of Python 3 that the lock has wheels for, in order of preference.
/// The newest comes last: a host that has an older one too has it as its main one.
const MINORS: [u32; 4] = [13, 12, 11, 14];

/// Asks an interpreter what it is.
const PROBE: &str = include_str!("probe.py");

/// How long an interpreter may take to say what it is; a cold disk takes seconds.
const PROBE_TIME: Duration = Duration::from_secs(30);

/// A Python of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostPython {
    /// The interpreter, without symbolic links.
    pub executable: PathBuf,
    /// Its version, such as `3.11.2`.
    pub version: String,
    /// The second number of the version.
    pub minor: u32,
    /// Where its standard library is installed.
    pub base_prefix: PathBuf,
    /// Every directory that must be visible for it to run.
    pub visible_dirs: Vec<PathBuf>,
    /// Whether it can install packages by itself: it has pip, or venv with ensurepip.
    pub can_install: bool,
    /// Whether it has the module `venv`.
    pub(super) has_venv: bool,
    /// Whether it has a pip of its own.
    pub(super) has_pip: bool,
    /// What its binary modules must be built for; part of an image's identity.
    pub(super) abi: String,
}

#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "the answers of the probe as they come")]
struct Answer {
    executable: PathBuf,
    version: String,
    major: u32,
    minor: u32,
    implementation: String,
    cache_tag: String,
    soabi: String,
    machine: String,
    bits: u32,
    free_threaded: bool,
    base_prefix: PathBuf,
    base_exec_prefix: PathBuf,
    stdlib: PathBuf,
    platstdlib: PathBuf,
    libpython_dir: Option<PathBuf>,
    venv: bool,
    ensurepip: bool,
    pip: bool,
}

/// Finds the Python to build images on: the configured one and no other, else
/// Debian's, then the usual names in the system's directories, then `PATH`. One that
/// can install packages by itself is preferred, unless `uv` does that for any of them.
pub(super) async fn find(
    configured: Option<&Path>,
    environment: Environment<'_>,
    has_uv: bool,
) -> Result<HostPython, ImageError> {
    if let Some(path) = configured {
        let python = probe(path, environment)
            .await
            .map_err(|reason| ImageError::PythonUnusable { path: path.to_owned(), reason })?;
        return if has_uv || python.can_install { Ok(python) } else { Err(no_installer(python)) };
    }
    let mut tried = Vec::new();
    let mut incapable = None;
    for path in candidates(&environment.search_path()) {
        match probe(&path, environment).await {
            Ok(python) if has_uv || python.can_install => return Ok(python),
            Ok(python) => incapable = incapable.or(Some(python)),
            Err(reason) => tried.push(format!("{}: {reason}", path.display())),
        }
    }
    Err(match incapable {
        Some(python) => no_installer(python),
        None => ImageError::NoPython { tried, install: install_command(Missing::Python) },
    })
}

fn no_installer(python: HostPython) -> ImageError {
    ImageError::NoInstaller { python: python.executable, install: install_command(Missing::Installer) }
}

/// Returns the interpreters to look at, in order, each file once.
fn candidates(search_path: &[PathBuf]) -> Vec<PathBuf> {
    // pyenv's shims are shell scripts that may lead to nothing, so they come last.
    let (shims, plain): (Vec<&PathBuf>, Vec<&PathBuf>) =
        search_path.iter().partition(|directory| directory.ends_with("shims"));
    let system = [PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")];
    let directories = system.iter().chain(plain).chain(shims);

    let mut found = vec![PathBuf::from("/usr/bin/python3")];
    for directory in directories {
        let names = MINORS.iter().map(|minor| format!("python3.{minor}"));
        // A plain `python3` is a directory's own choice, but for the system's two
        // the version is what matters.
        let plain = (!system.contains(directory)).then(|| "python3".to_owned());
        let last = system.contains(directory).then(|| "python3".to_owned());
        for name in plain.into_iter().chain(names).chain(last) {
            found.extend(find_program(&name, std::slice::from_ref(directory)));
        }
    }
    let mut seen = Vec::new();
    found.retain(|path| {
        let Ok(real) = path.canonicalize() else { return false };
        // Shims are one script under many names.
        let key = if path.parent().is_some_and(|p| p.ends_with("shims")) { path.clone() } else { real };
        is_executable(path) && !seen.contains(&key) && {
            seen.push(key);
            true
        }
    });
    found
}

/// Asks an interpreter what it is; the error says why images cannot be built on it.
async fn probe(path: &Path, environment: Environment<'_>) -> Result<HostPython, String> {
    let command = ToolCommand {
        tool: "python",
        act: "say what it is".to_owned(),
        program: path.to_owned(),
        arguments: ["-I", "-S", "-c", PROBE].map(Into::into).to_vec(),
        variables: environment.neutral(),
    };
    let redactor = Redactor::default();
    let mut silent = |_: super::command::ToolEvent<'_>| {};
    let run = command.run(Stdio::null(), &redactor, &mut silent);
    let line = tokio::time::timeout(PROBE_TIME, run)
        .await
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|error| match error {
            ImageError::Install { tail, .. } => {
                format!("it does not run ({})", tail.lines().last().unwrap_or_default())
            }
            ImageError::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        })?;
    let answer: Answer =
        serde_json::from_str(&line).map_err(|_| "it does not answer like Python".to_owned())?;
    judge(answer)
}

fn judge(answer: Answer) -> Result<HostPython, String> {
    let version = &answer.version;
    if answer.implementation != "cpython" {
        return Err(format!("it is {} {version}, not CPython", answer.implementation));
    }
    if answer.major != 3 || !MINORS.contains(&answer.minor) {
        return Err(format!("it is {version}, and 3.11 to 3.14 are supported"));
    }
    if answer.free_threaded {
        return Err(format!("it is the free-threaded build of {version}"));
    }
    if answer.bits != 64 {
        return Err(format!("it is a 32-bit build of {version}"));
    }
    let needed = [
        Some(answer.base_prefix.clone()),
        Some(answer.base_exec_prefix),
        Some(answer.stdlib),
        Some(answer.platstdlib),
        answer.libpython_dir,
        answer.executable.parent().map(Path::to_owned),
    ];
    Ok(HostPython {
        visible_dirs: outermost(needed.into_iter().flatten().filter(|path| path.is_dir())),
        executable: answer.executable,
        version: answer.version,
        minor: answer.minor,
        base_prefix: answer.base_prefix,
        can_install: answer.pip || (answer.venv && answer.ensurepip),
        has_venv: answer.venv,
        has_pip: answer.pip,
        abi: format!("{} {} {}", answer.cache_tag, answer.soabi, answer.machine),
    })
}

/// Returns the directories, sorted, without those that lie in another of them.
pub(super) fn outermost(directories: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut sorted: Vec<PathBuf> = directories.into_iter().collect();
    sorted.sort();
    let mut outer: Vec<PathBuf> = Vec::new();
    for directory in sorted {
        if !outer.iter().any(|kept| directory.starts_with(kept)) {
            outer.push(directory);
        }
    }
    outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn answer(minor: u32, change: &str) -> Answer {
        let mut text = serde_json::json!({
            "executable": "/usr/bin/python3", "version": format!("3.{minor}.1"), "major": 3,
            "minor": minor, "implementation": "cpython", "cache_tag": "c", "soabi": "s",
            "machine": "m", "bits": 64, "free_threaded": false, "base_prefix": "/usr",
            "base_exec_prefix": "/usr", "stdlib": "/usr/lib", "platstdlib": "/usr/lib",
            "libpython_dir": null, "venv": true, "ensurepip": true, "pip": false,
        });
        if let Some((key, value)) = change.split_once('=') {
            text[key] = serde_json::from_str(value).unwrap();
        }
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn pythons_without_wheels_are_refused_by_name() {
        assert!(judge(answer(11, "")).unwrap().can_install);
        assert!(!judge(answer(11, "ensurepip=false")).unwrap().can_install);
        assert!(judge(answer(10, "")).unwrap_err().contains("3.10.1"));
        assert!(judge(answer(15, "")).unwrap_err().contains("3.11 to 3.14"));
        assert!(judge(answer(13, "free_threaded=true")).unwrap_err().contains("free-threaded"));
        assert!(judge(answer(12, "implementation=\"pypy\"")).unwrap_err().contains("pypy"));
        assert!(judge(answer(12, "bits=32")).unwrap_err().contains("32-bit"));
    }

    #[test]
    fn shims_come_last() {
        let directory = tempfile::tempdir().unwrap();
        let shims = directory.path().join("shims");
        let plain = directory.path().join("bin");
        let shim = script(&shims, "python3", "#!/bin/sh\n");
        let real = script(&plain, "python3.12", "#!/bin/sh\n# other\n");
        let found = candidates(&[shims, plain]);
        let at = |path: &Path| found.iter().position(|found| found == path).unwrap();
        assert!(at(&real) < at(&shim));
        assert_eq!(at(&shim), found.len() - 1);
    }

    #[test]
    fn inner_directories_are_left_out() {
        let list = ["/usr/lib", "/opt/py/bin", "/usr", "/opt/py", "/usr2"].map(PathBuf::from);
        assert_eq!(outermost(list), ["/opt/py", "/usr", "/usr2"].map(PathBuf::from));
    }

    #[tokio::test]
    async fn a_configured_python_is_taken_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let broken = script(directory.path(), "python3", "#!/bin/sh\necho not me >&2\nexit 127\n");
        let error = find(Some(&broken), Environment(&[]), true).await.unwrap_err();
        assert!(error.to_string().contains("not me"), "{error}");
        let error = find(Some(Path::new("/nonexistent")), Environment(&[]), true).await.unwrap_err();
        assert!(matches!(error, ImageError::PythonUnusable { .. }), "{error}");
    }
}
