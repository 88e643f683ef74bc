//! Errors of channels.

use crate::blob::MemoryError;
use crate::{Corrupt, RingError, Role};
use std::io;

/// A channel could not be created or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The memory cannot be used: the system's fault, or the peer's.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The peer's memory is smaller than the announced capacity needs.
    #[error("a channel of {capacity} elements needs {needed} bytes, its memory has {bytes}")]
    TooSmall {
        /// Announced capacity in elements.
        capacity: usize,
        /// Bytes that this capacity needs.
        needed: u64,
        /// Size of the memory in bytes.
        bytes: u64,
    },
    /// The caller's capacity or element size is 0, or their product exceeds the address space.
    #[error("a channel cannot have {capacity} elements of {element} bytes")]
    Capacity {
        /// Capacity in elements.
        capacity: usize,
        /// Size of an element in bytes.
        element: usize,
    },
    /// No offer came before the timeout.
    #[error("no channel was offered in time")]
    NoOfferInTime,
    /// The other side closed its socket before it sent an offer.
    #[error("the other side closed the socket before it offered a channel")]
    PeerGone,
    /// The message is not an offer of a channel.
    #[error("{bytes} bytes and {descriptors} descriptors are no offer of a channel")]
    NoOffer {
        /// Length of the description in bytes.
        bytes: usize,
        /// Number of descriptors that came with it.
        descriptors: usize,
    },
    /// The peer uses another version of the description.
    #[error("the channel is of version {theirs}, this side of version {ours}")]
    Version {
        /// The peer's version.
        theirs: u32,
        /// This side's version.
        ours: u32,
    },
    /// The caller tried to become the sender with an offer for a receiver, or the reverse.
    #[error("the channel was offered to a {}", remedy(*offered))]
    Role {
        /// The role in the offer.
        offered: Role,
    },
    /// The offer is for elements of another size or alignment.
    #[error(
        "the channel's elements have {bytes} bytes aligned to {alignment}; elements of {wanted} bytes were expected"
    )]
    Element {
        /// Size of the caller's elements in bytes.
        wanted: usize,
        /// Size of the channel's elements in bytes.
        bytes: u32,
        /// Alignment of the channel's elements in bytes.
        alignment: u32,
    },
    /// The peer's memory does not hold a valid ring.
    #[error(transparent)]
    Ring(#[from] shm2_ring::AttachError),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// The attempted operation, as a verb phrase.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// A step of a channel or connection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The peer misbehaves, or the caller requested more elements than possible.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The other side is gone, or finished sending, and nothing is left to read.
    #[error("the other side of the channel is gone")]
    PeerGone,
    /// The caller sends after it called `finish`.
    #[error("nothing can be sent any more: finish was called")]
    Finished,
    /// The caller passes no descriptors, or too many.
    #[error("1 to {most} descriptors can be passed at a time, not {count}")]
    Descriptors {
        /// Number of descriptors given.
        count: usize,
        /// Largest number allowed.
        most: usize,
    },
    /// The peer passed descriptors, and the kernel dropped them at this process's limit.
    #[error("descriptors that the other side passed were lost: this process may not open more")]
    DescriptorsLost,
    /// The peer passed more sets of descriptors than are kept; the caller took none of them.
    #[error("the other side passed descriptors more than {0} times, and none were taken")]
    TooManyPassed(usize),
    /// The timeout expired.
    #[error("the other side did nothing in time")]
    TimedOut,
    /// A system call for signalling or waiting failed.
    #[error("cannot signal or wait: {0}")]
    System(#[from] io::Error),
}

impl From<Corrupt> for StepError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Ring(corrupt.into())
    }
}

/// The role in an offer, and the method that accepts it.
fn remedy(offered: Role) -> &'static str {
    match offered {
        Role::Sender => "sender: take it by into_sender",
        Role::Receiver => "receiver: take it by into_receiver",
    }
}
