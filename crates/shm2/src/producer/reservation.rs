//! Arena memory that is being filled.

use super::extents::ExtentId;
use super::shared::Shared;
use crate::error::SendError;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of the region that belong to this value until they are published; dropped unpublished, they are free again.
///
/// It may outlive its producer: the memory stays mapped.
pub struct Reservation {
    pub(super) shared: Arc<Shared>,
    extent: Option<ExtentId>,
    offset: u64,
    bytes: u64,
    /// The life in which it may be published: what ends that takes the bytes along.
    pub(super) life: u64,
    /// What should have been written went nowhere.
    is_lost: bool,
}

impl Reservation {
    pub(super) fn new(shared: Arc<Shared>, extent: Option<ExtentId>, offset: u64, bytes: u64, life: u64) -> Self {
        Self { shared, extent, offset, bytes, life, is_lost: false }
    }

    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Whether nothing was reserved: an empty frame.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Copies `bytes` to the given place.
    ///
    /// # Errors
    /// [`SendError::Range`] when they do not fit there. In a device or a kept region: [`SendError::Cleared`] and
    /// [`SendError::Superseded`] when this memory is not what was reserved any more; [`SendError::Closed`] when the next
    /// producer may have it already.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<(), SendError> {
        let written = self.write_uncounted(offset, bytes);
        self.is_lost |= matches!(written, Err(SendError::Cleared { .. }));
        written
    }

    /// As [`write_at`](Self::write_at) for what is not a frame.
    pub(super) fn write_uncounted(&mut self, offset: usize, bytes: &[u8]) -> Result<(), SendError> {
        self.check_generation()?;
        let end = (offset as u64).saturating_add(bytes.len() as u64);
        let inside = end <= self.bytes && self.shared.memory.copy_in(self.offset + offset as u64, bytes);
        if inside { Ok(()) } else { Err(SendError::Range { offset: offset as u64, end, bytes: self.bytes }) }
    }

    /// Whether the memory is still what was reserved.
    fn check_generation(&self) -> Result<(), SendError> {
        let shared = &self.shared;
        if shared.is_over() {
            // The next producer's by now.
            return Err(shared.check().err().unwrap_or(SendError::Closed));
        }
        if shared.is_current(self.life) {
            return Ok(());
        }
        match shared.life() {
            Ok(_) | Err(SendError::Recovering) => Err(SendError::Cleared { bytes: self.bytes }),
            Err(error) => Err(error),
        }
    }

    /// First byte, for code that fills memory by itself. Valid for [`len`](Self::len) bytes as long as this value, or
    /// a frame published from it, lives; aligned to 64 bytes.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.pointer().as_ptr()
    }

    /// First byte, for code that only passes the address on.
    pub fn as_ptr(&self) -> *const u8 {
        self.pointer().as_ptr()
    }

    fn pointer(&self) -> NonNull<u8> {
        // The range was given out by the allocator, so it lies in the region.
        self.shared.memory.pointer(self.offset, self.bytes).unwrap_or(NonNull::dangling())
    }

    /// Whether its bytes went when the region's memory was wiped, or another producer has them, so that nothing of it can be
    /// published any more.
    pub fn is_cleared(&self) -> bool {
        // A forked child has none of them, and must not look.
        !self.shared.memory.is_here() || self.shared.is_over() || !self.shared.is_current(self.life)
    }

    /// Offset in the region, and the extent.
    pub(super) fn place(&self) -> (u64, Option<ExtentId>) {
        (self.offset, self.extent)
    }

    /// Gives the extent's use to the caller.
    pub(super) fn into_extent(mut self) -> Option<ExtentId> {
        self.extent.take()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(id) = self.extent.take() {
            if self.is_lost && self.shared.memory.is_here() {
                // It was a frame that nobody tried to publish any more: that would have counted it.
                self.shared.count_dropped_newest();
            }
            self.shared.release(id);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("offset", &self.offset).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
