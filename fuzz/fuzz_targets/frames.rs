//! The decoder of what a driver says, fed with bytes of any kind in pieces of any length.
//! The input is what the socket brings, so that its length decides how it is cut.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

// The file itself, because the crate shows nobody its frames.
#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/sandbox/src/frames.rs"]
mod frames;

/// Decodes until an error, and returns what was understood.
fn hear<'piece>(pieces: impl Iterator<Item = &'piece [u8]>) -> Vec<String> {
    let (mut arrived, mut heard) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            let before = arrived.len();
            match frames::decode(&mut arrived) {
                Ok(Some(decoded)) => {
                    assert!(arrived.len() < before, "a report is made of bytes");
                    heard.push(format!("{:?}", decoded.report));
                }
                Ok(None) => {
                    assert_eq!(arrived.len(), before, "what is not whole stays");
                    break;
                }
                Err(problem) => {
                    heard.push(problem);
                    return heard;
                }
            }
        }
    }
    heard
}

fuzz_target!(|bytes: &[u8]| {
    let whole = hear(std::iter::once(bytes));
    let pieces = hear(bytes.chunks(bytes.len() % 17 + 1));
    assert_eq!(whole, pieces, "how the bytes are cut changes nothing");
});
