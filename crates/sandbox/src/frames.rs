//! Frames between the engine and a driver: four bytes of length, then one JSON object.
//! The driver's side is user code's neighbour: every byte it sends is treated as hostile.
//! Knows no sockets, so that `fuzz/` can feed it by itself.

use std::collections::BTreeMap;

use bytes::{Buf as _, BytesMut};
use reckon_protocol::MimeBundle;
use serde::{Deserialize, Serialize};

/// Longer than any frame an honest driver sends (it cuts at 12 MiB).
const LONGEST: usize = 16 * 1024 * 1024;
/// Memory that the values of one frame may take, which is far more than their text: `0,` is two bytes and costs 32.
/// A figure with a million points fits.
const HEAVIEST: usize = 64 * 1024 * 1024;
/// Lists and objects inside each other. The driver sends values of at most 100 levels; the frame adds its own.
const DEEPEST: usize = 112;
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

/// What a driver says, and what taking it in costs.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) report: Report,
    /// Bytes of memory that the report holds, about.
    pub(crate) cost: usize,
}

/// What a driver says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
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
pub(crate) fn decode(arrived: &mut BytesMut) -> Result<Option<Arrived>, String> {
    let Some(header) = arrived.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > LONGEST {
        return Err(format!("a frame of {length} bytes"));
    }
    if arrived.len() < HEADER + length {
        return Ok(None);
    }
    arrived.advance(HEADER);
    let body = arrived.split_to(length);
    let shape = Shape::of(&body);
    if shape.cost > HEAVIEST {
        return Err("a frame of too many values".into());
    }
    if shape.depth > DEEPEST {
        return Err("a frame of too many levels".into());
    }
    let report =
        serde_json::from_slice(&body).map_err(|error| format!("a frame that is none of ours: {error}"))?;
    Ok(Some(Arrived { report, cost: shape.cost }))
}

/// What a JSON text would cost to take in, seen without doing so. Of text that is no JSON it says too much at most.
struct Shape {
    cost: usize,
    depth: usize,
}

impl Shape {
    fn of(text: &[u8]) -> Self {
        let mut shape = Self { cost: 0, depth: 0 };
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        for &byte in text {
            if quoted {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => quoted = false,
                    _ => {}
                }
                shape.cost += 1;
                continue;
            }
            shape.cost += match byte {
                b'"' => {
                    quoted = true;
                    // The allocator's smallest piece.
                    32
                }
                // A `serde_json::Value`, and the start of a name.
                b',' | b':' => 32,
                // The first of a list makes room for four.
                b'[' => 128,
                // The first of an object makes room for eleven, with their names.
                b'{' => 640,
                _ => 0,
            };
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            shape.depth = shape.depth.max(depth);
        }
        shape
    }
}

#[cfg(test)]
mod tests;
