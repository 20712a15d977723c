//! What a server needs to know before it starts, and the combinations that it refuses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reckon_model::Model;
use reckon_protocol::Limits;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// Settings of a server, with the defaults in one place.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may call; without any, only loopback may be listened on and everybody there may call.
    pub keys: Vec<Key>,
    /// Names by which browsers may address the server beside `localhost` and IP addresses.
    pub allowed_hosts: Vec<String>,
    /// The largest JSON body in bytes.
    pub body_limit: usize,
    /// The largest uploaded file in bytes.
    pub upload_limit: usize,
    /// Sessions that may live at once.
    pub max_sessions: usize,
    /// A session ends this long after its last use.
    pub session_idle: Duration,
    /// How long running requests may take to finish when the server is asked to stop.
    pub drain: Duration,
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// Limits of a sandbox whose maker names only some or none: those of the engine.
    pub limits: Limits,
    /// Settings of the turns.
    pub agent: reckon_agent::Settings,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787),
            keys: Vec::new(),
            allowed_hosts: Vec::new(),
            body_limit: 1024 * 1024,
            upload_limit: 100 * 1024 * 1024,
            max_sessions: 64,
            session_idle: Duration::from_secs(600),
            drain: Duration::from_secs(10),
            max_connections: 1024,
            limits: Limits::default(),
            agent: reckon_agent::Settings::default(),
        }
    }
}

/// A key of the API, known by its SHA-256 only.
#[derive(Clone)]
pub struct Key([u8; 32]);

/// Text that is not the SHA-256 of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a key is 64 hexadecimal digits (SHA-256)")]
pub struct KeyError;

impl Key {
    /// Takes in a key as people carry it.
    pub fn from_secret(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Takes in the SHA-256 of a key in hexadecimal digits, as the configuration keeps it.
    pub fn from_sha256(digits: &str) -> Result<Self, KeyError> {
        let mut hash = [0_u8; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(KeyError);
        }
        for (place, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[place * 2..place * 2 + 2], 16).map_err(|_| KeyError)?;
        }
        Ok(Self(hash))
    }

    /// Whether `secret` is one of `keys`; takes the same time whichever it is, and if it is none.
    pub(crate) fn is_among(secret: &str, keys: &[Self]) -> bool {
        let given = Self::from_secret(secret);
        let found = keys.iter().fold(Choice::from(0), |found, key| found | key.0.ct_eq(&given.0));
        found.into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The model that a server serves.
#[derive(Debug, Clone)]
pub struct ServedModel {
    /// The model.
    pub model: Arc<dyn Model>,
    /// What speaks through it, and who wanted that.
    pub speaker: Speaker,
}

/// What speaks, and who wanted that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// A language model.
    LanguageModel,
    /// The demo planner, which a person named.
    DemoNamed,
    /// The demo planner, because nothing else was found.
    DemoByDefault,
}

impl Speaker {
    /// Whether it is the demo planner.
    pub fn is_demo(self) -> bool {
        self != Self::LanguageModel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash() {
        // The SHA-256 of `secret`.
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let keys = [Key::from_secret("other"), Key::from_sha256(hash).expect("a hash")];
        assert!(Key::is_among("secret", &keys));
        assert!(!Key::is_among("Secret", &keys));
        assert!(!Key::is_among("secret", &[]));
        assert_eq!(format!("{keys:?}"), "[Key(…), Key(…)]");
        for bad in ["", "2bb8", &"z".repeat(64), &"é".repeat(32)] {
            assert!(Key::from_sha256(bad).is_err(), "{bad}");
        }
    }
}
