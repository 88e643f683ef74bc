//! The two directions of a connection, for a thread each.

use super::Passed;
use super::link::Link;
use crate::shared::{Shared, readable, writable};
use crate::{Corrupt, Element, RingError, Status, StepError};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// What both directions keep: the socket, and the memory mapped.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) link: Link,
    pub(super) _shared: Shared,
}

/// The direction to the other side.
#[derive(Debug)]
pub struct Outgoing<T> {
    pub(super) ring: shm2_ring::Sender<'static, T>,
    pub(super) is_finished: bool,
    /// Dropped after the ring, which lies in it.
    pub(super) common: Arc<Common>,
}

/// The direction from the other side.
#[derive(Debug)]
pub struct Incoming<T> {
    pub(super) ring: shm2_ring::Receiver<'static, T>,
    /// Dropped after the ring, which lies in it.
    pub(super) common: Arc<Common>,
}

impl<T: Element> Outgoing<T> {
    fn signal(&self, status: Status) -> Result<(), StepError> {
        if status.signal && !self.common.link.wake()? { Err(StepError::PeerGone) } else { Ok(()) }
    }

    /// Sends one element; false when there is no room: then the other side will signal when there is.
    ///
    /// # Errors
    /// When the peer is gone or misbehaves.
    #[inline]
    pub fn xmit(&mut self, value: T) -> Result<bool, StepError> {
        self.xmit_all(&[value])
    }

    /// Sends all elements, or none when there is not room for all.
    ///
    /// # Errors
    /// As [`xmit`](Self::xmit).
    #[inline]
    pub fn xmit_all(&mut self, values: &[T]) -> Result<bool, StepError> {
        if self.is_finished {
            return Err(StepError::Finished);
        }
        let Some(status) = self.ring.send_all(values)? else { return Ok(false) };
        self.signal(status).map(|()| true)
    }

    /// Waits until there is room for `count` elements; returns for how many. `None`: for ever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`], [`StepError::TimedOut`].
    pub fn wait_for_room(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { ring, common, .. } = self;
        common.link.block_until(count, timeout, false, || writable(ring, count))
    }

    /// Says that nothing more will be sent: when it has received the rest, the other side's waiting ends as if this one
    /// were gone, but it can go on sending. False when that cannot be said now.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn finish(&mut self) -> Result<bool, StepError> {
        self.is_finished |= self.common.link.finish()?;
        Ok(self.is_finished)
    }

    /// Passes copies of one to four descriptors and a number, beside the elements and in no order with them: a message can
    /// name the number. The other side must have asked for them ([`Options::descriptors`](super::Options::descriptors)).
    /// False when there is no room for them now.
    ///
    /// # Errors
    /// When the peer is gone or takes none, or there are too many.
    pub fn pass(&mut self, number: u64, descriptors: &[BorrowedFd]) -> Result<bool, StepError> {
        self.common.link.pass(number, descriptors)
    }
}

impl<T: Element> Incoming<T> {
    /// Wakes a peer that waits for room. That it is gone, or cannot be woken, is no reason to lose what was received: it
    /// looks once a second by itself.
    fn give_back(&self, status: Status) {
        if status.signal {
            let _ = self.common.link.wake();
        }
    }

    /// Whether the other side said that it sends no more. What it sent before may still be there.
    pub fn is_finished(&self) -> bool {
        self.common.link.is_finished()
    }

    /// The next descriptors that the other side passed, if they have come: waiting takes them from the socket. Of those that
    /// nobody takes sixteen sets are kept; then the connection fails.
    pub fn take_passed(&mut self) -> Option<Passed> {
        self.common.link.take_passed()
    }

    /// The next element, if there is one.
    ///
    /// # Errors
    /// When the peer misbehaves. That it is gone is told by [`wait`](Self::wait), when all that it sent is received.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<T>, StepError> {
        let Some(items) = self.ring.peek(1)? else { return Ok(None) };
        let value = items.get(0);
        let status = items.consume(1);
        self.give_back(status);
        Ok(value)
    }

    /// All elements that are there, at most `most`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_vectored(&mut self, most: usize) -> Result<Vec<T>, StepError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let count = self.ring.readable()?.min(most);
        let mut values = Vec::with_capacity(count);
        let status = self.ring.recv_foreach(count.max(1), |_, value| values.push(value))?;
        self.give_back(status);
        Ok(values)
    }

    /// Waits until there are `count` elements to receive; returns how many there are. `None`: for ever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when fewer are left, [`StepError::TimedOut`].
    pub fn wait(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { ring, common } = self;
        common.link.block_until(count, timeout, true, || readable(ring, count))
    }
}

/// Bytes of a message's length.
const LENGTH: usize = 4;

/// The longest message in a ring of so many bytes.
pub(super) fn longest_message(capacity: usize) -> usize {
    capacity.saturating_sub(LENGTH).min(u32::MAX as usize)
}

/// Messages of any length, one behind the other in a ring of bytes: length u32 (little-endian), then the bytes.
impl Outgoing<u8> {
    /// Sends a message; false when there is no room now.
    ///
    /// # Errors
    /// When it is longer than any that fits; else as [`xmit`](Self::xmit).
    pub fn xmit_message(&mut self, message: &[u8]) -> Result<bool, StepError> {
        let longest = longest_message(self.ring.capacity());
        if self.is_finished {
            return Err(StepError::Finished);
        }
        if message.len() > longest {
            return Err(RingError::TooMany { count: message.len(), available: longest }.into());
        }
        let Some(mut slots) = self.ring.reserve(LENGTH + message.len())? else { return Ok(false) };
        slots.write(0, &(message.len() as u32).to_le_bytes());
        slots.write(LENGTH, message);
        let status = slots.commit(LENGTH + message.len());
        self.signal(status).map(|()| true)
    }

    /// Waits until there is room for a message of so many bytes. `None`: for ever.
    ///
    /// # Errors
    /// As [`wait_for_room`](Self::wait_for_room), and when no such message fits.
    pub fn wait_for_message_room(&mut self, bytes: usize, timeout: Option<Duration>) -> Result<(), StepError> {
        self.wait_for_room(LENGTH.saturating_add(bytes), timeout).map(|_| ())
    }
}

impl Incoming<u8> {
    /// The next message, in place of what `message` holds; false when there is none.
    ///
    /// # Errors
    /// When the peer says a length that cannot be.
    pub fn recv_message(&mut self, message: &mut Vec<u8>) -> Result<bool, StepError> {
        let (capacity, read) = (self.ring.capacity(), self.ring.read_count());
        let Some(head) = self.ring.peek(LENGTH)? else { return Ok(false) };
        // Each byte is read once.
        let length = std::array::from_fn(|index| head.get(index).unwrap_or_default());
        let length = u32::from_le_bytes(length) as usize;
        let written = read.wrapping_add((LENGTH as u64).wrapping_add(length as u64));
        let corrupt = Corrupt::Written { written, seen: read, read, capacity };
        if length > capacity.saturating_sub(LENGTH) {
            return Err(corrupt.into());
        }
        // Both are shown with one store, so there is no head without its message.
        let items = self.ring.peek(LENGTH + length)?.ok_or(corrupt)?;
        message.clear();
        message.resize(length, 0);
        items.read_into(LENGTH, message);
        let status = items.consume(LENGTH + length);
        self.give_back(status);
        Ok(true)
    }
}
