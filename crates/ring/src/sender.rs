//! The side that writes.
//!
//! # Safety
//! Slots between `written` and `read + capacity` are the sender's alone; the receiver looks at none of them before
//! `written` shows it. What is passed to callers points at such slots.

#![allow(unsafe_code)]

use crate::error::{AttachError, Corrupt, RingError};
use crate::protocol;
use crate::ring::{Element, Parts, Ring, Status, copy_in, place};

/// Writes elements into a ring.
#[derive(Debug)]
pub struct Sender<'m, T> {
    ring: Ring<'m, T>,
    written: u64,
    /// The receiver's count when it was looked at last.
    read: u64,
    /// Slot of the next element.
    at: usize,
    is_polling: bool,
    /// Whether the other side was seen to poll.
    peer_polls: bool,
}

// SAFETY: the ring is used through atomics and raw copies, by one sender at a time.
unsafe impl<T: Element + Send> Send for Sender<'_, T> {}

impl<'m, T: Element> Sender<'m, T> {
    /// The sender of the ring in this memory, which goes on where the last one stopped.
    ///
    /// # Errors
    /// When the memory cannot hold a ring, or does not.
    ///
    /// # Safety
    /// `address` is valid for reads and writes of `bytes` bytes for `'m`. There is no other sender. If the memory is
    /// shared, the other side has the same size and element.
    pub unsafe fn attach(address: *mut u8, bytes: usize) -> Result<Self, AttachError> {
        // SAFETY: passed on.
        let ring = unsafe { Ring::new(address, bytes)? };
        let written = protocol::observe(&ring.words().written);
        let at = (written % ring.capacity as u64) as usize;
        let read = written.wrapping_sub(ring.capacity as u64);
        protocol::begin(&ring.words().sender_waits);
        let mut sender = Self { ring, written, read, at, is_polling: false, peer_polls: false };
        sender.look()?;
        Ok(sender)
    }

    /// Elements of the ring.
    pub fn capacity(&self) -> usize {
        self.ring.capacity
    }

    /// Elements sent since the ring was made.
    pub fn write_count(&self) -> u64 {
        self.written
    }

    /// From now on this side looks by itself and never asks for a signal. The other side sees that, and saves a fence with
    /// each step. There is no way back, neither for this side nor for one that takes its place in the same memory while the
    /// other goes on.
    pub fn poll_always(&mut self) {
        self.is_polling = true;
        protocol::poll(&self.ring.words().sender_waits);
    }

    /// Free slots now.
    ///
    /// # Errors
    /// When the receiver's count cannot be.
    pub fn writable(&mut self) -> Result<usize, Corrupt> {
        self.look()?;
        Ok(self.free())
    }

    /// Free slots, as far as is known without a look at the receiver's count.
    #[inline]
    fn free(&self) -> usize {
        self.ring.capacity - self.written.wrapping_sub(self.read) as usize
    }

    /// Looks at the receiver's count: it grows, and never beyond what was sent.
    fn look(&mut self) -> Result<(), Corrupt> {
        let read = protocol::observe(&self.ring.words().read);
        let seen = self.read;
        if read.wrapping_sub(seen) > self.written.wrapping_sub(seen) {
            return Err(Corrupt::Read { read, seen, written: self.written });
        }
        self.read = read;
        Ok(())
    }

    /// `count` slots in a row to be filled and then [committed](Slots::commit). `None` when there are fewer: then the
    /// sender has asked for a signal, unless it [polls](Self::poll_always).
    ///
    /// # Errors
    /// When the receiver's count cannot be, or the ring is smaller than that.
    #[inline]
    pub fn reserve(&mut self, count: usize) -> Result<Option<Slots<'_, 'm, T>>, RingError> {
        if self.free() < count && !self.wait_for(count)? {
            return Ok(None);
        }
        let parts = self.ring.parts(self.at, count);
        Ok(Some(Slots { sender: self, parts, count }))
    }

