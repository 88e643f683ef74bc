//! A ring from one sender to one receiver on memory that the caller provides: of one process, or shared by two that
//! do not trust each other.
//!
//! Any capacity, and all of it is used. Both sides are wait-free: no call loops or waits for the other. A side looks at
//! the other's count only when what it saw last is used up. Elements are read and written in place, and what stands at
//! the end of the memory and goes on at its beginning is shown as two parts of one.
//!
//! This layer makes no system call. Each step says whether the other side asked for a signal ([`Status::signal`]):
//! passing it on is the caller's part, by whatever wakes the other side. Programs that look all the time say so with
//! [`poll_always`](Receiver::poll_always), and nobody asks. For the same ring in sealed memory with signals by
//! descriptors see `shm2_channel`.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut memory = vec![0u64; shm2_ring::channel_bufsize::<u32>(1000).unwrap().div_ceil(8)];
//! let (mut sender, mut receiver) = shm2_ring::channel::<u32>(zerocopy::IntoBytes::as_mut_bytes(&mut memory[..]))?;
//!
//! let status = sender.send_foreach(300, |i| i as u32)?;
//! assert_eq!((status.remaining, status.signal), (700, false));
//!
//! let mut sum = 0;
//! let status = receiver.recv_foreach(300, |_, value| sum += value)?;
//! assert_eq!((sum, status.remaining), (44_850, 0));
//! // The receiver found nothing more: it asked for a signal, and the next element brings one.
//! assert!(sender.send_foreach(1, |_| 7)?.signal);
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! * Elements arrive in order, each once, whatever the capacity and however the counts wrap.
//! * One signal for each asking: none is lost, none comes twice. A side asks when it leaves nothing to read, or no room.
//! * What the peer writes into the words is checked once for each step. A count that cannot be is an error with its
//!   name, and nothing outside the memory is ever touched.
//!
//! # What it does not do
//! A peer that breaks the rules can change elements while they are read. So there is no `&[T]` into the ring, but for
//! the `unsafe` trusted calls; [`Items::read_into`] and [`Items::get`] copy. It can also say less than is true,
//! ask for signals for ever, or do nothing.

#![no_std]
#![deny(clippy::unwrap_used)]
#![cfg_attr(loom, allow(dead_code))]

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
pub use ring::{Element, Status, channel};
pub use sender::{Sender, Slots};
