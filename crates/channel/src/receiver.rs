//! The reading side.
//!
//! # Safety
//! See `memory.rs`.

#![expect(unsafe_code, reason = "attaches to checked memory, see `memory.rs`")]

use crate::memory::ChannelMemory;
use crate::wait::{PeerCheck, Side, Spin, block_until};
use crate::{ChannelError, Element, HugePages, Items, RingError, Signals, Status, StepError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Reads elements from a channel.
#[derive(Debug)]
pub struct Receiver<T> {
    ring: shm2_ring::Receiver<'static, T>,
    /// Dropped after the ring, which is in it.
    memory: ChannelMemory,
    signals: Signals,
    peer: PeerCheck,
    spin: Spin,
}

impl<T: Element> Receiver<T> {
    /// Creates a channel of `capacity` elements. The other side opens [`memory`](Self::memory) with the same capacity
    /// and the other signals; [`offer`](Self::offer) prepares this in one step.
    ///
    /// # Errors
    /// [`ChannelError::Capacity`] when `capacity` is 0 or too large, [`ChannelError::Memory`] when the system has no
    /// memory.
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
    ///
    /// ```
    /// use shm2_channel::{ChannelError, Receiver, Sender, Signals};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ours, theirs) = Signals::event_pair()?;
    /// let sender = Sender::<u32>::new(64, ours)?;
    /// let receiver = Receiver::<u32>::open(64, sender.memory().try_clone_to_owned()?, theirs)?;
    /// assert_eq!(receiver.capacity(), 64);
    ///
    /// // A file is not sealed memory.
    /// let file = std::fs::File::open("/proc/self/exe")?.into();
    /// let refused = Receiver::<u32>::open(64, file, Signals::event_pair()?.0);
    /// assert!(matches!(refused, Err(ChannelError::Memory(_))));
    /// # Ok(())
    /// # }
    /// ```
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
        // SAFETY: valid for `bytes` bytes while `memory` exists, see `memory.rs`. The two sides agreed on one
        // receiver; a second one could only corrupt elements, which are plain data.
        let ring = unsafe { shm2_ring::Receiver::attach(memory.address(), memory.bytes)? };
        let mut receiver = Self { ring, memory, signals, peer: PeerCheck::default(), spin: Spin::default() };
        // Requests a signal from the start: an event loop may wait for one before its first read.
        let _ = receiver.ring.peek(1);
        Ok(receiver)
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

    /// Number of elements taken since the ring was created.
    pub fn read_count(&self) -> u64 {
        self.ring.read_count()
    }

    /// Number of elements to read now.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the sender's count is impossible.
    pub fn readable(&mut self) -> Result<usize, StepError> {
        Ok(self.ring.readable()?)
    }

    /// Declares that this side polls and never waits, see [`shm2_ring::Receiver::poll_always`].
    pub fn poll_always(&mut self) {
        self.ring.poll_always();
        self.peer.poll_always();
    }

    /// Takes as many elements as `values` has, or nothing. Returns `None` when there are fewer; the sender then signals
    /// when there are more.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the sender's count is impossible or `values` exceeds the capacity.
    /// [`StepError::PeerGone`] when there are too few elements and the sender is gone, if the signals show it; a side
    /// that [polls](Self::poll_always) may notice it some milliseconds later. Elements that were sent before stay
    /// readable.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut receiver, offer) = shm2_channel::Receiver::<u32>::offer(4)?;
    /// let mut sender = offer.into_sender::<u32>()?;
    /// sender.send_all(&[1, 2, 3])?;
    /// drop(sender);
    ///
    /// let mut values = [0; 2];
    /// let status = receiver.recv_all(&mut values)?.expect("three elements were sent");
    /// assert_eq!((values, status.remaining), ([1, 2], 1));
    /// // One element is left, and no other will come.
    /// assert!(matches!(receiver.recv_all(&mut values), Err(shm2_channel::StepError::PeerGone)));
    /// assert!(receiver.recv_all(&mut values[..1])?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn recv_all(&mut self, values: &mut [T]) -> Result<Option<Status>, StepError> {
        match self.ring.recv_all(values)? {
            Some(status) => Ok(Some(self.signal(status))),
            None if self.are_left(values.len())? => self.recv_all(values),
            None => Ok(None),
        }
    }

    /// Takes up to `count` elements, as many as there are. `each` is called with 0, 1, 2 and so on and a copy of the
    /// element.
    ///
    /// # Errors
    /// As [`recv_all`](Self::recv_all).
    pub fn recv_foreach(&mut self, count: usize, mut each: impl FnMut(usize, T)) -> Result<Status, StepError> {
        let before = self.ring.read_count();
        let mut status = self.ring.recv_foreach(count, &mut each)?;
        if count > 0 && self.ring.read_count() == before && self.are_left(1)? {
            status = self.ring.recv_foreach(count, each)?;
        }
        Ok(self.signal(status))
    }

    /// Calls `use_up` with `count` consecutive elements, in at most two parts, and takes as many as it returns. Returns
    /// `None` when there are fewer.
    ///
    /// # Errors
    /// As [`recv_all`](Self::recv_all); [`StepError::Ring`] also when `use_up` returns more than `count`.
    pub fn recv_items(
        &mut self,
        count: usize,
        use_up: impl FnOnce(&Items<'_, 'static, T>) -> usize,
    ) -> Result<Option<Status>, StepError> {
        let Some(items) = self.ring.peek(count)? else {
            return if self.are_left(count)? { self.recv_items(count, use_up) } else { Ok(None) };
        };
        let used = use_up(&items);
        if used > count {
            return Err(RingError::TooMany { count: used, available: count }.into());
        }
        let status = items.consume(used);
        Ok(Some(self.signal(status)))
    }

    /// Calls `use_up` with an address and the number of elements there, see [`shm2_ring::Receiver::recv`].
    ///
    /// # Errors
    /// As [`recv_all`](Self::recv_all); [`StepError::Ring`] also when `use_up` returns more than it was given.
    pub fn receive_raw(&mut self, use_up: impl FnOnce(*const T, usize) -> usize) -> Result<Status, StepError> {
        let mut use_up = Some(use_up);
        let mut status = self.ring.recv(|address, count| use_up.take().map_or(0, |use_up| use_up(address, count)))?;
        if use_up.is_some() && self.are_left(1)? {
            status = self.ring.recv(|address, count| use_up.take().map_or(0, |use_up| use_up(address, count)))?;
        }
        Ok(self.signal(status))
    }

    /// As [`receive_raw`](Self::receive_raw), with a slice.
    ///
    /// # Errors
    /// As [`receive_raw`](Self::receive_raw).
    ///
    /// # Safety
    /// The sender must keep to the protocol: it does not write elements that were not taken yet.
    pub unsafe fn receive_trusted(&mut self, use_up: impl FnOnce(&[T]) -> usize) -> Result<Status, StepError> {
        self.receive_raw(|address, count| {
            // SAFETY: `count` elements at `address` belong to this receiver. The caller guarantees that the sender does
            // not write them; any bytes are a valid value.
            use_up(unsafe { std::slice::from_raw_parts(address, count) })
        })
    }

    /// Waits until there are `count` elements; returns the number of elements. A timeout of `None` waits forever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when fewer elements are left, within a second of the peer's death if the signals show
    /// it; [`StepError::TimedOut`]; [`StepError::Ring`] when the sender's count is impossible or `count` exceeds the
    /// capacity.
    ///
    /// ```
    /// use shm2_channel::{Receiver, StepError};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut receiver, offer) = Receiver::<u32>::offer(4)?;
    /// let mut sender = offer.into_sender::<u32>()?;
    /// let sending = std::thread::spawn(move || sender.send_all(&[1, 2]).map(|_| ()));
    ///
    /// assert_eq!(receiver.block_until_readable(2, None)?, 2);
    /// receiver.recv_all(&mut [0; 2])?;
    /// sending.join().expect("no panic")?;
    /// // The sender is gone and nothing is left.
    /// assert!(matches!(receiver.block_until_readable(1, None), Err(StepError::PeerGone)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn block_until_readable(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { ring, signals, spin, .. } = self;
        block_until(ring, spin, count, timeout, || (), |left| signals.wait(left))
    }

    /// The descriptor to wait on, and the number of elements now. Wait only when the number is 0.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the sender's count is impossible.
    ///
    /// ```
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut receiver, offer) = shm2_channel::Receiver::<u32>::offer(4)?;
    /// let mut sender = offer.into_sender::<u32>()?;
    /// sender.send_all(&[1])?;
    ///
    /// loop {
    ///     let (descriptor, count) = receiver.wait_status()?;
    ///     if count > 0 {
    ///         break;
    ///     }
    ///     poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None)?;
    ///     receiver.wait_clear()?;
    /// }
    /// assert_eq!(receiver.readable()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_status(&mut self) -> Result<(BorrowedFd<'_>, usize), StepError> {
        let there = self.readable_or_request(1)?;
        Ok((self.signals.wait_on(), there))
    }

    /// Takes the signals; to be called when the descriptor of [`wait_status`](Self::wait_status) was readable.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when no more signals will come; there may still be elements to read.
    pub fn wait_clear(&mut self) -> Result<(), StepError> {
        if self.signals.clear()? { Ok(()) } else { Err(StepError::PeerGone) }
    }

    pub(crate) fn readable_or_request(&mut self, count: usize) -> Result<usize, StepError> {
        self.ring.available_or_request(count)
    }

    /// Fewer than `count` elements were found. True when they are there after all, false when they may still come; an
    /// error when they never will, because the sender is gone.
    #[cold]
    fn are_left(&mut self, count: usize) -> Result<bool, StepError> {
        if !self.peer.is_gone(&self.signals)? {
            return Ok(false);
        }
        // What the sender sent before its end is in the ring by now.
        if self.ring.readable()? >= count { Ok(true) } else { Err(StepError::PeerGone) }
    }

    /// Wakes the other side if it requested a signal. A failure does not discard the elements just taken: waiting
    /// reports a peer that is gone, and a live peer checks the ring once a second without a signal.
    fn signal(&self, status: Status) -> Status {
        if status.signal {
            let _ = self.signals.wake();
        }
        status
    }
}
