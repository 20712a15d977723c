//! The channel to a context's driver: orders out, reports in. The kernel says who speaks, so that a process forked by
//! user code, which holds the channel too, cannot answer in the interpreter's name.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
};

use bytes::BytesMut;
use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, sockopt},
    process::Pid,
};
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::frames::{self, Order, Report};

/// Orders that a driver may leave unread; honest ones read each before they ask for the next.
const BACKLOG: usize = 256 * 1024;
/// Read at once: what a small report fits into whole. Room is made as bytes come and not as they are announced.
const SMALL: usize = 4 * 1024;
/// Read at once of a report that has turned out to be larger.
const LARGE: usize = 128 * 1024;
/// Room that is kept when nothing is in it; most reports are smaller.
const KEPT: usize = 64 * 1024;

/// The channel to a context's driver.
#[derive(Debug)]
pub(crate) struct Driver {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    arrived: BytesMut,
    /// What the driver has not taken yet; written while its reports are awaited, so that one who never reads stops
    /// nobody but himself.
    outgoing: BytesMut,
    /// The process whose word counts: the first that spoke, which was before any user code ran.
    speaker: Option<Pid>,
    /// What the last report costs in memory.
    pub(crate) last_cost: usize,
}

/// What came by one read.
enum Received {
    Bytes,
    /// The other end is closed.
    End,
    /// Somebody spoke who holds the channel and is not the interpreter.
    Stranger,
}

impl Driver {
    /// Returns the engine's end and the driver's.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        // Before the other end is given away: every message carries its sender from the first on.
        sockopt::set_socket_passcred(&ours, true)?;
        ours.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let driver = Self {
            reader,
            writer,
            arrived: BytesMut::new(),
            outgoing: BytesMut::new(),
            speaker: None,
            last_cost: 0,
        };
        Ok((driver, theirs.into()))
    }

    /// Receives what the driver says, handing over meanwhile what was queued; `None` when it has closed its end.
    /// Cancel-safe.
    pub(crate) async fn report(&mut self) -> Result<Option<Report>, String> {
        loop {
            if let Some(report) = self.take()? {
                return Ok(Some(report));
            }
            let Self { reader, writer, arrived, outgoing, speaker, .. } = self;
            let socket: &UnixStream = (*reader).as_ref();
            tokio::select! {
                received = socket.async_io(Interest::READABLE, || receive(socket, arrived, speaker)) => {
                    if !is_more(&received)? {
                        return Ok(None);
                    }
                }
                written = writer.write_buf(outgoing), if !outgoing.is_empty() => {
                    if written.is_err() {
                        // Nobody will read it; what was said before shows in the other arm.
                        outgoing.clear();
                    }
                }
            }
        }
    }

    /// Returns a report that has already come, without waiting.
    pub(crate) fn report_now(&mut self) -> Result<Option<Report>, String> {
        loop {
            if let Some(report) = self.take()? {
                return Ok(Some(report));
            }
            let Self { reader, arrived, speaker, .. } = self;
            let socket: &UnixStream = (*reader).as_ref();
            let received = socket.try_io(Interest::READABLE, || receive(socket, arrived, speaker));
            if !is_more(&received)? {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Result<Option<Report>, String> {
        let taken = frames::decode(&mut self.arrived)?;
        if self.arrived.is_empty() && self.arrived.capacity() > KEPT {
            // A long report would otherwise hold its room for as long as the context lives.
            self.arrived = BytesMut::new();
        }
        Ok(taken.map(|arrived| {
            self.last_cost = arrived.cost;
            arrived.report
        }))
    }

    /// Queues an order that [`Driver::report`] hands over. Fails when the driver has left too many unread.
    pub(crate) fn queue(&mut self, order: &Order<'_>) -> Result<(), String> {
        if self.outgoing.len() > BACKLOG {
            return Err("it does not read what it asked for".into());
        }
        self.outgoing.extend_from_slice(&frames::encode(order));
        Ok(())
    }

    /// Tells a driver something that no user code has reached yet, at once.
    pub(crate) async fn order(&mut self, order: &Order<'_>) -> io::Result<()> {
        self.writer.write_all(&frames::encode(order)).await
    }
}

/// Returns whether there may be more to read; a socket that fails is one that has ended.
fn is_more(received: &io::Result<Received>) -> Result<bool, String> {
    match received {
        Ok(Received::Bytes) => Ok(true),
        Ok(Received::End) | Err(_) => Ok(false),
        Ok(Received::Stranger) => Err("another process spoke on its channel".into()),
    }
}

/// Reads a chunk of one sender's. The kernel joins no bytes of two senders, and names the true one: who is not root
/// over our own namespaces can name nobody else. Descriptors that come along find no room, and the kernel drops them.
fn receive(socket: &UnixStream, arrived: &mut BytesMut, speaker: &mut Option<Pid>) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let before = arrived.len();
    arrived.resize(before + if before < SMALL { SMALL } else { LARGE }, 0);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = rustix::net::recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut arrived[before..])],
        &mut control,
        flags,
    );
    let count = message.as_ref().map_or(0, |message| message.bytes);
    arrived.truncate(before + count);
    message?;
    if count == 0 {
        return Ok(Received::End);
    }
    let sender = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid),
        _ => None,
    });
    if speaker.is_none() {
        *speaker = sender;
    }
    if sender.is_none() || sender != *speaker {
        arrived.truncate(before);
        return Ok(Received::Stranger);
    }
    Ok(Received::Bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn frame(text: &str) -> Vec<u8> {
        let mut bytes = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[tokio::test]
    async fn who_spoke_first_is_heard_and_a_forked_process_is_not() {
        let (mut driver, theirs) = Driver::pair().expect("a pair");
        let mut socket = std::os::unix::net::UnixStream::from(theirs);
        socket.write_all(&frame(r#"{"type":"ready"}"#)).expect("write");
        assert!(matches!(driver.report().await, Ok(Some(Report::Ready {}))));
        // The shell inherits the socket as its standard output.
        let inherited = OwnedFd::from(socket.try_clone().expect("a copy"));
        let said = r#"printf '\020\000\000\000{"type":"ready"}'"#;
        let status = std::process::Command::new("sh").args(["-c", said]).stdout(inherited).status();
        assert!(status.expect("sh").success());
        assert!(driver.report().await.expect_err("a stranger").contains("another process"));
    }

    #[tokio::test]
    async fn an_announced_length_makes_no_room_and_a_long_report_keeps_none() {
        let (mut driver, theirs) = Driver::pair().expect("a pair");
        let mut socket = std::os::unix::net::UnixStream::from(theirs);
        socket.write_all(&(16_u32 << 20).to_le_bytes()).expect("write");
        assert!(matches!(driver.report_now(), Ok(None)));
        assert!(driver.arrived.capacity() <= 2 * SMALL, "{}", driver.arrived.capacity());

        let (mut driver, theirs) = Driver::pair().expect("a pair");
        let mut socket = std::os::unix::net::UnixStream::from(theirs);
        let long = frame(&format!(r#"{{"type":"fatal","message":"{}"}}"#, "x".repeat(4 << 20)));
        let writing = std::thread::spawn(move || socket.write_all(&long));
        assert!(matches!(driver.report().await, Ok(Some(Report::Fatal { .. }))));
        writing.join().expect("no panic").expect("write");
        assert!(driver.arrived.capacity() <= KEPT, "{}", driver.arrived.capacity());
    }
}
