//! What of /proc is closed: `policy/proc.policy`.

use std::path::PathBuf;

use super::lines::lines;
use crate::error::Error;

pub(super) const TEXT: (&str, &str) = ("proc.policy", include_str!("../../../../policy/proc.policy"));

/// How a path is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It reads as empty.
    Mask,
    /// It cannot be written.
    Lock,
}

/// A closed path.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) path: PathBuf,
    pub(crate) closing: Closing,
}

pub(super) fn parse(text: &str) -> Result<Vec<Closed>, Error> {
    let mut all: Vec<Closed> = Vec::new();
    for line in lines(TEXT.0, text) {
        let mut line = line?;
        let closing = line.one_of("word", &[("mask", Closing::Mask), ("lock", Closing::Lock)])?;
        let path = line.path()?;
        if !path.starts_with("/proc") {
            return Err(line.error(&format!("`{}` is not below /proc", path.display())));
        }
        if all.iter().any(|closed| closed.path == path) {
            return Err(line.error(&format!("a second line for {}", path.display())));
        }
        all.push(Closed { path, closing });
        line.end()?;
    }
    Ok(all)
}
