//! What of the host a room sees: `policy/visible.policy`.

use std::path::PathBuf;

use super::lines::lines;
use crate::{error::Error, without::Without};

pub(super) const TEXT: (&str, &str) = ("visible.policy", include_str!("../../../../policy/visible.policy"));

/// Something of the host that rooms see where the host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A directory, a file or a link.
    Tree(PathBuf),
    /// A device node.
    Device(PathBuf),
}

#[derive(Clone, Copy)]
enum Kind {
    Tree,
    Device,
}

/// Returns what rooms of any image see, less what a test leaves out.
pub fn visible(without: &Without) -> Result<Vec<Seen>, Error> {
    parse(&without.thin(TEXT))
}

pub(super) fn parse(text: &str) -> Result<Vec<Seen>, Error> {
    let mut seen = Vec::new();
    for line in lines(TEXT.0, text) {
        let mut line = line?;
        let kind = line.one_of("word", &[("tree", Kind::Tree), ("device", Kind::Device)])?;
        let path = line.path()?;
        let entry = match kind {
            Kind::Tree => Seen::Tree(path.clone()),
            Kind::Device if !path.starts_with("/dev") => {
                return Err(line.error(&format!("`{}` is not below /dev", path.display())));
            }
            Kind::Device => Seen::Device(path.clone()),
        };
        if seen.contains(&entry) {
            return Err(line.error(&format!("a second line for {}", path.display())));
        }
        seen.push(entry);
        line.end()?;
    }
    Ok(seen)
}
