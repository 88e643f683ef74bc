//! Why a frame was not sent.

use crate::layout;
use std::path::PathBuf;

/// What a full region has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Shortage {
    /// Free bytes in the arena.
    #[error("{free} bytes are free; frames that are held, not read yet, or kept as history use the rest")]
    Bytes {
        /// The arena's free bytes.
        free: u64,
    },
    /// Free bytes in one piece.
    #[error("{free} bytes are free, but in pieces of at most {longest}: held frames lie between them")]
    Contiguous {
        /// The arena's free bytes.
        free: u64,
        /// The longest free piece.
        longest: u64,
    },
    /// Cells of the ring.
    #[error("all cells of the ring hold frames that are not read yet")]
    Cells,
}

/// Why a frame, caps or an event was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The frame is larger than the arena, so it can never fit.
    #[error("a frame of {bytes} bytes does not fit into an arena of {arena}{remedy}", remedy = larger_region(*bytes))]
    TooLarge {
        /// Size of the frame.
        bytes: u64,
        /// Size of the arena.
        arena: u64,
    },
    /// Caps or metas are longer than the protocol's limit.
    #[error("{what} of {bytes} bytes is over the limit of {limit}")]
    Description {
        /// Name of the part.
        what: &'static str,
        /// Size of the part.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The region's memory was cleared and this producer is recovering: nothing can be reserved or published for about
    /// 100 ms. A frame is counted as dropped; under `block` the call waits instead.
    #[error("the region's memory was cleared and the producer is recovering; the frame was dropped and counted")]
    Recovering,
    /// The region is full and the policy keeps the frames in it. The frame was counted as dropped.
    #[error("no free space for {bytes} bytes: {shortage}; the frame was dropped and counted")]
    Full {
        /// The frame's bytes.
        bytes: u64,
        /// What is short.
        shortage: Shortage,
    },
    /// Under `block`: the time limit passed. The frame was counted as dropped.
    #[error("no consumer freed space for {bytes} bytes in time; the frame was dropped and counted")]
    TimedOut {
        /// The frame's bytes.
        bytes: u64,
    },
    /// In a device or a kept region: the memory was cleared after the reservation was made. A frame is counted as
    /// dropped.
    #[error("the region's memory was cleared; {bytes} unpublished bytes were lost")]
    Cleared {
        /// The bytes of the frame, the caps or the like.
        bytes: u64,
    },
    /// Under `block`: the call was cancelled by [`Handle::set_cancelled`](crate::producer::Handle::set_cancelled).
    #[error("cancelled")]
    Cancelled,
    /// The reservation comes from another producer.
    #[error("the reservation belongs to another region")]
    ForeignReservation,
    /// The range is not inside the reservation.
    #[error("bytes {offset}..{end} are outside a reservation of {bytes} bytes")]
    Range {
        /// First byte.
        offset: u64,
        /// Byte after the last.
        end: u64,
        /// Size of the reservation.
        bytes: u64,
    },
    /// A peer with write access truncated the region's file.
    #[error("the file of {path:?} was truncated while in use: close this producer and make a new one")]
    Truncated {
        /// Path of the region.
        path: PathBuf,
    },
    /// Another producer took over the memory, because this one's heartbeat stood still for its lease time.
    #[error(
        "another producer has taken over {path:?}, because this one was paused, or the memory was cleared: make a new \
         producer"
    )]
    Superseded {
        /// Path of the region.
        path: PathBuf,
    },
    /// The producer was closed.
    #[error("the region was closed")]
    Closed,
}

fn larger_region(bytes: u64) -> String {
    match layout::region_bytes_for_arena(bytes.saturating_mul(4)) {
        region @ ..=layout::MAX_REGION => format!(": a region of {region} bytes holds four of them"),
        _ => format!(", and no region holds four of them: {} bytes are the most", layout::MAX_REGION),
    }
}

impl SendError {
    /// Whether only this frame was dropped and counted, so that the next one may be sent.
    pub fn is_drop(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::TimedOut { .. } | Self::Recovering | Self::Cleared { .. })
    }
}
