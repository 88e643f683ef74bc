//! The ordering-critical steps of the protocol, each in one place, so that the product and the loom models run the same
//! code.
//!
//! **Lease.** A consumer finds sequence `s` in a cell, copies the description, then [`hold`]s: it stores `s` into a
//! lease entry of its page, passes a full fence, and proceeds only if the producer's `oldest` is still at most `s`.
//! The producer [`retire`]s by storing the new `oldest` and passing a full fence *before* its first store into any of
//! the retired cells and before it reads the pages. One of the two fences comes first in their total order:
//!
//! * the consumer's: then the producer's scan sees the lease, and the extent waits in limbo;
//! * the producer's: then the consumer sees the raised `oldest` and does not use the frame. If it copied words of a
//!   newer frame from the cell, those were stored after the producer's fence, so it sees the raised `oldest` as well.
//!
//! **Wake.** A consumer about to sleep reads the wake word, stores a new ticket, passes a full fence, and checks its
//! cell once more ([`announce_sleep`]). The producer publishes, passes a full fence, and checks for tickets that it has
//! not answered ([`must_wake`]). Either the consumer finds the frame or the producer finds the ticket.
//!
//! **Space.** The same with the roles exchanged, for a producer that blocks: it sets `producer_waits`, fences, and
//! checks the pages once more; a consumer releases, fences, and checks `producer_waits`.

use crate::layout::{FREE, NEVER_CLAIMED, NONE, STATE_CLOSED};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// The full fences of the protocol. They have names so that a model can leave one out and must then fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Site {
    Lease,
    Retire,
    Sleep,
    Publish,
    NeedSpace,
    FreedSpace,
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

/// Consumer: protects `sequence`. False if the frame was retired; the entry is then free again.
#[inline]
pub(crate) fn hold(entry: &AtomicU64, oldest: &AtomicU64, sequence: u64) -> bool {
    // Release: a scan that finds this sequence comes after the reads of the frame that the entry held before, whose end
    // it may not have seen. The fence orders the store against the load of `oldest`.
    // SYNC: lease-released
    entry.store(sequence, Ordering::Release);
    full_fence(Site::Lease);
    // SYNC: retired
    if oldest.load(Ordering::Acquire) <= sequence {
        return true;
    }
    entry.store(0, Ordering::Release);
    false
}

