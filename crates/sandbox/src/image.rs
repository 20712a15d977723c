//! Images: the Python environments that contexts are forked from. An image is built
//! once from a hash-locked list of packages on the host's own Python, verified, moved
//! into place whole, and only read from then on. Opening one touches no network.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod build;
mod command;
mod distro;
mod environment;
mod error;
mod installer;
mod progress;
mod python;
mod record;
mod redact;
mod requirements;
mod settings;
mod staging;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub use distro::{Missing, install_command};
pub use error::{ImageError, InstallFailure};
pub use progress::{BuildEvent, BuildPhase};
pub use python::HostPython;

use environment::Environment;
use record::Record;

/// The locked set of the default image.
const CORE_LOCK: &str = include_str!("../../../python/core.lock");

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// Name and identity, such as `core-0123456789ab`.
    pub id: String,
    /// The recipe's name, such as `core`.
    pub name: String,
    /// The image's directory; nothing writes to it any more.
    pub root: PathBuf,
    /// The image's interpreter. It is a symbolic link to the host's.
    pub python: PathBuf,
    /// The interpreter's version at build time, such as `3.11.2`.
    pub version: String,
    /// Where the host's Python keeps its standard library.
    pub base_prefix: PathBuf,
    /// Every directory that a room must see, read-only, for the image to work: the image
    /// itself and what of the host its Python and its packages' libraries need. A host
    /// with a merged `/usr` also needs its links `/bin`, `/lib`, `/lib64`.
    pub visible_dirs: Vec<PathBuf>,
    /// The installed distributions, by normalised name (PEP 503), and their versions.
    pub packages: BTreeMap<String, String>,
    /// A `MPLCONFIGDIR` with matplotlib's font list in it. matplotlib refuses one that it
    /// cannot write to, so a room gets a copy (under 100 kB) in a writable place.
    pub mpl_config_dir: PathBuf,
    /// When it was built, RFC 3339 in UTC.
    pub built_at: String,
    /// What it takes on disk, in bytes.
    pub size_bytes: u64,
    /// Which tool installed the packages, `uv` or `pip`.
    pub builder: String,
}

/// What an image is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The image's name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Every distribution with an exact version and hashes, in the requirements format
    /// that `uv pip compile --generate-hashes` writes.
    pub lock: Cow<'static, str>,
}

impl Recipe {
    /// Returns the recipe of the default image: IPython, NumPy, pandas, matplotlib, SciPy,
    /// SymPy, Pillow, openpyxl, seaborn, cloudpickle and what they need.
    pub fn core() -> Self {
        Self { name: "core".to_owned(), lock: Cow::Borrowed(CORE_LOCK) }
    }
}

/// Which tool installs the packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InstallerChoice {
    /// uv: the host's, or one fetched through pip; pip where neither works.
    #[default]
    Auto,
    /// pip only.
    Pip,
}

/// Opens an image, and builds it if need be.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    /// Where images are kept.
    pub images_dir: PathBuf,
    /// Where installers and their downloads are kept.
    pub cache_dir: PathBuf,
    /// The Python to build on; `None` finds one.
    pub python: Option<PathBuf>,
    /// The user's environment: search path, home, proxies, certificates, the settings of
    /// pip and uv. Children get it without what would steer Python itself.
    pub environment: Vec<(OsString, OsString)>,
    /// What is built.
    pub recipe: Recipe,
    /// Which tool installs.
    pub installer: InstallerChoice,
}

impl ImageBuilder {
    /// Returns a builder of the default image.
    pub fn new(
        images_dir: impl Into<PathBuf>,
        cache_dir: impl Into<PathBuf>,
        environment: Vec<(OsString, OsString)>,
    ) -> Self {
        Self {
            images_dir: images_dir.into(),
            cache_dir: cache_dir.into(),
            python: None,
            environment,
            recipe: Recipe::core(),
            installer: InstallerChoice::Auto,
        }
    }

    /// Returns the image if it is built and its Python is still there. It reads two files
    /// and runs nothing.
    pub fn open(&self) -> Option<Image> {
        let prefix = format!("{}-", self.recipe.name);
        // Rooms and children have other working directories.
        let images_dir = std::path::absolute(&self.images_dir).ok()?;
        let entries = std::fs::read_dir(images_dir).ok()?;
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .filter_map(|entry| Record::open(&entry.path(), &self.recipe, self.python.as_deref()))
            .max_by(|one, other| one.built_at.cmp(&other.built_at))
    }

    /// Opens the image, and builds it first if it is not built. Dropping the future ends the
    /// children and removes what was begun; a builder in another process is waited for.
    pub async fn open_or_build(
        &self,
        mut progress: impl FnMut(BuildEvent) + Send,
    ) -> Result<Image, ImageError> {
        if let Some(image) = self.open() {
            return Ok(image);
        }
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(ImageError::io("find the absolute path of", path))
        };
        let builder = Self {
            images_dir: absolute(&self.images_dir)?,
            cache_dir: absolute(&self.cache_dir)?,
            ..self.clone()
        };
        build::build(&builder, &mut progress).await
    }
}

/// Finds the Python of the host that images are built on: the configured one, else
/// Debian's, then `python3.13`, `3.12`, `3.11`, `3.14` in the system's directories, then
/// the environment's `PATH`, with pyenv's shims last.
pub async fn find_python(
    configured: Option<&Path>,
    environment: &[(OsString, OsString)],
) -> Result<HostPython, ImageError> {
    let environment = Environment(environment);
    // Only whether there is one counts here, so its cache does not matter.
    let has_uv = installer::host_uv(environment, Path::new("/")).await.is_some();
    python::find(configured, environment, has_uv).await
}

/// Returns a short digest of these parts, for the names of directories.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps `ab`, `c` and `a`, `bc` apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(6).fold(String::with_capacity(12), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
