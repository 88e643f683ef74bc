//! Descriptors by which the two sides of a channel wake each other.

use super::{ChannelError, StepError};
use crate::sys::{Cleared, Outcome, Waker, clear_all, clear_some, new_event, refuse_descriptors, wait_readable};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// One side's descriptors: what it waits on, and what it wakes the other by.
#[derive(Debug)]
pub struct Signals {
    waker: Waker,
    wait_on: OwnedFd,
    /// `None` where one descriptor does both.
    wake_by: Option<OwnedFd>,
    peer: Option<OwnedFd>,
}

impl Signals {
    /// Two eventfds, for both sides.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn event_pair() -> Result<(Self, Self), ChannelError> {
        let failed = |source| ChannelError::System { what: "make an eventfd", source };
        let (a, b) = (new_event().map_err(failed)?, new_event().map_err(failed)?);
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(failed);
        Ok((Self::events(copy(&a)?, copy(&b)?), Self::events(b, a)))
    }

    /// Two eventfds: one that this side waits on, and one that the other does.
    pub fn events(wait_on: OwnedFd, wake_by: OwnedFd) -> Self {
        Self { waker: Waker::Event, wait_on, wake_by: Some(wake_by), peer: None }
    }

    /// Ends of two pipes: one to read from, one to write to. Both are used without waiting and must be set so
    /// (`O_NONBLOCK`). A process that does not ignore SIGPIPE is ended by it when the peer is gone.
    pub fn pipes(wait_on: OwnedFd, wake_by: OwnedFd) -> Self {
        Self { waker: Waker::Pipe, wait_on, wake_by: Some(wake_by), peer: None }
    }

    /// One end of a connected socket, which serves both ways. Nothing else may be sent on it.
    pub fn socket(socket: OwnedFd) -> Self {
        refuse_descriptors(&socket);
        Self { waker: Waker::Socket, wait_on: socket, wake_by: None, peer: None }
    }

    /// With a descriptor that becomes readable, or hangs up, when the peer dies: a pidfd, or a socket that nothing is sent
    /// on.
    #[must_use]
    pub fn watch(mut self, peer: OwnedFd) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The descriptor that this side waits on.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.wait_on.as_fd()
    }

    /// The descriptor by which it wakes the other side.
    pub fn wake_by(&self) -> BorrowedFd<'_> {
        self.wake_by.as_ref().unwrap_or(&self.wait_on).as_fd()
    }

    /// False when nobody is there to be woken.
    pub(super) fn wake(&self) -> io::Result<bool> {
        self.waker.wake(self.wake_by())
    }

    /// Sleeps until there is a signal, and takes it. True when there will be no more.
    pub(super) fn wait(&self, timeout: Duration) -> Result<bool, StepError> {
        let outcome = wait_readable(self.wait_on(), self.peer(), Some(timeout))?;
        Ok(match outcome {
            Outcome::Signal => clear_some(self.wait_on(), self.waker)? == Cleared::Over,
            Outcome::Gone => true,
            Outcome::TimedOut => false,
        })
    }

    /// What tells of the peer's death beside the signals themselves.
    pub(super) fn peer(&self) -> Option<BorrowedFd<'_>> {
        self.peer.as_ref().map(|peer| peer.as_fd())
    }

    /// Takes all that is there. False when no more signals will come.
    pub(super) fn clear(&self) -> io::Result<bool> {
        clear_all(self.wait_on(), self.waker)
    }
}
