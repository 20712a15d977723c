//! Messages with descriptors between engine, warden and nursery: one JSON value per packet of a sequenced-packet
//! socket, descriptors beside it (SCM_RIGHTS).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Serialize, de::DeserializeOwned};

/// Larger than any message of ours; a packet that does not fit is refused, never cut.
const PACKET: usize = 64 * 1024;
/// Descriptors in one message: a context's three, its room's init and one `cgroup.procs` for each v1 hierarchy.
const DESCRIPTORS: usize = 16;

/// One end of a connection.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub struct Packet<T> {
    /// The message.
    pub message: T,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// Some of them could not be received: this process has no numbers left. None of them is handed out then.
    pub cut: bool,
}

impl Channel {
    /// Returns two connected ends, closed on exec.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Takes a socket that a parent process left open.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends one message.
    pub fn send<T: Serialize>(&self, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.0, message, descriptors)
    }

    /// Receives one message; `None` when the other end is closed.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<Packet<T>>> {
        receive(&self.0)
    }
}

/// Sends one message on a sequenced-packet socket. `WouldBlock` where the socket does not block and is full.
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > PACKET || descriptors.len() > DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too large for the channel"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message from a sequenced-packet socket; `None` when the other end is closed.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<Packet<T>>> {
    let mut bytes = vec![0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.intersects(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message cut by the channel"));
    }
    // Too few descriptors are the receiver's shortage, not the sender's fault: the message can still be answered.
    let cut = received.flags.intersects(ReturnFlags::CTRUNC);
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    if cut {
        descriptors.clear();
    }
    let message = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok(Some(Packet { message, descriptors, cut }))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn descriptors_travel_with_their_message() {
        let (one, other) = Channel::pair().expect("socketpair");
        let (mut reader, writer) = io::pipe().expect("pipe");
        one.send(&"pipe", &[writer.as_fd()]).expect("send");
        drop(writer);
        let packet: Packet<String> = other.receive().expect("receive").expect("open");
        assert_eq!(packet.message, "pipe");
        let fd = packet.descriptors.into_iter().next().expect("one descriptor");
        std::fs::File::from(fd).write_all(b"through").expect("write");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "through");
    }

    #[test]
    fn a_closed_end_reads_as_none() {
        let (one, other) = Channel::pair().expect("socketpair");
        drop(one);
        assert!(other.receive::<String>().expect("receive").is_none());
    }
}
