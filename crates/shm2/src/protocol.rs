//! The ordering-critical steps of the protocol, each in one place, so that the product and the loom models (below)
//! run the very same code.
//!
//! **Lease.** A consumer finds sequence `s` in a cell, copies the description, then [`hold`]s: it stores `s` into a
//! lease entry of its page, passes a full fence, and goes on only if the producer's `oldest` is still at most `s`.
//! The producer [`retire`]s by storing the new `oldest` and passing a full fence *before* its first store into any of
//! the retired cells and before it reads the pages. One of the two fences comes first in their total order:
//!
//! * the consumer's: then the producer's scan sees the lease, and the extent waits in limbo;
//! * the producer's: then the consumer sees the raised `oldest` and gives the frame up. Had it copied words of a
//!   newer frame from the cell, those were stored after the producer's fence, so it sees `oldest` raised, too.
//!
//! **Wake.** A consumer about to sleep reads the wake word, stores a new ticket, passes a full fence, and looks at its
//! cell once more ([`announce_sleep`]). The producer publishes, passes a full fence, and looks for tickets it has not
//! answered ([`must_wake`]). Either the consumer finds the frame or the producer finds the ticket.
//!
//! **Room.** The same with the roles exchanged, for a producer that blocks: it raises `producer_waits`, fences, looks
//! at the pages once more; a consumer releases, fences, and looks at `producer_waits`.

use crate::layout::{FREE, NEVER_CLAIMED, STATE_CLOSED};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// The full fences that carry the protocol, named so that a model can leave one out and be seen to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(loom), allow(dead_code))]
pub(crate) enum Site {
    Lease,
    Retire,
    Sleep,
    Publish,
    NeedRoom,
    MadeRoom,
    Close,
    Enter,
}

#[cfg(not(all(loom, test)))]
#[inline(always)]
fn full_fence(_site: Site) {
    fence(Ordering::SeqCst);
}

#[cfg(all(loom, test))]
fn full_fence(site: Site) {
    if crate::models::weakened() != Some(site) {
        fence(Ordering::SeqCst);
    }
}

/// Consumer: protects `sequence`. False means that the frame is gone and the entry is free again.
#[inline]
pub(crate) fn hold(entry: &AtomicU64, oldest: &AtomicU64, sequence: u64) -> bool {
    // Relaxed: the fence orders it against the load of `oldest`.
    entry.store(sequence, Ordering::Relaxed);
    full_fence(Site::Lease);
    // SYNC: retired
    if oldest.load(Ordering::Acquire) <= sequence {
        return true;
    }
    entry.store(0, Ordering::Release);
    false
}

