//! The reading side.
//!
//! # Safety
//! The elements between `read` and `written` belong to the receiver: a sender that keeps to the protocol does not write
//! them before `read` has passed them. Any other sender can change them at any time, so they are only copied.

#![expect(unsafe_code, reason = "raw reads of elements, see the head of this file")]

use crate::error::{AttachError, Corrupt, RingError};
use crate::ring::{Element, Parts, Ring, copy_out, element_at};
use crate::{Status, protocol};

/// Reads elements from a ring.
#[derive(Debug)]
pub struct Receiver<'m, T> {
    ring: Ring<'m, T>,
    read: u64,
    /// The sender's count as loaded last.
    written: u64,
    /// Index of the next element to read.
    at: usize,
    is_polling: bool,
    /// Whether the sender was seen to poll.
    peer_polls: bool,
}

// SAFETY: the memory is accessed through atomics and raw copies, and only one receiver exists.
unsafe impl<T: Element + Send> Send for Receiver<'_, T> {}

impl<'m, T: Element> Receiver<'m, T> {
    /// Attaches as the receiver of the ring at `address`, which has `bytes` bytes. Continues at the count where the
    /// previous receiver stopped.
    ///
    /// # Errors
    /// [`AttachError`] when the memory cannot hold a ring, or its counts are impossible.
    ///
    /// # Safety
    /// `address` must be valid for reads and writes of `bytes` bytes for `'m`. No other receiver may exist. If the
    /// memory is shared, the other side must use the same size and element type.
    pub unsafe fn attach(address: *mut u8, bytes: usize) -> Result<Self, AttachError> {
        // SAFETY: the caller guarantees the validity of the memory.
        let ring = unsafe { Ring::new(address, bytes)? };
        let read = protocol::observe(&ring.words().read);
        let at = (read % ring.capacity as u64) as usize;
        protocol::clear_polling(&ring.words().receiver_waits);
        let mut receiver = Self { ring, read, written: read, at, is_polling: false, peer_polls: false };
        receiver.refresh()?;
        Ok(receiver)
    }

    /// Capacity of the ring in elements.
    pub fn capacity(&self) -> usize {
        self.ring.capacity
    }

    /// Number of elements taken since the ring was created.
    pub fn read_count(&self) -> u64 {
        self.read
    }

    /// Declares that this side polls: from now on it never requests a signal, and the sender saves a fence with each
    /// step. This cannot be undone for as long as the sender exists, not even by attaching another receiver.
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    /// receiver.poll_always();
    /// // The ring is empty, but no signal is requested.
    /// assert_eq!(receiver.recv_all(&mut [0])?, None);
    /// assert!(!sender.send_foreach(1, |_| 7)?.signal);
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_always(&mut self) {
        self.is_polling = true;
        protocol::declare_polling(&self.ring.words().receiver_waits);
    }

    /// Withdraws a request for a signal that an earlier call left. A caller that is going to check the ring again without
    /// a wait saves the sender the signal. The next call that finds too little requests a signal again. Returns false
    /// when there is no request any more: if one was made, the sender has sent its signal, or will send it.
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    /// assert_eq!(receiver.recv_all(&mut [0])?, None);
    /// assert!(receiver.withdraw_request());
    /// assert!(!sender.send_foreach(1, |_| 7)?.signal);
    /// # Ok(())
    /// # }
    /// ```
    pub fn withdraw_request(&mut self) -> bool {
        // A side that polls has no request, and its word says that it polls.
        !self.is_polling && protocol::withdraw_request(&self.ring.words().receiver_waits)
    }

    /// Number of elements to read now.
    ///
    /// # Errors
    /// [`Corrupt`] when the sender's count is impossible.
    pub fn readable(&mut self) -> Result<usize, Corrupt> {
        self.refresh()?;
        Ok(self.filled())
    }

