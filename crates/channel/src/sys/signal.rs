//! Waking another process by a descriptor, and waiting on descriptors.

use super::socket::{Message, close_elsewhere, receive_message};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{SendFlags, send};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The type of a descriptor that wakes the process at its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waker {
    /// An eventfd; a number is added.
    Event,
    /// A non-blocking pipe; one byte is written. A full pipe holds a signal already.
    Pipe,
    /// A socket; one byte is sent. The flags of the call ensure that it never blocks.
    Socket,
}

impl Waker {
    /// False when the other end is closed.
    pub(crate) fn wake(self, fd: impl AsFd) -> io::Result<bool> {
        let sent = match self {
            Self::Event => write(fd, &1u64.to_ne_bytes()),
            Self::Pipe => write(fd, &[1]),
            Self::Socket => send(fd, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        };
        match sent {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A new eventfd, non-blocking.
pub(crate) fn new_event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Result of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Signal,
    /// The other end is closed.
    Gone,
    TimedOut,
}

/// Waits until there is a signal, or until `peer` shows that the peer is gone. A timeout of `None` waits forever.
pub(crate) fn wait_readable(
    signal: BorrowedFd,
    peer: Option<BorrowedFd>,
    timeout: Option<Duration>,
) -> io::Result<Outcome> {
    let mut fds = [signal, peer.unwrap_or(signal)].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let count = 1 + usize::from(peer.is_some());
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds[..count], timeout.as_ref()) {
        Ok(0) => Ok(Outcome::TimedOut),
        // A signal that came before the end is reported first.
        Ok(_) if fds[0].revents().contains(PollFlags::IN) => Ok(Outcome::Signal),
        Ok(_) => Ok(Outcome::Gone),
        Err(Errno::INTR) => Ok(Outcome::Signal),
        Err(error) => Err(error.into()),
    }
}

/// Whether the other end of a descriptor is closed. Takes nothing from it and does not wait. A `peer` is a descriptor
/// that becomes readable when the peer dies.
pub(crate) fn is_closed(fds: &[BorrowedFd], peer: Option<BorrowedFd>) -> io::Result<bool> {
    let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::RDHUP)).collect();
    fds.extend(peer.map(|peer| PollFd::from_borrowed_fd(peer, closed | PollFlags::IN)));
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => Ok(fds.iter().any(|fd| fd.revents().intersects(closed))
            || peer.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits until one of the descriptors is readable or hangs up. Returns for each whether it is.
pub(crate) fn wait_any_readable(fds: &[BorrowedFd], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(error) => Err(error.into()),
    }
}

/// Bound of one call: more than a socket or a pipe holds at a time. A peer that floods cannot keep the caller in it.
const MOST_SIGNALS: usize = 512;

/// Takes all signals that have come. False when no more will come. Afterwards an edge-triggered loop (`EPOLLET`) is
/// notified of every later signal.
pub(crate) fn clear_all(fd: impl AsFd, waker: Waker) -> io::Result<bool> {
    for _ in 0..MOST_SIGNALS {
        match clear_some(&fd, waker)? {
            Cleared::Some if waker != Waker::Event => {}
            cleared => return Ok(cleared != Cleared::Over),
        }
    }
    Ok(true)
}

/// Result of taking signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cleared {
    Nothing,
    Some,
    /// No more signals will come.
    Over,
}

/// Takes one or more signals with one system call.
pub(crate) fn clear_some(fd: impl AsFd, waker: Waker) -> io::Result<Cleared> {
    let mut bytes = [0; 512];
    let taken = match waker {
        Waker::Socket => return clear_socket(fd),
        Waker::Event => read(fd, &mut bytes[..8]),
        Waker::Pipe => read(fd, &mut bytes[..]),
    };
    match taken {
        Ok(0) | Err(Errno::CONNRESET) => Ok(Cleared::Over),
        Ok(_) => Ok(Cleared::Some),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Cleared::Nothing),
        Err(error) => Err(error.into()),
    }
}

fn clear_socket(fd: impl AsFd) -> io::Result<Cleared> {
    Ok(match receive_message(fd, &mut [0; 16])? {
        Message::Nothing => Cleared::Nothing,
        Message::End => Cleared::Over,
        Message::Bytes { fds, .. } => {
            close_elsewhere(fds);
            Cleared::Some
        }
    })
}

/// A set of descriptors to wait on as one: its own descriptor is readable when any of them is.
#[derive(Debug)]
pub(crate) struct WaitSet(OwnedFd);

impl WaitSet {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    pub(crate) fn add(&self, fd: impl AsFd) -> io::Result<()> {
        // The data is not used: callers check all members.
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        // An error means that it is not in the set.
        let _ = epoll::delete(&self.0, fd);
    }
}

impl AsFd for WaitSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