/// First half of [`hold`] for a consumer without a lock: its page may have been given to another one meanwhile, whose
/// entries it must not touch. What the entry says besides is written after this, and [`confirm`] comes last.
/// `signed` is the sequence with its owner's number, see [`signed`].
pub(crate) fn take_entry(entry: &AtomicU64, signed: u64) -> bool {
    // Relaxed: the fence of `confirm` orders it against the load of `oldest`.
    entry.compare_exchange(0, signed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Bits of a lease entry that hold the sequence, in a page whose owner has no lock; its number stands above them. So an
/// owner that lost its page cannot take another's hold for its own.
const SIGNED_BITS: u32 = 48;

/// What an owner without a lock writes into a lease entry.
pub(crate) fn signed(sequence: u64, owner: u32) -> u64 {
    (sequence & ((1 << SIGNED_BITS) - 1)) | u64::from(owner & 0xffff) << SIGNED_BITS
}

/// The sequence in a signed entry: the one below `next` with the same lower bits, if there is one. 0 for none.
pub(crate) fn unsigned(entry: u64, next: u64) -> u64 {
    let low = entry & ((1 << SIGNED_BITS) - 1);
    let above = next >> SIGNED_BITS << SIGNED_BITS;
    match above | low {
        _ if entry == 0 => 0,
        sequence if sequence >= next && above > 0 => sequence - (1 << SIGNED_BITS),
        sequence => sequence.max(1),
    }
}

/// Second half of [`hold`] for a consumer without a lock.
pub(crate) fn confirm(entry: &AtomicU64, oldest: &AtomicU64, sequence: u64, signed: u64) -> bool {
    full_fence(Site::Lease);
    // SYNC: retired
    if oldest.load(Ordering::Acquire) <= sequence {
        return true;
    }
    release_if_mine(entry, signed);
    false
}

/// As [`release`], for a consumer without a lock.
pub(crate) fn release_if_mine(entry: &AtomicU64, signed: u64) {
    // SYNC: lease-released
    let _ = entry.compare_exchange(signed, 0, Ordering::Release, Ordering::Relaxed);
}

/// Consumer: gives a frame back; all reads of its bytes come before.
#[inline]
pub(crate) fn release(entry: &AtomicU64) {
    // SYNC: lease-released
    entry.store(0, Ordering::Release);
}

/// Consumer on its way to a free page: whether this one was ever used.
#[inline]
pub(crate) fn is_used(claimed: &AtomicU32) -> bool {
    // SYNC: page-claimed
    claimed.load(Ordering::Acquire) != NEVER_CLAIMED
}

/// Consumer on its way to a free page: makes scans go beyond this one. Whoever does it first, the page stays free.
pub(crate) fn mark_used(claimed: &AtomicU32) {
    // SYNC: page-claimed
    let _ = claimed.compare_exchange(NEVER_CLAIMED, FREE, Ordering::AcqRel, Ordering::Acquire);
}

/// Consumer: takes a free page for itself, before it writes anything into it. False when somebody else did.
pub(crate) fn take_page(claimed: &AtomicU32, from: u32, to: u32) -> bool {
    // SYNC: page-claimed
    claimed.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Consumer: shows its page, which it has made valid. Comes before its first lease.
pub(crate) fn enter(claimed: &AtomicU32, shown: u32) {
    // SYNC: page-claimed
    claimed.store(shown, Ordering::Release);
    full_fence(Site::Enter);
}

/// Producer: ends all that a dead consumer held. The caller holds its page's lock, or saw its lease time pass.
/// False when the page shows something else by now than `seen`: then it has another owner.
#[cfg(not(loom))]
pub(crate) fn clear_page(page: &crate::layout::Page, seen: u32) -> bool {
    if seen & crate::layout::BY_HEARTBEAT != 0 {
        return clear_unlocked(page, seen);
    }
    // Nobody takes a page that is being claimed, except by its lock, which the caller holds.
    if !take_page(&page.claimed, seen, crate::layout::CLAIMING) {
        return false;
    }
    for lease in &page.leases {
        release(&lease.sequence);
    }
    page.lease_count.store(0, Ordering::Relaxed);
    page.claimed.store(FREE, Ordering::Release);
    true
}

/// A page without a lock shows the number of nobody while it is cleared: if this producer dies here, its successor ends
/// that after the lease time. If it sleeps here for that long, the page may have a new owner when it goes on: so it takes
/// away only what it saw before, and what the owner that it evicts left, and `lease_count` stays.
#[cfg(not(loom))]
fn clear_unlocked(page: &crate::layout::Page, seen: u32) -> bool {
    let entries = page.leases.each_ref().map(|lease| held(&lease.sequence));
    let nobody = crate::layout::CLAIMING | crate::layout::BY_HEARTBEAT;
    if !take_page(&page.claimed, seen, nobody) {
        return false;
    }
    crate::kill_points::point!("evict.taken");
    let owner = u64::from(seen >> 16);
    for (lease, before) in page.leases.iter().zip(entries) {
        let found = held(&lease.sequence);
        if found != 0 && (found == before || (owner != 0 && found >> SIGNED_BITS == owner)) {
            release_if_mine(&lease.sequence, found);
        }
    }
    let _ = take_page(&page.claimed, nobody, FREE);
    true
}

/// Consumer without a lock: as [`enter`], but false when the page was taken away in the meantime.
pub(crate) fn enter_if_mine(claimed: &AtomicU32, claiming: u32, shown: u32) -> bool {
    let mine = take_page(claimed, claiming, shown);
    full_fence(Site::Enter);
    mine
}

/// Producer: no new lease below `to` from here on. Precedes every store into those cells and every scan of pages.
#[inline]
pub(crate) fn retire(oldest: &AtomicU64, to: u64) {
    // SYNC: retired
    oldest.store(to, Ordering::Release);
    full_fence(Site::Retire);
}

/// Producer: the sequence that a lease entry holds, 0 for none. Pairs with [`release`].
#[inline]
pub(crate) fn held(entry: &AtomicU64) -> u64 {
    // SYNC: lease-released
    entry.load(Ordering::Acquire)
}

/// Producer: the sequence that an entry of a page holds, 0 for none. `next` is the one that no frame had yet.
#[cfg(not(loom))]
#[inline]
pub(crate) fn held_in(page: &crate::layout::Page, entry: &AtomicU64, next: u64) -> u64 {
    let held = held(entry);
    // Relaxed: the page was seen as claimed with Acquire before; another owner has cleared entries.
    let by_heartbeat = held != 0 && page.claimed.load(Ordering::Relaxed) & crate::layout::BY_HEARTBEAT != 0;
    if by_heartbeat { unsigned(held, next) } else { held }
}

/// Producer: makes a filled cell visible.
#[inline]
pub(crate) fn publish(cell_sequence: &AtomicU64, sequence: u64) {
    // SYNC: frame-published
    cell_sequence.store(sequence, Ordering::Release);
}

/// Consumer: the sequence that stands in a cell.
#[inline]
pub(crate) fn published(cell_sequence: &AtomicU64) -> u64 {
    // SYNC: frame-published
    cell_sequence.load(Ordering::Acquire)
}

/// Consumer: says that it is about to sleep. It must look at its cell after this and before it sleeps.
#[inline]
pub(crate) fn announce_sleep(ticket: &AtomicU32) {
    // Relaxed: this consumer alone writes its ticket, and the fence orders it against the second look.
    let next = ticket.load(Ordering::Relaxed).wrapping_add(1);
    ticket.store(next, Ordering::Relaxed);
    full_fence(Site::Sleep);
}

/// Producer: comes between [`publish`] and the first [`must_wake`].
#[inline]
pub(crate) fn before_wake() {
    full_fence(Site::Publish);
}

/// Producer: whether this page shows a ticket that was not answered; answers it.
#[inline]
pub(crate) fn must_wake(ticket: &AtomicU32, answered: &mut u32) -> bool {
    // Relaxed: ordered by `before_wake`.
    let shown = ticket.load(Ordering::Relaxed);
    let new = shown != *answered;
    *answered = shown;
    new
}

/// Producer: says that no more comes. Precedes the wake, so that whoever sees the wake sees this.
pub(crate) fn close(state: &AtomicU32) {
    state.store(STATE_CLOSED, Ordering::Release);
    full_fence(Site::Close);
}

/// Producer: says that it will sleep until somebody makes room. It must look at the pages after this.
#[inline]
pub(crate) fn announce_need(producer_waits: &AtomicU32) {
    producer_waits.store(1, Ordering::Relaxed);
    full_fence(Site::NeedRoom);
}

/// Consumer: whether the producer waits for room, asked after a cursor moved or a lease was released.
#[inline]
pub(crate) fn space_is_needed(producer_waits: &AtomicU32) -> bool {
    full_fence(Site::MadeRoom);
    producer_waits.load(Ordering::Relaxed) != 0
}
