//! Values of a peer that break the protocol.

/// A value in the region that contradicts the protocol; one variant for each check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A payload is not inside the arena.
    #[error("frame {sequence} points to {length} bytes at {offset}, outside the arena")]
    Payload {
        /// Sequence of the frame.
        sequence: u64,
        /// Offset in the region.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// Caps are not inside the arena, or too long.
    #[error("frame {sequence} has caps of {length} bytes at {offset}, outside the arena or over the limit")]
    Caps {
        /// Sequence of the frame.
        sequence: u64,
        /// Offset in the region.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// Metas are not inside the arena, or too long.
    #[error("frame {sequence} has metas of {length} bytes at {offset}, outside the arena or over the limit")]
    Meta {
        /// Sequence of the frame.
        sequence: u64,
        /// Offset in the region.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// An item has a kind that this major version does not define.
    #[error("item {sequence} is of the unknown kind {kind}")]
    Kind {
        /// Sequence of the item.
        sequence: u64,
        /// Its kind.
        kind: u32,
    },
    /// A payload is longer than all memory that the region's file takes: it is a hole of the file.
    #[error("frame {sequence} has {length} bytes, but only {backed} bytes of the region's file are backed by memory")]
    NotBacked {
        /// Sequence of the frame.
        sequence: u64,
        /// Length in bytes.
        length: u64,
        /// Bytes of memory behind the file.
        backed: u64,
    },
    /// `oldest` and `head` contradict each other or the cells.
    #[error("the ring says oldest {oldest} and newest {head}, expected was {expected}")]
    Ring {
        /// Value of the header's `oldest`.
        oldest: u64,
        /// Value of the header's `head`.
        head: u64,
        /// The next sequence of the consumer.
        expected: u64,
    },
}
