//! The caller's environment, reduced to what an installer's child process may see.
//! The library itself reads no environment: the caller passes it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// Prefixes of variables that steer another tool's idea of Python or packages.
/// They never reach a child as they are; `settings` says what of them is kept.
const STEERING: [&str; 6] = ["PYTHON", "PIP_", "UV_", "VIRTUAL_ENV", "CONDA_", "MPL"];

/// The environment variables a builder was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Environment<'a>(pub(super) &'a [(OsString, OsString)]);

impl<'a> Environment<'a> {
    /// Returns the value of a variable that is set and not empty.
    pub(super) fn get(self, name: &str) -> Option<&'a OsStr> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_os_str())
            .filter(|value| !value.is_empty())
    }

    /// Returns a variable as text; what is not UTF-8 counts as unset.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(OsStr::to_str)
    }

    /// Returns a variable as an absolute path; relative ones are ignored, as XDG demands.
    pub(super) fn directory(self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// Returns the directories of `PATH`, in order, the absolute ones only.
    pub(super) fn search_path(self) -> Vec<PathBuf> {
        let path = self.get("PATH").unwrap_or_default();
        std::env::split_paths(path).filter(|directory| directory.is_absolute()).collect()
    }

    /// Returns the variables whose name starts with `prefix`; of a name that comes twice, the last.
    pub(super) fn with_prefix(self, prefix: &'static str) -> impl Iterator<Item = (&'a str, &'a OsStr)> {
        self.0.iter().enumerate().filter_map(move |(at, (key, value))| {
            let last = !self.0[at + 1..].iter().any(|(later, _)| later == key);
            let key = key.to_str()?;
            (last && key.starts_with(prefix)).then_some((key, value.as_os_str()))
        })
    }

    /// Returns the variables a child inherits: all but those that steer Python or an installer.
    pub(super) fn neutral(self) -> Vec<(OsString, OsString)> {
        let steers =
            |key: &OsStr| STEERING.iter().any(|prefix| key.as_bytes().starts_with(prefix.as_bytes()));
        self.0.iter().filter(|(key, _)| !steers(key)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    #[test]
    fn children_do_not_inherit_what_steers_python() {
        let list = variables(&[
            ("HOME", "/home/a"),
            ("PYTHONPATH", "/evil"),
            ("PIP_USER", "1"),
            ("UV_TARGET", "/x"),
            ("VIRTUAL_ENV", "/v"),
            ("HTTPS_PROXY", "http://p"),
        ]);
        let kept: Vec<_> = Environment(&list).neutral().into_iter().map(|(key, _)| key).collect();
        assert_eq!(kept, ["HOME", "HTTPS_PROXY"]);
    }

    #[test]
    fn empty_and_relative_values_do_not_count() {
        let list = variables(&[("A", ""), ("XDG_CONFIG_HOME", "rel"), ("PATH", "/a:.:/b")]);
        let environment = Environment(&list);
        assert_eq!(environment.get("A"), None);
        assert_eq!(environment.directory("XDG_CONFIG_HOME"), None);
        let list = variables(&[("PIP_A", "1"), ("PIP_A", "")]);
        assert_eq!(Environment(&list).with_prefix("PIP_").collect::<Vec<_>>(), [("PIP_A", OsStr::new(""))]);
        assert_eq!(environment.search_path(), [PathBuf::from("/a"), PathBuf::from("/b")]);
    }
}
