//! A region that is mapped for leasing, and the guard of one lease.

use super::ownership::{Heartbeating, Ownership};
use crate::backend::{ConsumerRegion, OpenRegion, Poll};
use crate::heartbeat::{self, Heartbeat};
use crate::kill_points::point;
use crate::layout;
use crate::mapped::{Memory, OwnPage};
use crate::protocol;
use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// A mapped region with a page of this consumer. The consumer and every frame that it handed out share it: the page
/// becomes free when the last of them is dropped.
#[derive(Debug)]
pub(super) struct LeasedRegion<O: Ownership> {
    pub(super) memory: Memory,
    pub(super) page: OwnPage,
    pub(super) region: OpenRegion,
    pub(super) owner: O,
    pub(super) generation: u64,
    /// Lease entries that this consumer uses, at most 64.
    pub(super) budget: usize,
    /// Largest number of bytes that it holds in place.
    pub(super) most_held: u64,
    /// The producer may wait for this consumer.
    pub(super) blocks: bool,
    /// For waiting without a wake-up, where producer and consumer share no kernel.
    pub(super) poll: Option<Poll>,
    /// Bit i: lease entry i is in use. Frames are dropped on any thread.
    pub(super) in_use: AtomicU64,
    /// Payload and metas held in place, in bytes.
    pub(super) held: AtomicU64,
}

impl<O: Ownership> LeasedRegion<O> {
    /// Whether the region still shows the generation that this consumer attached to.
    pub(super) fn is_current(&self) -> bool {
        // Relaxed: ordered by the full fence of a lease before it. Elsewhere a later call detects the change.
        self.memory.header().generation.load(Ordering::Relaxed) == self.generation
    }

    /// A free lease entry within the budget, for an item of `bytes`.
    pub(super) fn acquire_slot(&self, bytes: u64) -> Option<usize> {
        // Relaxed: only this thread adds. If a dropped frame subtracts a moment later, one frame more is copied.
        let held = self.held.load(Ordering::Relaxed).saturating_add(bytes);
        if held > self.most_held {
            return None;
        }
        // Relaxed: only this thread sets bits. If a dropped frame clears one a moment later, one frame more is copied.
        let slot = (!self.in_use.load(Ordering::Relaxed)).trailing_zeros() as usize;
        if slot >= self.budget {
            return None;
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.in_use.fetch_or(1 << slot, Ordering::Acquire);
        let count = &self.page.words().lease_count;
        if count.load(Ordering::Relaxed) as usize <= slot {
            // Never lowered: without a lock the page may belong to another consumer by now.
            count.fetch_max(slot as u32 + 1, Ordering::Relaxed);
        }
        Some(slot)
    }

    /// An entry cannot be used, because a previous owner of the page left a value in it. It stays marked as in use.
    pub(super) fn give_up_slot(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Ends the lease in `slot`. Called on any thread; never waits.
    pub(super) fn release_slot(&self, slot: usize, sequence: u64, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if !self.memory.is_here() {
            return;
        }
        self.owner.release(&self.page.words().leases[slot], sequence, self.is_current());
        point!("release.cleared");
        self.in_use.fetch_and(!(1 << slot), Ordering::Release);
        self.signal_space();
    }

    /// Wakes a producer that waits for free space. Free of cost unless the region's policy is `block`.
    #[inline]
    pub(super) fn signal_space(&self) {
        if self.blocks && protocol::space_is_needed(&self.memory.header().producer_waits) {
            let space = &self.page.words().space;
            space.fetch_add(1, Ordering::Release);
            self.region.wake_producer(space);
        }
    }
}

impl Heartbeat for LeasedRegion<Heartbeating> {
    fn beat(&self) -> bool {
        if self.memory.is_here() && self.owner.owns(self.page.words()) {
            heartbeat::advance(&self.page.words().heartbeat);
        }
        false
    }
}

impl<O: Ownership> Drop for LeasedRegion<O> {
    fn drop(&mut self) {
        if !self.memory.is_here() {
            return;
        }
        if self.owner.owns(self.page.words()) {
            // A consumer of version 2.0 that claims the page next does not write the word.
            self.page.words().generation.store(0, Ordering::Relaxed);
        }
        self.owner.show(self.page.words(), layout::FREE, self.is_current());
        point!("detach.freed");
        self.signal_space();
        if O::HAS_LOCK {
            self.region.unclaim(self.page.index());
        }
    }
}

/// One lease entry in use; ends the lease when dropped.
#[derive(Debug)]
pub(super) struct LeaseGuard<O: Ownership> {
    pub(super) region: Arc<LeasedRegion<O>>,
    pub(super) slot: usize,
    pub(super) sequence: u64,
    /// Bytes that the lease counts in [`LeasedRegion::held`].
    pub(super) bytes: u64,
}

impl<O: Ownership> LeaseGuard<O> {
    pub(super) fn memory(&self) -> &Memory {
        &self.region.memory
    }
}

impl<O: Ownership> Drop for LeaseGuard<O> {
    fn drop(&mut self) {
        self.region.release_slot(self.slot, self.sequence, self.bytes);
    }
}
