//! The life of a producer in memory that others can wipe or take over: the firmware of a starting virtual machine may fill
//! a device's memory with zeros, and a producer that was paused for longer than its lease time may find a successor.
//!
//! Both are seen by the generation in the header. After a wipe everything in the region is made anew, as a new life of the
//! same producer: consumers attach again. Frames that were there are lost; sequences go on growing. A producer that has the
//! file's lock takes its memory back in the same way; one without gives up.

use super::fill_header;
use super::shared::{Inner, Shared};
use crate::backend;
use crate::error::SendError;
use crate::layout::{self, CELLS, W_SEQUENCE};
use crate::protocol;
use crate::sync::Ordering;

impl Shared {
    /// Whether this producer may go on writing; mends the region if it was wiped.
    pub(super) fn keep_life(&self, inner: &mut Inner) -> Result<(), SendError> {
        if !self.settings.keep_region || self.over.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.taken_over.load(Ordering::Acquire) {
            return Err(SendError::TakenOver { path: self.region.path().into() });
        }
        match self.memory.header().generation.load(Ordering::Acquire) {
            found if found == inner.generation => Ok(()),
            found if found == 0 || self.region.has_locks() => {
                self.begin_again(inner);
                Ok(())
            }
            _ => {
                self.taken_over.store(true, Ordering::Release);
                Err(SendError::TakenOver { path: self.region.path().into() })
            }
        }
    }

    /// As [`keep_life`](Self::keep_life), and makes the region anew as well when only the caps are gone: a wipe may have
    /// been under way still when the header was mended. Frames are followed by others, the caps stay.
    pub(super) fn look_after_life(&self, inner: &mut Inner) -> Result<(), SendError> {
        self.keep_life(inner)?;
        let (Some(caps), Some(copy)) = (inner.caps, &inner.caps_copy) else { return Ok(()) };
        if self.memory.copy_to_vec(caps.offset, copy.len() as u64).is_some_and(|found| *found != **copy) {
            self.begin_again(inner);
        }
        Ok(())
    }

    /// A new life after a wipe.
    fn begin_again(&self, inner: &mut Inner) {
        let header = self.memory.header();
        protocol::close(&header.state);
        inner.generation = backend::random_nonzero();
        header.generation.store(inner.generation, Ordering::Release);
        let first = inner.state.forget_all(&self.memory);
        for cell in 0..CELLS {
            self.memory.cell(cell).words[W_SEQUENCE].store(0, Ordering::Release);
        }
        header.first_sequence.store(first, Ordering::Relaxed);
        header.head.store(first - 1, Ordering::Relaxed);
        if let Some((caps, bytes)) = inner.caps.zip(inner.caps_copy.as_ref()) {
            // Where they stand was wiped, too. The range is this producer's own extent.
            let _ = self.memory.copy_in(caps.offset, bytes);
        }
        fill_header(&self.memory, &self.settings, layout::arena_bytes(self.settings.bytes).unwrap_or_default());
        self.wake(u64::MAX);
        self.event.signal();
    }
}
