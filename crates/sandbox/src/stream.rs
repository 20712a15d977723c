//! One of a context's output pipes: bytes in, text out, no character ever cut in two.

use std::{io, os::fd::OwnedFd};

use tokio::net::unix::pipe;

/// Read at once; a pipe holds this much.
const CHUNK: usize = 64 * 1024;
/// The longest start of a character that may be waiting for its rest.
const LONGEST_START: usize = 3;

/// The reading end of stdout or stderr.
#[derive(Debug)]
pub(crate) struct OutputStream {
    pipe: pipe::Receiver,
    text: TextDecoder,
    chunk: Box<[u8]>,
    open: bool,
}

impl OutputStream {
    /// Takes a pipe's reading end.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(fd)?;
        Ok(Self { pipe, text: TextDecoder::default(), chunk: vec![0; CHUNK].into_boxed_slice(), open: true })
    }

    /// Waits until something can be read. Cancel-safe. Never returns once every writer is gone.
    pub(crate) async fn readable(&self) {
        if !self.open || self.pipe.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads what is there, at most one chunk; `None` when there is nothing now.
    pub(crate) fn read_now(&mut self) -> Option<String> {
        if !self.open {
            return None;
        }
        match self.pipe.try_read(&mut self.chunk) {
            Ok(0) => {
                self.open = false;
                Some(self.text.finish()).filter(|text| !text.is_empty())
            }
            Ok(count) => Some(self.text.decode(&self.chunk[..count])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => {
                self.open = false;
                None
            }
        }
    }

    /// Returns how many bytes wait in the pipe now.
    pub(crate) fn waiting(&self) -> usize {
        let waiting = if self.open { rustix::io::ioctl_fionread(&self.pipe).unwrap_or(0) } else { 0 };
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    /// Reads one chunk of the `left` bytes that are to be read, and takes it off; `None` when there is nothing.
    pub(crate) fn read_of(&mut self, left: &mut usize) -> Option<String> {
        if *left == 0 || !self.open {
            return None;
        }
        let most = self.chunk.len().min(*left);
        // Past the runtime's idea of readiness, which may be older than what was written.
        match rustix::io::read(&self.pipe, &mut self.chunk[..most]) {
            Ok(0) => {
                self.open = false;
                Some(self.text.finish()).filter(|text| !text.is_empty())
            }
            Ok(count) => {
                *left -= count;
                Some(self.text.decode(&self.chunk[..count]))
            }
            Err(_) => None,
        }
    }

    /// Returns what is left of a character that never came whole. Called at the end of an execution.
    pub(crate) fn finish(&mut self) -> String {
        self.text.finish()
    }
}

/// Decodes UTF-8 that comes in pieces; what is not UTF-8 becomes U+FFFD.
#[derive(Debug, Default)]
struct TextDecoder {
    start: Vec<u8>,
}

impl TextDecoder {
    fn decode(&mut self, bytes: &[u8]) -> String {
        let joined;
        let mut rest = if self.start.is_empty() {
            bytes
        } else {
            self.start.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.start);
            &joined[..]
        };
        let mut text = String::with_capacity(rest.len());
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    if let Some(length) = error.error_len() {
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = &after[length..];
                    } else {
                        debug_assert!(after.len() <= LONGEST_START, "an incomplete character is short");
                        self.start = after.to_vec();
                        return text;
                    }
                }
            }
        }
    }

    fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.start)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_survive_every_cut() {
        let text = "aé€😀 z";
        for cut in 0..=text.len() {
            let mut decoder = TextDecoder::default();
            let (first, second) = text.as_bytes().split_at(cut);
            let whole = decoder.decode(first) + &decoder.decode(second) + &decoder.finish();
            assert_eq!(whole, text);
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_marked() {
        let mut decoder = TextDecoder::default();
        assert_eq!(decoder.decode(b"a\xffb\xe2\x82"), "a\u{fffd}b");
        assert_eq!(decoder.finish(), "\u{fffd}");
    }
}