/// First half of [`hold`] for a consumer without a lock. Its page may belong to another consumer by now, whose entries
/// it must not change. The entry's offset and length are written after this, and [`confirm`] comes last. `signed` is
/// the sequence with its owner's number, see [`signed`].
pub(crate) fn take_entry(entry: &AtomicU64, signed: u64) -> bool {
    // Relaxed: the fence of `confirm` orders it against the load of `oldest`.
    entry.compare_exchange(0, signed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Bits of a lease entry that hold the sequence, in a page whose owner has no lock. The bits above them hold the
/// owner's number, so an owner that lost its page cannot mistake another owner's lease for its own.
const SIGNED_BITS: u32 = 48;

/// The value of a lease entry of an owner without a lock.
pub(crate) fn signed(sequence: u64, owner: u32) -> u64 {
    (sequence & ((1 << SIGNED_BITS) - 1)) | u64::from(owner & 0xffff) << SIGNED_BITS
}

/// The sequence in a signed entry: the largest one below `next` with the same lower bits. 0 for a free entry.
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

/// Consumer: ends a lease. All reads of the frame's bytes come before this.
#[inline]
pub(crate) fn release(entry: &AtomicU64) {
    // SYNC: lease-released
    entry.store(0, Ordering::Release);
}

/// Consumer in search of a free page: whether this page was ever used.
#[inline]
pub(crate) fn is_used(claimed: &AtomicU32) -> bool {
    // SYNC: page-claimed
    claimed.load(Ordering::Acquire) != NEVER_CLAIMED
}

/// Consumer in search of a free page: makes scans include the pages after this one. The page itself stays free.
pub(crate) fn mark_used(claimed: &AtomicU32) {
    // SYNC: page-claimed
    let _ = claimed.compare_exchange(NEVER_CLAIMED, FREE, Ordering::AcqRel, Ordering::Acquire);
}

/// Consumer: takes a free page, before it writes anything into it. False if another consumer took it.
pub(crate) fn take_page(claimed: &AtomicU32, from: u32, to: u32) -> bool {
    // SYNC: page-claimed
    claimed.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Consumer: makes its page visible after its words are valid. Comes before its first lease.
pub(crate) fn enter(claimed: &AtomicU32, shown: u32) {
    // SYNC: page-claimed
    claimed.store(shown, Ordering::Release);
    full_fence(Site::Enter);
}

/// Producer: ends all leases of a dead consumer. The caller holds the page's lock, or has observed no heartbeat for the
/// lease time. False if the page no longer shows `seen`, because it has another owner.
#[cfg(not(loom))]
pub(crate) fn clear_page(page: &crate::layout::Page, seen: u32) -> bool {
    if seen & crate::layout::BY_HEARTBEAT != 0 {
        return clear_unlocked(page, seen);
    }
    // A page that is being claimed can be taken only with its lock, which the caller holds.
    if !take_page(&page.claimed, seen, crate::layout::CLAIMING) {
        return false;
    }
    for lease in &page.leases {
        release(&lease.sequence);
    }
    page.lease_count.store(0, Ordering::Relaxed);
    page.generation.store(0, Ordering::Relaxed);
    page.claimed.store(FREE, Ordering::Release);
    true
}

/// A page without a lock shows owner number 0, which no owner has, while it is cleared. If this producer dies in
/// between, its successor clears the page after the lease time. If it is paused for that long, the page may have a new
/// owner when it continues: so it ends only leases that it saw before and leases of the owner that it expels, and
/// `lease_count` stays.
#[cfg(not(loom))]
fn clear_unlocked(page: &crate::layout::Page, seen: u32) -> bool {
    let entries = page.leases.each_ref().map(|lease| held(&lease.sequence));
    let no_owner = crate::layout::CLAIMING | crate::layout::BY_HEARTBEAT;
    if !take_page(&page.claimed, seen, no_owner) {
        return false;
    }
    // An exchange with Acquire and Release does not order the loads of entries after it on every processor.
    fence(Ordering::SeqCst);
    crate::kill_points::point!("expel.taken");
    let owner = u64::from(seen >> 16);
    for (lease, before) in page.leases.iter().zip(entries) {
        let found = held(&lease.sequence);
        if found != 0 && (found == before || (owner != 0 && found >> SIGNED_BITS == owner)) {
            release_if_mine(&lease.sequence, found);
        }
    }
    page.generation.store(0, Ordering::Relaxed);
    let _ = take_page(&page.claimed, no_owner, FREE);
    true
}

/// Consumer without a lock: as [`enter`], but false if the producer has expelled it in the meantime.
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

/// Producer: the sequence that an entry of a page holds, 0 for none. `next` is the one that no frame had yet. An entry
/// of an owner that has lost the page holds nothing: it ended with that owner's other leases.
#[cfg(not(loom))]
#[inline]
pub(crate) fn held_in(page: &crate::layout::Page, entry: &AtomicU64, next: u64) -> u64 {
    let held = held(entry);
    // Relaxed: the page was seen as claimed with Acquire before; another owner has cleared entries.
    let claimed = if held == 0 { 0 } else { page.claimed.load(Ordering::Relaxed) };
    let owner = u64::from(claimed >> 16);
    match claimed & crate::layout::BY_HEARTBEAT != 0 {
        true if owner != 0 && held >> SIGNED_BITS != owner => 0,
        true => unsigned(held, next),
        false => held,
    }
}

/// Producer: makes a filled cell visible.
#[inline]
pub(crate) fn publish(cell_sequence: &AtomicU64, sequence: u64) {
    // SYNC: frame-published
    cell_sequence.store(sequence, Ordering::Release);
}

/// Consumer: the sequence in a cell.
#[inline]
pub(crate) fn published(cell_sequence: &AtomicU64) -> u64 {
    // SYNC: frame-published
    cell_sequence.load(Ordering::Acquire)
}

/// Producer: stores when the item of a cell was published. Comes after [`publish`], so that no reader waits for the
/// clock. The word was [`NONE`] before.
#[inline]
pub(crate) fn store_publication_time(word: &AtomicU64, time: u64) {
    // SYNC: publication-time
    word.store(time, Ordering::Release);
}

/// Consumer: when item `sequence` was published. `None` if it is not stored yet, or when the cell has another item.
#[inline]
pub(crate) fn publication_time(word: &AtomicU64, cell_sequence: &AtomicU64, sequence: u64) -> Option<u64> {
    // Without the item the word may have the time of the one before.
    if published(cell_sequence) != sequence {
        return None;
    }
    // SYNC: publication-time
    let time = word.load(Ordering::Acquire);
    // Relaxed: the time of a later item was stored after that item's sequence, and this load comes after.
    (time != NONE && cell_sequence.load(Ordering::Relaxed) == sequence).then_some(time)
}

/// The tickets of one owner of a page.
///
/// A consumer that ends its sleep by itself and continues without sleeping takes its ticket back ([`withdraw_sleep`]):
/// the page shows the ticket before it again, which the producer has usually answered, so that it makes no call. The
/// producer may have answered the ticket that is taken back, so no ticket is announced twice. An owner that dies leaves
/// a ticket that is older than those that it announced; the next owner begins [`TICKETS`] above it.
#[derive(Debug)]
pub(crate) struct Tickets {
    /// The last one that was announced.
    last: AtomicU32,
    /// The one that the page showed before.
    before: AtomicU32,
}

/// Tickets that an owner announces, at most, above the one that its page shows.
const TICKETS: u32 = 1 << 16;

impl Tickets {
    /// The tickets of an owner that found `ticket` in its page.
    pub(crate) fn new(ticket: &AtomicU32) -> Self {
        // Relaxed: the owner before wrote it before this one could claim the page.
        let found = ticket.load(Ordering::Relaxed);
        Self { last: AtomicU32::new(found.wrapping_add(TICKETS)), before: AtomicU32::new(found) }
    }

    /// An error for the models: the next ticket is one that was announced already.
    #[cfg(all(loom, test))]
    pub(crate) fn reuse(&self) {
        self.last.store(self.last.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }
}

/// Consumer: announces that it is about to sleep. It must check its cell after this and before it sleeps.
#[inline]
pub(crate) fn announce_sleep(ticket: &AtomicU32, tickets: &Tickets) {
    // Relaxed: this consumer alone writes its ticket, and the fence orders it against the second check.
    let next = tickets.last.load(Ordering::Relaxed).wrapping_add(1);
    tickets.last.store(next, Ordering::Relaxed);
    tickets.before.store(ticket.load(Ordering::Relaxed), Ordering::Relaxed);
    ticket.store(next, Ordering::Relaxed);
    full_fence(Site::Sleep);
}

/// Consumer: its sleep has ended by itself, and it looks without sleeping from here on. It must announce the next sleep
/// anew.
pub(crate) fn withdraw_sleep(ticket: &AtomicU32, tickets: &Tickets) {
    let before = tickets.before.load(Ordering::Relaxed);
    // Otherwise a successor could announce tickets of this owner that the page does not show.
    if tickets.last.load(Ordering::Relaxed).wrapping_sub(before) < TICKETS {
        // Relaxed: a producer that sees the announced ticket instead makes a call that wakes no thread.
        ticket.store(before, Ordering::Relaxed);
    }
}

/// Producer: comes between [`publish`] and the first [`must_wake`].
#[inline]
pub(crate) fn before_wake() {
    full_fence(Site::Publish);
}

/// Producer: whether this page shows a ticket that was not answered. Marks it as answered.
#[inline]
pub(crate) fn must_wake(ticket: &AtomicU32, answered: &mut u32) -> bool {
    // Relaxed: ordered by `before_wake`.
    let shown = ticket.load(Ordering::Relaxed);
    let new = shown != *answered;
    *answered = shown;
    new
}

/// Producer: marks the generation as closed. Precedes the wake, so that a consumer that sees the wake sees this.
pub(crate) fn close(state: &AtomicU32) {
    state.store(STATE_CLOSED, Ordering::Release);
    full_fence(Site::Close);
}

/// Producer: announces that it will sleep until space is freed. It must check the pages after this.
#[inline]
pub(crate) fn announce_need(producer_waits: &AtomicU32) {
    producer_waits.store(1, Ordering::Relaxed);
    full_fence(Site::NeedSpace);
}

/// Consumer: whether the producer waits for free space. Called after a cursor moved or a lease was released.
#[inline]
pub(crate) fn space_is_needed(producer_waits: &AtomicU32) -> bool {
    full_fence(Site::FreedSpace);
    producer_waits.load(Ordering::Relaxed) != 0
}
