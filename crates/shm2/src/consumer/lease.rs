//! A region that is mapped for leasing, and the guard of one lease.

use super::ownership::{Heartbeating, Ownership};
use crate::backend::{ConsumerRegion, OpenRegion, Poll};
use crate::heartbeat::{self, Heartbeat};
use crate::kill_points::point;
use crate::layout::{self, LEASES};
use crate::mapped::{Memory, OwnPage};
use crate::protocol::{self, Tickets};
use crate::sync::{AtomicU32, Ordering};
use crate::waiter::Source;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
    /// Of this owner of the page.
    pub(super) tickets: Tickets,
    /// Of each lease entry, whether it is in use. The consumer's thread sets it; frames are dropped on any thread.
    pub(super) busy: [AtomicBool; LEASES],
}

impl<O: Ownership> LeasedRegion<O> {
    /// Whether the region still shows the generation that this consumer attached to.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        // Relaxed: ordered by the full fence of a lease before it. Elsewhere a later call detects the change.
        self.memory.header().generation.load(Ordering::Relaxed) == self.generation
    }

    /// Ends the lease in `slot`. Called on any thread; never waits.
    #[inline]
    pub(super) fn release_slot(&self, slot: usize, sequence: u64) {
        if !self.memory.is_here() {
            return;
        }
        self.owner.release(&self.page.words().leases[slot], sequence, self.is_current());
        point!("release.cleared");
        // Release: the entry is clear before it is used again.
        self.busy[slot].store(false, Ordering::Release);
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

impl<O: Ownership> Source for LeasedRegion<O> {
    fn address(&self) -> Option<NonNull<AtomicU32>> {
        self.poll.is_none().then(|| NonNull::from(&self.memory.header().wake))
    }

    fn value(&self) -> Option<u32> {
        let (memory, header) = (&self.memory, self.memory.is_here().then(|| self.memory.header())?);
        let value = match self.poll {
            None => header.wake.load(Ordering::Acquire),
            Some(_) => header.head.load(Ordering::Acquire) as u32,
        };
        (!memory.is_broken()).then_some(value)
    }
}

impl<O: Ownership> Drop for LeasedRegion<O> {
    fn drop(&mut self) {
        if !self.memory.is_here() {
            return;
        }
        if self.owner.owns(self.page.words()) {
            // The page belongs to no generation while it has no owner.
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
}

impl<O: Ownership> LeaseGuard<O> {
    pub(super) fn memory(&self) -> &Memory {
        &self.region.memory
    }

    /// When the item was published; `None` if that is not stored yet, or no longer.
    pub(super) fn published_ns(&self) -> Option<u64> {
        self.memory().published_ns(self.sequence, self.region.generation)
    }
}

impl<O: Ownership> Drop for LeaseGuard<O> {
    #[inline]
    fn drop(&mut self) {
        self.region.release_slot(self.slot, self.sequence);
    }
}
