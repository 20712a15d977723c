//! The two tools that fill an environment, uv and pip, and how each is come by.
//! Both get the same lock, the same index settings and nothing else from the user.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::command::{ToolCommand, ToolEvent, find_program};
use super::environment::Environment;
use super::error::{ImageError, InstallFailure};
use super::progress::{BuildPhase, DownloadCount, Reporter};
use super::python::HostPython;
use super::record::LOCK_FILE;
use super::redact::Redactor;
use super::settings::IndexSettings;
use super::staging::BuildLock;

/// uv as a requirement with hashes, for hosts that have none.
const UV_REQUIREMENT: &str = include_str!("uv.requirements");

/// The oldest uv that knows the variables used here (`UV_DEFAULT_INDEX`).
const OLDEST_UV: (u32, u32) = (0, 5);

/// pip asks this often again; its own default of 5 means minutes without a network.
const PIP_RETRIES: &str = "2";

/// A uv that runs.
#[derive(Debug)]
pub(super) struct Uv {
    program: PathBuf,
    /// Where it keeps downloads; the user's own place for the user's own uv.
    cache: Option<PathBuf>,
}

/// What an installer needs to know.
pub(super) struct Workshop<'a> {
    pub(super) environment: Environment<'a>,
    pub(super) settings: &'a IndexSettings,
    pub(super) redactor: &'a Redactor,
    pub(super) python: &'a HostPython,
    pub(super) cache_dir: &'a Path,
    pub(super) lock: &'a BuildLock,
}

/// Returns the host's own uv if it is new enough.
pub(super) async fn host_uv(environment: Environment<'_>, cache_dir: &Path) -> Option<Uv> {
    let program = find_program("uv", &environment.search_path())?;
    let command = ToolCommand {
        tool: "uv",
        act: "say its version".to_owned(),
        program: program.clone(),
        arguments: vec!["--version".into()],
        variables: environment.neutral(),
    };
    // A shim of a version manager may lead to no uv at all.
    let said = command.run(std::process::Stdio::null(), &Redactor::default(), &mut |_| {}).await.ok()?;
    let homeless = environment.get("HOME").is_none() && environment.get("XDG_CACHE_HOME").is_none();
    let cache = homeless.then(|| cache_dir.join("uv"));
    (version(&said)? >= OLDEST_UV).then_some(Uv { program, cache })
}

/// Reads `uv 0.13.9 (x86_64-unknown-linux-gnu)`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("uv ")?.split(['.', ' ', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

