//! A typed ring from one process to another that it need not trust: sealed memory without a name, and a signal only when
//! the other side asked for one.
//!
//! One side makes the channel and hands three things to the other: the capacity, the memory, and the descriptors for the
//! signals, by a Unix socket, by D-Bus, or by inheritance. While the ring is neither full nor empty no side makes a
//! system call.
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
//! # Which signals
//! * [`Signals::socket`]: one end of a connected socket. It tells of the peer's death, and a hostile peer cannot make this
//!   side wait. Use it for peers that are not trusted.
//! * [`Signals::event_pair`], [`Signals::events`]: the cheapest. A hostile peer can make reading and writing an eventfd
//!   wait (it shares the flag `O_NONBLOCK`), and nothing tells of its death unless [`watch`](Signals::watch) is given a descriptor that does (a pidfd, a socket).
//! * [`Signals::pipes`]: where only pipes are to be had. They tell of the peer's death; a hostile peer can make them wait, too.
//!
//! # The end
//! [`StepError::PeerGone`] says that nobody is there, not that all was sent: a sender that dies halfway looks like one that is
//! done. Where that matters, send a count or a last element.
//!
//! # Handing over
//! [`Sender::offer`] and [`Receiver::offer`] make a channel with socket signals and an [`Offer`] of its other side, which
//! [goes](Offer::send) by a Unix socket, or as bytes and descriptors by anything that passes both.
//!
//! # Many channels
//! [`Receiver::wait_status`] gives the descriptor to wait on and how many elements are there already; wait only if there
//! are none, and call [`wait_clear`](Receiver::wait_clear) when the descriptor was readable. That is all that a loop with
//! epoll or mio needs. For tokio there is the feature of that name.

#![cfg(target_os = "linux")]
#![deny(clippy::unwrap_used)]

pub mod blob;
pub mod duplex;
mod offer;
#[cfg(feature = "tokio")]
pub(crate) mod ready;
mod receiver;
mod sender;
pub(crate) mod shared;
mod signals;
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use offer::{Offer, Role};
pub use receiver::Receiver;
pub use sender::Sender;
pub use shm2_ring::{Corrupt, Element, Items, RingError, Slots, Status};
pub use signals::Signals;

use blob::MemoryError;
use std::io;

/// Size of the pages of memory that takes them from the system's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HugePages {
    /// 2 MiB.
    Mib2,
    /// 1 GiB.
    Gib1,
}

impl HugePages {
    /// As a power of two.
    fn log(self) -> u32 {
        match self {
            Self::Mib2 => 21,
            Self::Gib1 => 30,
        }
    }
}

/// A channel that cannot be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The memory's fault, or that of whoever sent it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The peer's: its memory is smaller than it says.
    #[error("a channel of {capacity} elements needs {needed} bytes, its memory has {bytes}")]
    TooSmall {
        /// Elements as they were announced.
        capacity: usize,
        /// Bytes for them.
        needed: u64,
        /// Bytes that there are.
        bytes: u64,
    },
    /// The caller's: no memory is so large, or there is nothing to hold.
    #[error("a channel cannot have {capacity} elements of {element} bytes")]
    Capacity {
        /// How many.
        capacity: usize,
        /// Bytes of each.
        element: usize,
    },
    /// Nobody offered anything.
    #[error("no channel was offered in time")]
    NoOfferInTime,
    /// The other side closed its socket.
    #[error("the other side closed the socket before it offered a channel")]
    PeerGone,
    /// What came is no channel.
    #[error("{bytes} bytes and {descriptors} descriptors are no offer of a channel")]
    NoOffer {
        /// Length of the description.
        bytes: usize,
        /// How many came with it.
        descriptors: usize,
    },
    /// The other side is of another version.
    #[error("the channel is of version {theirs}, this side of version {ours}")]
    Version {
        /// Its.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The offer is for the other role.
    #[error("the channel was offered to a {}", match offered { Role::Sender => "sender: take it by into_sender", Role::Receiver => "receiver: take it by into_receiver" })]
    Role {
        /// What its owner is to be.
        offered: Role,
    },
    /// The elements are others.
    #[error(
        "the channel's elements have {bytes} bytes aligned to {alignment}, others were expected, of {wanted} bytes"
    )]
    Element {
        /// Size of those that were expected.
        wanted: usize,
        /// Size of the channel's.
        bytes: u32,
        /// Alignment of the channel's.
        alignment: u32,
    },
    /// What stands in the memory is no ring.
    #[error(transparent)]
    Ring(#[from] shm2_ring::AttachError),
    /// The system's: it gave no descriptors for signals, or did not lock the memory.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A step of a channel that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The peer misbehaves, or the caller asked for more than there can be.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Nobody is on the other side any more, and nothing is left to read.
    #[error("the other side of the channel is gone")]
    PeerGone,
    /// The caller's: it said before that it sends no more.
    #[error("nothing can be sent any more: finish was called")]
    Finished,
    /// The caller's: so many descriptors cannot be passed.
    #[error("1 to {most} descriptors can be passed at a time, not {count}")]
    Descriptors {
        /// How many were given.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Descriptors came that were lost: this process has no room for more.
    #[error("descriptors that the other side passed were lost: this process may not open more")]
    DescriptorsLost,
    /// The peer's: it goes on passing descriptors that nobody takes.
    #[error("the other side passed descriptors {0} times and more, and none were taken")]
    TooManyPassed(usize),
    /// The time is over.
    #[error("the other side did nothing in time")]
    TimedOut,
    /// The system's: signalling or waiting failed.
    #[error("cannot signal or wait: {0}")]
    System(#[from] io::Error),
}

impl From<Corrupt> for StepError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Ring(corrupt.into())
    }
}
