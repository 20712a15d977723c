//! Resource limits that are the same for every context: `policy/rlimits.policy`.

use rustix::process::Resource;

use super::lines::lines;
use crate::error::Error;

pub(super) const TEXT: (&str, &str) = ("rlimits.policy", include_str!("../../../../policy/rlimits.policy"));

/// The kernel's names, those excepted that come with each context.
pub(crate) const NAMES: [(&str, Resource); 12] = [
    ("AS", Resource::As),
    ("CORE", Resource::Core),
    ("CPU", Resource::Cpu),
    ("LOCKS", Resource::Locks),
    ("MEMLOCK", Resource::Memlock),
    ("MSGQUEUE", Resource::Msgqueue),
    ("NICE", Resource::Nice),
    ("RSS", Resource::Rss),
    ("RTPRIO", Resource::Rtprio),
    ("RTTIME", Resource::Rttime),
    ("SIGPENDING", Resource::Sigpending),
    ("STACK", Resource::Stack),
];

pub(super) fn parse(text: &str) -> Result<Vec<(Resource, u64)>, Error> {
    let mut limits: Vec<(Resource, u64)> = Vec::new();
    for line in lines(TEXT.0, text) {
        let mut line = line?;
        let resource = line.one_of("limit", &NAMES)?;
        let word = line.word("a value")?;
        let value = number(word).ok_or_else(|| {
            line.error(&format!("`{word}` is not a number, with k or m behind it or nothing"))
        })?;
        if limits.iter().any(|&(known, _)| known == resource) {
            return Err(line.error("a second line for this limit"));
        }
        limits.push((resource, value));
        line.end()?;
    }
    Ok(limits)
}

fn number(word: &str) -> Option<u64> {
    let (digits, unit) = match word.strip_suffix('k') {
        Some(digits) => (digits, 1 << 10),
        None => word.strip_suffix('m').map_or((word, 1), |digits| (digits, 1 << 20)),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
