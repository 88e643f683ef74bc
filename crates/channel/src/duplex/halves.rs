//! The two directions of a connection, each for a thread of its own.

use super::Passed;
use super::link::Link;
use crate::memory::ChannelMemory;
use crate::wait::Spin;
use crate::{Corrupt, Element, RingError, Status, StepError};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// The socket and the mapped memory, which both directions share.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) _memory: ChannelMemory,
}

/// The direction to the other side. Made by [`Interface::split`](super::Interface::split).
#[derive(Debug)]
pub struct Outgoing<T> {
    pub(super) ring: shm2_ring::Sender<'static, T>,
    pub(super) is_finished: bool,
    pub(super) spin: Spin,
    /// Dropped after the ring, which is in it.
    pub(super) connection: Arc<Connection>,
}

/// The direction from the other side. Made by [`Interface::split`](super::Interface::split).
#[derive(Debug)]
pub struct Incoming<T> {
    pub(super) ring: shm2_ring::Receiver<'static, T>,
    pub(super) spin: Spin,
    /// Dropped after the ring, which is in it.
    pub(super) connection: Arc<Connection>,
}

impl<T: Element> Outgoing<T> {
    /// Too few slots are free. An error when that is for good, because the other side is gone.
    #[cold]
    fn no_slots(&self) -> Result<bool, StepError> {
        if self.connection.link.is_gone()? { Err(StepError::PeerGone) } else { Ok(false) }
    }

    fn signal(&self, status: Status) -> Result<(), StepError> {
        if status.signal && !self.connection.link.wake()? { Err(StepError::PeerGone) } else { Ok(()) }
    }

    /// Sends one element. False when no slot is free; the other side then signals when one is.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when the peer is gone and no slot is free, or it had requested a signal;
    /// [`StepError::Ring`] when it misbehaves;
    /// [`StepError::Finished`] after [`finish`](Self::finish).
    #[inline]
    pub fn xmit(&mut self, value: T) -> Result<bool, StepError> {
        self.xmit_all(&[value])
    }

    /// Sends all elements, or nothing. False when too few slots are free.
    ///
    /// # Errors
    /// As [`xmit`](Self::xmit); [`StepError::Ring`] also when `values` exceeds the capacity.
    #[inline]
    pub fn xmit_all(&mut self, values: &[T]) -> Result<bool, StepError> {
        if self.is_finished {
            return Err(StepError::Finished);
        }
        let Some(status) = self.ring.send_all(values)? else { return self.no_slots() };
        self.signal(status).map(|()| true)
    }

    /// Waits until `count` slots are free; returns the number of free slots. A timeout of `None` waits forever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`], [`StepError::TimedOut`]; [`StepError::Ring`] when the peer misbehaves or `count`
    /// exceeds the capacity.
    pub fn wait_for_space(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { ring, spin, connection, .. } = self;
        connection.link.block_until(ring, spin, count, timeout, false)
    }

    /// Declares that this side sends no more elements. The other side's [`wait`](Incoming::wait) ends with
    /// [`StepError::PeerGone`] after it has received the rest; it can continue to send. False when the socket is
    /// full: call again later.
    ///
    /// # Errors
    /// [`StepError::PeerGone`].
    pub fn finish(&mut self) -> Result<bool, StepError> {
        self.is_finished |= self.connection.link.finish()?;
        Ok(self.is_finished)
    }

    /// Passes copies of one to four descriptors and a number. They are not ordered with the elements; a message can
    /// refer to the number. The other side must accept descriptors
    /// ([`Options::descriptors`](super::Options::descriptors)). False when the socket is full.
    ///
    /// # Errors
    /// [`StepError::PeerGone`]; [`StepError::Descriptors`] when there are none or too many; [`StepError::System`]
    /// when the peer does not accept them (from Linux 6.16 on; older kernels do not report it).
    pub fn pass(&mut self, number: u64, descriptors: &[BorrowedFd]) -> Result<bool, StepError> {
        self.connection.link.pass(number, descriptors)
    }
}

impl<T: Element> Incoming<T> {
    /// Wakes a peer that waits for free slots. A failure does not discard the elements just received: a live peer
    /// checks the ring once a second without a signal.
    fn signal(&self, status: Status) {
        if status.signal {
            let _ = self.connection.link.wake();
        }
    }

    /// Fewer than `count` elements were found. True when they are there after all, false when they may still come; an
    /// error when they never will, because the other side is gone.
    #[cold]
    fn are_left(&mut self, count: usize) -> Result<bool, StepError> {
        if !self.connection.link.is_gone()? {
            return Ok(false);
        }
        // What the other side sent before its end is in the ring by now.
        if self.ring.readable()? >= count { Ok(true) } else { Err(StepError::PeerGone) }
    }

