//! How a consumer owns its page: by a lock, which the kernel ends with its process, or by a heartbeat, where producer
//! and consumer may run on different kernels.
//!
//! The kind of ownership is chosen once, at attach. An owner by heartbeat that is paused for longer than the lease time
//! loses its page, and another consumer may get it. Therefore it writes its own number into every word, and changes a
//! word only from a value that it wrote itself.

use crate::layout::{self, Lease, Page, claim_state};
use crate::protocol;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::fmt;

/// A kind of ownership of a page.
pub(super) trait Ownership: fmt::Debug + Send + Sync + 'static {
    /// Whether the owner has the page's lock, and unlocks it when it frees the page.
    const HAS_LOCK: bool;
    /// `claimed` is what the page's word shows after the claim.
    fn new(claimed: u32) -> Self;
    /// Makes the claimed page visible as [`layout::READING`]; false when the producer has expelled this consumer
    /// meanwhile.
    fn enter(&self, page: &Page) -> bool;
    /// Whether the page still belongs to this owner.
    fn owns(&self, page: &Page) -> bool;
    /// Changes the page's state. `is_current`: the region still shows the generation of the claim.
    fn show(&self, page: &Page, state: u32, is_current: bool);
    /// Protects `sequence` by an entry of the page; `describe` writes the rest of the entry.
    fn lease(&self, page: &Page, entry: &Lease, oldest: &AtomicU64, sequence: u64, describe: impl Fn()) -> Leased;
    /// Ends what [`lease`](Self::lease) began.
    fn release(&self, entry: &Lease, sequence: u64, is_current: bool);
}

/// Result of an attempt to lease an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leased {
    Held,
    /// The item was already retired.
    Retired,
    /// The entry still has the value of its previous owner, so the item must be copied instead.
    EntryTaken,
}

/// Owns its page by a lock of the region's file.
#[derive(Debug)]
pub(super) struct Locked(AtomicU32);

impl Ownership for Locked {
    const HAS_LOCK: bool = true;

    fn new(claimed: u32) -> Self {
        Self(AtomicU32::new(claimed))
    }

    fn enter(&self, page: &Page) -> bool {
        // The page of a dead owner may still have leases.
        for lease in &page.leases {
            protocol::release(&lease.sequence);
        }
        page.lease_count.store(0, Ordering::Relaxed);
        self.0.store(layout::READING, Ordering::Relaxed);
        protocol::enter(&page.claimed, layout::READING);
        true
    }

    #[inline]
    fn owns(&self, _page: &Page) -> bool {
        true
    }

    fn show(&self, page: &Page, state: u32, is_current: bool) {
        let shown = self.0.load(Ordering::Relaxed);
        if is_current {
            // SYNC: page-claimed
            page.claimed.store(state, Ordering::Release);
            self.0.store(state, Ordering::Relaxed);
        } else if protocol::take_page(&page.claimed, shown, state) {
            self.0.store(state, Ordering::Relaxed);
        }
    }

    #[inline]
    fn lease(&self, _page: &Page, entry: &Lease, oldest: &AtomicU64, sequence: u64, describe: impl Fn()) -> Leased {
        describe();
        if protocol::hold(&entry.sequence, oldest, sequence) { Leased::Held } else { Leased::Retired }
    }

    #[inline]
    fn release(&self, entry: &Lease, sequence: u64, is_current: bool) {
        if is_current {
            protocol::release(&entry.sequence);
        } else {
            // The page may belong to another consumer after the memory was cleared.
            protocol::release_if_mine(&entry.sequence, sequence);
        }
    }
}

/// Owns its page as long as its heartbeat changes within each lease time.
#[derive(Debug)]
pub(super) struct Heartbeating(AtomicU32);

impl Heartbeating {
    /// `sequence` together with this owner's number.
    fn signed(&self, sequence: u64) -> u64 {
        protocol::signed(sequence, self.0.load(Ordering::Relaxed) >> 16)
    }
}

impl Ownership for Heartbeating {
    const HAS_LOCK: bool = false;

    fn new(claimed: u32) -> Self {
        Self(AtomicU32::new(claimed))
    }

    fn enter(&self, page: &Page) -> bool {
        let claiming = self.0.load(Ordering::Relaxed);
        let shown = claiming - layout::CLAIMING + layout::READING;
        self.0.store(shown, Ordering::Relaxed);
        protocol::enter_if_mine(&page.claimed, claiming, shown)
    }

    fn owns(&self, page: &Page) -> bool {
        page.claimed.load(Ordering::Acquire) == self.0.load(Ordering::Relaxed)
    }

    fn show(&self, page: &Page, state: u32, _is_current: bool) {
        let shown = self.0.load(Ordering::Relaxed);
        let next = if state == layout::FREE { state } else { shown - claim_state(shown) + state };
        if protocol::take_page(&page.claimed, shown, next) {
            self.0.store(next, Ordering::Relaxed);
        }
    }

    fn lease(&self, page: &Page, entry: &Lease, oldest: &AtomicU64, sequence: u64, describe: impl Fn()) -> Leased {
        let signed = self.signed(sequence);
        if !protocol::take_entry(&entry.sequence, signed) {
            // An owner that has lost this page wrote the entry, and clears it when it detects the loss.
            return if self.owns(page) { Leased::EntryTaken } else { Leased::Retired };
        }
        describe();
        let is_held = protocol::confirm(&entry.sequence, oldest, sequence, signed) && self.owns(page);
        if is_held { Leased::Held } else { Leased::Retired }
    }

    fn release(&self, entry: &Lease, sequence: u64, _is_current: bool) {
        protocol::release_if_mine(&entry.sequence, self.signed(sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{signed, unsigned};

    /// Distances and positions around each place where the lower 48 bits begin again.
    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn the_sequence_of_a_signed_entry_is_found_among_the_last_two_to_the_48() {
        let near = |at: u64| at.saturating_sub(30)..=at + 30;
        let ends = [0, 1 << 48, 2 << 48, 5 << 48, layout::MAX_SEQUENCE];
        for next in ends.into_iter().flat_map(near).filter(|next| *next > 1) {
            let distances = near(0).chain(near((1 << 48) - 30)).filter(|d| (1..=1 << 48).contains(d));
            for sequence in distances.filter_map(|distance| next.checked_sub(distance)).filter(|s| *s > 0) {
                for owner in [1, 2, 0x7fff, 0x8000, 0xffff] {
                    assert_eq!(unsigned(signed(sequence, owner), next), sequence, "{next} {owner}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn any_value_of_an_entry_has_a_sequence_below_the_next_one() {
        let words = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, !(1u64 << bit)]).chain([u64::MAX]);
        for (entry, next) in words.clone().flat_map(|entry| words.clone().map(move |next| (entry, next))) {
            let sequence = unsigned(entry, next);
            assert!(entry != 0 || sequence == 0, "{next:#x}");
            let is_wrapped = next >> 48 > 0;
            assert!(!is_wrapped || sequence < next || sequence == 1, "{entry:#x} {next:#x} {sequence:#x}");
        }
    }
}
