//! Where figures go when `cargo xtask soak` asks for them: one JSON document a line, in the file that it names.

use std::io::Write as _;

use serde_json::Value;

/// Adds a document; nothing where nobody asks.
pub(crate) fn add(document: &Value) {
    let Some(path) = std::env::var_os("RECKON_SOAK_REPORT") else { return };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    writeln!(file, "{document}").unwrap();
}
