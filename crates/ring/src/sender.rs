//! The writing side.
//!
//! # Safety
//! The slots between `written` and `read + capacity` belong to the sender: a receiver that keeps to the protocol does
//! not access them before `written` publishes them. Addresses passed to callers point to such slots.

#![expect(unsafe_code, reason = "raw writes to slots, see the head of this file")]

use crate::error::{AttachError, Corrupt, RingError};
use crate::ring::{Element, Parts, Ring, copy_in, element_at};
use crate::{Status, protocol};

/// Writes elements into a ring.
#[derive(Debug)]
pub struct Sender<'m, T> {
    ring: Ring<'m, T>,
    written: u64,
    /// The receiver's count as loaded last.
    read: u64,
    /// Index of the next slot to fill.
    at: usize,
    is_polling: bool,
    /// Whether the receiver was seen to poll.
    peer_polls: bool,
}

// SAFETY: the memory is accessed through atomics and raw copies, and only one sender exists.
unsafe impl<T: Element + Send> Send for Sender<'_, T> {}

impl<'m, T: Element> Sender<'m, T> {
    /// Attaches as the sender of the ring at `address`, which has `bytes` bytes. Continues at the count where the
    /// previous sender stopped.
    ///
    /// # Errors
    /// [`AttachError`] when the memory cannot hold a ring, or its counts are impossible.
    ///
    /// # Safety
    /// `address` must be valid for reads and writes of `bytes` bytes for `'m`. No other sender may exist. If the memory
    /// is shared, the other side must use the same size and element type.
    pub unsafe fn attach(address: *mut u8, bytes: usize) -> Result<Self, AttachError> {
        // SAFETY: the caller guarantees the validity of the memory.
        let ring = unsafe { Ring::new(address, bytes)? };
        let written = protocol::observe(&ring.words().written);
        let at = (written % ring.capacity as u64) as usize;
        let read = written.wrapping_sub(ring.capacity as u64);
        protocol::clear_polling(&ring.words().sender_waits);
        let mut sender = Self { ring, written, read, at, is_polling: false, peer_polls: false };
        sender.refresh()?;
        Ok(sender)
    }

    /// Capacity of the ring in elements.
    pub fn capacity(&self) -> usize {
        self.ring.capacity
    }

    /// Number of elements sent since the ring was created.
    pub fn write_count(&self) -> u64 {
        self.written
    }

    /// Declares that this side polls: from now on it never requests a signal, and the receiver saves a fence with each
    /// step. This cannot be undone for as long as the receiver exists, not even by attaching another sender.
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    /// sender.poll_always();
    /// // The ring is full and the next call sends nothing, but no signal is requested.
    /// sender.send_all(&[1, 2, 3, 4])?;
    /// assert_eq!(sender.send_all(&[5])?, None);
    /// assert!(!receiver.recv_foreach(1, |_, _| ())?.signal);
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_always(&mut self) {
        self.is_polling = true;
        protocol::declare_polling(&self.ring.words().sender_waits);
    }

    /// Withdraws a request for a signal that an earlier call left. A caller that is going to check the ring again without
    /// a wait saves the receiver the signal. The next call that finds too little requests a signal again. Returns false
    /// when there is no request any more: if one was made, the receiver has sent its signal, or will send it.
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    /// sender.send_all(&[1, 2, 3, 4])?;
    /// assert!(sender.withdraw_request());
    /// assert!(!receiver.recv_foreach(1, |_, _| ())?.signal);
    /// # Ok(())
    /// # }
    /// ```
    pub fn withdraw_request(&mut self) -> bool {
        // A side that polls has no request, and its word says that it polls.
        !self.is_polling && protocol::withdraw_request(&self.ring.words().sender_waits)
    }

    /// Number of free slots now.
    ///
    /// # Errors
    /// [`Corrupt`] when the receiver's count is impossible.
    pub fn writable(&mut self) -> Result<usize, Corrupt> {
        self.refresh()?;
        Ok(self.free())
    }

