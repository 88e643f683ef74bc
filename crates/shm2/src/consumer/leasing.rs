//! Access by lease: frames are read in place, in a mapping of the whole region.
//!
//! Each held frame uses one lease entry of the consumer's page. A consumer that holds as many frames as the producer
//! honours, or a third of the arena, copies further frames, so that a slow consumer leaves memory for the others.

use super::builder::Access;
use super::frame::{Item, Payload};
use super::lease::{LeaseGuard, LeasedRegion};
use super::ownership::{Leased, Ownership};
use super::position::Position;
use super::ring_reader::{RingReader, View};
use super::take_error::{Cause, TakeError};
use crate::backend::{ConsumerRegion, Event, OpenRegion, Poll, Wake};
use crate::description::{Description, Details, Range};
use crate::kill_points::point;
use crate::layout::{self, LEASES};
use crate::mapped;
use crate::protocol;
use crate::sync::{Ordering, fence};
use crate::waiter::Source;
use std::convert::Infallible;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// The view of a leasing consumer.
#[derive(Debug)]
pub(super) struct Leasing<O: Ownership> {
    region: Arc<LeasedRegion<O>>,
    /// Bit i: lease entry i was in use when it was last looked at.
    in_use: u64,
    /// Payload and metas held in place, in bytes: of all entries in `in_use`, and of each one.
    held: u64,
    held_by: [u64; LEASES],
}

impl<O: Ownership> Leasing<O> {
    pub(super) fn new(region: Arc<LeasedRegion<O>>) -> Self {
        Self { region, in_use: 0, held: 0, held_by: [0; LEASES] }
    }

    /// The lowest free lease entry, after a look at those that were in use.
    #[inline]
    fn free_slot(&mut self) -> usize {
        let mut left = self.in_use;
        while left != 0 {
            let slot = left.trailing_zeros() as usize;
            left &= left - 1;
            if !self.region.busy[slot].load(Ordering::Acquire) {
                self.in_use &= !(1 << slot);
                self.held -= self.held_by[slot];
            }
        }
        (!self.in_use).trailing_zeros() as usize
    }

    /// Marks a lease entry within the budget as in use, for an item of `bytes`. If a frame is dropped a moment later,
    /// one frame more is copied.
    #[inline]
    fn acquire_slot(&mut self, bytes: u64) -> Option<usize> {
        let slot = self.free_slot();
        let held = self.held.saturating_add(bytes);
        if slot >= self.budget || held > self.most_held {
            return None;
        }
        self.hold_bytes(slot, bytes);
        // Relaxed: only this thread sets it, and a frame with this entry does not exist yet.
        self.region.busy[slot].store(true, Ordering::Relaxed);
        let count = &self.page.words().lease_count;
        if count.load(Ordering::Relaxed) as usize <= slot {
            // Never lowered: without a lock the page may belong to another consumer by now.
            count.fetch_max(slot as u32 + 1, Ordering::Relaxed);
        }
        Some(slot)
    }

    fn hold_bytes(&mut self, slot: usize, bytes: u64) {
        self.in_use |= 1 << slot;
        self.held += bytes;
        self.held_by[slot] = bytes;
    }

    /// An entry cannot be used, because a previous owner of the page left a value in it. It stays marked as in use.
    #[cold]
    fn give_up_slot(&mut self, slot: usize) {
        self.held -= self.held_by[slot];
        self.held_by[slot] = 0;
    }
}

impl<O: Ownership> Deref for Leasing<O> {
    type Target = LeasedRegion<O>;

    fn deref(&self) -> &LeasedRegion<O> {
        &self.region
    }
}

/// Bytes that an item counts in [`Leasing::held`].
fn held_bytes(words: &[u64; 16]) -> u64 {
    words[layout::W_LENGTH].saturating_add(words[layout::W_META_LENGTH] & 0xffff_ffff)
}

