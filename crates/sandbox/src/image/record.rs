//! `image.json`: what a built image says of itself. Paths inside the image are not
//! written down: they follow from where the file is found.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::{Image, Recipe};

/// Changes when images of the same lock must be built anew.
pub(super) const SCHEMA: u32 = 1;

/// The file's name; an image without it does not exist.
const FILE: &str = "image.json";

/// The lock the image was built from, word for word.
pub(super) const LOCK_FILE: &str = "requirements.lock";

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) schema: u32,
    pub(super) name: String,
    pub(super) id: String,
    pub(super) version: String,
    /// The host's interpreter, which the image's own leads to.
    pub(super) base_python: PathBuf,
    /// The interpreter that was asked for, which may be a link or a shim of it.
    pub(super) configured_python: Option<PathBuf>,
    pub(super) base_prefix: PathBuf,
    /// Directories outside the image that must be visible.
    pub(super) host_dirs: Vec<PathBuf>,
    pub(super) packages: BTreeMap<String, String>,
    pub(super) built_at: String,
    pub(super) size_bytes: u64,
    pub(super) builder: String,
}

impl Record {
    /// Writes the file into an image.
    pub(super) fn write(&self, root: &Path) -> Result<(), ImageError> {
        let path = root.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from);
        text.and_then(|text| {
            fs::write(&path, text + "\n")?;
            // Another user's server may open the image, whatever the umask was.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
        })
        .map_err(ImageError::io("write", path))
    }

    /// Returns the image in this directory if it is whole, of this recipe, and for this Python.
    pub(super) fn open(root: &Path, recipe: &Recipe, python: Option<&Path>) -> Option<Image> {
        let record: Self = serde_json::from_slice(&fs::read(root.join(FILE)).ok()?).ok()?;
        let current = record.schema == SCHEMA
            && record.name == recipe.name
            && fs::read(root.join(LOCK_FILE)).ok()? == recipe.lock.as_bytes();
        let wanted = python.is_none_or(|python| {
            record.configured_python.as_deref() == Some(python)
                || python.canonicalize().is_ok_and(|real| real == record.base_python)
        });
        // An upgrade of the distribution may have taken the interpreter away.
        let runs = super::command::is_executable(&interpreter(root)) && record.base_prefix.is_dir();
        (current && wanted && runs).then(|| record.into_image(root))
    }

    fn into_image(self, root: &Path) -> Image {
        let mut visible_dirs = self.host_dirs;
        visible_dirs.push(root.to_owned());
        Image {
            id: self.id,
            name: self.name,
            root: root.to_owned(),
            python: interpreter(root),
            version: self.version,
            base_prefix: self.base_prefix,
            visible_dirs,
            packages: self.packages,
            mpl_config_dir: root.join("mpl"),
            built_at: self.built_at,
            size_bytes: self.size_bytes,
            builder: self.builder,
        }
    }
}

/// Returns the interpreter of the image in this directory.
pub(super) fn interpreter(root: &Path) -> PathBuf {
    root.join("env/bin/python")
}
