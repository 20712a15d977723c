//! One of a context's output pipes: bytes in, text out, no character ever cut in two.

use std::{cell::RefCell, io, os::fd::OwnedFd};

use tokio::net::unix::pipe;

/// What a pipe holds, unless more is asked for.
const PIPE: usize = 64 * 1024;
/// What it holds while its writer fills it faster than it is read: writer and reader then take turns less often.
/// An ordinary user may have some sixty such pipes, so they are neither given to everybody nor kept.
const LARGE_PIPE: usize = 1024 * 1024;
/// Read at once.
const CHUNK: usize = 256 * 1024;
/// The longest start of a character that may be waiting for its rest.
const LONGEST_START: usize = 3;

thread_local! {
    /// Where bytes lie between the pipe and their text: nobody awaits while they do, so that one serves all streams.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// The reading end of stdout or stderr.
#[derive(Debug)]
pub(crate) struct OutputStream {
    pipe: pipe::Receiver,
    text: TextDecoder,
    open: bool,
    large: bool,
}

impl OutputStream {
    /// Takes a pipe's reading end.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(fd)?;
        Ok(Self { pipe, text: TextDecoder::default(), open: true, large: false })
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
        READ.with_borrow_mut(|chunk| match self.pipe.try_read(chunk) {
            Ok(count) => self.take_in(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => {
                self.open = false;
                None
            }
        })
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
        READ.with_borrow_mut(|chunk| {
            let most = chunk.len().min(*left);
            // Past the runtime's idea of readiness, which may be older than what was written.
            let count = rustix::io::read(&self.pipe, &mut chunk[..most]).ok()?;
            *left -= count;
            self.take_in(&chunk[..count])
        })
    }

    fn take_in(&mut self, bytes: &[u8]) -> Option<String> {
        if bytes.is_empty() {
            self.open = false;
            return Some(self.text.finish()).filter(|text| !text.is_empty());
        }
        if bytes.len() >= PIPE && !self.large {
            // Refused beyond the user's share; then it stays as it is.
            self.large = rustix::pipe::fcntl_setpipe_size(&self.pipe, LARGE_PIPE).is_ok();
        }
        Some(self.text.decode(bytes))
    }

    /// Gives the room of a flood back, once it is over.
    pub(crate) fn rest(&mut self) {
        if self.large {
            // Refused while more than that waits in it: the next time, then.
            self.large = rustix::pipe::fcntl_setpipe_size(&self.pipe, PIPE).is_err();
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
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_pipe_is_large_while_it_is_flooded_and_no_longer() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let mut stream = OutputStream::new(reader.into()).expect("registered");
        let size = |stream: &OutputStream| rustix::pipe::fcntl_getpipe_size(&stream.pipe).expect("asked");
        let mut read = |stream: &mut OutputStream, bytes: usize| {
            writer.write_all(&vec![b'x'; bytes]).expect("it fits");
            let mut left = bytes;
            let mut got = 0;
            while let Some(text) = stream.read_of(&mut left) {
                got += text.len();
            }
            assert_eq!(got, bytes);
        };
        read(&mut stream, 1000);
        assert_eq!(size(&stream), PIPE);
        read(&mut stream, PIPE);
        // An ordinary user who has used up the share keeps small ones; nothing else changes.
        if stream.large {
            assert_eq!(size(&stream), LARGE_PIPE);
            read(&mut stream, LARGE_PIPE);
        }
        stream.rest();
        assert_eq!(size(&stream), PIPE);
    }

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
