//! Unix sockets with message boundaries (`SOCK_SEQPACKET`), and descriptors that are passed with a message.

use super::memfd::is_memory;
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
use std::sync::{OnceLock, mpsc};

/// Largest number of descriptors accepted with one message.
pub(crate) const MOST_DESCRIPTORS: usize = 4;
/// Largest number that the kernel passes with one message (`SCM_MAX_FD`). The receive buffer always fits all of them:
/// the kernel would close the others in this thread.
const ALL_DESCRIPTORS: usize = 253;

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

/// Two connected sockets.
pub(crate) fn new_socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// A socket that listens at `path`.
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

/// The next pending connection. `None` when there is none.
pub(crate) fn accept_one(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(client) => Ok(Some(client)),
        // A connection that was closed before it was accepted counts as none.
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends one message. False when the socket is full.
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

/// Result of reading one message from a socket.
pub(crate) enum Message {
    Nothing,
    /// The other side closed it.
    End,
    /// A message of `count` bytes and its descriptors. `is_whole` is false when bytes or descriptors were cut off.
    Bytes {
        count: usize,
        fds: Vec<OwnedFd>,
        is_whole: bool,
    },
}

/// Takes one message.
pub(crate) fn receive_message(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<Message> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ALL_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut receive = || recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags);
    let received = match receive() {
        // Reported once when the peer closed with unread data. The messages it had sent follow.
        Err(Errno::CONNRESET) => receive(),
        other => other,
    };
    let received = match received {
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
        close_elsewhere(fds);
        return Ok(Message::End);
    }
    let mut is_whole = !received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    if fds.len() > MOST_DESCRIPTORS {
        is_whole = false;
        close_elsewhere(std::mem::take(&mut fds));
    }
    Ok(Message::Bytes { count: received.bytes, fds, is_whole })
}

/// Closes descriptors that a peer chose, in a thread of its own: closing a socket, or a file of a file system in user
/// space, can block for as long as the peer likes. Memory is closed in the calling thread.
pub(crate) fn close_elsewhere(fds: Vec<OwnedFd>) {
    static CLOSER: OnceLock<Option<mpsc::Sender<OwnedFd>>> = OnceLock::new();
    let closer = || {
        let (sender, receiver) = mpsc::channel::<OwnedFd>();
        let close = move || receiver.into_iter().for_each(drop);
        std::thread::Builder::new().name("shm2-closer".into()).spawn(close).ok().map(|_| sender)
    };
    for fd in fds.into_iter().filter(|fd| !is_memory(fd)) {
        // Without that thread it is closed here.
        let _ = CLOSER.get_or_init(closer).as_ref().map(|sender| sender.send(fd));
    }
}

/// Whether the descriptor is a connected Unix socket with message boundaries. Any other descriptor could be readable
/// forever.
pub(crate) fn is_seqpacket(fd: impl AsFd) -> bool {
    let is_unix = sockopt::socket_domain(&fd).is_ok_and(|domain| domain == AddressFamily::UNIX);
    let keeps_messages = sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    is_unix && keeps_messages && sockopt::socket_acceptconn(&fd).is_ok_and(|listens| !listens)
}
