//! Descriptors by which the two sides of a channel wake each other.

use crate::sys::{
    Cleared, Outcome, Waker, clear_all, clear_some, is_closed, new_event, refuse_descriptors, wait_readable,
};
use crate::{ChannelError, StepError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The descriptors of one side: one to wait on, and one that wakes the other side.
#[derive(Debug)]
pub struct Signals {
    waker: Waker,
    wait_on: OwnedFd,
    /// `None` when `wait_on` serves for both.
    wake_by: Option<OwnedFd>,
    /// Becomes readable, or hangs up, when the peer dies.
    peer: Option<OwnedFd>,
}

impl Signals {
    /// Two eventfds, as the signals of both sides.
    ///
    /// # Errors
    /// [`ChannelError::System`] when the process has no descriptors left.
    ///
    /// ```
    /// use shm2_channel::{Receiver, Sender, Signals};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ours, theirs) = Signals::event_pair()?;
    /// let sender = Sender::<u8>::new(10, ours)?;
    /// // `theirs.wait_on()` and `theirs.wake_by()` are the descriptors to pass to another process, which
    /// // assembles them by `Signals::events`.
    /// let receiver = Receiver::<u8>::open(10, sender.memory().try_clone_to_owned()?, theirs)?;
    /// # drop(receiver);
    /// # Ok(())
    /// # }
    /// ```
    pub fn event_pair() -> Result<(Self, Self), ChannelError> {
        let failed = |source| ChannelError::System { what: "make an eventfd", source };
        let (a, b) = (new_event().map_err(failed)?, new_event().map_err(failed)?);
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(failed);
        Ok((Self::events(copy(&a)?, copy(&b)?), Self::events(b, a)))
    }

    /// Two eventfds: this side waits on the first, the other side on the second.
    pub fn events(wait_on: OwnedFd, wake_by: OwnedFd) -> Self {
        Self { waker: Waker::Event, wait_on, wake_by: Some(wake_by), peer: None }
    }

    /// Ends of two pipes: the reading end of one, and the writing end of the other. Both must be non-blocking
    /// (`O_NONBLOCK`). When the peer is gone, SIGPIPE ends a process that does not ignore it.
    pub fn pipes(wait_on: OwnedFd, wake_by: OwnedFd) -> Self {
        Self { waker: Waker::Pipe, wait_on, wake_by: Some(wake_by), peer: None }
    }

    /// One end of a connected socket, which serves for both directions. Nothing else may be sent on it.
    ///
    /// ```
    /// use shm2_channel::{Receiver, Sender, Signals, StepError};
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let sender = Sender::<u8>::new(10, Signals::socket(ours.into()))?;
    /// let memory = sender.memory().try_clone_to_owned()?;
    /// let mut receiver = Receiver::<u8>::open(10, memory, Signals::socket(theirs.into()))?;
    /// // The socket shows that the sender is gone.
    /// drop(sender);
    /// assert!(matches!(receiver.block_until_readable(1, None), Err(StepError::PeerGone)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn socket(socket: OwnedFd) -> Self {
        refuse_descriptors(&socket);
        Self { waker: Waker::Socket, wait_on: socket, wake_by: None, peer: None }
    }

    /// Adds a descriptor that becomes readable, or hangs up, when the peer dies: a pidfd, or a socket on which
    /// nothing is sent.
    #[must_use]
    pub fn watch(mut self, peer: OwnedFd) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The descriptor that this side waits on.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.wait_on.as_fd()
    }

    /// The descriptor by which this side wakes the other.
    pub fn wake_by(&self) -> BorrowedFd<'_> {
        self.wake_by.as_ref().unwrap_or(&self.wait_on).as_fd()
    }

    /// Wakes the other side. False when it is gone.
    pub(crate) fn wake(&self) -> io::Result<bool> {
        self.waker.wake(self.wake_by())
    }

    /// Sleeps until there is a signal, and takes it. True when no more signals will come.
    pub(crate) fn wait(&self, timeout: Duration) -> Result<bool, StepError> {
        let outcome = wait_readable(self.wait_on(), self.peer(), Some(timeout))?;
        Ok(match outcome {
            Outcome::Signal => clear_some(self.wait_on(), self.waker)? == Cleared::Over,
            Outcome::Gone => true,
            Outcome::TimedOut => false,
        })
    }

    /// Whether the descriptors show that the peer is gone. Takes no signal and does not wait. Eventfds do not show it.
    pub(crate) fn is_peer_gone(&self) -> io::Result<bool> {
        let fds = match self.waker {
            Waker::Event if self.peer.is_none() => return Ok(false),
            Waker::Event => &[][..],
            Waker::Pipe => &[self.wait_on(), self.wake_by()],
            Waker::Socket => &[self.wait_on()],
        };
        is_closed(fds, self.peer())
    }

    /// The descriptor that shows the peer's death, see [`watch`](Self::watch).
    pub(crate) fn peer(&self) -> Option<BorrowedFd<'_>> {
        self.peer.as_ref().map(|peer| peer.as_fd())
    }

    /// Takes all signals that have come. False when no more will come.
    pub(crate) fn clear(&self) -> io::Result<bool> {
        let are_more = clear_all(self.wait_on(), self.waker)?;
        Ok(are_more && (self.peer.is_none() || !self.is_peer_gone()?))
    }
}
