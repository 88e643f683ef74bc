//! Errors of the ring.

/// Memory that cannot be used as a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The memory is too small for one element.
    #[error("{bytes} bytes are too few for a ring: one element needs {needed}")]
    TooSmall {
        /// Size of the memory in bytes.
        bytes: usize,
        /// Bytes needed for one element.
        needed: usize,
    },
    /// The address of the memory does not fit the alignment of the words and elements.
    #[error("the address of the ring's memory is not a multiple of {alignment}")]
    Unaligned {
        /// Required alignment in bytes.
        alignment: usize,
    },
    /// The element type has size 0.
    #[error("the elements of a ring must have a size")]
    ZeroSized,
    /// The words in the memory do not describe a ring.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// The peer wrote an impossible count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corrupt {
    /// The sender's count is below its last value, or more than `capacity` above the receiver's.
    #[error(
        "the sender's count of elements is {written}, its last value was {seen}, {read} were taken, and the capacity \
         is {capacity}"
    )]
    Written {
        /// The count as read now.
        written: u64,
        /// The count as read before.
        seen: u64,
        /// Elements taken so far.
        read: u64,
        /// Capacity of the ring in elements.
        capacity: usize,
    },
    /// The receiver's count is below its last value, or above the sender's.
    #[error("the receiver's count of elements is {read}, its last value was {seen}, and {written} were sent")]
    Read {
        /// The count as read now.
        read: u64,
        /// The count as read before.
        seen: u64,
        /// Elements sent so far.
        written: u64,
    },
}

/// A step of a sender or receiver that failed. The ring is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The peer broke the protocol.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The caller used, or requested, more elements than possible.
    #[error("{count} elements are too many at once: {available} are possible")]
    TooMany {
        /// Elements used or requested.
        count: usize,
        /// Elements possible: the capacity, or what was passed to the closure.
        available: usize,
    },
}
