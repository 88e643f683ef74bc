//! The consumer pages of a region, as its state shows them.

use crate::backend::{ConsumerRegion, OpenRegion};
use crate::layout::{self, BY_HEARTBEAT, HOLDING, LEASES, Lease, NEVER_CLAIMED, PAGES, Page, READING, claim_state};
use std::io;
use std::mem::{offset_of, size_of};

/// State of a leasing consumer, as it shows it in its page. The values are for display only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerOverview {
    /// Number of its page, 0 to 63.
    pub page: usize,
    /// Process id, in its own namespace.
    pub pid: u32,
    /// Next sequence that it will take; `None` when it no longer reads and only holds frames.
    pub next: Option<u64>,
    /// Items that it has not taken yet.
    pub lag: u64,
    /// Frames that it holds in place.
    pub held: u32,
    /// Bytes of those frames.
    pub held_bytes: u64,
    /// Frames taken.
    pub received: u64,
    /// Items that were retired before it could take them.
    pub missed: u64,
    /// Frames that it skipped on purpose.
    pub skipped: u64,
    /// Frames that it copied because it held as many in place as it may.
    pub copied: u64,
    /// Time of the attach, nanoseconds of the consumer's monotonic clock.
    pub attached_ns: u64,
    /// Whether its liveness is a heartbeat, not a lock.
    pub is_by_heartbeat: bool,
}

/// All leasing consumers of a region whose newest item is `newest`.
pub(super) fn read(region: &OpenRegion, newest: u64) -> io::Result<Vec<ConsumerOverview>> {
    let mut all = Vec::new();
    for page in 0..PAGES {
        let mut words = [0; size_of::<Page>()];
        region.read_exact(&mut words, layout::page_words_offset(page))?;
        let claimed = u32_at(&words, offset_of!(Page, claimed));
        // Pages are claimed in order.
        if claimed == NEVER_CLAIMED {
            break;
        }
        if matches!(claim_state(claimed), READING | HOLDING) {
            all.push(of_page(page, &words, claimed, newest));
        }
    }
    Ok(all)
}

fn of_page(page: usize, words: &[u8], claimed: u32, newest: u64) -> ConsumerOverview {
    let long = |at| u64_at(words, at);
    let entries = (u32_at(words, offset_of!(Page, lease_count)) as usize).min(LEASES);
    let lease = |entry: usize| offset_of!(Page, leases) + entry * size_of::<Lease>();
    let held: Vec<_> = (0..entries).map(lease).filter(|at| long(at + offset_of!(Lease, sequence)) != 0).collect();
    let bytes = |at: &usize| long(at + offset_of!(Lease, length));
    let cursor = long(offset_of!(Page, cursor));
    let next = (claim_state(claimed) == READING && cursor != layout::NONE).then_some(cursor);
    ConsumerOverview {
        page,
        pid: u32_at(words, offset_of!(Page, pid)),
        next,
        lag: next.map_or(0, |next| newest.saturating_add(1).saturating_sub(next)),
        held: held.len() as u32,
        held_bytes: held.iter().map(bytes).fold(0, u64::saturating_add),
        received: long(offset_of!(Page, received)),
        missed: long(offset_of!(Page, missed)),
        skipped: long(offset_of!(Page, skipped)),
        copied: long(offset_of!(Page, copied)),
        attached_ns: long(offset_of!(Page, attached_ns)),
        is_by_heartbeat: claimed & BY_HEARTBEAT != 0,
    }
}

/// The eight bytes at an offset.
pub(super) fn u64_at(words: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| words[at + i]))
}

fn u32_at(words: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| words[at + i]))
}
