//! Typed channels and two-way connections between processes that do not trust each other, in sealed shared memory.
//!
//! A channel is a [`shm2_ring`] in a memfd without a name, with descriptors by which the two sides wake each other. One
//! process creates the channel and passes three things to the other: the capacity, the memory, and the descriptors for
//! the signals. They go by a Unix socket, by D-Bus, or by inheritance. Neither side makes a system call while the ring
//! is neither full nor empty. A side that waits checks the ring for at most 5 us before it sleeps, so two sides that
//! answer each other quickly make no system call either. After a check in vain the next waits sleep at once.
//!
//! The crate is empty on systems other than Linux: it needs memfd seals, eventfds, and Unix sockets of the type
//! `SOCK_SEQPACKET`.
//!
//! ```
//! use shm2_channel::{Receiver, Sender, Signals};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (ours, theirs) = Signals::event_pair()?;
//! let mut sender = Sender::<u64>::new(1000, ours)?;
//! // The other process gets `sender.memory()`, the capacity and its signals:
//! let memory = sender.memory().try_clone_to_owned()?;
//! let mut receiver = Receiver::<u64>::open(1000, memory, theirs)?;
//!
//! sender.send_all(&[1, 2, 3])?;
//! let mut values = [0; 3];
//! receiver.block_until_readable(3, Some(Duration::from_secs(1)))?;
//! receiver.recv_all(&mut values)?;
//! assert_eq!(values, [1, 2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! * Elements arrive in order and exactly once.
//! * Memory from a peer is mapped only after its seals and its real size were checked: the peer cannot shrink it.
//! * Each value that the peer writes is checked in each step. A misbehaving peer causes an error of its own, never a
//!   panic or an access outside the memory.
//! * An operation that can never succeed, because the ring is full or empty and the peer is gone, is an error
//!   ([`StepError::PeerGone`]), if the signals show the peer's end.
//! * With [`Signals::socket`] the peer's end is noticed at once, and no call blocks because of a hostile peer.
//!
//! # What it does not do
//! * It does not protect the elements: a hostile peer can change them until they are taken. Received elements are
//!   copies.
//! * It does not confirm delivery. [`StepError::PeerGone`] means that the other side is gone, not that all elements
//!   were sent: a sender that dies early looks like one that is done. Send a count or a last element where that
//!   matters.
//! * It does not reconnect. A process that was restarted needs a new channel.
//!
//! # Main types
//! * [`Sender`] and [`Receiver`]: the two sides of a channel. [`Signals`]: their descriptors.
//! * [`Offer`]: the other side of a channel with socket signals, made by [`Sender::offer`] or [`Receiver::offer`]. It
//!   is [sent](Offer::send) by a Unix socket, or as bytes and descriptors by anything that passes both.
//! * [`duplex`]: connections in both directions between a server and its clients, which meet at a path.
//! * [`socket_path`]: a listening socket of any type at a path, where a dead server's socket may be.
//! * [`blob`]: memory that is written once and then read by any process.
//! * [`ChannelError`], [`StepError`]: what can fail.
//!
//! # Signals
//! * [`Signals::socket`]: one end of a connected socket. The peer's death closes it, and a hostile peer cannot block
//!   this side. Use it for peers that are not trusted.
//! * [`Signals::event_pair`], [`Signals::events`]: eventfds, the cheapest. A hostile peer can block reads and writes of
//!   an eventfd, because both sides share its flag `O_NONBLOCK`. The peer's death is noticed only with a further
//!   descriptor (a pidfd, a socket), see [`Signals::watch`].
//! * [`Signals::pipes`]: for peers that have only pipes. The peer's death closes them; a hostile peer can block them.
//!
//! # Many channels
//! [`Receiver::wait_status`] returns the descriptor to wait on and the number of elements that are there already. Wait
//! only when there are none, and call [`wait_clear`](Receiver::wait_clear) when the descriptor was readable. This is
//! all that a loop with epoll or mio needs.
//!
//! # Features
//! * `tokio`: channels (`tokio`) and connections (`duplex::tokio`) that are awaited in a tokio runtime.

#![cfg(target_os = "linux")]
#![deny(clippy::unwrap_used)]

#[cfg(feature = "tokio")]
mod async_fds;
pub mod blob;
pub mod duplex;
mod error;
mod memory;
mod offer;
mod receiver;
mod role;
mod sender;
mod signals;
pub mod socket_path;
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;
mod wait;

pub use error::{ChannelError, StepError};
pub use memory::HugePages;
pub use offer::Offer;
pub use receiver::Receiver;
pub use role::Role;
pub use sender::Sender;
pub use shm2_ring::{Corrupt, Element, Items, RingError, Slots, Status};
pub use signals::Signals;

/// The example of the readme runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
