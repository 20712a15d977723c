//! Where a suite runs: inside a sandbox, or outside of any as an ordinary process under equal conditions.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::project::Project;
use crate::running::{self, Transcript};

/// Started by root, the run outside is given to a uid that no person has.
const OUTSIDE_UID: u32 = 61_000;
/// Seconds after which a run is ended; the longest takes a minute on idle cores, and ten on those that eight share.
const PATIENCE: u32 = 1800;

const OUTSIDE: &str = include_str!("outside.py");
const INSIDE: &str = include_str!("inside.py");

/// Limits that are none to the suites: what they reach shall be the walls.
const LIMITS: &str = "[sandbox]\nmemory = \"3g\"\npids = 1000\nfile_size = \"16g\"\ntmp_size = \"1g\"\n\
                      timeout = \"30m\"\npool = 1\n";

/// The two places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Inside,
    Outside,
}

/// A temporary directory in which runs have directories of their own. Dropping it removes it.
pub(super) struct Grounds {
    reckon: PathBuf,
    directory: PathBuf,
    is_root: bool,
    runs: AtomicU32,
}

impl Grounds {
    /// Makes the directory, where the uid of the run outside can reach it too.
    pub(super) fn prepare(project: &Project) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("reckon-suites-{}", std::process::id()));
        make_directory(&directory)?;
        fs::write(directory.join("reckon.toml"), LIMITS).context("write the limits")?;
        fs::write(directory.join("outside.py"), OUTSIDE).context("write outside.py")?;
        let owner = fs::metadata("/proc/self").context("read own uid")?.uid();
        Ok(Self {
            reckon: project.target.join("debug/reckon"),
            directory,
            is_root: owner == 0,
            runs: AtomicU32::new(0),
        })
    }

    /// Runs a program there with these files beside it, and returns what it wrote.
    ///
    /// In its arguments `@` at the front stands for the directory of the files.
    pub(super) fn run(&self, place: Place, program: &[String], files: &[&Path]) -> Result<Transcript> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(format!("run-{number}"));
        make_directory(&directory)?;
        let mut command = match place {
            Place::Inside => self.inside(&directory, program, files)?,
            Place::Outside => self.outside(&directory, program, files)?,
        };
        let transcript = running::read(command.current_dir(&directory))?;
        // Large files of the tests must not pile up; what stays goes with the grounds.
        let _ = fs::remove_dir_all(&directory);
        Ok(transcript)
    }

    fn inside(&self, directory: &Path, program: &[String], files: &[&Path]) -> Result<Command> {
        let program: Vec<String> = program.iter().map(|word| placed(word, "/workspace/")).collect();
        let code = INSIDE.replace("@PROGRAM@", &serde_json::to_string(&program)?);
        fs::write(directory.join("inside.py"), code).context("write inside.py")?;
        let mut command = bounded(&self.reckon);
        command.arg("--config").arg(self.directory.join("reckon.toml")).arg("exec");
        for file in files {
            command.arg("--file").arg(file);
        }
        command.arg("--out").arg(directory.join("out")).arg("inside.py");
        // A data directory of its own: several run at once.
        command.env("XDG_DATA_HOME", directory.join("data"));
        Ok(command)
    }

    fn outside(&self, directory: &Path, program: &[String], files: &[&Path]) -> Result<Command> {
        for file in files {
            let name = file.file_name().context("a file has a name")?;
            let copy = directory.join(name);
            fs::copy(file, &copy).with_context(|| format!("copy {}", file.display()))?;
            set_mode(&copy, 0o644)?;
        }
        if self.is_root {
            chown(directory, Some(OUTSIDE_UID), Some(OUTSIDE_UID)).context("give the directory away")?;
        }
        let mut command = bounded(Path::new("unshare"));
        if self.is_root {
            command.args(["--net", "--mount"]);
        } else {
            // An ordinary user has rights over a network and mounts only within a user namespace.
            command.args(["--user", "--map-current-user", "--keep-caps", "--net", "--mount"]);
        }
        let here = format!("{}/", directory.display());
        command.arg("--").arg("python3").arg(self.directory.join("outside.py"));
        command.arg(OUTSIDE_UID.to_string()).arg(directory);
        command.args(program.iter().map(|word| placed(word, &here)));
        Ok(command)
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns the word with the directory in place of a leading `@`.
fn placed(word: &str, directory: &str) -> String {
    word.strip_prefix('@').map_or_else(|| word.to_owned(), |name| format!("{directory}{name}"))
}

/// Returns a call of the program that is ended when it hangs.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &PATIENCE.to_string()]).arg(program);
    command
}

fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir(path).with_context(|| format!("make {}", path.display()))?;
    set_mode(path, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::placed;

    #[test]
    fn a_file_beside_the_program_is_named_by_its_place() {
        assert_eq!(placed("@cases.py", "/workspace/"), "/workspace/cases.py");
        assert_eq!(placed("test_os", "/workspace/"), "test_os");
    }
}
