//! Carries out what the [`Lifecycle`](super::Lifecycle) of kept memory decides: reads the header, recovers after a
//! clear, and shows the producer's heartbeat.
//!
//! A clear takes some time, and begins at the header. Therefore the new generation becomes live only after marks all
//! over the region, in words that no peer reads, have stayed intact for 100 ms. Until then the header shows that a
//! producer is alive, but no live region. All published frames are lost; sequences continue to grow.

use super::takeover::shown_lease_time;
use super::{Action, Epoch, Found, LOOK, Phase, claims};
use crate::backend::{self, ProcessEvent};
use crate::error::SendError;
use crate::heartbeat::{self, Heartbeat};
use crate::layout::{self, CELLS, W_SEQUENCE};
use crate::producer::consumer_liveness::ConsumerLiveness;
use crate::producer::header_writer::{fill_constants, go_live};
use crate::producer::shared::{Inner, Shared};
use crate::protocol;
use crate::sync::{Ordering, fence};
use std::time::{Duration, Instant};

/// Bytes of the caps that each heartbeat compares. Few, because the memory may be slow to read.
const COMPARED: usize = 1024;
/// Longest time for which caps, events and the end of a stream wait for a recovery.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest distance between marks in bytes, and largest number of them, besides one at the end of each free range.
const STRIDE: u64 = 64 * 1024;
const MOST_MARKS: u64 = 4096;

impl Heartbeat for Shared {
    fn beat(&self) -> bool {
        if !self.memory.is_here() {
            return false;
        }
        let mut inner = self.lock();
        let phase = inner.lifecycle.phase();
        if matches!(phase, Phase::Released | Phase::Superseded) {
            return false;
        }
        // A region that was cleared while no frames are published recovers here. A closed producer shows its heartbeat
        // until upstream no longer writes.
        let is_closed = phase == Phase::Closed;
        let continues = is_closed || self.check_region(&mut inner).is_ok() || inner.lifecycle.is_recovering();
        // The heartbeat word is not changed if it belongs to a successor.
        if continues && (self.is_mine(&inner) || (is_closed && self.shown_generation() == 0)) {
            heartbeat::advance(&self.memory.header().heartbeat);
        }
        let (dropped, is_recovering) = (inner.ledger.take_dropped(), inner.lifecycle.is_recovering());
        drop(inner);
        if !dropped.is_empty() {
            // User code may block, heartbeats must not. If no thread can be started, the closure and with it the keeps
            // are dropped here.
            let _ = std::thread::Builder::new().name("shm2-drop".into()).spawn(move || drop(dropped));
        }
        is_recovering
    }
}

impl Shared {
    fn shown_generation(&self) -> u64 {
        self.memory.header().generation.load(Ordering::Acquire)
    }

    /// Whether the region shows the generation of `epoch`. Always true for a plain region.
    #[inline]
    pub(in crate::producer) fn is_current(&self, epoch: Epoch) -> bool {
        !self.settings.keep_region || self.shown_generation() == epoch.generation()
    }

    /// Whether the region belongs to this producer at this moment.
    pub(in crate::producer) fn is_mine(&self, inner: &Inner) -> bool {
        let phase = inner.lifecycle.phase();
        matches!(phase, Phase::Open | Phase::Closed) && self.is_current(inner.lifecycle.epoch())
    }

    /// Advances the lifecycle by what the header shows; an error if this producer must not write now. Begins or
    /// continues a recovery if the memory was cleared.
    #[inline]
    pub(in crate::producer) fn advance_lifecycle(&self, inner: &mut Inner) -> Result<Epoch, SendError> {
        if inner.lifecycle.is_exclusive() || inner.lifecycle.is_live_in(self.shown_generation()) {
            return Ok(inner.lifecycle.epoch());
        }
        self.advance_observed(inner)
    }

    #[cold]
    fn advance_observed(&self, inner: &mut Inner) -> Result<Epoch, SendError> {
        let header = self.memory.header();
        let found = Found {
            generation: self.shown_generation(),
            heartbeat: header.heartbeat.load(Ordering::Relaxed),
            by_heartbeat: header.kept.load(Ordering::Acquire) == layout::KEPT_BY_HEARTBEAT,
            lease: self.settings.lease_time.max(shown_lease_time(header)),
        };
        let action = match inner.lifecycle.observe(&found, Instant::now()) {
            Action::CheckMarks => {
                let are_intact = self.marks_intact(inner);
                inner.lifecycle.marks_checked(are_intact, Instant::now())
            }
            action => action,
        };
        match action {
            Action::Proceed => return Ok(inner.lifecycle.epoch()),
            Action::Resume => {
                self.resume(inner);
                return Ok(inner.lifecycle.epoch());
            }
            Action::Recover => self.begin_recovery(inner),
            Action::PlaceMarks => {
                fill_constants(&self.memory, &self.settings);
                let marks = self.place_marks(inner);
                inner.lifecycle.marks_placed(marks, Instant::now());
            }
            Action::Stop => {
                self.sync_phase(inner);
                self.check()?;
                return Err(SendError::Closed);
            }
            Action::CheckMarks | Action::Wait => {}
        }
        Err(SendError::Recovering)
    }

