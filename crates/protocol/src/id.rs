//! Ids that people and programs see: a prefix that names the thing, then 26 characters of
//! Crockford base32 over a UUID version 7, so that ids sort by the time they were made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Crockford's alphabet: no `i`, `l`, `o`, `u`, so that ids survive being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in groups of five.
const ENCODED: usize = 26;

/// An id that does not have the form of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is `{prefix}` and 26 characters of 0-9a-z")]
pub struct ParseIdError {
    prefix: &'static str,
}

macro_rules! id {
    ($name:ident, $prefix:literal, $what:literal) => {
        #[doc = concat!("The id of ", $what, ", `", $prefix, "` and 26 characters.")]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Returns a new id, unique and later in order than those made before it.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(encode($prefix, Uuid::now_v7().as_u128()))
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let body = text.strip_prefix($prefix).ok_or(ParseIdError { prefix: $prefix })?;
                if body.len() == ENCODED && body.bytes().all(|byte| ALPHABET.contains(&byte)) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseIdError { prefix: $prefix })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(SandboxId, "sbx_", "a sandbox");
id!(SessionId, "ses_", "a session");
id!(ExecutionId, "exe_", "an execution");

fn encode(prefix: &str, mut bits: u128) -> String {
    let mut digits = [0_u8; ENCODED];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    let mut text = String::with_capacity(prefix.len() + ENCODED);
    text.push_str(prefix);
    text.extend(digits.iter().map(|&byte| char::from(byte)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time and a counter come first, so that ids sort; what follows is random also among ids of one millisecond.
    #[test]
    fn an_id_does_not_tell_the_next_one() {
        let ids: Vec<_> = (0..1000).map(|_| SandboxId::new()).collect();
        let ends: std::collections::HashSet<_> =
            ids.iter().map(|id| id.as_str()[id.as_str().len() - 6..].to_owned()).collect();
        assert!(ends.len() > 995, "{} of 1000 ids end differently", ends.len());
    }

    #[test]
    fn an_id_reads_back_and_sorts_by_time() {
        let first = SandboxId::new();
        let second = SandboxId::new();
        assert_eq!(first.as_str().parse::<SandboxId>(), Ok(first.clone()));
        assert!(first < second);
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "",
            "sbx_",
            "sbx_../../etc/passwd",
            "ses_01890000000000000000000000",
            "sbx_0189000000000000000000000u",
        ] {
            assert!(text.parse::<SandboxId>().is_err(), "{text}");
        }
    }
}
