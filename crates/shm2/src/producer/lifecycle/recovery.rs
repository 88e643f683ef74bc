//! The life of a producer in memory that others can wipe or take over: the firmware of a starting virtual machine may fill
//! a device's memory with zeros, and a producer that was paused for longer than its lease time may find a successor.
//!
//! Both are seen by the generation in the header. After a wipe everything in the region is made anew, as a new life of the
//! same producer: consumers attach again. Frames that were there are lost; sequences go on growing. A producer that finds a
//! successor gives up.
//!
//! A wipe takes its time, and begins at the header. So the new life begins only when marks all over the region, in words
//! that nobody reads, have stood for a while. Until then the header says that a producer lives, but no region.

use super::claims;
use super::takeover::shown_lease_time;
use crate::backend::{self, ProcessEvent, ProducerRegion};
use crate::error::SendError;
use crate::heartbeat::{self, Beat};
use crate::layout::{self, CELLS, W_SEQUENCE};
use crate::producer::builder::{fill_constants, go_live};
use crate::producer::consumer_liveness::Hearts;
use crate::producer::shared::{Inner, Shared};
use crate::protocol;
use crate::sync::{Ordering, fence};
use std::time::{Duration, Instant};

/// Bytes of the caps that are compared with each beat: the memory may be slow to read.
const LOOKED_AT: usize = 1024;
/// A number that stands for so long is no stray write.
const SUSPECT: Duration = Duration::from_millis(50);
/// Marks that stand for so long say that the wipe is over.
const QUIET: Duration = Duration::from_millis(100);
/// What one look counts for at most: whoever wipes may have been paused as well.
const LOOK: Duration = Duration::from_millis(25);
/// Consumers that were there before a wipe have come back by then.
pub(in crate::producer) const RETURN: Duration = Duration::from_millis(500);
/// What must not be lost waits for so long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes from one mark to the next, and how many marks there are at most, but for one at the end of each free range.
const STRIDE: u64 = 64 * 1024;
const MOST_MARKS: u64 = 4096;

/// What a producer waits for after a wipe.
pub(in crate::producer) struct Settling {
    /// Where marks stand, as offsets in the region.
    marks: Vec<u64>,
    quiet: Duration,
    looked: Instant,
}

impl Beat for Shared {
    fn beat(&self) -> bool {
        if !self.memory.is_here() {
            return false;
        }
        let mut inner = self.lock();
        if self.is_over() {
            return false;
        }
        // A region that was wiped while no frames come is mended here. Closed, it beats until upstream writes no more.
        let is_closed = self.closed.load(Ordering::Acquire);
        let goes_on = is_closed || self.check_region(&mut inner).is_ok() || inner.settling.is_some();
        // A successor's heart is not touched.
        if goes_on && (self.is_mine(&inner) || (is_closed && self.is_current(0))) {
            heartbeat::advance(&self.memory.header().heartbeat);
        }
        let (dropped, is_settling) = (inner.ledger.take_dropped(), inner.settling.is_some());
        drop(inner);
        if !dropped.is_empty() {
            // User code may wait; hearts must not. Without a thread it is dropped with the closure, here.
            let _ = std::thread::Builder::new().name("shm2-drop".into()).spawn(move || drop(dropped));
        }
        is_settling
    }
}

impl Shared {
    /// Whether what stands in the region is this life of this producer, at this moment.
    pub(in crate::producer) fn is_mine(&self, inner: &Inner) -> bool {
        !self.is_over() && self.is_current(inner.generation)
    }

    /// Whether the region shows this life; always where nobody else begins one.
    pub(in crate::producer) fn is_current(&self, life: u64) -> bool {
        !self.settings.keep_region || self.memory.header().generation.load(Ordering::Acquire) == life
    }

    /// Whether this producer may go on writing; mends the region if it was wiped.
    pub(in crate::producer) fn keep_life(&self, inner: &mut Inner) -> Result<(), SendError> {
        if !self.settings.keep_region || self.over.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.taken_over.load(Ordering::Acquire) {
            return Err(SendError::Superseded { path: self.region.path().into() });
        }
        let header = self.memory.header();
        let found = header.generation.load(Ordering::Acquire);
        if found == inner.generation {
            // A number that comes back after this one is looked at anew.
            inner.suspect = None;
            return self.settle(inner);
        }
        inner.settling = None;
        let is_successor = match found {
            0 => Some(false),
            _ if !self.region.has_locks() => Some(true),
            _ => self.judge(inner, found),
        };
        match is_successor {
            Some(false) => self.begin_to_settle(inner),
            Some(true) => {
                self.taken_over.store(true, Ordering::Release);
                return Err(SendError::Superseded { path: self.region.path().into() });
            }
            // Nothing is written meanwhile.
            None => {}
        }
        Err(SendError::Recovering)
    }

    /// Waits until the memory is quiet after a wipe, for what must not be lost; for a second at most.
    pub(in crate::producer) fn await_quiet(&self) {
        let begun = Instant::now();
        while self.is_settling() && begun.elapsed() < PATIENCE && !self.is_cancelled() {
            std::thread::sleep(LOOK / 2);
        }
    }

