//! The side that reads.
//!
//! # Safety
//! See `shared.rs`.

#![allow(unsafe_code)]

use super::shared::{Shared, block_until, readable};
use super::{ChannelError, Element, HugePages, Items, RingError, Signals, Status, StepError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Reads elements from a channel.
#[derive(Debug)]
pub struct Receiver<T> {
    ring: shm2_ring::Receiver<'static, T>,
    shared: Shared,
    signals: Signals,
}

impl<T: Element> Receiver<T> {
    /// A new channel of `capacity` elements.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(capacity: usize, signals: Signals) -> Result<Self, ChannelError> {
        Self::attach(Shared::create::<T>(capacity, None)?, signals)
    }

    /// As [`new`](Self::new), in huge pages of the system's pool (`/proc/sys/vm/nr_hugepages`).
    ///
    /// # Errors
    /// Also when the pool is empty.
    pub fn with_hugetlb(capacity: usize, pages: HugePages, signals: Signals) -> Result<Self, ChannelError> {
        Self::attach(Shared::create::<T>(capacity, Some(pages))?, signals)
    }

    /// A channel that a peer made. Its seals, size and words are looked at first.
    ///
    /// # Errors
    /// When it is none of so many elements, or could be made smaller by the peer.
    pub fn open(capacity: usize, memory: OwnedFd, signals: Signals) -> Result<Self, ChannelError> {
        Self::attach(Shared::open::<T>(capacity, memory, false)?, signals)
    }

    /// As [`open`](Self::open), also of huge pages: their maker can take them away in spite of all seals, which ends this
    /// process, so it must be trusted.
    ///
    /// # Errors
    /// As there.
    pub fn open_hugetlb(capacity: usize, memory: OwnedFd, signals: Signals) -> Result<Self, ChannelError> {
        Self::attach(Shared::open::<T>(capacity, memory, true)?, signals)
    }

    fn attach(shared: Shared, signals: Signals) -> Result<Self, ChannelError> {
        // SAFETY: see `shared.rs`. That there is one receiver is what the two sides agreed on; a second one could only
        // spoil elements, which are plain data.
        let ring = unsafe { shm2_ring::Receiver::attach(shared.address(), shared.bytes)? };
        let mut receiver = Self { ring, shared, signals };
        // Asks for a signal from the start: a loop of one's own may not look before one comes.
        let _ = receiver.ring.peek(1);
        Ok(receiver)
    }

    /// Keeps the memory from being swapped out.
    ///
    /// # Errors
    /// When the process may not lock so much.
    pub fn mlock(&self) -> Result<(), ChannelError> {
        self.shared.lock()
    }

    /// The memory, to hand it to the other side.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.shared.memory.as_fd()
    }

    /// The descriptors for signals.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Elements of the ring.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Elements taken since the ring was made.
    pub fn read_count(&self) -> u64 {
        self.ring.read_count()
    }

    /// Elements to read now.
    ///
    /// # Errors
    /// When the sender's count cannot be.
    pub fn readable(&mut self) -> Result<usize, StepError> {
        Ok(self.ring.readable()?)
    }

    /// From now on this side looks by itself and never waits: see [`shm2_ring::Receiver::poll_always`].
    pub fn poll_always(&mut self) {
        self.ring.poll_always();
    }

    /// Wakes the other side if this step says so. That nobody is there, or cannot be woken, is no reason to lose what was
    /// taken: waiting tells, and the other side looks once a second by itself.
    fn signal(&self, status: Status) -> Result<Status, StepError> {
        if status.signal {
            let _ = self.signals.wake();
        }
        Ok(status)
    }

    /// Lets `use_up` look at an address, see [`shm2_ring::Receiver::recv`].
    ///
    /// # Errors
    /// As there.
    pub fn receive_raw(&mut self, use_up: impl FnOnce(*const T, usize) -> usize) -> Result<Status, StepError> {
        let status = self.ring.recv(use_up)?;
        self.signal(status)
    }

    /// As [`receive_raw`](Self::receive_raw), with a slice.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// The sender keeps to the protocol: it does not write elements that were not taken yet.
    pub unsafe fn receive_trusted(&mut self, use_up: impl FnOnce(&[T]) -> usize) -> Result<Status, StepError> {
        // SAFETY: passed on.
        let status = unsafe { self.ring.receive_trusted(use_up)? };
        self.signal(status)
    }

    /// Takes up to `count` elements and calls `each` with 0, 1, 2 and so on, and a copy of the element.
    ///
    /// # Errors
    /// As [`receive_raw`](Self::receive_raw).
    pub fn recv_foreach(&mut self, count: usize, each: impl FnMut(usize, T)) -> Result<Status, StepError> {
        let status = self.ring.recv_foreach(count, each)?;
        self.signal(status)
    }

    /// Takes as many elements as `values` has, or none if there are fewer.
    ///
    /// # Errors
    /// As [`receive_raw`](Self::receive_raw).
    #[inline]
    pub fn recv_all(&mut self, values: &mut [T]) -> Result<Option<Status>, StepError> {
        let Some(status) = self.ring.recv_all(values)? else { return Ok(None) };
        self.signal(status).map(Some)
    }

    /// Lets `use_up` look at `count` elements in a row, in at most two parts, and takes as many as it returns. `None`
    /// when there are fewer.
    ///
    /// # Errors
    /// As [`receive_raw`](Self::receive_raw).
    pub fn recv_items(
        &mut self,
        count: usize,
        use_up: impl FnOnce(&Items<'_, 'static, T>) -> usize,
    ) -> Result<Option<Status>, StepError> {
        let Some(items) = self.ring.peek(count)? else { return Ok(None) };
        let used = use_up(&items);
        if used > count {
            return Err(RingError::TooMany { count: used, available: count }.into());
        }
        let status = items.consume(used);
        self.signal(status).map(Some)
    }

    /// Waits until there are `count` elements; returns how many. `None`: for ever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] within a second of the peer's death, if the signals tell of it and fewer are left;
    /// [`StepError::TimedOut`].
    pub fn block_until_readable(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { ring, signals, .. } = self;
        block_until(count, timeout, || readable(ring, count), |left| signals.wait(left))
    }

    pub(super) fn readable_or_ask(&mut self, count: usize) -> Result<usize, StepError> {
        readable(&mut self.ring, count)
    }

    /// The descriptor to wait on, and how many elements are there now: wait only if there are none.
    ///
    /// # Errors
    /// When the peer misbehaves.
    pub fn wait_status(&mut self) -> Result<(BorrowedFd<'_>, usize), StepError> {
        let there = self.readable_or_ask(1)?;
        Ok((self.signals.wait_on(), there))
    }

    /// To be called when that descriptor was readable.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when no more signals will come; there may still be elements to read.
    pub fn wait_clear(&mut self) -> Result<(), StepError> {
        if self.signals.clear()? { Ok(()) } else { Err(StepError::PeerGone) }
    }
}
