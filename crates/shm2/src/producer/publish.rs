//! Publishing: fills the next cell of the ring, makes it visible, and wakes sleeping consumers.

use super::extents::ExtentId;
use super::header_writer::renew_beacon;
use super::ledger::{Keep, Record};
use super::lifecycle::{Epoch, Exclusion};
use super::shared::{CurrentCaps, Inner, Shared};
use crate::backend::{self, ProducerRegion};
use crate::description::{CapsRange, FrameInfo, Item, Kind, Range};
use crate::error::{SendError, Shortage};
use crate::kill_points::point;
use crate::layout;
use crate::protocol;
use crate::sync::{Ordering, fence};
use std::time::Duration;

/// Interval at which locks of consumers are probed while no other reason to probe them occurs.
const PROBE_EVERY_NS: u64 = 250_000_000;

/// One item on its way into the ring, with the extents that it uses.
pub(super) struct Draft<'a> {
    pub(super) kind: Kind,
    pub(super) info: &'a FrameInfo,
    pub(super) payload: (Range, Option<ExtentId>),
    pub(super) meta: (Range, Option<ExtentId>),
    pub(super) keep: Option<Keep>,
    /// Generation in which its bytes were written; `None` for an item without bytes.
    pub(super) epoch: Option<Epoch>,
    /// As [`Reservation::waited`](super::reservation::Reservation::waited).
    pub(super) waited: Duration,
}

impl<'a> Draft<'a> {
    /// An item without bytes.
    pub(super) fn new(kind: Kind, info: &'a FrameInfo) -> Self {
        let none = (Range::default(), None);
        Self { kind, info, payload: none, meta: none, keep: None, epoch: None, waited: Duration::ZERO }
    }

    /// The record of the item, which takes over its keep and the use of its extents.
    fn record(&mut self, sequence: u64, caps: Option<ExtentId>) -> Record {
        let (payload, meta) = (self.payload.1, self.meta.1);
        Record { sequence, kind: self.kind, payload, caps, meta, keep: self.keep.take() }
    }
}

impl Shared {
    /// Publishes one item. The policy decides whether this waits for a free ring cell.
    #[inline]
    pub(super) fn publish(&self, mut draft: Draft<'_>) -> Result<u64, SendError> {
        let (bytes, mut waited) = (draft.payload.0.length, draft.waited);
        let mut attempt = || self.with(|inner| self.publish_now(inner, &mut draft).map_err(Box::new));
        match self.retry(bytes, &mut waited, &mut attempt) {
            Ok(sequence) => self.check().map(|()| sequence),
            Err(error) => Err(self.withdraw(draft, *error)),
        }
    }

    /// Frees what an item uses that could not be published, and counts a frame as dropped.
    #[cold]
    fn withdraw(&self, mut draft: Draft<'_>, error: SendError) -> SendError {
        self.give_back(draft.record(0, None));
        if !matches!(error, SendError::Cancelled) && draft.kind == Kind::Frame {
            self.count_dropped_newest();
        }
        error
    }

    /// Takes the draft's keep when it succeeds.
    #[inline]
    fn publish_now(&self, inner: &mut Inner, draft: &mut Draft<'_>) -> Result<u64, SendError> {
        self.advance_lifecycle(inner)?;
        if !inner.ledger.has_cell() {
            self.make_cell(inner)?;
        }
        let bytes = draft.payload.0.length;
        if draft.epoch.is_some_and(|epoch| epoch != inner.lifecycle.epoch()) {
            return Err(SendError::Cleared { bytes });
        }
        if draft.kind == Kind::End && inner.ledger.has_ended() {
            // A second end in a row changes nothing, and the ring's reserved cell serves for one end only.
            return Ok(inner.ledger.next() - 1);
        }
        if !inner.ledger.has_cell() && draft.kind != Kind::End {
            return Err(SendError::Full { bytes, shortage: Shortage::Cells });
        }
        Ok(self.fill(inner, draft))
    }

    /// An error if the ring has no free cell for a frame now.
    #[cfg(feature = "async")]
    pub(super) fn find_cell(&self) -> Result<(), SendError> {
        self.with(|inner| {
            self.advance_lifecycle(inner)?;
            if !inner.ledger.has_cell() {
                self.make_cell(inner)?;
            }
            let full = SendError::Full { bytes: 0, shortage: Shortage::Cells };
            if inner.ledger.has_cell() { Ok(()) } else { Err(full) }
        })
    }