    /// Waits until a recovery is over, for a second at most. Used by items that must not be lost.
    pub(in crate::producer) fn await_recovery(&self) {
        let begun = Instant::now();
        while self.is_recovering() && begun.elapsed() < RECOVERY_TIMEOUT && !self.is_cancelled() {
            std::thread::sleep(LOOK / 2);
        }
    }

    /// True while recovery is in progress; advances it by one step.
    pub(in crate::producer) fn is_recovering(&self) -> bool {
        self.settings.keep_region
            && self.with(|inner| self.advance_lifecycle(inner).is_err() && inner.lifecycle.is_recovering())
    }

    /// As [`advance_lifecycle`](Self::advance_lifecycle), but also begins a recovery when other words of the header or
    /// the caps were lost: a clear may still have been in progress when the header was written again.
    fn check_region(&self, inner: &mut Inner) -> Result<(), SendError> {
        self.advance_lifecycle(inner)?;
        let is_intact = inner.lifecycle.is_exclusive() || (self.has_header(inner) && self.has_caps(inner));
        if !is_intact {
            // A successor stores its generation first, and this producer may have been paused since it read the header.
            fence(Ordering::Acquire);
            self.advance_lifecycle(inner)?;
            self.begin_recovery(inner);
            return Err(SendError::Recovering);
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
            && header.oldest.load(Ordering::Relaxed) == inner.ledger.oldest()
            && header.head.load(Ordering::Relaxed) == inner.ledger.next() - 1
    }

    /// Whether the first bytes of the caps are intact.
    fn has_caps(&self, inner: &Inner) -> bool {
        let (Some(caps), Some(copy)) = (inner.caps, &inner.caps_copy) else { return true };
        let part = &copy[..copy.len().min(COMPARED)];
        self.memory.copy_to_vec(caps.range.text.offset, part.len() as u64).is_some_and(|found| found == part)
    }

    /// Begins a recovery: ends the generation, chooses a new one, and discards everything that was published.
    fn begin_recovery(&self, inner: &mut Inner) {
        let header = self.memory.header();
        protocol::close(&header.state);
        let generation = backend::random_nonzero();
        header.generation.store(generation, Ordering::Release);
        heartbeat::advance(&header.heartbeat);
        // A producer that is about to begin in this memory must see that this one is alive.
        fill_constants(&self.memory, &self.settings);
        self.wake(u64::MAX);
        self.forget(inner);
        inner.lifecycle.recover(generation, Vec::new(), Instant::now());
        let marks = self.place_marks(inner);
        inner.lifecycle.marks_placed(marks, Instant::now());
    }

    /// Discards everything that was published. Sequences continue after it.
    fn forget(&self, inner: &mut Inner) {
        let header = self.memory.header();
        let first = inner.ledger.forget_all(&self.memory);
        header.first_sequence.store(first, Ordering::Relaxed);
        header.head.store(first - 1, Ordering::Relaxed);
    }

    /// Writes marks into cells that no consumer reads, spare words of the pages, and free ranges of the arena. Returns
    /// their offsets.
    fn place_marks(&self, inner: &mut Inner) -> Vec<u64> {
        let stride = (self.arena / MOST_MARKS).next_multiple_of(layout::GRANULE).max(STRIDE) as usize;
        let cells = (0..CELLS).step_by((STRIDE / layout::CELL_BYTES) as usize);
        let cells = cells.map(|cell| layout::cell_offset(cell) + 8 * layout::W_LATENCY as u64);
        let mut marks: Vec<_> = cells.chain((0..layout::PAGES).map(layout::page_spare_offset)).collect();
        for (start, length) in inner.ledger.extents.free_ranges() {
            let (start, end) = (layout::ARENA_OFFSET + start, layout::ARENA_OFFSET + start + length);
            marks.extend((start..end).step_by(stride).chain([end - layout::GRANULE]));
        }
        let mark = inner.lifecycle.epoch().generation().to_le();
        // The offsets are inside the region, in bytes that no peer reads. Relaxed: only this producer reads them.
        marks.iter().filter_map(|at| self.memory.word(*at)).for_each(|word| word.store(mark, Ordering::Relaxed));
        marks
    }

    fn marks_intact(&self, inner: &Inner) -> bool {
        let mark = inner.lifecycle.epoch().generation().to_le();
        let is_intact = |at: &u64| self.memory.word(*at).is_some_and(|word| word.load(Ordering::Relaxed) == mark);
        self.memory.header().magic.load(Ordering::Relaxed) == layout::MAGIC
            && inner.lifecycle.marks().iter().all(is_intact)
    }

    /// Ends a recovery: makes the region complete, and live in its new generation.
    fn resume(&self, inner: &mut Inner) {
        self.forget(inner);
        for cell in 0..CELLS {
            self.memory.cell(cell).words[W_SEQUENCE].store(0, Ordering::Release);
        }
        if let Some((caps, bytes)) = inner.caps.zip(inner.caps_copy.as_ref()) {
            // The caps were cleared as well. Their range is an extent of this producer.
            let _ = self.memory.copy_in(caps.range.text.offset, bytes, bytes.len() as u64);
        }
        inner.consumers = ConsumerLiveness::new(self.settings.lease_time);
        inner.ledger.inherit(inner.lifecycle.epoch().generation(), claims(&self.memory));
        let caps = inner.caps.map(|caps| caps.range).unwrap_or_default();
        go_live(&self.memory, &self.settings, caps);
        self.wake(u64::MAX);
        self.event.signal();
    }
}
