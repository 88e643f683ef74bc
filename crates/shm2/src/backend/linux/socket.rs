//! Unix sockets that keep messages apart, and descriptors that go along with one.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recvmsg, sendmsg, socket_with, socketpair, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Most descriptors that one message may bring; more are closed by the kernel.
pub(crate) const MOST_DESCRIPTORS: usize = 4;

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

/// Two sockets that are connected with each other.
pub(crate) fn new_socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// A socket that clients find at `path`.
pub(crate) fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let listener = socket()?;
    bind(&listener, &SocketAddrUnix::new(path)?)?;
    listen(&listener, 64)?;
    Ok(listener)
}

/// A connection to the listener at `path`.
pub(crate) fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let client = socket()?;
    connect(&client, &SocketAddrUnix::new(path)?)?;
    Ok(client)
}

/// The next connection, if there is one.
pub(crate) fn accept_one(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(client) => Ok(Some(client)),
        // One that went away again before it was accepted is none.
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who is on the other end, as the kernel knows it: process, user and group.
pub(crate) fn peer_of(socket: impl AsFd) -> io::Result<(i32, u32, u32)> {
    let credentials = sockopt::socket_peercred(socket)?;
    Ok((credentials.pid.as_raw_nonzero().get(), credentials.uid.as_raw(), credentials.gid.as_raw()))
}

/// Sends one message; false when there is no room for it now.
pub(crate) fn send_message(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd]) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What a look at a socket found.
pub(crate) enum Message {
    Nothing,
    /// The other side closed it.
    End,
    /// So many bytes, and what came with them. `is_whole` is false if either was more than there was room for.
    Bytes {
        count: usize,
        fds: Vec<OwnedFd>,
        is_whole: bool,
    },
}

/// Takes one message.
pub(crate) fn receive_message(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<Message> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Message::Nothing),
        Err(Errno::CONNRESET) => return Ok(Message::End),
        Err(error) => return Err(error.into()),
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(Message::End);
    }
    let is_whole = !received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    Ok(Message::Bytes { count: received.bytes, fds, is_whole })
}