    /// Whether it is not quiet yet after a wipe, of which one more look may tell.
    pub(in crate::producer) fn is_settling(&self) -> bool {
        self.settings.keep_region && self.with(|inner| self.keep_life(inner).is_err() && inner.settling.is_some())
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
            elapsed if elapsed > self.settings.lease_time.max(shown_lease_time(header)) => Some(false),
            _ => None,
        }
    }

    /// As [`keep_life`](Self::keep_life), and makes the region anew as well when other words that must stand there are
    /// gone: a wipe may have been under way still when the header was mended. Frames are followed by others, these stay.
    pub(in crate::producer) fn check_region(&self, inner: &mut Inner) -> Result<(), SendError> {
        self.keep_life(inner)?;
        if self.settings.keep_region && !self.is_over() && !(self.has_header(inner) && self.has_caps(inner)) {
            // A successor stores its number before anything else, and this one may have slept since it looked at it.
            fence(Ordering::Acquire);
            self.keep_life(inner)?;
            self.begin_to_settle(inner);
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

    /// Whether the beginning of what describes the stream is there.
    fn has_caps(&self, inner: &Inner) -> bool {
        let (Some(caps), Some(copy)) = (inner.caps, &inner.caps_copy) else { return true };
        let part = &copy[..copy.len().min(LOOKED_AT)];
        self.memory.copy_to_vec(caps.offset, part.len() as u64).is_some_and(|found| found == part)
    }

    /// After a wipe, or in the middle of one: nothing that was there counts any more.
    fn begin_to_settle(&self, inner: &mut Inner) {
        let header = self.memory.header();
        protocol::close(&header.state);
        inner.suspect = None;
        inner.generation = backend::random_nonzero();
        header.generation.store(inner.generation, Ordering::Release);
        heartbeat::advance(&header.heartbeat);
        // Whoever would begin a life here meanwhile sees that somebody lives.
        fill_constants(&self.memory, &self.settings);
        self.wake(u64::MAX);
        self.forget(inner);
        inner.settling = Some(self.mark(inner));
    }

    /// Everything that was published is over; what comes next goes on behind it.
    fn forget(&self, inner: &mut Inner) {
        let header = self.memory.header();
        let first = inner.ledger.forget_all(&self.memory);
        header.first_sequence.store(first, Ordering::Relaxed);
        header.head.store(first - 1, Ordering::Relaxed);
    }

    /// Puts marks into cells that nobody reads, spare words of the pages, and what nobody has of the arena.
    fn mark(&self, inner: &mut Inner) -> Settling {
        let stride = (self.arena / MOST_MARKS).next_multiple_of(layout::GRANULE).max(STRIDE) as usize;
        let cells = (0..CELLS).step_by((STRIDE / layout::CELL_BYTES) as usize);
        let cells = cells.map(|cell| layout::cell_offset(cell) + 8 * layout::W_LATENCY as u64);
        let mut marks: Vec<_> = cells.chain((0..layout::PAGES).map(layout::page_spare_offset)).collect();
        for (start, length) in inner.ledger.extents.free_ranges() {
            let (start, end) = (layout::ARENA_OFFSET + start, layout::ARENA_OFFSET + start + length);
            marks.extend((start..end).step_by(stride).chain([end - layout::GRANULE]));
        }
        let mark = inner.generation.to_le_bytes();
        for at in &marks {
            // It lies in the region, where nobody reads.
            let _ = self.memory.copy_in(*at, &mark);
        }
        Settling { marks, quiet: Duration::ZERO, looked: Instant::now() }
    }

    /// Goes on with the new life when the wipe is over.
    fn settle(&self, inner: &mut Inner) -> Result<(), SendError> {
        let Some(mut settling) = inner.settling.take() else { return Ok(()) };
        settling.quiet += settling.looked.elapsed().min(LOOK);
        settling.looked = Instant::now();
        if !self.marks_intact(&settling.marks, inner.generation) {
            fill_constants(&self.memory, &self.settings);
            settling = self.mark(inner);
        }
        if settling.quiet >= QUIET {
            self.begin_again(inner);
            return Ok(());
        }
        inner.settling = Some(settling);
        Err(SendError::Recovering)
    }

    fn marks_intact(&self, marks: &[u64], generation: u64) -> bool {
        let mut found = [0; 8];
        let mut stands = |at: &u64| self.memory.copy_out(*at, &mut found) && found == generation.to_le_bytes();
        self.memory.header().magic.load(Ordering::Relaxed) == layout::MAGIC && marks.iter().all(&mut stands)
    }

    /// A new life after a wipe.
    fn begin_again(&self, inner: &mut Inner) {
        self.forget(inner);
        for cell in 0..CELLS {
            self.memory.cell(cell).words[W_SEQUENCE].store(0, Ordering::Release);
        }
        if let Some((caps, bytes)) = inner.caps.zip(inner.caps_copy.as_ref()) {
            // Where they stand was wiped, too. The range is this producer's own extent.
            let _ = self.memory.copy_in(caps.offset, bytes);
        }
        inner.hearts = Hearts::new(self.settings.lease_time);
        inner.ledger.inherit(claims(&self.memory));
        go_live(&self.memory, &self.settings);
        inner.begun_again = Some(Instant::now());
        self.wake(u64::MAX);
        self.event.signal();
    }
}