impl<O: Ownership> View for Leasing<O>
where
    Payload: From<LeaseGuard<O>>,
{
    type Fault = Infallible;
    const ACCESS: Access = Access::Lease;
    const SKIPS_TO_NEWEST: bool = false;

    fn region(&self) -> &OpenRegion {
        &self.region.region
    }

    fn head(&self) -> Result<u64, Infallible> {
        Ok(self.memory.header().head.load(Ordering::Acquire))
    }

    fn oldest(&self) -> Result<u64, Infallible> {
        Ok(self.memory.header().oldest.load(Ordering::Acquire))
    }

    #[inline]
    fn generation(&self) -> Result<u64, Infallible> {
        // Relaxed: see `is_current`.
        Ok(self.memory.header().generation.load(Ordering::Relaxed))
    }

    fn state(&self) -> Result<u32, Infallible> {
        Ok(self.memory.header().state.load(Ordering::Acquire))
    }

    fn heartbeat(&self) -> u64 {
        self.memory.header().heartbeat.load(Ordering::Relaxed)
    }

    fn beacon(&self) -> Option<(u64, u64)> {
        let header = self.memory.header();
        let number = header.beacon_sequence.load(Ordering::Acquire);
        let time = header.beacon_monotonic_ns.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let again = header.beacon_sequence.load(Ordering::Relaxed);
        (number == again).then_some((number, time))
    }

    #[inline]
    fn published(&self, sequence: u64) -> Result<u64, Infallible> {
        Ok(protocol::published(&self.memory.cell(sequence).words[layout::W_SEQUENCE]))
    }

    fn kind_word(&self, sequence: u64) -> Option<u64> {
        // Relaxed: only a hint for where to continue.
        Some(self.memory.cell(sequence).words[layout::W_FLAGS_KIND].load(Ordering::Relaxed))
    }

    #[inline]
    fn cell(&self, sequence: u64, usual: &Details, words: &mut [u64; 16]) -> Result<(), Infallible> {
        Description::copy(self.memory.cell(sequence), usual, words);
        Ok(())
    }

    fn published_ns(&self, sequence: u64) -> Option<u64> {
        self.memory.published_ns(sequence, self.generation)
    }

    fn confirm(&self, sequence: u64, _generation: u64) -> Result<bool, Infallible> {
        fence(Ordering::SeqCst);
        Ok(self.memory.header().oldest.load(Ordering::Acquire) <= sequence && self.is_current())
    }

    fn copy(&self, range: Range, sequence: u64) -> Result<Vec<u8>, TakeError> {
        let Range { offset, length } = range;
        if length == 0 {
            return Ok(Vec::new());
        }
        self.memory.copy_to_vec(offset, length).ok_or_else(|| Cause::TooLarge { sequence, length }.into())
    }

    fn is_whole(&self) -> bool {
        self.is_intact()
    }

    #[inline]
    fn read(ring: &mut RingReader<Self>, item: &mut Item, sequence: u64) -> Result<bool, TakeError> {
        let Some(slot) = ring.view.acquire_slot(held_bytes(&ring.words)) else {
            return ring.read_copy(item, sequence);
        };
        point!("lease.slot");
        let (view, words) = (&ring.view, &ring.words);
        let (page, oldest) = (view.page.words(), &view.memory.header().oldest);
        let entry = &page.leases[slot];
        let describe = || {
            // Relaxed: the lease's fence orders them before any scan that reads them.
            entry.offset.store(words[layout::W_OFFSET], Ordering::Relaxed);
            entry.length.store(words[layout::W_LENGTH], Ordering::Relaxed);
        };
        let leased = view.owner.lease(page, entry, oldest, sequence, describe);
        if leased == Leased::EntryTaken {
            ring.view.give_up_slot(slot);
            return ring.read_copy(item, sequence);
        }
        if leased != Leased::Held || !view.is_current() {
            view.release_slot(slot, sequence);
            return Ok(false);
        }
        point!("lease.held");
        item.payload = LeaseGuard { region: view.region.clone(), slot, sequence }.into();
        let checked = Description::check(words, sequence, ring.header.arena_bytes);
        if let Err(violation) = checked.and_then(|description| {
            item.description = description;
            ring.check_backed(&description)
        }) {
            item.discard();
            return Err(violation.into());
        }
        ring.copy_description(item);
        Ok(true)
    }

    /// The own lease entry, which the next lease writes, and `oldest`, which it reads.
    #[inline]
    fn prefetch(&mut self) {
        let slot = self.free_slot().min(LEASES - 1);
        mapped::prefetch_write(&self.page.words().leases[slot].sequence);
        // Relaxed: the value is not used.
        let _ = self.memory.header().oldest.load(Ordering::Relaxed);
    }

    #[inline]
    fn is_attached(&self) -> bool {
        self.owner.owns(self.page.words())
    }

    #[inline]
    fn is_intact(&self) -> bool {
        !self.memory.is_broken() && !self.page.is_broken()
    }

    #[inline]
    fn show_position(&self, position: &Position) {
        let page = self.page.words();
        page.received.store(position.received, Ordering::Relaxed);
        page.skipped.store(position.skipped, Ordering::Relaxed);
        page.missed.store(position.missed, Ordering::Relaxed);
        page.copied.store(position.copied, Ordering::Relaxed);
        page.cursor.store(position.next, Ordering::Release);
        point!("lease.cursor");
        self.signal_space();
    }

    fn poll(&self) -> Option<&Poll> {
        self.poll.as_ref()
    }

    fn sleep(&self, has_news: &dyn Fn() -> bool, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake {
        let header = self.memory.header();
        let expected = header.wake.load(Ordering::Acquire);
        self.announce_sleep();
        if has_news() {
            return Wake::Signal;
        }
        self.region.region.wait(NonNull::from(&header.wake), expected, (event, seen), timeout)
    }

    fn source(&self) -> Arc<dyn Source> {
        self.region.clone()
    }

    fn announce_sleep(&self) {
        protocol::announce_sleep(&self.page.words().ticket, &self.tickets);
    }

    fn withdraw_sleep(&self) {
        protocol::withdraw_sleep(&self.page.words().ticket, &self.tickets);
    }

    fn request_keyframe(&self) -> bool {
        if !self.memory.is_here() || !self.is_attached() {
            return false;
        }
        self.page.words().keyframe_requests.fetch_add(1, Ordering::Release);
        true
    }

    fn stop_reading(&self) {
        if !self.memory.is_here() || !self.is_attached() {
            return;
        }
        self.page.words().cursor.store(u64::MAX, Ordering::Release);
        self.owner.show(self.page.words(), layout::HOLDING, self.is_current());
        point!("detach.stopped");
        self.signal_space();
        self.region.region.notify_watchers();
    }
}
