//! The side that reads.
//!
//! # Safety
//! Elements between `read` and `written` are the receiver's to look at; a sender that keeps to the protocol writes none
//! of them before `read` has passed it. One that does not can change them at any time, so they are only copied.

#![allow(unsafe_code)]

use crate::error::{AttachError, Corrupt, RingError};
use crate::protocol;
use crate::ring::{Element, Parts, Ring, Status, copy_out, place};

/// Reads elements from a ring.
#[derive(Debug)]
pub struct Receiver<'m, T> {
    ring: Ring<'m, T>,
    read: u64,
    /// The sender's count when it was looked at last.
    written: u64,
    /// Slot of the next element.
    at: usize,
    is_polling: bool,
    /// Whether the other side was seen to poll.
    peer_polls: bool,
}

// SAFETY: the ring is used through atomics and raw copies, by one receiver at a time.
unsafe impl<T: Element + Send> Send for Receiver<'_, T> {}

impl<'m, T: Element> Receiver<'m, T> {
    /// The receiver of the ring in this memory, which goes on where the last one stopped.
    ///
    /// # Errors
    /// When the memory cannot hold a ring, or does not.
    ///
    /// # Safety
    /// `address` is valid for reads and writes of `bytes` bytes for `'m`. There is no other receiver. If the memory is
    /// shared, the other side has the same size and element.
    pub unsafe fn attach(address: *mut u8, bytes: usize) -> Result<Self, AttachError> {
        // SAFETY: passed on.
        let ring = unsafe { Ring::new(address, bytes)? };
        let read = protocol::observe(&ring.words().read);
        let at = (read % ring.capacity as u64) as usize;
        protocol::begin(&ring.words().receiver_waits);
        let mut receiver = Self { ring, read, written: read, at, is_polling: false, peer_polls: false };
        receiver.look()?;
        Ok(receiver)
    }

    /// Elements of the ring.
    pub fn capacity(&self) -> usize {
        self.ring.capacity
    }

    /// Elements taken since the ring was made.
    pub fn read_count(&self) -> u64 {
        self.read
    }

    /// From now on this side looks by itself and never asks for a signal. The other side sees that, and saves a fence with
    /// each step. There is no way back, neither for this side nor for one that takes its place in the same memory while the
    /// other goes on.
    pub fn poll_always(&mut self) {
        self.is_polling = true;
        protocol::poll(&self.ring.words().receiver_waits);
    }

    /// Elements to read now.
    ///
    /// # Errors
    /// When the sender's count cannot be.
    pub fn readable(&mut self) -> Result<usize, Corrupt> {
        self.look()?;
        Ok(self.filled())
    }

    /// Elements to read, as far as is known without a look at the sender's count.
    #[inline]
    fn filled(&self) -> usize {
        self.written.wrapping_sub(self.read) as usize
    }

    /// Looks at the sender's count: it grows, and never by more than there is room for.
    fn look(&mut self) -> Result<(), Corrupt> {
        let written = protocol::observe(&self.ring.words().written);
        let (seen, read, capacity) = (self.written, self.read, self.ring.capacity);
        let there = written.wrapping_sub(read);
        if there > capacity as u64 || there < seen.wrapping_sub(read) {
            return Err(Corrupt::Written { written, seen, read, capacity });
        }
        self.written = written;
        Ok(())
    }

    /// The next `count` elements, to be looked at and then [taken](Items::consume). `None` when there are fewer: then the
    /// receiver has asked for a signal, unless it [polls](Self::poll_always).
    ///
    /// # Errors
    /// When the sender's count cannot be, or the ring is smaller than that.
    #[inline]
    pub fn peek(&mut self, count: usize) -> Result<Option<Items<'_, 'm, T>>, RingError> {
        if self.filled() < count && !self.wait_for(count)? {
            return Ok(None);
        }
        let parts = self.ring.parts(self.at, count);
        Ok(Some(Items { receiver: self, parts, count }))
    }

    /// Whether `count` elements are there after all; asks for a signal if not.
    fn wait_for(&mut self, count: usize) -> Result<bool, RingError> {
        if count > self.ring.capacity {
            return Err(RingError::TooMany { count, available: self.ring.capacity });
        }
        self.look()?;
        if self.filled() >= count || self.is_polling {
            return Ok(self.filled() >= count);
        }
        protocol::ask(&self.ring.words().receiver_waits);
        self.look()?;
        let is_there = self.filled() >= count;
        if is_there {
            protocol::take_back(&self.ring.words().receiver_waits);
        }
        Ok(is_there)
    }

