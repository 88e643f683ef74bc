//! The side that writes.
//!
//! # Safety
//! See `shared.rs`.

#![allow(unsafe_code)]

use super::shared::{Shared, block_until, writable};
use super::{ChannelError, Element, HugePages, RingError, Signals, Slots, Status, StepError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Writes elements into a channel.
#[derive(Debug)]
pub struct Sender<T> {
    ring: shm2_ring::Sender<'static, T>,
    shared: Shared,
    signals: Signals,
}

impl<T: Element> Sender<T> {
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
        // SAFETY: see `shared.rs`. That there is one sender is what the two sides agreed on; a second one could only
        // spoil elements, which are plain data.
        let ring = unsafe { shm2_ring::Sender::attach(shared.address(), shared.bytes)? };
        Ok(Self { ring, shared, signals })
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

    /// Elements sent since the ring was made.
    pub fn write_count(&self) -> u64 {
        self.ring.write_count()
    }

    /// Free slots now.
    ///
    /// # Errors
    /// When the receiver's count cannot be.
    pub fn writable(&mut self) -> Result<usize, StepError> {
        Ok(self.ring.writable()?)
    }

    /// From now on this side looks by itself and never waits: see [`shm2_ring::Sender::poll_always`].
    pub fn poll_always(&mut self) {
        self.ring.poll_always();
    }

    /// Wakes the other side if this step says so.
    fn signal(&self, status: Status) -> Result<Status, StepError> {
        if status.signal && !self.signals.wake()? { Err(StepError::PeerGone) } else { Ok(status) }
    }

    /// Lets `fill` write at an address, see [`shm2_ring::Sender::send`].
    ///
    /// # Errors
    /// As there, and [`StepError::PeerGone`] when nobody is there to be woken; what was sent is sent all the same.
    pub fn send_raw(&mut self, fill: impl FnOnce(*mut T, usize) -> usize) -> Result<Status, StepError> {
        let status = self.ring.send(fill)?;
        self.signal(status)
    }

    /// As [`send_raw`](Self::send_raw), with a slice.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// The receiver keeps to the protocol: it does not write elements.
    pub unsafe fn send_trusted(&mut self, fill: impl FnOnce(&mut [T]) -> usize) -> Result<Status, StepError> {
        // SAFETY: passed on.
        let status = unsafe { self.ring.send_trusted(fill)? };
        self.signal(status)
    }

    /// Sends up to `count` elements that `make` returns for 0, 1, 2 and so on.
    ///
    /// # Errors
    /// As [`send_raw`](Self::send_raw).
    pub fn send_foreach(&mut self, count: usize, make: impl FnMut(usize) -> T) -> Result<Status, StepError> {
        let status = self.ring.send_foreach(count, make)?;
        self.signal(status)
    }

    /// Sends all of `values`, or none if there is not room for all.
    ///
    /// # Errors
    /// As [`send_raw`](Self::send_raw).
    #[inline]
    pub fn send_all(&mut self, values: &[T]) -> Result<Option<Status>, StepError> {
        let Some(status) = self.ring.send_all(values)? else { return Ok(None) };
        self.signal(status).map(Some)
    }

    /// Lets `fill` write `count` slots in a row, in at most two parts, and sends as many as it returns. `None` when
    /// there are fewer.
    ///
    /// # Errors
    /// As [`send_raw`](Self::send_raw).
    pub fn send_slots(
        &mut self,
        count: usize,
        fill: impl FnOnce(&mut Slots<'_, 'static, T>) -> usize,
    ) -> Result<Option<Status>, StepError> {
        let Some(mut slots) = self.ring.reserve(count)? else { return Ok(None) };
        let used = fill(&mut slots);
        if used > count {
            return Err(RingError::TooMany { count: used, available: count }.into());
        }
        let status = slots.commit(used);
        self.signal(status).map(Some)
    }

    /// Waits until there is room for `count` elements; returns for how many. `None`: for ever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] within a second of the peer's death, if the signals tell of it; [`StepError::TimedOut`].
    pub fn block_until_writable(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { ring, signals, .. } = self;
        block_until(count, timeout, || writable(ring, count), |left| signals.wait(left))
    }

    pub(super) fn writable_or_ask(&mut self, count: usize) -> Result<usize, StepError> {
        writable(&mut self.ring, count)
    }

    /// The descriptor to wait on, and how many slots are free now: wait only if there are none.
    ///
    /// # Errors
    /// When the peer misbehaves.
    pub fn wait_status(&mut self) -> Result<(BorrowedFd<'_>, usize), StepError> {
        let free = self.writable_or_ask(1)?;
        Ok((self.signals.wait_on(), free))
    }

    /// To be called when that descriptor was readable.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when no more signals will come.
    pub fn wait_clear(&mut self) -> Result<(), StepError> {
        if self.signals.clear()? { Ok(()) } else { Err(StepError::PeerGone) }
    }
}