impl Workshop<'_> {
    /// Makes an empty environment.
    pub(super) async fn create_environment(
        &self,
        directory: &Path,
        uv: Option<&Uv>,
    ) -> Result<(), ImageError> {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(ImageError::io("remove", directory))?;
        }
        let (tool, program, mut arguments, variables) = match uv {
            Some(uv) if !self.python.has_venv => {
                let python = self.python.executable.clone().into();
                let mut arguments = words(&["venv", "--quiet", "--no-project", "--python"]);
                arguments.push(python);
                ("uv", uv.program.clone(), arguments, self.uv_variables(uv))
            }
            _ => (
                "python",
                self.python.executable.clone(),
                words(&["-I", "-m", "venv", "--without-pip"]),
                self.environment.neutral(),
            ),
        };
        arguments.push(directory.into());
        let act = "create an environment".to_owned();
        let command = ToolCommand { tool, act, program, arguments, variables };
        command.run(self.lock.as_stdin()?, self.redactor, &mut |_| {}).await?;
        Ok(())
    }

    /// Installs the lock of an image with uv.
    pub(super) async fn install_with_uv(
        &self,
        uv: &Uv,
        content: &Path,
        packages: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ImageError> {
        let settings = self.settings.for_uv();
        let mut arguments = words(&["pip", "sync", "--require-hashes", "--only-binary", ":all:"]);
        arguments.extend(settings.arguments);
        arguments.push("--python".into());
        arguments.push(super::record::interpreter(content).into());
        arguments.push(content.join(LOCK_FILE).into());
        let command = ToolCommand {
            tool: "uv",
            act: "install the packages".to_owned(),
            program: uv.program.clone(),
            arguments,
            variables: self.uv_variables(uv),
        };
        self.install(command, content, packages, reporter).await
    }

    /// Installs the lock of an image with pip.
    pub(super) async fn install_with_pip(
        &self,
        content: &Path,
        packages: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ImageError> {
        let program = self.pip_python().await?;
        let mut arguments = words(&["-I", "-m", "pip", "--python"]);
        arguments.push(super::record::interpreter(content).into());
        arguments.extend(words(&["install", "--no-deps", "--no-compile"]));
        arguments.extend(words(&["--require-hashes", "--only-binary", ":all:", "-r"]));
        arguments.push(content.join(LOCK_FILE).into());
        let command = ToolCommand {
            tool: "pip",
            act: "install the packages".to_owned(),
            program,
            arguments,
            variables: self.pip_variables(),
        };
        self.install(command, content, packages, reporter).await
    }

    /// Returns uv as fetched earlier, or fetches it with pip, so that the user's index serves it.
    pub(super) async fn fetch_uv(&self, reporter: &mut Reporter<'_>) -> Result<Uv, ImageError> {
        let tools = self.cache_dir.join("tools");
        let place = tools.join(tool_name("uv", UV_REQUIREMENT));
        let uv = Uv { program: place.join("bin/uv"), cache: Some(self.cache_dir.join("uv")) };
        if super::command::is_executable(&uv.program) {
            return Ok(uv);
        }
        reporter.say(BuildPhase::FetchInstaller, 0.0, "fetching the installer uv (18 MB)");
        let python = self.pip_python().await?;
        let lock = BuildLock::acquire(&tools, || {}).await?;
        lock.sweep()?;
        if super::command::is_executable(&uv.program) {
            return Ok(uv);
        }
        let staging = lock.stage()?;
        let requirement = staging.scratch().join("uv.requirements");
        fs::write(&requirement, UV_REQUIREMENT).map_err(ImageError::io("write", &requirement))?;
        let mut arguments = words(&["-I", "-m", "pip", "install", "--no-deps", "--no-compile"]);
        arguments.extend(words(&["--require-hashes", "--only-binary", ":all:", "--target"]));
        arguments.extend([staging.content().into(), "-r".into(), requirement.into()]);
        let command = ToolCommand {
            tool: "pip",
            act: "fetch uv".to_owned(),
            program: python,
            arguments,
            variables: self.pip_variables(),
        };
        command.run(lock.as_stdin()?, self.redactor, &mut |_| {}).await?;
        staging.publish(&place)?;
        Ok(uv)
    }

    /// Returns an interpreter that has pip: the host's, or that of a small environment
    /// made for it, which stays in the cache.
    async fn pip_python(&self) -> Result<PathBuf, ImageError> {
        if self.python.has_pip {
            return Ok(self.python.executable.clone());
        }
        let tools = self.cache_dir.join("tools");
        let identity = format!("{} {}", self.python.abi, self.python.executable.display());
        let place = tools.join(tool_name("pip", &identity));
        // Written last, so that an environment is either whole or not believed.
        let complete = place.join("complete");
        let program = place.join("bin/python");
        if complete.exists() && super::command::is_executable(&program) {
            return Ok(program);
        }
        let lock = BuildLock::acquire(&tools, || {}).await?;
        lock.sweep()?;
        // An environment cannot be moved, so it is made in its place.
        let mut arguments = words(&["-I", "-m", "venv", "--clear"]);
        arguments.push(place.clone().into());
        let command = ToolCommand {
            tool: "python",
            act: "make an environment for pip".to_owned(),
            program: self.python.executable.clone(),
            arguments,
            variables: self.environment.neutral(),
        };
        command.run(lock.as_stdin()?, self.redactor, &mut |_| {}).await?;
        fs::write(&complete, "").map_err(ImageError::io("write", complete))?;
        Ok(program)
    }

    async fn install(
        &self,
        command: ToolCommand,
        content: &Path,
        packages: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ImageError> {
        reporter.say(BuildPhase::Download, 0.0, "resolving packages");
        let site_packages = site_packages(content, self.python);
        let mut count = DownloadCount::new(packages);
        let mut heard = |event: ToolEvent<'_>| {
            let state = match event {
                ToolEvent::Line(line) => count.line(line),
                // Neither tool says how far it has unpacked, the directory does.
                ToolEvent::Tick if count.is_installing() => Some(count.installed(installed(&site_packages))),
                ToolEvent::Tick => None,
            };
            if let Some((phase, share, message)) = state {
                reporter.say(phase, share, message);
            }
        };
        command.run(self.lock.as_stdin()?, self.redactor, &mut heard).await?;
        Ok(())
    }

    fn uv_variables(&self, uv: &Uv) -> Vec<(OsString, OsString)> {
        let mut variables = self.environment.neutral();
        variables.extend(uv.cache.iter().map(|cache| ("UV_CACHE_DIR".into(), cache.clone().into())));
        variables.extend(self.settings.for_uv().variables);
        variables
    }

    fn pip_variables(&self) -> Vec<(OsString, OsString)> {
        let mut variables = self.environment.neutral();
        variables.push(("PIP_RETRIES".into(), PIP_RETRIES.into()));
        variables.extend(self.settings.for_pip().variables);
        variables
    }
}

/// Returns whether pip may succeed where uv failed with this: another tool does not
/// mend a full disk or a wrong file.
pub(super) fn may_fall_back(error: &ImageError) -> bool {
    match error {
        ImageError::Install { cause, .. } => {
            !matches!(cause, InstallFailure::DiskFull | InstallFailure::HashMismatch)
        }
        ImageError::Io { source, .. } => source.kind() != std::io::ErrorKind::StorageFull,
        _ => false,
    }
}

/// Returns where an environment of this Python keeps its packages.
pub(super) fn site_packages(content: &Path, python: &HostPython) -> PathBuf {
    content.join(format!("env/lib/python3.{}/site-packages", python.minor))
}

/// Counts the distributions in place.
fn installed(site_packages: &Path) -> usize {
    let is_done = |entry: &fs::DirEntry| {
        entry.path().extension().is_some_and(|extension| extension == "dist-info")
            && entry.path().join("INSTALLER").exists()
    };
    fs::read_dir(site_packages).map(|entries| entries.flatten().filter(is_done).count()).unwrap_or_default()
}

/// Returns the directory name of a tool that was made from this.
fn tool_name(tool: &str, made_from: &str) -> String {
    format!("{tool}-{}", super::digest(&[made_from]))
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_uv_are_read() {
        assert_eq!(version("uv 0.13.9 (x86_64-unknown-linux-gnu)"), Some((0, 13)));
        assert_eq!(version("uv 1.0.0+2 (abc)"), Some((1, 0)));
        assert_eq!(version("pyenv: uv: command not found"), None);
        assert!(version("uv 0.4.30").unwrap() < OLDEST_UV);
    }

    #[test]
    fn uv_is_pinned_by_hash_for_both_machines() {
        assert_eq!(super::super::requirements::parse(UV_REQUIREMENT).unwrap().len(), 1);
        assert_eq!(UV_REQUIREMENT.matches("--hash=sha256:").count(), 3);
    }

    #[test]
    fn a_full_disk_is_not_tried_twice() {
        let failure =
            |cause| ImageError::Install { tool: "uv", act: String::new(), cause, tail: String::new() };
        assert!(may_fall_back(&failure(InstallFailure::Network)));
        assert!(may_fall_back(&failure(InstallFailure::Other)));
        assert!(!may_fall_back(&failure(InstallFailure::DiskFull)));
        assert!(!may_fall_back(&failure(InstallFailure::HashMismatch)));
    }
}
