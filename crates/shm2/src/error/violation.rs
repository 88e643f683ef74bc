//! What a peer wrote that breaks the protocol.

/// A value in the region that contradicts the protocol; one variant for each check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Payload bounds.
    #[error("frame {sequence} points to {length} bytes at {offset}, outside the arena")]
    Payload {
        /// The frame.
        sequence: u64,
        /// Offset in the region.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Caps bounds.
    #[error("frame {sequence} has caps of {length} bytes at {offset}, outside the arena or over the limit")]
    Caps {
        /// The frame.
        sequence: u64,
        /// Offset in the region.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Meta bounds.
    #[error("frame {sequence} has metas of {length} bytes at {offset}, outside the arena or over the limit")]
    Meta {
        /// The frame.
        sequence: u64,
        /// Offset in the region.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// A kind that this major version does not have.
    #[error("item {sequence} is of the unknown kind {kind}")]
    Kind {
        /// The item.
        sequence: u64,
        /// Its kind.
        kind: u32,
    },
    /// `oldest` and `head` contradict each other or the cells.
    #[error("the ring says oldest {oldest} and newest {head}, expected was {expected}")]
    Ring {
        /// `oldest`.
        oldest: u64,
        /// `head`.
        head: u64,
        /// The sequence that the consumer was to take.
        expected: u64,
    },
}
