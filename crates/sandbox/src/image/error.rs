//! What can go wrong with an image, and what a person can do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why an image cannot be found, built or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The host has no Python that images can be built on.
    #[error("no Python 3.11 to 3.14 was found{}; run: {install}", in_brackets(.tried))]
    NoPython {
        /// What was looked at and why it was not taken.
        tried: Vec<String>,
        /// The command that installs one.
        install: String,
    },
    /// The configured Python cannot be used.
    #[error("the configured Python {} cannot be used: {reason}", .path.display())]
    PythonUnusable {
        /// The configured path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a Python, but neither uv nor pip nor a way to get them.
    #[error("{} has no venv module that can install packages, and there is no uv; run: {install}", .python.display())]
    NoInstaller {
        /// The interpreter.
        python: PathBuf,
        /// The command that installs what is missing.
        install: String,
    },
    /// The lock is not one that images are built from.
    #[error("read the lock of image {image}: {reason}")]
    Lock {
        /// The image's name.
        image: String,
        /// Which line, and why.
        reason: String,
    },
    /// An installer failed.
    #[error("{tool} could not {act}: {cause}\n{tail}")]
    Install {
        /// `uv` or `pip` or `python`.
        tool: &'static str,
        /// What it was to do.
        act: String,
        /// What went wrong, as far as its output says.
        cause: InstallFailure,
        /// The end of its output, without credentials.
        tail: String,
    },
    /// The packages are installed and do not work.
    #[error("the built image {image} does not work: {reason}")]
    Verify {
        /// The image's name.
        image: String,
        /// What failed.
        reason: String,
    },
    /// The file system or the kernel refused something.
    #[error("{act} {}", .path.display())]
    Io {
        /// The act, such as `create`.
        act: &'static str,
        /// Its object.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    /// Returns what a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoPython { install, .. } | Self::NoInstaller { install, .. } => {
                Some(format!("run: {install}"))
            }
            Self::PythonUnusable { .. } => {
                Some("name a CPython 3.11 to 3.14, or none, to have one found".to_owned())
            }
            Self::Install { cause, .. } => cause.hint().map(str::to_owned),
            Self::Verify { .. } => {
                Some("the host's C library may be too old for the packages' wheels".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                InstallFailure::DiskFull.hint().map(str::to_owned)
            }
            Self::Lock { .. } | Self::Io { .. } => None,
        }
    }

    /// Returns a function that turns a refusal into an error that names act and object.
    pub(super) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }
}

fn in_brackets(tried: &[String]) -> String {
    if tried.is_empty() { String::new() } else { format!(" ({})", tried.join("; ")) }
}

/// The kinds of failure of an installer that a person can do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstallFailure {
    /// No space is left for the image or the cache.
    DiskFull,
    /// A downloaded file is not the locked one.
    HashMismatch,
    /// The index's certificate is not trusted.
    Certificate,
    /// The index wants other credentials.
    Refused,
    /// The index cannot be reached.
    Network,
    /// The index has no fitting wheel of a locked version.
    NotFound,
    /// Anything else.
    Other,
}

/// What installers print in each case, in lower case; the first match decides.
const SYMPTOMS: [(InstallFailure, &[&str]); 6] = [
    (InstallFailure::DiskFull, &["no space left on device", "disk quota exceeded"]),
    (InstallFailure::HashMismatch, &["hash mismatch", "do not match the hashes"]),
    (
        InstallFailure::Certificate,
        &[
            "certificate_verify_failed",
            "certificate verify failed",
            "invalid peer certificate",
            "unknownissuer",
        ],
    ),
    (
        InstallFailure::Refused,
        &["401 unauthorized", "403 forbidden", "401 client error", "403 client error", "407 proxy"],
    ),
    (
        InstallFailure::Network,
        &[
            "connection refused",
            "newconnectionerror",
            "connecttimeouterror",
            "dns error",
            "name resolution",
            "network is unreachable",
            "error sending request",
            "failed to fetch",
            "max retries exceeded",
            "connection broken",
            "timed out",
            "network connectivity is disabled",
            "proxyerror",
        ],
    ),
    (InstallFailure::NotFound, &["no solution found", "no matching distribution", "was not found in"]),
];

impl InstallFailure {
    /// Returns what the output of an installer is a sign of.
    pub(super) fn of(output: &str) -> Self {
        let output = output.to_lowercase();
        let shows = |signs: &[&str]| signs.iter().any(|sign| output.contains(sign));
        SYMPTOMS.iter().find(|(_, signs)| shows(signs)).map_or(Self::Other, |(failure, _)| *failure)
    }

    /// Returns what a person can do about it.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::DiskFull => Some("the image needs about 1 GB free while it is built"),
            Self::HashMismatch => Some(
                "the package index served other files than the locked ones; check PIP_INDEX_URL or its mirror",
            ),
            Self::Certificate => Some("name the certificate of your network in PIP_CERT or SSL_CERT_FILE"),
            Self::Refused => Some("check the credentials in PIP_INDEX_URL or PIP_PROXY"),
            Self::Network => Some(
                "the first build needs a package index: check the network, HTTPS_PROXY and PIP_INDEX_URL",
            ),
            Self::NotFound => Some(
                // pip says no more than this of an index that is down, once its retries are spent.
                "the package index cannot be reached or lacks a locked version: check the network and PIP_INDEX_URL",
            ),
            Self::Other => None,
        }
    }
}

impl fmt::Display for InstallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "the disk is full",
            Self::HashMismatch => "a package does not have the locked hash",
            Self::Certificate => "the package index's certificate is not trusted",
            Self::Refused => "the package index refused the credentials",
            Self::Network => "the package index cannot be reached",
            Self::NotFound => "a locked package was not found in the index",
            Self::Other => "it failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_read_for_its_cause() {
        let uv = "error: Request failed after 3 retries\n  cause: tcp connect error\n  cause: Connection refused (os error 111)";
        assert_eq!(InstallFailure::of(uv), InstallFailure::Network);
        let pip = "WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for x";
        assert_eq!(InstallFailure::of(pip), InstallFailure::Network);
        let pip = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.";
        assert_eq!(InstallFailure::of(pip), InstallFailure::HashMismatch);
        let full = "OSError: [Errno 28] No space left on device";
        assert_eq!(InstallFailure::of(full), InstallFailure::DiskFull);
        assert_eq!(InstallFailure::of("Segmentation fault"), InstallFailure::Other);
    }

    #[test]
    fn a_full_disk_has_its_hint_wherever_it_shows() {
        let error = ImageError::io("write", "/x")(io::ErrorKind::StorageFull.into());
        assert!(error.hint().unwrap().contains("free"));
        assert_eq!(error.to_string(), "write /x");
    }
}
