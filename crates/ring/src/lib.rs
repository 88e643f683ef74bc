//! A single-producer, single-consumer ring on memory that the caller provides: memory of one process, or memory shared
//! by two processes that do not trust each other.
//!
//! Any capacity is allowed, and all slots are used. Both sides are wait-free: no call loops, and no call waits for the
//! other side. A side reads the other side's count only when the elements or slots it knows of are used up. Elements
//! are read and written in place. A run of elements that crosses the end of the memory is presented as two parts.
//!
//! This crate makes no system call. Each step returns whether the other side requested a signal ([`Status::signal`]);
//! the caller delivers it by any means that wakes the other side. A side that polls declares it with
//! [`Receiver::poll_always`] or [`Sender::poll_always`] and never requests a signal. The crate `shm2-channel` adds
//! sealed memory and signals by descriptors.
//!
//! ```
//! use zerocopy::IntoBytes;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut memory = vec![0u64; shm2_ring::channel_bufsize::<u32>(1000).unwrap().div_ceil(8)];
//! let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
//!
//! let status = sender.send_foreach(300, |i| i as u32)?;
//! assert_eq!((status.remaining, status.signal), (700, false));
//!
//! let mut sum = 0;
//! let status = receiver.recv_foreach(300, |_, value| sum += value)?;
//! assert_eq!((sum, status.remaining), (44_850, 0));
//! // The ring is empty, so the receiver requested a signal; the next element triggers it.
//! assert!(sender.send_foreach(1, |_| 7)?.signal);
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! * Elements arrive in order and exactly once, at any capacity and across a wrap of the counts.
//! * Each request is answered by exactly one signal. A side requests a signal when it leaves no element to read, or no
//!   free slot.
//! * Each value that the peer writes is read once per step and checked. An impossible count is an error
//!   ([`Corrupt`]) that contains it. No access leaves the memory.
//!
//! # What it does not do
//! A peer that breaks the protocol can change elements while they are read. Therefore the safe calls return no `&[T]`
//! into the ring: [`Items::read_into`] and [`Items::get`] copy. Only the `unsafe` trusted calls return slices. Such a
//! peer can also announce fewer elements than it wrote, request signals endlessly, or stop.
//!
//! # Main items
//! * [`channel`]: both sides on borrowed memory. [`Sender::attach`], [`Receiver::attach`]: one side on shared memory.
//! * [`Sender`]: [`send_all`](Sender::send_all), [`send_foreach`](Sender::send_foreach), and
//!   [`reserve`](Sender::reserve) with [`Slots`].
//! * [`Receiver`]: [`recv_all`](Receiver::recv_all), [`recv_foreach`](Receiver::recv_foreach), and
//!   [`peek`](Receiver::peek) with [`Items`].
//! * [`channel_bufsize`], [`ELEMENTS_OFFSET`]: the layout of the memory.
//!
//! # Safety
//! Only [`channel`] has unsafe code here: it attaches one sender and one receiver to memory that it borrows.

#![no_std]
#![deny(clippy::unwrap_used)]

#[cfg(any(test, loom))]
extern crate std;

mod error;
mod layout;
#[cfg(all(loom, test))]
mod models;
mod protocol;
mod receiver;
mod ring;
mod sender;
mod sync;

pub use error::{AttachError, Corrupt, RingError};
pub use layout::{ELEMENTS_OFFSET, channel_bufsize};
pub use receiver::{Items, Receiver};
pub use ring::Element;
pub use sender::{Sender, Slots};

/// Creates an empty ring in `memory` and returns both sides. The capacity is the number of elements that fit; see
/// [`channel_bufsize`]. The previous contents of the memory are lost.
///
/// # Errors
/// [`AttachError`] when the memory is too small for one element, or when its address is not a multiple of 8 and of the
/// element's alignment.
///
/// ```
/// use zerocopy::IntoBytes;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut memory = [0u64; 66];
/// let (mut sender, mut receiver) = shm2_ring::channel::<u32>(memory.as_mut_bytes())?;
/// assert_eq!(sender.capacity(), 4);
///
/// sender.send_all(&[1, 2, 3])?;
/// let mut values = [0; 3];
/// receiver.recv_all(&mut values)?;
/// assert_eq!(values, [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
#[expect(unsafe_code, reason = "attaches to borrowed memory, see the head of this file")]
pub fn channel<T: Element>(memory: &mut [u8]) -> Result<(Sender<'_, T>, Receiver<'_, T>), AttachError> {
    memory.iter_mut().take(ELEMENTS_OFFSET).for_each(|byte| *byte = 0);
    let (address, bytes) = (memory.as_mut_ptr(), memory.len());
    // SAFETY: both results borrow the memory, and there is exactly one sender and one receiver.
    unsafe { Ok((Sender::attach(address, bytes)?, Receiver::attach(address, bytes)?)) }
}

/// State of the ring after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// For a sender the number of free slots, for a receiver the number of elements to read. A lower bound: the other
    /// side may have moved on since.
    pub remaining: usize,
    /// True when the other side requested a signal: it may sleep until the caller wakes it.
    pub signal: bool,
}

/// The example of the readme runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
