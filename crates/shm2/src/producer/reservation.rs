//! Arena memory that is being filled.

use super::extents::ExtentId;
use super::lifecycle::Epoch;
use super::shared::Shared;
use crate::error::SendError;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// Smallest frame whose memory is put on large pages.
const LARGE_FRAME: u64 = 2 << 20;

/// Memory that was found for a reservation. Its extent has one user.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    /// `None` for no bytes.
    pub(super) extent: Option<ExtentId>,
    /// In the region.
    pub(super) offset: u64,
    pub(super) epoch: Epoch,
}

/// Bytes of the region that belong to this value until they are published. Dropping it unpublished frees them.
///
/// A reservation may outlive its producer: the memory stays mapped.
pub struct Reservation {
    pub(super) shared: Arc<Shared>,
    extent: Option<ExtentId>,
    offset: u64,
    bytes: u64,
    /// Generation this reservation belongs to; its bytes are lost when that generation ends.
    pub(super) epoch: Epoch,
    /// Time for which its frame has waited for free space; part of the limit under `block`.
    pub(super) waited: Duration,
    /// A write failed because the generation has ended.
    is_lost: bool,
}

impl Reservation {
    #[inline]
    pub(super) fn new(shared: Arc<Shared>, grant: Grant, bytes: u64, waited: Duration) -> Self {
        let Grant { extent, offset, epoch } = grant;
        Self { shared, extent, offset, bytes, epoch, waited, is_lost: false }
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Whether the reservation is of an empty frame.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Copies `bytes` to `offset`, in bytes from the beginning of the reservation.
    ///
    /// # Errors
    /// [`SendError::Range`] when they do not fit there. In a device or a kept region: [`SendError::Cleared`] and
    /// [`SendError::Superseded`] when the memory no longer belongs to this producer; [`SendError::Closed`] when the
    /// next producer may already use it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("shm:///dev/shm/shm2-doc-write-{}", std::process::id());
    /// let mut producer = shm2::Producer::create(&name)?;
    /// let mut slot = producer.reserve(4)?;
    /// slot.write_at(0, &[1, 2])?;
    /// slot.write_at(2, &[3, 4])?;
    /// assert!(matches!(slot.write_at(3, &[5, 6]), Err(shm2::SendError::Range { end: 5, bytes: 4, .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<(), SendError> {
        let written = self.write_uncounted(offset, bytes);
        self.is_lost |= matches!(written, Err(SendError::Cleared { .. }));
        written
    }

    /// As [`write_at`](Self::write_at) for bytes that do not count as a frame: caps, metas, events.
    pub(super) fn write_uncounted(&mut self, offset: usize, bytes: &[u8]) -> Result<(), SendError> {
        self.check_generation()?;
        self.prepare_memory();
        let end = (offset as u64).saturating_add(bytes.len() as u64);
        let inside = end <= self.bytes && self.shared.memory.copy_in(self.offset + offset as u64, bytes, self.bytes);
        if inside { Ok(()) } else { Err(SendError::Range { offset: offset as u64, end, bytes: self.bytes }) }
    }

    /// Whether the generation of this reservation is current.
    fn check_generation(&self) -> Result<(), SendError> {
        let shared = &self.shared;
        if shared.is_given_up() {
            // The memory may already belong to the next producer.
            return Err(shared.check().err().unwrap_or(SendError::Closed));
        }
        if shared.is_current(self.epoch) {
            return Ok(());
        }
        match shared.epoch() {
            Ok(_) | Err(SendError::Recovering) => Err(SendError::Cleared { bytes: self.bytes }),
            Err(error) => Err(error),
        }
    }

    /// Address of the first byte, for code that fills the memory itself. Valid for [`len`](Self::len) bytes as long as
    /// this value or a frame published from it exists; aligned to 64 bytes.
    ///
    /// Code that fills it with non-temporal stores must end them with a store fence (`_mm_sfence` on x86-64) before the
    /// frame is published.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.prepare_memory();
        self.pointer().as_ptr()
    }

    /// Address of the first byte, as [`as_mut_ptr`](Self::as_mut_ptr), for code that only passes it on.
    pub fn as_ptr(&self) -> *const u8 {
        self.pointer().as_ptr()
    }

    /// Called before the bytes are written.
    fn prepare_memory(&self) {
        if self.bytes >= LARGE_FRAME {
            self.shared.memory.use_large_pages(self.offset, self.bytes);
        }
    }

    fn pointer(&self) -> NonNull<u8> {
        // The range comes from the allocator, so it is inside the region.
        self.shared.memory.pointer(self.offset, self.bytes).unwrap_or(NonNull::dangling())
    }

    /// Whether the bytes are lost, because the region's memory was cleared or belongs to another producer. The
    /// reservation can then no longer be published.
    pub fn is_cleared(&self) -> bool {
        // A forked child has no mapping of the region.
        !self.shared.memory.is_here() || self.shared.is_given_up() || !self.shared.is_current(self.epoch)
    }

    /// False in a forked child, where the bytes are not mapped.
    pub(crate) fn is_here(&self) -> bool {
        self.shared.memory.is_here()
    }

    /// Offset in the region, and the extent.
    pub(super) fn location(&self) -> (u64, Option<ExtentId>) {
        (self.offset, self.extent)
    }

    /// Passes the extent's use to the caller.
    pub(super) fn take_extent(&mut self) -> Option<ExtentId> {
        self.extent.take()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(id) = self.extent.take() {
            if self.is_lost && self.shared.memory.is_here() {
                // The caller did not try to publish the frame after that, so it is not counted yet.
                self.shared.count_dropped_newest();
            }
            self.shared.drop_use(id);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("offset", &self.offset).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