    /// Whether the other side has finished. Elements that it sent before may still be in the ring.
    pub fn is_finished(&self) -> bool {
        self.connection.link.is_finished()
    }

    /// The next set of descriptors that the other side passed. `None` when none has come; waiting reads the socket.
    /// Up to sixteen sets are kept; one more is an error of the connection ([`StepError::TooManyPassed`]).
    pub fn take_passed(&mut self) -> Option<Passed> {
        self.connection.link.take_passed()
    }

    /// Takes the next element. `None` when there is none; the other side then signals when there is.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the peer misbehaves; [`StepError::PeerGone`] when it is gone and all its elements are
    /// received.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<T>, StepError> {
        let Some(items) = self.ring.peek(1)? else {
            return if self.are_left(1)? { self.recv() } else { Ok(None) };
        };
        let value = items.get(0);
        let status = items.consume(1);
        self.signal(status);
        Ok(value)
    }

    /// Takes all elements that have come, at most `most`. Empty when there are none.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_vectored(&mut self, most: usize) -> Result<Vec<T>, StepError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut count = self.ring.readable()?.min(most);
        if count == 0 && self.are_left(1)? {
            count = self.ring.readable()?.min(most);
        }
        let mut values = Vec::with_capacity(count);
        let status = self.ring.recv_foreach(count.max(1), |_, value| values.push(value))?;
        self.signal(status);
        Ok(values)
    }

    /// Waits until there are `count` elements; returns the number of elements. A timeout of `None` waits forever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when the peer is gone or has finished and fewer are left; [`StepError::TimedOut`];
    /// [`StepError::Ring`] when the peer misbehaves or `count` exceeds the capacity.
    pub fn wait(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { ring, spin, connection } = self;
        connection.link.block_until(ring, spin, count, timeout, true)
    }
}

/// Size in bytes of the length before a message.
const LENGTH: usize = 4;

/// Length in bytes of the longest message in a ring of `capacity` bytes.
pub(super) fn longest_message(capacity: usize) -> usize {
    capacity.saturating_sub(LENGTH).min(u32::MAX as usize)
}

/// Messages of any length in a ring of bytes: length as u32 (little-endian), then the bytes.
impl Outgoing<u8> {
    /// Sends a message. False when the ring has too little free space.
    ///
    /// # Errors
    /// As [`xmit`](Self::xmit); [`StepError::Ring`] also when the message is longer than
    /// [`Interface::longest_message`](super::Interface::longest_message).
    pub fn xmit_message(&mut self, message: &[u8]) -> Result<bool, StepError> {
        let longest = longest_message(self.ring.capacity());
        if self.is_finished {
            return Err(StepError::Finished);
        }
        if message.len() > longest {
            return Err(RingError::TooMany { count: message.len(), available: longest }.into());
        }
        let Some(mut slots) = self.ring.reserve(LENGTH + message.len())? else { return self.no_slots() };
        slots.write(0, &(message.len() as u32).to_le_bytes());
        slots.write(LENGTH, message);
        let status = slots.commit(LENGTH + message.len());
        self.signal(status).map(|()| true)
    }

    /// Waits until the ring has space for a message of `bytes` bytes. A timeout of `None` waits forever.
    ///
    /// # Errors
    /// As [`wait_for_space`](Self::wait_for_space); [`StepError::Ring`] also when no such message fits.
    pub fn wait_for_message_space(&mut self, bytes: usize, timeout: Option<Duration>) -> Result<(), StepError> {
        self.wait_for_space(LENGTH.saturating_add(bytes), timeout).map(|_| ())
    }
}

impl Incoming<u8> {
    /// Takes the next message and replaces the contents of `message` with it. False when there is none.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the peer wrote an impossible length; [`StepError::PeerGone`] when it is gone and all
    /// its messages are received.
    pub fn recv_message(&mut self, message: &mut Vec<u8>) -> Result<bool, StepError> {
        let (capacity, read) = (self.ring.capacity(), self.ring.read_count());
        let Some(head) = self.ring.peek(LENGTH)? else {
            return if self.are_left(LENGTH)? { self.recv_message(message) } else { Ok(false) };
        };
        // Each byte of the length is read once.
        let length = std::array::from_fn(|index| head.get(index).unwrap_or_default());
        let length = u32::from_le_bytes(length) as usize;
        let written = read.wrapping_add((LENGTH as u64).wrapping_add(length as u64));
        let corrupt = Corrupt::Written { written, seen: read, read, capacity };
        if length > capacity.saturating_sub(LENGTH) {
            return Err(corrupt.into());
        }
        // One store publishes the length and its message, so the message must be there.
        let items = self.ring.peek(LENGTH + length)?.ok_or(corrupt)?;
        message.clear();
        message.resize(length, 0);
        items.read_into(LENGTH, message);
        let status = items.consume(LENGTH + length);
        self.signal(status);
        Ok(true)
    }
}