    /// Presents the next `count` elements, to be read and then [taken](Items::consume). Returns `None` when there are
    /// fewer; the receiver has then requested a signal, unless it [polls](Self::poll_always). Items that are dropped
    /// without a call of `consume` stay in the ring.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] when the sender's count is impossible, [`RingError::TooMany`] when `count` exceeds the
    /// capacity.
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    /// sender.send_all(&[10, 11, 12])?;
    ///
    /// let items = receiver.peek(3)?.expect("three elements were sent");
    /// assert_eq!((items.get(0), items.get(3)), (Some(10), None));
    /// let mut rest = [0; 2];
    /// items.read_into(1, &mut rest);
    /// assert_eq!(rest, [11, 12]);
    /// // Two elements are taken, the third one stays.
    /// assert_eq!(items.consume(2).remaining, 1);
    ///
    /// assert!(receiver.peek(2)?.is_none());
    /// // The receiver requested a signal, so the sender has to wake it.
    /// assert!(sender.send_foreach(1, |_| 13)?.signal);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn peek(&mut self, count: usize) -> Result<Option<Items<'_, 'm, T>>, RingError> {
        if self.filled() < count && !self.has_or_requests(count)? {
            return Ok(None);
        }
        let parts = self.ring.parts(self.at, count);
        Ok(Some(Items { receiver: self, parts, count }))
    }

    /// Calls `use_up` with an address and the number of consecutive elements there, and takes as many as `use_up`
    /// returns. At the end of the memory the number can be lower than [`readable`](Self::readable); a second call has
    /// the rest. [`peek`](Self::peek) does not split elements that belong together. The address is valid during the
    /// call only, and a hostile peer can change the elements meanwhile. `use_up` is not called when the ring is empty;
    /// a signal is then requested.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] when the sender's count is impossible, [`RingError::TooMany`] when `use_up` returns more
    /// than it was given.
    pub fn recv(&mut self, use_up: impl FnOnce(*const T, usize) -> usize) -> Result<Status, RingError> {
        if self.filled() == 0 && !self.has_or_requests(1)? {
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
    /// The sender must keep to the protocol: it does not write elements that were not taken yet.
    pub unsafe fn receive_trusted(&mut self, use_up: impl FnOnce(&[T]) -> usize) -> Result<Status, RingError> {
        self.recv(|address, count| {
            // SAFETY: the caller guarantees that the sender does not write these elements; any bytes are a valid value.
            use_up(unsafe { core::slice::from_raw_parts(address, count) })
        })
    }

    /// Takes up to `count` elements, as many as there are. `each` is called with 0, 1, 2 and so on and a copy of the
    /// element.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] when the sender's count is impossible.
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    /// sender.send_all(&[5, 6, 7])?;
    ///
    /// let mut values = Vec::new();
    /// let status = receiver.recv_foreach(2, |_, value| values.push(value))?;
    /// assert_eq!((values, status.remaining), (vec![5, 6], 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_foreach(&mut self, count: usize, mut each: impl FnMut(usize, T)) -> Result<Status, RingError> {
        if self.filled() < count {
            self.refresh()?;
        }
        // At least one, so that the receiver of an empty ring requests a signal.
        let wanted = self.filled().min(count).max(count.min(1));
        let Some(items) = self.peek(wanted)? else { return Ok(Status { remaining: 0, signal: false }) };
        for index in 0..wanted {
            if let Some(value) = items.get(index) {
                each(index, value);
            }
        }
        Ok(items.consume(wanted))
    }

    /// Takes as many elements as `values` has, or nothing. Returns `None` when there are fewer; the receiver has then
    /// requested a signal, unless it [polls](Self::poll_always).
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    ///
    /// ```
    /// use zerocopy::IntoBytes;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = [0u64; 66];
    /// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
    /// sender.send_all(&[1, 2])?;
    /// assert_eq!(receiver.recv_all(&mut [0; 3])?, None);
    /// assert_eq!(receiver.recv_all(&mut [0; 2])?.map(|status| status.remaining), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn recv_all(&mut self, values: &mut [T]) -> Result<Option<Status>, RingError> {
        let count = values.len();
        let Some(items) = self.peek(count)? else { return Ok(None) };
        items.read_into(0, values);
        Ok(Some(items.consume(count)))
    }

    /// Elements to read according to the sender's count as loaded last.
    #[inline]
    fn filled(&self) -> usize {
        self.written.wrapping_sub(self.read) as usize
    }

    /// Loads the sender's count and checks it: it never decreases and is at most `capacity` above the receiver's.
    fn refresh(&mut self) -> Result<(), Corrupt> {
        let written = protocol::observe(&self.ring.words().written);
        let (seen, read, capacity) = (self.written, self.read, self.ring.capacity);
        let there = written.wrapping_sub(read);
        if there > capacity as u64 || there < seen.wrapping_sub(read) {
            return Err(Corrupt::Written { written, seen, read, capacity });
        }
        self.written = written;
        Ok(())
    }

    /// Whether there are `count` elements. If not, requests a signal, unless this side polls.
    fn has_or_requests(&mut self, count: usize) -> Result<bool, RingError> {
        if count > self.ring.capacity {
            return Err(RingError::TooMany { count, available: self.ring.capacity });
        }
        self.refresh()?;
        if self.filled() >= count || self.is_polling {
            return Ok(self.filled() >= count);
        }
        protocol::request_signal(&self.ring.words().receiver_waits);
        self.refresh()?;
        let is_there = self.filled() >= count;
        if is_there {
            protocol::withdraw_request(&self.ring.words().receiver_waits);
        }
        Ok(is_there)
    }

    /// Publishes `count` free slots. Requests a signal when no element is left.
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
            // The elements are taken; the next step reports a corrupt count that is found here.
            let _ = self.has_or_requests(1);
        }
        Status { remaining: self.filled(), signal }
    }
}

/// Elements presented by a receiver, in at most two parts.
#[derive(Debug)]
pub struct Items<'r, 'm, T> {
    receiver: &'r mut Receiver<'m, T>,
    parts: Parts<T>,
    count: usize,
}

impl<T: Element> Items<'_, '_, T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A copy of element `index`. `None` when `index` is not below [`len`](Self::len).
    #[inline]
    pub fn get(&self, index: usize) -> Option<T> {
        // SAFETY: the element is inside the ring; any bytes are a valid value.
        element_at(&self.parts, index).map(|item| unsafe { item.read() })
    }

    /// Copies elements from `index` on into `values`. Returns the number of elements copied; it is lower than
    /// `values.len()` when too few elements follow.
    #[inline]
    pub fn read_into(&self, index: usize, values: &mut [T]) -> usize {
        copy_out(&self.parts, index, values)
    }

    /// Addresses and lengths, in elements, of both parts. The second part is empty unless the elements cross the end of
    /// the memory.
    pub fn as_raw(&self) -> [(*const T, usize); 2] {
        self.parts.map(|(address, count)| (address.as_ptr().cast_const(), count))
    }

    /// Takes the first `count` elements, or all when there are fewer. Their slots are free for the sender.
    #[inline]
    pub fn consume(self, count: usize) -> Status {
        let count = count.min(self.count);
        self.receiver.consume(count)
    }
}