    /// Frees a ring cell, at the cost of the oldest frames if the policy allows it.
    #[cold]
    fn make_cell(&self, inner: &mut Inner) -> Result<(), SendError> {
        inner.ledger.collect(&self.memory);
        if !inner.ledger.has_cell() {
            self.reap_before_drop(inner)?;
            inner.ledger.collect(&self.memory);
        }
        if !inner.ledger.has_cell() {
            let limit = self.expendable(inner);
            inner.ledger.drop_for_cell(&self.memory, limit);
        }
        Ok(())
    }

    #[inline]
    fn fill(&self, inner: &mut Inner, draft: &mut Draft<'_>) -> u64 {
        let sequence = inner.ledger.next();
        let (caps, caps_extent) = match inner.caps {
            Some(CurrentCaps { range, extent }) => (range, extent),
            None => (CapsRange::default(), None),
        };
        if let Some(id) = caps_extent {
            inner.ledger.extents.add_use(id);
        }
        let cell = self.memory.cell(sequence);
        let (payload, meta) = (draft.payload.0, draft.meta.0);
        // Private memory is written before the cell. The stores to the cell wait for its line from the consumers'
        // processors, and loads of what was just stored behind them might have to wait as well.
        //
        // Upstream may wait for a keep, so its frame is retired before the next reservation.
        inner.fresh = if draft.keep.is_some() { u64::MAX } else { inner.fresh.saturating_add(payload.length) };
        inner.ledger.push(draft.record(sequence, caps_extent));
        Item { kind: draft.kind, payload, meta, caps, info: draft.info }.store(cell);
        point!("publish.cell");
        // Memory of a device may be mapped as write-combining, where a Release store orders nothing.
        let order = || {
            if !self.region.has_locks() {
                fence(Ordering::SeqCst)
            }
        };
        order();
        protocol::publish(&cell.words[layout::W_SEQUENCE], sequence);
        point!("publish.sequence");
        order();
        // SYNC: frame-published
        self.memory.header().head.store(sequence, Ordering::Release);
        point!("publish.head");
        let now = backend::monotonic_ns();
        protocol::store_publication_time(&cell.words[layout::W_PUBLISHED], now);
        point!("publish.time");
        self.wake_sleepers(inner, now);
        point!("publish.woken");
        if let Some(offset) = inner.ledger.extents.next_offset() {
            self.own_line(offset);
        }
        sequence
    }

    /// As [`Memory::own_line`](crate::mapped::Memory::own_line). In a kept region another producer may have begun a
    /// generation by now, unseen, and its frames may be there.
    #[inline]
    pub(super) fn own_line(&self, offset: u64) {
        if self.settings.exclusion() == Exclusion::Exclusive {
            self.memory.own_line(offset);
        }
    }

    #[inline]
    fn wake_sleepers(&self, inner: &mut Inner, now: u64) {
        let sleepers = inner.ledger.sleepers(&self.memory);
        let has_woken = sleepers != 0 || inner.ledger.snapshots;
        if has_woken {
            inner.stats.wakes += 1;
            self.wake(sleepers);
        }
        self.check_periodically(inner, now);
        if inner.ledger.snapshots && !has_woken {
            // Snapshot consumers that attached since the last check may already sleep.
            self.wake(0);
        }
    }

    /// Wakes the consumers of `pages`, a bit each, and snapshot consumers.
    pub(super) fn wake(&self, pages: u64) {
        let word = &self.memory.header().wake;
        // Relaxed: the futex call orders it. An addition, because a producer that was superseded may still wake.
        word.fetch_add(1, Ordering::Relaxed);
        self.region.wake(word, pages);
    }

    /// Periodic work: probing for dead consumers and for snapshot consumers, renewing the beacon.
    #[inline]
    fn check_periodically(&self, inner: &mut Inner, now: u64) {
        if now.saturating_sub(inner.last_probe) >= PROBE_EVERY_NS {
            self.reap(inner, now);
        }
        let is_due = now.saturating_sub(inner.last_beacon) >= self.settings.beacon.as_nanos() as u64;
        if is_due && self.is_mine(inner) {
            inner.last_beacon = now;
            renew_beacon(&self.memory, now, inner.ledger.next() - 1);
        }
    }
}
