//! Named sizes of a sandbox, in the words and figures of Cloudflare's container instance types (2025), so that whoever
//! comes from there finds the same. A preset sets memory, processor and disk; every other limit stays as it is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

const MIB: u64 = 1024 * 1024;
/// Their disks are counted in decimal.
const GB: u64 = 1_000_000_000;

/// A named size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Preset {
    /// A sixteenth of a core, 256 MiB of memory, 2 GB of disk.
    Lite,
    /// A quarter of a core, 1 GiB, 4 GB.
    Basic,
    /// Half a core, 4 GiB, 8 GB.
    Standard1,
    /// One core, 6 GiB, 12 GB.
    Standard2,
    /// Two cores, 8 GiB, 16 GB.
    Standard3,
    /// Four cores, 12 GiB, 20 GB.
    Standard4,
}

/// A name that no preset has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown preset `{name}`; known are {}", Preset::names())]
pub struct ParsePresetError {
    /// What was asked for, its beginning where it is long.
    pub name: String,
}

impl Preset {
    /// All of them, the smallest first.
    pub const ALL: [Self; 6] =
        [Self::Lite, Self::Basic, Self::Standard1, Self::Standard2, Self::Standard3, Self::Standard4];

    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lite => "lite",
            Self::Basic => "basic",
            Self::Standard1 => "standard-1",
            Self::Standard2 => "standard-2",
            Self::Standard3 => "standard-3",
            Self::Standard4 => "standard-4",
        }
    }

    /// Returns `limits` with this preset's memory, processor and disk.
    pub fn applied_to(self, limits: &Limits) -> Limits {
        let (cpu_millis, memory, disk) = match self {
            // A sixteenth is 62.5.
            Self::Lite => (63, 256 * MIB, 2 * GB),
            Self::Basic => (250, 1024 * MIB, 4 * GB),
            Self::Standard1 => (500, 4096 * MIB, 8 * GB),
            Self::Standard2 => (1000, 6144 * MIB, 12 * GB),
            Self::Standard3 => (2000, 8192 * MIB, 16 * GB),
            Self::Standard4 => (4000, 12_288 * MIB, 20 * GB),
        };
        Limits { cpu_millis, memory_bytes: memory, disk_bytes: disk, ..limits.clone() }
    }

    fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Preset {
    type Err = ParsePresetError;

    fn from_str(name: &str) -> Result<Self, ParsePresetError> {
        let known = Self::ALL.into_iter().find(|preset| preset.as_str() == name);
        known.ok_or_else(|| ParsePresetError { name: name.chars().take(40).collect() })
    }
}

impl TryFrom<String> for Preset {
    type Error = ParsePresetError;

    fn try_from(name: String) -> Result<Self, ParsePresetError> {
        name.parse()
    }
}

impl From<Preset> for &'static str {
    fn from(preset: Preset) -> Self {
        preset.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_within_the_ranges_and_larger_than_the_one_before() {
        let mut before = (0, 0, 0);
        for preset in Preset::ALL {
            let limits = preset.applied_to(&Limits::default());
            assert_eq!(limits.check(), Ok(()), "{preset}");
            let size = (limits.cpu_millis, limits.memory_bytes, limits.disk_bytes);
            assert!(size.0 > before.0 && size.1 > before.1 && size.2 > before.2, "{preset}");
            before = size;
        }
    }

    #[test]
    fn an_unknown_preset_is_refused_naming_the_known_ones() {
        assert_eq!("standard-2".parse(), Ok(Preset::Standard2));
        let error = "huge".parse::<Preset>().expect_err("unknown").to_string();
        assert_eq!(
            error,
            "unknown preset `huge`; known are lite, basic, standard-1, standard-2, standard-3, standard-4"
        );
        assert!(serde_json::from_str::<Preset>("\"Basic\"").is_err());
        assert_eq!(serde_json::to_string(&Preset::Basic).expect("a name"), "\"basic\"");
    }
}
