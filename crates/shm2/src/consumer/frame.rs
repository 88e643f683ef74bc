//! A received frame.

use super::leasing::LeaseGuard;
use super::ownership::{Heartbeating, Locked};
use super::position::Gap;
use crate::description::{Description, FrameInfo, Kind};
use crate::mapped::Memory;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// The bytes of a frame.
#[derive(Debug)]
pub(super) enum Payload {
    /// In the region; the producer does not write there while the guard exists.
    Locked(LeaseGuard<Locked>),
    /// As `Locked`, by a consumer that owns its page by heartbeat.
    Heartbeating(LeaseGuard<Heartbeating>),
    /// A private copy.
    Owned(Vec<u8>),
}

impl From<LeaseGuard<Locked>> for Payload {
    fn from(guard: LeaseGuard<Locked>) -> Self {
        Self::Locked(guard)
    }
}

impl From<LeaseGuard<Heartbeating>> for Payload {
    fn from(guard: LeaseGuard<Heartbeating>) -> Self {
        Self::Heartbeating(guard)
    }
}

/// A frame: its bytes, in place or copied, and what its producer said about it. Dropping it lets the producer use its
/// memory again; it may be sent to and dropped on any thread, and it outlives its consumer.
pub struct Frame {
    description: Description,
    gap: Gap,
    payload: Payload,
    caps: Option<Arc<[u8]>>,
    meta: Vec<u8>,
}

impl Frame {
    #[inline]
    pub(super) fn new(
        description: Description,
        gap: Gap,
        payload: Payload,
        caps: Option<Arc<[u8]>>,
        meta: Vec<u8>,
    ) -> Self {
        Self { description, gap, payload, caps, meta }
    }

    /// The mapping of a leased payload.
    fn leased(&self) -> Result<&Memory, &[u8]> {
        match &self.payload {
            Payload::Locked(guard) => Ok(guard.memory()),
            Payload::Heartbeating(guard) => Ok(guard.memory()),
            Payload::Owned(bytes) => Err(bytes),
        }
    }

    /// Grows by one with each item of a generation, starting at 1.
    pub fn sequence(&self) -> u64 {
        self.description.sequence()
    }

    /// Frames between the one received before and this one that were gone before they could be taken.
    pub fn missed(&self) -> u64 {
        self.gap.missed
    }

    /// Whether the stream is broken before this frame: something was missed, or the producer is a new one.
    pub fn is_discontinuity(&self) -> bool {
        self.gap.is_discontinuity
    }

    /// Times, positions and flags.
    pub fn info(&self) -> FrameInfo {
        self.description.info()
    }

    /// When the frame was published: nanoseconds of the producer's monotonic clock.
    pub fn published_ns(&self) -> u64 {
        self.description.published_ns()
    }

    /// The text that describes the stream from this frame on, and its number, which changes with the text.
    pub fn caps(&self) -> Option<(u32, &[u8])> {
        self.caps.as_deref().map(|text| (self.description.caps().id, self.split(text).0))
    }

    /// The opaque blob that belongs to the stream from this frame on, changing together with the number of the caps;
    /// empty if there is none.
    pub fn stream_blob(&self) -> &[u8] {
        self.caps.as_deref().map_or(&[], |text| self.split(text).1)
    }

    fn split<'a>(&self, text: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        // The text of another cell with the same number may be shorter, if the producer breaks the protocol.
        text.split_at(text.len().min(self.description.caps().text.length as usize))
    }

    /// Whether this is an event between frames: no bytes, said by [`info`](Self::info) and [`meta`](Self::meta).
    pub fn is_event(&self) -> bool {
        self.description.kind() == Kind::Event
    }

    /// The opaque blob that the sender attached; empty if there is none.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.description.payload().length as usize
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the bytes are in the region itself (true) or a private copy (false).
    pub fn is_leased(&self) -> bool {
        !matches!(self.payload, Payload::Owned(_))
    }

    /// Copies `to.len()` bytes from the given place; false when the frame is not that long, or the region's file was
    /// truncated and bytes of it are gone.
    #[must_use]
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> bool {
        if offset.checked_add(to.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        match self.leased() {
            Ok(memory) => memory.copy_out(self.description.payload().offset + offset as u64, to) && !memory.is_broken(),
            Err(bytes) => {
                to.copy_from_slice(&bytes[offset..offset + to.len()]);
                true
            }
        }
    }

    /// A private copy of the payload. Bytes that are gone because the region's file was truncated are zeros in it.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        // The range is the whole frame, so it is there.
        let _ = self.read_at(0, &mut bytes);
        bytes
    }

    /// First byte, readable for [`len`](Self::len) bytes while this value lives. A leased payload is mapped read-only.
    ///
    /// Whether to make a `&[u8]` of it is the caller's decision: as long as the producer keeps to the protocol the
    /// bytes do not change, but nothing forces a hostile one.
    pub fn as_ptr(&self) -> *const u8 {
        match self.leased() {
            Ok(memory) => {
                let range = self.description.payload();
                // Checked: the range lies in the region.
                memory.pointer(range.offset, range.length).unwrap_or(NonNull::dangling()).as_ptr()
            }
            Err(bytes) => bytes.as_ptr(),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("sequence", &self.sequence())
            .field("bytes", &self.len())
            .field("leased", &self.is_leased())
            .field("info", &self.info())
            .finish_non_exhaustive()
    }
}
