//! Finding a Python on this host and making virtual environments below the build directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::running;

/// What to type where no fitting Python is found.
pub(crate) const MEND: &str = "Python 3.11 or newer with venv is needed: \
     sudo apt-get install python3 python3-venv";

/// Debian's own first: it can be bound into a room, one below a home often cannot.
const CANDIDATES: [&str; 5] = ["/usr/bin/python3", "python3.14", "python3.13", "python3.12", "python3"];

/// Debian splits `ensurepip` off into python3-venv, so it is asked for by name.
const FITTING: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";

/// Returns a Python of this host that can make virtual environments.
pub(crate) fn on_host() -> Option<PathBuf> {
    CANDIDATES
        .iter()
        .find(|program| running::succeeds(Command::new(program).args(["-c", FITTING])))
        .map(PathBuf::from)
}

/// Returns the Python of the virtual environment in `directory`, made anew when `recipe`
/// is not what it was made from.
///
/// `pip_arguments` is what `pip install` is given; the user's pip settings hold. An
/// interrupted build has no stamp and is begun again.
pub(crate) fn environment(directory: &Path, recipe: &str, pip_arguments: &[&str]) -> Result<PathBuf> {
    let python = directory.join("bin/python");
    let stamp = directory.join("made-from");
    let is_current = fs::read_to_string(&stamp).is_ok_and(|text| text == recipe);
    if is_current && running::succeeds(Command::new(&python).arg("--version")) {
        return Ok(python);
    }
    let Some(host) = on_host() else { bail!(MEND) };
    eprintln!("      making {} (once)", directory.display());
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    running::stdout_of(Command::new(host).args(["-m", "venv"]).arg(directory))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(pip_arguments);
    running::stdout_of(&mut install)?;
    fs::write(&stamp, recipe).with_context(|| format!("write {}", stamp.display()))?;
    Ok(python)
}