    /// Whether `count` slots are free after all; asks for a signal if not.
    fn wait_for(&mut self, count: usize) -> Result<bool, RingError> {
        if count > self.ring.capacity {
            return Err(RingError::TooMany { count, available: self.ring.capacity });
        }
        self.look()?;
        if self.free() >= count || self.is_polling {
            return Ok(self.free() >= count);
        }
        protocol::ask(&self.ring.words().sender_waits);
        self.look()?;
        let is_there = self.free() >= count;
        if is_there {
            protocol::take_back(&self.ring.words().sender_waits);
        }
        Ok(is_there)
    }

    /// Lets `fill` write at an address, into at most so many slots in a row; it returns how many it filled. At the end of
    /// the memory that can be fewer than are free: a second call has the rest. Use [`reserve`](Self::reserve) for what
    /// must not be split.
    ///
    /// # Errors
    /// When the receiver's count cannot be, or `fill` returns more than it was given.
    pub fn send(&mut self, fill: impl FnOnce(*mut T, usize) -> usize) -> Result<Status, RingError> {
        if self.free() == 0 && !self.wait_for(1)? {
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
    /// The receiver keeps to the protocol: it does not write elements.
    pub unsafe fn send_trusted(&mut self, fill: impl FnOnce(&mut [T]) -> usize) -> Result<Status, RingError> {
        self.send(|address, count| {
            // SAFETY: the slots are this sender's alone, as the caller vouches; any bytes are a value.
            fill(unsafe { core::slice::from_raw_parts_mut(address, count) })
        })
    }

    /// Sends up to `count` elements that `make` returns for 0, 1, 2 and so on; as many as there is room for.
    ///
    /// # Errors
    /// When the receiver's count cannot be.
    pub fn send_foreach(&mut self, count: usize, mut make: impl FnMut(usize) -> T) -> Result<Status, RingError> {
        if self.free() < count {
            self.look()?;
        }
        let count = self.free().min(count);
        let Some(mut slots) = self.reserve(count)? else { return Ok(Status { remaining: 0, signal: false }) };
        for index in 0..count {
            slots.set(index, make(index));
        }
        Ok(slots.commit(count))
    }

    /// Sends all of `values`, or none if there is not room for all.
    ///
    /// # Errors
    /// When the receiver's count cannot be.
    #[inline]
    pub fn send_all(&mut self, values: &[T]) -> Result<Option<Status>, RingError> {
        let Some(mut slots) = self.reserve(values.len())? else { return Ok(None) };
        slots.write(0, values);
        Ok(Some(slots.commit(values.len())))
    }

    /// Shows `count` filled slots; asks for a signal when none is left.
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
            // What was sent is sent: a lie that is found now is for the next step to tell.
            let _ = self.wait_for(1);
        }
        Status { remaining: self.free(), signal }
    }
}

/// Slots that a sender fills, in at most two parts.
#[derive(Debug)]
pub struct Slots<'s, 'm, T> {
    sender: &'s mut Sender<'m, T>,
    parts: Parts<T>,
    count: usize,
}

impl<T: Element> Slots<'_, '_, T> {
    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Fills slot `index`; one that is not there is passed over.
    #[inline]
    pub fn set(&mut self, index: usize, value: T) {
        if let Some(slot) = place(&self.parts, index) {
            // SAFETY: the slot lies in the ring and is this sender's.
            unsafe { slot.write(value) };
        }
    }

    /// Fills slots from `index` on; returns how many there were for `values`.
    #[inline]
    pub fn write(&mut self, index: usize, values: &[T]) -> usize {
        copy_in(&self.parts, index, values)
    }

    /// Addresses and lengths of both parts; the second is empty unless the slots go around the end of the memory.
    pub fn as_raw(&self) -> [(*mut T, usize); 2] {
        self.parts.map(|(address, count)| (address.as_ptr(), count))
    }

    /// Sends the first `count` slots, which must be filled: what stood there before is sent as it is otherwise. More
    /// than there are is all.
    #[inline]
    pub fn commit(self, count: usize) -> Status {
        let count = count.min(self.count);
        self.sender.commit(count)
    }
}
