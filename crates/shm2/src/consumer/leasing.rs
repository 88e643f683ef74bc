//! Access by lease: frames are read in place, in a mapping of the whole region.
//!
//! Each held frame uses one lease entry of the consumer's page. A consumer that holds as many frames as the producer
//! honours, or a third of the arena, copies further frames, so that a slow consumer leaves memory for the others.

use super::builder::Access;
use super::frame::Payload;
use super::lease::{LeaseGuard, LeasedRegion};
use super::ownership::{Leased, Ownership};
use super::position::Position;
use super::ring_reader::{RingReader, TakeError, Taken, View};
use crate::backend::{ConsumerRegion, Event, OpenRegion, Poll, Wake};
use crate::description::{Description, Range};
use crate::kill_points::point;
use crate::layout;
use crate::protocol;
use crate::sync::{Ordering, fence};
use std::convert::Infallible;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// The view of a leasing consumer.
pub(super) type Leasing<O> = Arc<LeasedRegion<O>>;

/// Bytes that an item counts in [`LeasedRegion::held`].
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
        &self.region
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
    fn cell(&self, sequence: u64) -> Result<[u64; 16], Infallible> {
        Ok(Description::copy(self.memory.cell(sequence)))
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
        self.memory.copy_to_vec(offset, length).ok_or(TakeError::TooLarge { sequence, length })
    }

    fn is_whole(&self) -> bool {
        self.is_intact()
    }

    #[inline]
    fn read(ring: &mut RingReader<Self>, sequence: u64) -> Result<Option<Taken>, TakeError> {
        let view = &*ring.view;
        let (words, bytes) = (&ring.words, held_bytes(&ring.words));
        let Some(slot) = view.acquire_slot(bytes) else { return ring.read_copy(sequence) };
        point!("lease.slot");
        let (page, oldest) = (view.page.words(), &view.memory.header().oldest);
        let entry = &page.leases[slot];
        let describe = || {
            // Relaxed: the lease's fence orders them before any scan that reads them.
            entry.offset.store(words[layout::W_OFFSET], Ordering::Relaxed);
            entry.length.store(words[layout::W_LENGTH], Ordering::Relaxed);
        };
        let leased = view.owner.lease(page, entry, oldest, sequence, describe);
        if leased == Leased::EntryTaken {
            view.give_up_slot(bytes);
            return ring.read_copy(sequence);
        }
        if leased != Leased::Held || !view.is_current() {
            view.release_slot(slot, sequence, bytes);
            return Ok(None);
        }
        point!("lease.held");
        let checked = Description::check(words, sequence, ring.header.arena_bytes);
        match checked.and_then(|item| ring.check_backed(&item).map(|()| item)) {
            Ok(description) => {
                ring.item = description;
                ring.copy_description(&description, sequence);
                Ok(Some(Taken { kind: description.kind(), slot: Some(slot) }))
            }
            Err(violation) => {
                view.release_slot(slot, sequence, bytes);
                Err(violation.into())
            }
        }
    }

    #[inline]
    fn payload(&self, item: &Description, taken: Taken, copied: &mut Vec<u8>) -> Payload {
        let Some(slot) = taken.slot else { return Payload::Owned(std::mem::take(copied)) };
        let bytes = item.payload().length + item.meta().length;
        LeaseGuard { region: self.clone(), slot, sequence: item.sequence(), bytes }.into()
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
        protocol::announce_sleep(&self.page.words().ticket);
        if has_news() {
            return Wake::Signal;
        }
        self.region.wait(NonNull::from(&header.wake), expected, (event, seen), timeout)
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
        self.region.notify_watchers();
    }
}
