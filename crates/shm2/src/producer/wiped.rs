//! The life of a producer in memory that others can wipe or take over: the firmware of a starting virtual machine may fill
//! a device's memory with zeros, and a producer that was paused for longer than its lease time may find a successor.
//!
//! Both are seen by the generation in the header. After a wipe everything in the region is made anew, as a new life of the
//! same producer: consumers attach again. Frames that were there are lost; sequences go on growing. A producer that finds a
//! successor gives up.

use super::builder::fill_header;
use super::hearts::{self, Hearts};
use super::shared::{Inner, Shared};
use crate::backend;
use crate::error::SendError;
use crate::layout::{self, CELLS, W_SEQUENCE};
use crate::protocol;
use crate::sync::Ordering;
use std::time::{Duration, Instant};

/// Bytes of the caps that are compared with each beat: the memory may be slow to read.
const LOOKED_AT: usize = 1024;
/// A number that stands for so long is no stray write.
const SUSPECT: Duration = Duration::from_millis(50);

impl Shared {
    /// Whether this producer may go on writing; mends the region if it was wiped.
    pub(super) fn keep_life(&self, inner: &mut Inner) -> Result<(), SendError> {
        if !self.settings.keep_region || self.over.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.taken_over.load(Ordering::Acquire) {
            return Err(SendError::TakenOver { path: self.region.path().into() });
        }
        let header = self.memory.header();
        let found = header.generation.load(Ordering::Acquire);
        if found == inner.generation {
            // A number that comes back after this one is looked at anew.
            inner.suspect = None;
            return Ok(());
        }
        let is_successor = match found {
            0 => Some(false),
            _ if !self.region.has_locks() => Some(true),
            _ => self.judge(inner, found),
        };
        match is_successor {
            Some(false) => {
                self.begin_again(inner);
                Ok(())
            }
            Some(true) => {
                self.taken_over.store(true, Ordering::Release);
                Err(SendError::TakenOver { path: self.region.path().into() })
            }
            // Nothing is written meanwhile.
            None => Err(SendError::Full { bytes: 0 }),
        }
    }

    /// For a producer that has the lock, so that only one in another kernel can be there: whether the number found is a
    /// successor's, whose heart beats, or a stray write. `None` as long as that is open.
    fn judge(&self, inner: &mut Inner, found: u64) -> Option<bool> {
        let header = self.memory.header();
        if header.kept.load(Ordering::Acquire) != layout::KEPT_BY_HEARTBEAT {
            return Some(false);
        }
        let beat = header.heartbeat.load(Ordering::Relaxed);
        let (generation, first, since) = *inner.suspect.get_or_insert((found, beat, Instant::now()));
        if generation != found {
            inner.suspect = Some((found, beat, Instant::now()));
            return None;
        }
        match since.elapsed() {
            elapsed if elapsed > SUSPECT && beat != first => Some(true),
            elapsed if elapsed > self.settings.lease_time => Some(false),
            _ => None,
        }
    }

    /// As [`keep_life`](Self::keep_life), and makes the region anew as well when other words that must stand there are
    /// gone: a wipe may have been under way still when the header was mended. Frames are followed by others, these stay.
    pub(super) fn look_after_life(&self, inner: &mut Inner) -> Result<(), SendError> {
        self.keep_life(inner)?;
        if self.settings.keep_region && !self.is_over() && !(self.has_header(inner) && self.has_caps(inner)) {
            self.begin_again(inner);
        }
        Ok(())
    }

    fn has_header(&self, inner: &Inner) -> bool {
        let header = self.memory.header();
        header.magic.load(Ordering::Relaxed) == layout::MAGIC
            && header.version.load(Ordering::Relaxed) == layout::VERSION
            && header.region_bytes.load(Ordering::Relaxed) == self.settings.bytes
            && header.kept.load(Ordering::Relaxed) == self.settings.kept()
            && header.state.load(Ordering::Relaxed) == layout::STATE_LIVE
            && header.oldest.load(Ordering::Relaxed) == inner.state.oldest()
            && header.head.load(Ordering::Relaxed) == inner.state.next() - 1
    }

    /// Whether the beginning of what describes the stream is there.
    fn has_caps(&self, inner: &Inner) -> bool {
        let (Some(caps), Some(copy)) = (inner.caps, &inner.caps_copy) else { return true };
        let part = &copy[..copy.len().min(LOOKED_AT)];
        self.memory.copy_to_vec(caps.offset, part.len() as u64).is_some_and(|found| found == part)
    }

    /// A new life after a wipe.
    fn begin_again(&self, inner: &mut Inner) {
        let header = self.memory.header();
        protocol::close(&header.state);
        inner.suspect = None;
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
        inner.hearts = Hearts::new(self.settings.lease_time, hearts::claims(&self.memory));
        fill_header(&self.memory, &self.settings, layout::arena_bytes(self.settings.bytes).unwrap_or_default());
        self.wake(u64::MAX);
        self.event.signal();
    }
}
