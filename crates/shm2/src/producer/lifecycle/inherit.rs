//! Beginning a generation in memory that had an earlier one. Consumers of that one may still read: their pages stay,
//! and their lease entries show which bytes they hold. The new producer:
//!
//! 1. marks the previous generation as closed, and stores the new generation;
//! 2. raises `oldest` above every sequence in use, and passes the full fence of a retirement: a consumer that has not
//!    written its lease entry by now will see that the frame is retired, or that the generation is another;
//! 3. empties the cells, so that no cell seems to be of a later item;
//! 4. reads the lease entries and reserves those bytes in its allocator until the entries are cleared.
//!
//! Sequences continue to grow. They start at 1 if the old counters contradict each other or were cleared. Then only the
//! generation, which every consumer compares after it wrote its lease entry, prevents a confusion of frames.

use crate::description::{Range, in_arena};
use crate::header::MOST_LEASE_TIME;
use crate::layout::{self, CELLS, LEASES, MAX_SEQUENCE, PAGES, Page, W_SEQUENCE};
use crate::mapped::Memory;
use crate::protocol;
use crate::sync::{Ordering, fence};
use std::time::Duration;

/// A lease of a frame of an earlier generation: the lease entry, its value, and the bytes. The bytes are held as long
/// as the entry shows the same value; the frame's sequence does not matter any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::producer) struct InheritedLease {
    page: usize,
    entry: usize,
    value: u64,
    pub(in crate::producer) bytes: Range,
}

impl InheritedLease {
    /// Whether the page still shows the lease, and not one of the claims of `dead` consumers.
    pub(in crate::producer) fn is_held(&self, memory: &Memory, dead: &Claims) -> bool {
        let page = memory.page(self.page);
        let claim = claim(page);
        claim.0 != layout::FREE
            && claim != dead[self.page]
            && protocol::held(&page.leases[self.entry].sequence) == self.value
    }
}

/// Of each page: the value of `claimed`, and the time at which its owner attached.
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

/// What a new generation inherits from the previous ones in the same memory.
#[derive(Debug)]
pub(in crate::producer) struct Inheritance {
    /// Sequence of the first item.
    pub(in crate::producer) first_sequence: u64,
    /// Leases of frames that consumers still hold.
    pub(in crate::producer) leases: Vec<InheritedLease>,
    /// The lease time of the previous generation.
    pub(in crate::producer) lease_time: Duration,
    /// The claims at the end of the previous generation.
    pub(in crate::producer) claims: Claims,
}

impl Inheritance {
    /// Of new memory, without a previous generation.
    pub(in crate::producer) fn none() -> Self {
        let claims = [(layout::FREE, 0); PAGES];
        Self { first_sequence: 1, leases: Vec::new(), lease_time: Duration::ZERO, claims }
    }

    /// Ends the previous generation in `memory`. `clear_dead` frees the pages of dead consumers.
    pub(in crate::producer) fn end_previous(
        memory: &Memory,
        arena: u64,
        generation: u64,
        clear_dead: impl FnOnce(),
    ) -> Self {
        let header = memory.header();
        protocol::close(&header.state);
        header.generation.store(generation, Ordering::Release);
        // The memory may be write-combining, where a Release store orders nothing.
        fence(Ordering::SeqCst);
        let first_sequence = first_sequence(memory);
        protocol::retire(&header.oldest, first_sequence);
        for cell in 0..CELLS {
            memory.cell(cell).words[W_SEQUENCE].store(0, Ordering::Release);
        }
        clear_dead();
        let lease_time = Duration::from_millis(header.lease_ms.load(Ordering::Relaxed).into()).min(MOST_LEASE_TIME);
        Self { first_sequence, leases: inherited_leases(memory, arena), lease_time, claims: claims(memory) }
    }
}

/// One above every sequence in use. 1 when the counters contradict each other or the cells, when the header was
/// cleared, or when too few sequences are left.
fn first_sequence(memory: &Memory) -> u64 {
    let header = memory.header();
    if header.magic.load(Ordering::Acquire) != layout::MAGIC {
        return 1;
    }
    let (head, oldest) = (header.head.load(Ordering::Acquire), header.oldest.load(Ordering::Acquire));
    let in_cells = (0..CELLS).map(|index| (index, protocol::published(&memory.cell(index).words[W_SEQUENCE])));
    let mut newest = head;
    for (index, sequence) in in_cells {
        // A producer that died between its stores to the cell and to `head` left the cell one ahead of `head`.
        if sequence != 0 && (sequence % CELLS != index || sequence > head.saturating_add(1)) {
            return 1;
        }
        newest = newest.max(sequence);
    }
    // A producer that began a generation after such a death, and died after it emptied the cells and before it stored
    // `head`, left `oldest` two ahead of `head`.
    if newest >= MAX_SEQUENCE / 2 || oldest > newest + 2 { 1 } else { oldest.max(newest + 1) }
}

/// Every lease entry whose bytes are inside the arena; the others hold nothing. All entries of a page count, because
/// the previous producer may have allowed more than the next one does.
fn inherited_leases(memory: &Memory, arena: u64) -> Vec<InheritedLease> {
    let pages = (0..PAGES).take_while(|index| protocol::is_used(&memory.page(*index).claimed));
    let entries = pages.flat_map(|page| (0..LEASES).map(move |entry| (page, entry)));
    let leases = entries.map(|(page, entry)| {
        let lease = &memory.page(page).leases[entry];
        let value = protocol::held(&lease.sequence);
        let bytes =
            Range { offset: lease.offset.load(Ordering::Relaxed), length: lease.length.load(Ordering::Relaxed) };
        InheritedLease { page, entry, value, bytes }
    });
    let none = [(layout::FREE, 0); PAGES];
    let is_held = |lease: &InheritedLease| lease.value != 0 && lease.bytes.length > 0 && lease.is_held(memory, &none);
    leases.filter(|lease| in_arena(lease.bytes, arena) && is_held(lease)).collect()
}