    /// Lets `use_up` look at an address, at so many elements in a row; it returns how many it is done with. At the end of
    /// the memory that can be fewer than are there: a second call has the rest. Use [`peek`](Self::peek) for what must not
    /// be split. The address is valid during the call only, and a hostile peer can change what stands there.
    ///
    /// # Errors
    /// When the sender's count cannot be, or `use_up` returns more than it was given.
    pub fn recv(&mut self, use_up: impl FnOnce(*const T, usize) -> usize) -> Result<Status, RingError> {
        if self.filled() == 0 && !self.wait_for(1)? {
            return Ok(Status { remaining: 0, signal: false });
        }
        let [(address, available), _] = self.ring.parts(self.at, self.filled());
        let count = use_up(address.as_ptr(), available);
        if count > available {
            return Err(RingError::TooMany { count, available });
        }
        Ok(self.consume(count))
    }

    /// As [`recv`](Self::recv), with a slice.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Safety
    /// The sender keeps to the protocol: it does not write elements that were not taken yet.
    pub unsafe fn receive_trusted(&mut self, use_up: impl FnOnce(&[T]) -> usize) -> Result<Status, RingError> {
        self.recv(|address, count| {
            // SAFETY: nobody writes these elements now, as the caller vouches; any bytes are a value.
            use_up(unsafe { core::slice::from_raw_parts(address, count) })
        })
    }

    /// Takes up to `count` elements and calls `each` with 0, 1, 2 and so on, and a copy of the element.
    ///
    /// # Errors
    /// When the sender's count cannot be.
    pub fn recv_foreach(&mut self, count: usize, mut each: impl FnMut(usize, T)) -> Result<Status, RingError> {
        if self.filled() < count {
            self.look()?;
        }
        // At least one is wanted, so that a receiver of an empty ring asks.
        let wanted = self.filled().min(count).max(count.min(1));
        let Some(items) = self.peek(wanted)? else { return Ok(Status { remaining: 0, signal: false }) };
        for index in 0..wanted {
            if let Some(value) = items.get(index) {
                each(index, value);
            }
        }
        Ok(items.consume(wanted))
    }

    /// Takes as many elements as `values` has, or none if there are fewer.
    ///
    /// # Errors
    /// When the sender's count cannot be.
    #[inline]
    pub fn recv_all(&mut self, values: &mut [T]) -> Result<Option<Status>, RingError> {
        let count = values.len();
        let Some(items) = self.peek(count)? else { return Ok(None) };
        items.read_into(0, values);
        Ok(Some(items.consume(count)))
    }

    /// Gives `count` slots back; asks for a signal when nothing is left to read.
    #[inline]
    fn consume(&mut self, count: usize) -> Status {
        let mut signal = false;
        if count > 0 {
            self.read = self.read.wrapping_add(count as u64);
            self.at = self.ring.advance(self.at, count);
            let words = self.ring.words();
            signal = protocol::publish(&words.read, self.read, &words.sender_waits, &mut self.peer_polls);
        }
        if self.filled() == 0 {
            // What was taken is taken: a lie that is found now is for the next step to tell.
            let _ = self.wait_for(1);
        }
        Status { remaining: self.filled(), signal }
    }
}

/// Elements that a receiver looks at, in at most two parts.
#[derive(Debug)]
pub struct Items<'r, 'm, T> {
    receiver: &'r mut Receiver<'m, T>,
    parts: Parts<T>,
    count: usize,
}

impl<T: Element> Items<'_, '_, T> {
    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A copy of element `index`, if it is there.
    #[inline]
    pub fn get(&self, index: usize) -> Option<T> {
        // SAFETY: the element lies in the ring; any bytes are a value.
        place(&self.parts, index).map(|item| unsafe { item.read() })
    }

    /// Copies elements from `index` on; returns how many there were.
    #[inline]
    pub fn read_into(&self, index: usize, values: &mut [T]) -> usize {
        copy_out(&self.parts, index, values)
    }

    /// Addresses and lengths of both parts; the second is empty unless the elements go around the end of the memory.
    pub fn as_raw(&self) -> [(*const T, usize); 2] {
        self.parts.map(|(address, count)| (address.as_ptr().cast_const(), count))
    }

    /// Takes the first `count` elements: their slots are the sender's again. More than there are is all.
    #[inline]
    pub fn consume(self, count: usize) -> Status {
        let count = count.min(self.count);
        self.receiver.consume(count)
    }
}
