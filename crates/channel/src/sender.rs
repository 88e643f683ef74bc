//! The writing side.
//!
//! # Safety
//! See `memory.rs`.

#![expect(unsafe_code, reason = "attaches to checked memory, see `memory.rs`")]

use crate::memory::ChannelMemory;
use crate::wait::{PeerCheck, Side, Spin, block_until};
use crate::{ChannelError, Element, HugePages, RingError, Signals, Slots, Status, StepError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Writes elements into a channel.
#[derive(Debug)]
pub struct Sender<T> {
    ring: shm2_ring::Sender<'static, T>,
    /// Dropped after the ring, which is in it.
    memory: ChannelMemory,
    signals: Signals,
    peer: PeerCheck,
    spin: Spin,
}

impl<T: Element> Sender<T> {
    /// Creates a channel of `capacity` elements. The other side opens [`memory`](Self::memory) with the same capacity
    /// and the other signals; [`offer`](Self::offer) prepares this in one step.
    ///
    /// # Errors
    /// [`ChannelError::Capacity`] when `capacity` is 0 or too large, [`ChannelError::Memory`] when the system has no
    /// memory.
    ///
    /// ```
    /// use shm2_channel::{Receiver, Sender, Signals};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ours, theirs) = Signals::event_pair()?;
    /// let mut sender = Sender::<u32>::new(64, ours)?;
    /// let memory = sender.memory().try_clone_to_owned()?;
    ///
    /// let mut receiver = Receiver::<u32>::open(64, memory, theirs)?;
    /// sender.send_all(&[7])?;
    /// assert_eq!(receiver.readable()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(capacity: usize, signals: Signals) -> Result<Self, ChannelError> {
        Self::attach(ChannelMemory::create::<T>(capacity, None)?, signals)
    }

    /// As [`new`](Self::new), in huge pages of the system's pool (`/proc/sys/vm/nr_hugepages`).
    ///
    /// # Errors
    /// As [`new`](Self::new); [`ChannelError::Memory`] also when the pool is empty.
    pub fn with_hugetlb(capacity: usize, pages: HugePages, signals: Signals) -> Result<Self, ChannelError> {
        Self::attach(ChannelMemory::create::<T>(capacity, Some(pages))?, signals)
    }

    /// Opens a channel that a peer created with the same capacity. The memory's seals, size and counts are checked
    /// first.
    ///
    /// # Errors
    /// [`ChannelError::Memory`] when the peer could shrink the memory, or it cannot be mapped;
    /// [`ChannelError::TooSmall`] when it is smaller than `capacity` needs; [`ChannelError::Ring`] when its counts are
    /// impossible.
    pub fn open(capacity: usize, memory: OwnedFd, signals: Signals) -> Result<Self, ChannelError> {
        Self::attach(ChannelMemory::open::<T>(capacity, memory, false)?, signals)
    }

    /// As [`open`](Self::open), and accepts memory of huge pages. Their creator can remove them in spite of the seals,
    /// which ends this process by a signal: use it only with a trusted peer.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_hugetlb(capacity: usize, memory: OwnedFd, signals: Signals) -> Result<Self, ChannelError> {
        Self::attach(ChannelMemory::open::<T>(capacity, memory, true)?, signals)
    }

    fn attach(memory: ChannelMemory, signals: Signals) -> Result<Self, ChannelError> {
        // SAFETY: valid for `bytes` bytes while `memory` exists, see `memory.rs`. The two sides agreed on one sender; a
        // second one could only corrupt elements, which are plain data.
        let ring = unsafe { shm2_ring::Sender::attach(memory.address(), memory.bytes)? };
        Ok(Self { ring, memory, signals, peer: PeerCheck::default(), spin: Spin::default() })
    }

    /// Locks the memory against swapping.
    ///
    /// # Errors
    /// [`ChannelError::System`] when the process may not lock so much (`RLIMIT_MEMLOCK`).
    pub fn mlock(&self) -> Result<(), ChannelError> {
        self.memory.lock()
    }

    /// The descriptor of the memory, to be passed to the other side.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.fd.as_fd()
    }

    /// The descriptors for signals.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Capacity of the ring in elements.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Number of elements sent since the ring was created.
    pub fn write_count(&self) -> u64 {
        self.ring.write_count()
    }

    /// Number of free slots now.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the receiver's count is impossible.
    pub fn writable(&mut self) -> Result<usize, StepError> {
        Ok(self.ring.writable()?)
    }

    /// Declares that this side polls and never waits, see [`shm2_ring::Sender::poll_always`].
    pub fn poll_always(&mut self) {
        self.ring.poll_always();
        self.peer.poll_always();
    }

    /// Sends all of `values`, or nothing. Returns `None` when fewer slots are free than `values` has elements; the
    /// receiver then signals when there are more.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the receiver's count is impossible or `values` exceeds the capacity.
    /// [`StepError::PeerGone`] when too few slots are free and the receiver is gone, if the signals show it; a side
    /// that [polls](Self::poll_always) may notice it some milliseconds later. Also when the receiver requested a signal
    /// and is gone; the elements are in the ring then.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut sender, offer) = shm2_channel::Sender::<u32>::offer(4)?;
    /// let status = sender.send_all(&[1, 2, 3])?.expect("four slots are free");
    /// assert_eq!(status.remaining, 1);
    /// assert!(sender.send_all(&[4, 5])?.is_none());
    /// # drop(offer);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn send_all(&mut self, values: &[T]) -> Result<Option<Status>, StepError> {
        let Some(status) = self.ring.send_all(values)? else { return self.no_slots().map(|()| None) };
        self.signal(status).map(Some)
    }

    /// Sends up to `count` elements, as many as slots are free. `make` is called with 0, 1, 2 and so on and returns the
    /// element.
    ///
    /// # Errors
    /// As [`send_all`](Self::send_all).
    pub fn send_foreach(&mut self, count: usize, make: impl FnMut(usize) -> T) -> Result<Status, StepError> {
        let before = self.ring.write_count();
        let status = self.ring.send_foreach(count, make)?;
        if count > 0 && self.ring.write_count() == before {
            self.no_slots()?;
        }
        self.signal(status)
    }

    /// Calls `fill` with `count` consecutive slots, in at most two parts, and sends as many as it returns. Returns
    /// `None` when fewer slots are free.
    ///
    /// # Errors
    /// As [`send_all`](Self::send_all); [`StepError::Ring`] also when `fill` returns more than `count`.
    pub fn send_slots(
        &mut self,
        count: usize,
        fill: impl FnOnce(&mut Slots<'_, 'static, T>) -> usize,
    ) -> Result<Option<Status>, StepError> {
        let Some(mut slots) = self.ring.reserve(count)? else { return self.no_slots().map(|()| None) };
        let used = fill(&mut slots);
        if used > count {
            return Err(RingError::TooMany { count: used, available: count }.into());
        }
        let status = slots.commit(used);
        self.signal(status).map(Some)
    }

    /// Calls `fill` with an address and the number of free slots there, see [`shm2_ring::Sender::send`].
    ///
    /// # Errors
    /// As [`send_all`](Self::send_all); [`StepError::Ring`] also when `fill` returns more than it was given.
    pub fn send_raw(&mut self, fill: impl FnOnce(*mut T, usize) -> usize) -> Result<Status, StepError> {
        let mut is_full = true;
        let status = self.ring.send(|address, count| {
            is_full = false;
            fill(address, count)
        })?;
        if is_full {
            self.no_slots()?;
        }
        self.signal(status)
    }

    /// As [`send_raw`](Self::send_raw), with a slice.
    ///
    /// # Errors
    /// As [`send_raw`](Self::send_raw).
    ///
    /// # Safety
    /// The receiver must keep to the protocol: it does not write elements.
    pub unsafe fn send_trusted(&mut self, fill: impl FnOnce(&mut [T]) -> usize) -> Result<Status, StepError> {
        self.send_raw(|address, count| {
            // SAFETY: `count` slots at `address` belong to this sender. The caller guarantees that the receiver does
            // not access them; any bytes are a valid value.
            fill(unsafe { std::slice::from_raw_parts_mut(address, count) })
        })
    }

    /// Waits until `count` slots are free; returns the number of free slots. A timeout of `None` waits forever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] within a second of the peer's death, if the signals show it; [`StepError::TimedOut`];
    /// [`StepError::Ring`] when the receiver's count is impossible or `count` exceeds the capacity.
    ///
    /// ```
    /// use shm2_channel::{Sender, StepError};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut sender, offer) = Sender::<u32>::offer(2)?;
    /// let mut receiver = offer.into_receiver::<u32>()?;
    /// sender.send_all(&[1, 2])?;
    /// let full = sender.block_until_writable(1, Some(Duration::from_millis(1)));
    /// assert!(matches!(full, Err(StepError::TimedOut)));
    ///
    /// receiver.recv_all(&mut [0; 2])?;
    /// assert_eq!(sender.block_until_writable(1, None)?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn block_until_writable(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { ring, signals, spin, .. } = self;
        block_until(ring, spin, count, timeout, || (), |left| signals.wait(left))
    }

    /// The descriptor to wait on, and the number of free slots now. Wait only when the number is 0.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the receiver's count is impossible.
    pub fn wait_status(&mut self) -> Result<(BorrowedFd<'_>, usize), StepError> {
        let free = self.writable_or_request(1)?;
        Ok((self.signals.wait_on(), free))
    }

    /// Takes the signals; to be called when the descriptor of [`wait_status`](Self::wait_status) was readable.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when no more signals will come.
    pub fn wait_clear(&mut self) -> Result<(), StepError> {
        if self.signals.clear()? { Ok(()) } else { Err(StepError::PeerGone) }
    }

    pub(crate) fn writable_or_request(&mut self, count: usize) -> Result<usize, StepError> {
        self.ring.available_or_request(count)
    }

    /// Too few slots are free. An error when that is for good, because the receiver is gone.
    #[cold]
    fn no_slots(&mut self) -> Result<(), StepError> {
        if self.peer.is_gone(&self.signals)? { Err(StepError::PeerGone) } else { Ok(()) }
    }

    /// Wakes the other side if it requested a signal.
    fn signal(&self, status: Status) -> Result<Status, StepError> {
        if status.signal && !self.signals.wake()? { Err(StepError::PeerGone) } else { Ok(status) }
    }
}
