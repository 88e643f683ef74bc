//! Beginning a generation in memory in which an earlier one was. Consumers of that one may still read: their pages stay,
//! and their lease entries say which bytes they hold. The new producer:
//!
//! 1. marks the last generation as closed, and stores a new number;
//! 2. raises `oldest` above every sequence that was ever given out, and passes the full fence of a retirement: a consumer
//!    that has not written its lease entry by now will see that the frame is gone, or that the generation is another;
//! 3. empties the cells, so that none looks as if it came later;
//! 4. reads the lease entries and keeps those bytes out of its allocator until the entries are cleared.
//!
//! Sequences go on growing. Where the old counters contradict each other, or were cleared, they start at 1; then only the
//! generation, which every consumer compares after it wrote its lease entry, prevents a mix-up.

use crate::description::{Range, in_arena};
use crate::header::MOST_LEASE_TIME;
use crate::layout::{self, CELLS, LEASES, MAX_SEQUENCE, PAGES, Page, W_SEQUENCE};
use crate::mapped::Memory;
use crate::protocol;
use crate::sync::Ordering;
use std::time::Duration;

/// A frame that a consumer took from an earlier generation: the lease entry that holds it, its value, and the bytes. They
/// are held as long as the entry shows the same value; which sequence it was does not matter any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::producer) struct Held {
    page: usize,
    entry: usize,
    value: u64,
    pub(in crate::producer) bytes: Range,
}

impl Held {
    pub(in crate::producer) fn is_held(&self, memory: &Memory) -> bool {
        let page = memory.page(self.page);
        page.claimed.load(Ordering::Acquire) != layout::FREE
            && protocol::held(&page.leases[self.entry].sequence) == self.value
    }
}

/// Of each page: the claim, and when its owner attached.
pub(in crate::producer) type Claims = [(u32, u64); PAGES];

/// The claims in `memory` now.
pub(in crate::producer) fn claims(memory: &Memory) -> Claims {
    std::array::from_fn(|index| claim(memory.page(index)))
}

pub(in crate::producer) fn claim(page: &Page) -> (u32, u64) {
    let claimed = page.claimed.load(Ordering::Acquire);
    // Relaxed: a consumer stores its time before it shows that it reads.
    (claimed, page.attached_ns.load(Ordering::Relaxed))
}

/// What a new generation must know of those before it.
#[derive(Debug)]
pub(in crate::producer) struct Past {
    /// The sequence that the first item gets.
    pub(in crate::producer) first: u64,
    /// What consumers still hold.
    pub(in crate::producer) held: Vec<Held>,
    /// The lease time of the last generation, and the claims at its end.
    pub(in crate::producer) lease: Duration,
    pub(in crate::producer) claims: Claims,
}

impl Past {
    /// Fresh memory.
    pub(in crate::producer) fn none() -> Self {
        Self { first: 1, held: Vec::new(), lease: Duration::ZERO, claims: [(layout::FREE, 0); PAGES] }
    }

    /// Ends the last generation in `memory`. `clear_dead` frees the pages of dead consumers.
    pub(in crate::producer) fn end(memory: &Memory, arena: u64, generation: u64, clear_dead: impl FnOnce()) -> Self {
        let header = memory.header();
        protocol::close(&header.state);
        header.generation.store(generation, Ordering::Release);
        let first = first_sequence(memory);
        protocol::retire(&header.oldest, first);
        for cell in 0..CELLS {
            memory.cell(cell).words[W_SEQUENCE].store(0, Ordering::Release);
        }
        clear_dead();
        let lease = Duration::from_millis(header.lease_ms.load(Ordering::Relaxed).into()).min(MOST_LEASE_TIME);
        Self { first, held: held(memory, arena), lease, claims: claims(memory) }
    }
}

/// One above every sequence in use; 1 when the counters contradict each other or the cells, when the header was cleared,
/// or when too few sequences are left.
fn first_sequence(memory: &Memory) -> u64 {
    let header = memory.header();
    if header.magic.load(Ordering::Acquire) != layout::MAGIC {
        return 1;
    }
    let (head, oldest) = (header.head.load(Ordering::Acquire), header.oldest.load(Ordering::Acquire));
    let in_cells = (0..CELLS).map(|index| (index, protocol::published(&memory.cell(index).words[W_SEQUENCE])));
    let mut newest = head;
    for (index, sequence) in in_cells {
        // A producer that died between its stores to the cell and to `head` was one ahead.
        if sequence != 0 && (sequence % CELLS != index || sequence > head.saturating_add(1)) {
            return 1;
        }
        newest = newest.max(sequence);
    }
    if newest >= MAX_SEQUENCE / 2 || oldest > newest + 1 { 1 } else { newest + 1 }
}

/// Every lease entry whose bytes lie in the arena; the others hold nothing. All entries of a page count: the last producer
/// may have allowed more than the next one does.
fn held(memory: &Memory, arena: u64) -> Vec<Held> {
    let pages = (0..PAGES).take_while(|index| protocol::is_used(&memory.page(*index).claimed));
    let entries = pages.flat_map(|page| (0..LEASES).map(move |entry| (page, entry)));
    let held = entries.map(|(page, entry)| {
        let lease = &memory.page(page).leases[entry];
        let value = protocol::held(&lease.sequence);
        let bytes =
            Range { offset: lease.offset.load(Ordering::Relaxed), length: lease.length.load(Ordering::Relaxed) };
        Held { page, entry, value, bytes }
    });
    held.filter(|h| h.value != 0 && h.bytes.length > 0 && in_arena(h.bytes, arena) && h.is_held(memory)).collect()
}
