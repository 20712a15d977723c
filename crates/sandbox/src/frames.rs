//! Frames between the engine and a driver: four bytes of length, then one JSON object.
//! The driver's side is user code's neighbour: every byte it sends is treated as hostile.

use std::collections::BTreeMap;

use bytes::{Buf as _, BytesMut};
use reckon_protocol::MimeBundle;
use serde::{Deserialize, Serialize};

/// Longer than any frame an honest driver sends (it cuts at 12 MiB).
const LONGEST: usize = 16 * 1024 * 1024;
/// JSON values in one frame; each costs the host far more than its text. A figure with a million points fits.
const MOST_VALUES: usize = 2_000_000;
/// Bytes of the length.
const HEADER: usize = 4;

/// What the engine says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Order<'a> {
    /// A parked context gets its identity.
    Adopt {
        /// The working directory.
        cwd: &'a str,
        /// Additions to the environment.
        env: &'a BTreeMap<String, String>,
    },
    /// Run this.
    Execute {
        /// Comes back with everything that belongs to it.
        id: &'a str,
        /// The code.
        code: &'a str,
        /// Seconds of processor time for each process, where no cgroup counts that of all together.
        #[serde(skip_serializing_if = "Option::is_none")]
        cpu_seconds: Option<u64>,
    },
    /// The pipes are drained up to this point.
    Drained {
        /// The number that asked for it.
        n: u64,
    },
}

/// What a driver says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Report {
    /// Warm and waiting.
    Ready {},
    /// It cannot go on.
    Fatal { message: String },
    /// Something was displayed.
    Display {
        id: String,
        n: u64,
        data: MimeBundle,
        #[serde(default)]
        metadata: serde_json::Map<String, serde_json::Value>,
        #[serde(default)]
        display_id: Option<String>,
    },
    /// An earlier display changes.
    UpdateDisplay {
        id: String,
        n: u64,
        data: MimeBundle,
        #[serde(default)]
        metadata: serde_json::Map<String, serde_json::Value>,
        #[serde(default)]
        display_id: Option<String>,
    },
    /// Output is to be cleared.
    ClearOutput {
        id: String,
        #[serde(default)]
        wait: bool,
    },
    /// The last value.
    Result {
        id: String,
        n: u64,
        data: MimeBundle,
        #[serde(default)]
        metadata: serde_json::Map<String, serde_json::Value>,
        execution_count: u64,
    },
    /// The code raised.
    Error { id: String, n: u64, name: String, message: String, traceback: String },
    /// The end of an execution.
    Finished { id: String, status: Ending, execution_count: u64 },
}

/// How the driver says that code ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// To its end.
    Ok,
    /// It raised.
    Error,
    /// By KeyboardInterrupt.
    Interrupted,
}

/// Writes a frame.
pub(crate) fn encode(order: &Order<'_>) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    // A `Vec` takes every write, and these types have no value that JSON lacks.
    serde_json::to_writer(&mut frame, order).expect("orders are plain data");
    let length = u32::try_from(frame.len() - HEADER).expect("code is bounded by the door far below 4 GiB");
    frame[..HEADER].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Takes one frame off the front of what has arrived; `None` when it is not whole yet.
pub(crate) fn decode(arrived: &mut BytesMut) -> Result<Option<Report>, String> {
    let Some(header) = arrived.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > LONGEST {
        return Err(format!("a frame of {length} bytes"));
    }
    if arrived.len() < HEADER + length {
        arrived.reserve(HEADER + length - arrived.len());
        return Ok(None);
    }
    arrived.advance(HEADER);
    let body = arrived.split_to(length);
    if values(&body) > MOST_VALUES {
        return Err("a frame of too many values".into());
    }
    serde_json::from_slice(&body).map(Some).map_err(|error| format!("a frame that is none of ours: {error}"))
}

/// Returns at least the number of values in a JSON text, without taking it in.
fn values(text: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn a_frame_arrives_byte_by_byte() {
        let whole = frame(r#"{"type":"finished","id":"a","status":"ok","execution_count":1}"#);
        let mut arrived = BytesMut::new();
        for &byte in &whole[..whole.len() - 1] {
            arrived.extend_from_slice(&[byte]);
            assert!(decode(&mut arrived).expect("nothing wrong").is_none());
        }
        arrived.extend_from_slice(&whole[whole.len() - 1..]);
        assert!(matches!(decode(&mut arrived), Ok(Some(Report::Finished { status: Ending::Ok, .. }))));
        assert!(arrived.is_empty());
    }

    #[test]
    fn text_is_not_counted_as_values() {
        assert_eq!(values(br#"{"a":"x,[\",{","b":[1,2]}"#), 4);
    }

    #[test]
    fn hostile_frames_are_errors() {
        for bytes in [
            u32::MAX.to_le_bytes().to_vec(),
            frame("not json"),
            frame(r#"{"type":"unheard of"}"#),
            frame(&"[".repeat(100_000)),
            frame(&format!(r#"{{"type":"ready","x":[{}0]}}"#, "0,".repeat(3_000_000))),
        ] {
            assert!(decode(&mut BytesMut::from(&bytes[..])).is_err());
        }
    }
}
