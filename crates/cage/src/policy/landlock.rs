//! What landlock opens: `policy/landlock.policy`.

use std::path::PathBuf;

use super::lines::lines;
use crate::error::Error;

pub(super) const TEXT: (&str, &str) = ("landlock.policy", include_str!("../../../../policy/landlock.policy"));

/// Landlock's rights for files, by version (linux/landlock.h).
pub(crate) mod rights {
    pub(crate) const EXECUTE: u64 = 1;
    pub(crate) const WRITE_FILE: u64 = 1 << 1;
    pub(crate) const READ_FILE: u64 = 1 << 2;
    pub(crate) const READ_DIR: u64 = 1 << 3;
    pub(crate) const MAKE_CHAR: u64 = 1 << 6;
    pub(crate) const MAKE_BLOCK: u64 = 1 << 11;
    pub(crate) const REFER: u64 = 1 << 13;
    pub(crate) const TRUNCATE: u64 = 1 << 14;
    pub(crate) const IOCTL_DEV: u64 = 1 << 15;
    /// All of version 1.
    pub(crate) const FIRST: u64 = (1 << 13) - 1;
    /// Whatever a kernel of any version may be asked for.
    pub(crate) const ALL: u64 = (1 << 16) - 1;
}

const RIGHTS: [(&str, u64); 7] = [
    ("read", rights::READ_FILE),
    ("list", rights::READ_DIR),
    ("execute", rights::EXECUTE),
    ("write", rights::WRITE_FILE),
    ("truncate", rights::TRUNCATE),
    ("ioctl", rights::IOCTL_DEV),
    ("all", rights::ALL & !(rights::MAKE_CHAR | rights::MAKE_BLOCK)),
];

/// Which contexts a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Room,
    Process,
}

/// What a rule opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Path(PathBuf),
    /// Each tree of the host that is seen.
    Trees,
    /// Each device.
    Devices,
    /// Reckon's own files.
    Own,
    /// The workspace.
    Workspace,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) tier: Tier,
    pub(crate) place: Place,
    pub(crate) rights: u64,
}

pub(super) fn parse(text: &str) -> Result<Vec<Rule>, Error> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in lines(TEXT.0, text) {
        let mut line = line?;
        let tier = line.one_of("tier", &[("room", Tier::Room), ("process", Tier::Process)])?;
        let word = line.word("a path")?;
        let place = match word {
            "@tree" => Place::Trees,
            "@device" => Place::Devices,
            "@own" => Place::Own,
            "@workspace" => Place::Workspace,
            path if path.starts_with('/') => Place::Path(PathBuf::from(path)),
            _ => {
                return Err(line.error(&format!("`{word}` is neither an absolute path nor a known `@` word")));
            }
        };
        if tier == Tier::Room && matches!(place, Place::Trees | Place::Devices | Place::Own) {
            return Err(line.error(&format!("`{word}` is only for the tier `process`")));
        }
        if rules.iter().any(|rule| rule.tier == tier && rule.place == place) {
            return Err(line.error(&format!("a second line for {word}")));
        }
        let mut rights = line.one_of("right", &RIGHTS)?;
        while let Some(word) = line.another() {
            rights |= line.look_up("right", word, &RIGHTS)?;
        }
        rules.push(Rule { tier, place, rights });
    }
    Ok(rules)
}