    /// Reserves `count` consecutive slots, to be filled and then [committed](Slots::commit). Returns `None` when fewer
    /// are free; the sender has then requested a signal, unless it [polls](Self::poll_always). Slots that are dropped
    /// without a commit stay free.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] when the receiver's count is impossible, [`RingError::TooMany`] when `count` exceeds the
    /// capacity.
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    ///
    /// let mut slots = sender.reserve(3)?.expect("the ring is empty");
    /// slots.set(0, 10);
    /// slots.write(1, &[11, 12]);
    /// let status = slots.commit(3);
    /// assert_eq!(status.remaining, 1);
    ///
    /// assert!(sender.reserve(2)?.is_none());
    /// // The sender requested a signal, so the receiver has to wake it.
    /// assert!(receiver.recv_foreach(3, |index, value| assert_eq!(value, 10 + index as u32))?.signal);
    /// assert!(sender.reserve(2)?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn reserve(&mut self, count: usize) -> Result<Option<Slots<'_, 'm, T>>, RingError> {
        if self.free() < count && !self.has_or_requests(count)? {
            return Ok(None);
        }
        let parts = self.ring.parts(self.at, count);
        Ok(Some(Slots { sender: self, parts, count }))
    }

    /// Calls `fill` with an address and the number of consecutive free slots there, and sends as many elements as
    /// `fill` returns. At the end of the memory the number can be lower than [`writable`](Self::writable); a second
    /// call has the rest. [`reserve`](Self::reserve) does not split elements that belong together. The address is valid
    /// during the call only. `fill` is not called when the ring is full; a signal is then requested.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] when the receiver's count is impossible, [`RingError::TooMany`] when `fill` returns more
    /// than it was given.
    pub fn send(&mut self, fill: impl FnOnce(*mut T, usize) -> usize) -> Result<Status, RingError> {
        if self.free() == 0 && !self.has_or_requests(1)? {
            return Ok(Status { remaining: 0, signal: false });
        }
        let [(address, available), _] = self.ring.parts(self.at, self.free());
        let count = fill(address.as_ptr(), available);
        if count > available {
            return Err(RingError::TooMany { count, available });
        }
        Ok(self.commit(count))
    }

    /// As [`send`](Self::send), with a slice.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Safety
    /// The receiver must keep to the protocol: it does not write elements.
    pub unsafe fn send_trusted(&mut self, fill: impl FnOnce(&mut [T]) -> usize) -> Result<Status, RingError> {
        self.send(|address, count| {
            // SAFETY: the caller guarantees that only this sender accesses the slots; any bytes are a valid value.
            fill(unsafe { core::slice::from_raw_parts_mut(address, count) })
        })
    }

    /// Sends up to `count` elements, as many as slots are free. `make` is called with 0, 1, 2 and so on and returns the
    /// element.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] when the receiver's count is impossible.
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    ///
    /// // Only four of six elements fit.
    /// let status = sender.send_foreach(6, |index| index as u32)?;
    /// assert_eq!((status.remaining, sender.write_count()), (0, 4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_foreach(&mut self, count: usize, mut make: impl FnMut(usize) -> T) -> Result<Status, RingError> {
        if self.free() < count {
            self.refresh()?;
        }
        let count = self.free().min(count);
        let Some(mut slots) = self.reserve(count)? else { return Ok(Status { remaining: 0, signal: false }) };
        for index in 0..count {
            slots.set(index, make(index));
        }
        Ok(slots.commit(count))
    }

    /// Sends all of `values`, or nothing. Returns `None` when fewer slots are free than `values` has elements; the
    /// sender has then requested a signal, unless it [polls](Self::poll_always).
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, _receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    /// assert_eq!(sender.send_all(&[1, 2, 3])?.map(|status| status.remaining), Some(1));
    /// assert_eq!(sender.send_all(&[4, 5])?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn send_all(&mut self, values: &[T]) -> Result<Option<Status>, RingError> {
        let Some(mut slots) = self.reserve(values.len())? else { return Ok(None) };
        slots.write(0, values);
        Ok(Some(slots.commit(values.len())))
    }

    /// Free slots according to the receiver's count as loaded last.
    #[inline]
    fn free(&self) -> usize {
        self.ring.capacity - self.written.wrapping_sub(self.read) as usize
    }

    /// Loads the receiver's count and checks it: it never decreases and never exceeds the sender's.
    fn refresh(&mut self) -> Result<(), Corrupt> {
        let read = protocol::observe(&self.ring.words().read);
        let seen = self.read;
        if read.wrapping_sub(seen) > self.written.wrapping_sub(seen) {
            return Err(Corrupt::Read { read, seen, written: self.written });
        }
        self.read = read;
        Ok(())
    }

    /// Whether `count` slots are free. If not, requests a signal, unless this side polls.
    fn has_or_requests(&mut self, count: usize) -> Result<bool, RingError> {
        if count > self.ring.capacity {
            return Err(RingError::TooMany { count, available: self.ring.capacity });
        }
        self.refresh()?;
        if self.free() >= count || self.is_polling {
            return Ok(self.free() >= count);
        }
        protocol::request_signal(&self.ring.words().sender_waits);
        self.refresh()?;
        let is_there = self.free() >= count;
        if is_there {
            protocol::withdraw_request(&self.ring.words().sender_waits);
        }
        Ok(is_there)
    }

    /// Publishes `count` filled slots. Requests a signal when no slot is left.
    #[inline]
    fn commit(&mut self, count: usize) -> Status {
        let mut signal = false;
        if count > 0 {
            self.written = self.written.wrapping_add(count as u64);
            self.at = self.ring.advance(self.at, count);
            let words = self.ring.words();
            signal = protocol::publish(&words.written, self.written, &words.receiver_waits, &mut self.peer_polls);
        }
        if self.free() == 0 {
            // The elements are sent; the next step reports a corrupt count that is found here.
            let _ = self.has_or_requests(1);
        }
        Status { remaining: self.free(), signal }
    }
}

/// Reserved slots of a sender, in at most two parts.
#[derive(Debug)]
pub struct Slots<'s, 'm, T> {
    sender: &'s mut Sender<'m, T>,
    parts: Parts<T>,
    count: usize,
}

impl<T: Element> Slots<'_, '_, T> {
    /// Number of slots.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Fills slot `index`. Does nothing when `index` is not below [`len`](Self::len).
    #[inline]
    pub fn set(&mut self, index: usize, value: T) {
        if let Some(slot) = element_at(&self.parts, index) {
            // SAFETY: the slot is inside the ring and belongs to this sender.
            unsafe { slot.write(value) };
        }
    }

    /// Fills slots from `index` on. Returns the number of values written; it is lower than `values.len()` when too few
    /// slots follow.
    #[inline]
    pub fn write(&mut self, index: usize, values: &[T]) -> usize {
        copy_in(&self.parts, index, values)
    }

    /// Addresses and lengths, in elements, of both parts. The second part is empty unless the slots cross the end of
    /// the memory.
    pub fn as_raw(&self) -> [(*mut T, usize); 2] {
        self.parts.map(|(address, count)| (address.as_ptr(), count))
    }

    /// Sends the first `count` slots, or all when there are fewer. A slot that was not filled is sent with its old
    /// contents.
    #[inline]
    pub fn commit(self, count: usize) -> Status {
        let count = count.min(self.count);
        self.sender.commit(count)
    }
}
