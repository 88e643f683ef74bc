//! Waking another process through a descriptor, and waiting for one.

use super::socket::{Message, close_elsewhere, receive_message};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{SendFlags, send};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How a descriptor wakes whoever waits on its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waker {
    /// By a number.
    Event,
    /// By a byte that does not wait for room: one that is there already does as well.
    Pipe,
    /// The same; the flags of the call keep a peer from making it wait.
    Socket,
}

impl Waker {
    /// False when nobody is on the other end any more.
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

/// An event on which nobody waits yet. Neither end ever blocks.
pub(crate) fn new_event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Signal,
    /// The other end is gone.
    Gone,
    TimedOut,
}

/// Waits until there is a signal, or `peer`, if there is such a descriptor, says that the peer is gone.
pub(crate) fn wait_readable(
    signal: BorrowedFd,
    peer: Option<BorrowedFd>,
    timeout: Option<Duration>,
) -> io::Result<Outcome> {
    let mut fds: Vec<_> =
        [Some(signal), peer].into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(0) => Ok(Outcome::TimedOut),
        // A signal that came before the end is looked at first.
        Ok(_) if fds[0].revents().contains(PollFlags::IN) => Ok(Outcome::Signal),
        Ok(_) => Ok(Outcome::Gone),
        Err(Errno::INTR) => Ok(Outcome::Signal),
        Err(error) => Err(error.into()),
    }
}

/// Waits until one of the descriptors is readable or hangs up; tells for each whether it is.
pub(crate) fn wait_any_readable(fds: &[BorrowedFd], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(error) => Err(error.into()),
    }
}

/// More than a socket or a pipe holds at a time, so that a peer that floods keeps nobody for ever.
const MOST_SIGNALS: usize = 512;

/// Takes the signals that are there; false when there will be no more. Afterwards, a loop that is told of changes only
/// (`EPOLLET`) is told of all that comes.
pub(crate) fn clear_all(fd: impl AsFd, waker: Waker) -> io::Result<bool> {
    for _ in 0..MOST_SIGNALS {
        match clear_some(&fd, waker)? {
            Cleared::Some if waker != Waker::Event => {}
            cleared => return Ok(cleared != Cleared::Over),
        }
    }
    Ok(true)
}

/// What taking signals found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cleared {
    Nothing,
    Some,
    /// There will be no more.
    Over,
}

/// Takes a signal or more, with one system call.
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

/// Descriptors that are waited for as one: this one is readable when any of them is.
#[derive(Debug)]
pub(crate) struct WaitSet(OwnedFd);

impl WaitSet {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    pub(crate) fn add(&self, fd: impl AsFd) -> io::Result<()> {
        // Nobody asks which of them it is.
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        // One that is not in the set is not in it afterwards, either.
        let _ = epoll::delete(&self.0, fd);
    }
}

impl AsFd for WaitSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
