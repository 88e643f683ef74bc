//! What can go wrong.

/// A ring that cannot be used as it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Not one element fits.
    #[error("a ring in {bytes} bytes has no room for an element: it needs {needed}")]
    TooSmall {
        /// Bytes that there are.
        bytes: usize,
        /// Bytes for one element.
        needed: usize,
    },
    /// The memory does not begin where a word or an element can stand.
    #[error("the ring's memory begins at an address that is no multiple of {alignment}")]
    Unaligned {
        /// What the address must be a multiple of.
        alignment: usize,
    },
    /// Elements of no size.
    #[error("elements of a ring need a size")]
    ZeroSized,
    /// The words do not describe a ring.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// The peer wrote a count that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corrupt {
    /// The sender's.
    #[error(
        "the sender says that {written} elements were sent, after {seen}, with {read} taken and room for {capacity}"
    )]
    Written {
        /// What it says.
        written: u64,
        /// What it said before.
        seen: u64,
        /// Elements taken.
        read: u64,
        /// Elements of the ring.
        capacity: usize,
    },
    /// The receiver's.
    #[error("the receiver says that {read} elements were taken, after {seen}, of {written} that were sent")]
    Read {
        /// What it says.
        read: u64,
        /// What it said before.
        seen: u64,
        /// Elements sent.
        written: u64,
    },
}

/// A step of a sender or receiver that failed; it changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The peer's fault.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The caller's: it used, or asked for, more than there can be.
    #[error("{count} elements are too many at once: {available} are possible")]
    TooMany {
        /// What it said.
        count: usize,
        /// What there was.
        available: usize,
    },
}
