//! A new life of a region in the same memory, for memory that cannot be replaced: a virtual machine's backing file, or
//! a single file mounted into a container.
//!
//! Consumers of the last life may still be there, and hold frames. Their pages are where they were, because the geometry
//! follows from the size alone, and their lease entries say which bytes they hold. The new producer:
//!
//! 1. says that the last life is closed, and stores a new generation;
//! 2. raises `oldest` above every sequence that was ever given out, and passes the full fence of a retirement: whoever
//!    has not written its lease entry by now will see that the frame is gone, or that the generation is another;
//! 3. empties the cells, so that none looks as if it came later;
//! 4. reads the lease entries and keeps those bytes out of its allocator until the entries are cleared.
//!
//! Sequences go on growing. Where the old counters cannot be true they start at 1; then only the generation, which every
//! consumer compares after it wrote its lease entry, protects from a mix-up.

use crate::description::{Range, in_arena};
use crate::layout::{self, CELLS, MAX_SEQUENCE, PAGES, W_SEQUENCE};
use crate::memory::Memory;
use crate::protocol;
use crate::sync::Ordering;
use std::time::Duration;

/// What a new life must know of those before it.
#[derive(Debug)]
pub(super) struct Past {
    /// The sequence that the first item gets.
    pub(super) first: u64,
    /// Frames that consumers still hold: sequence and bytes.
    pub(super) held: Vec<(u64, Range)>,
    /// Their lease time, and what each page showed.
    pub(super) lease: Duration,
    pub(super) claims: [u32; PAGES],
}

impl Past {
    /// Nobody was there before.
    pub(super) fn none() -> Self {
        Self { first: 1, held: Vec::new(), lease: Duration::ZERO, claims: [0; PAGES] }
    }

    /// Ends the last life in `memory`. `clear_dead` frees the pages of consumers that are no more.
    pub(super) fn end(memory: &Memory, arena: u64, generation: u64, clear_dead: impl FnOnce()) -> Self {
        let header = memory.header();
        if header.magic.load(Ordering::Acquire) != layout::MAGIC {
            return Self::none();
        }
        protocol::close(&header.state);
        header.generation.store(generation, Ordering::Release);
        let first = first_sequence(memory);
        protocol::retire(&header.oldest, first);
        for cell in 0..CELLS {
            memory.cell(cell).words[W_SEQUENCE].store(0, Ordering::Release);
        }
        clear_dead();
        let lease = Duration::from_millis(header.lease_ms.load(Ordering::Relaxed).into()).min(super::MOST_LEASE_TIME);
        let claims = std::array::from_fn(|index| memory.page(index).claimed.load(Ordering::Acquire));
        Self { first, held: held(memory, arena, first), lease, claims }
    }
}

/// One above every sequence in use; 1 when the counters contradict each other or the cells.
fn first_sequence(memory: &Memory) -> u64 {
    let header = memory.header();
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
    if newest >= MAX_SEQUENCE || oldest > newest + 1 { 1 } else { newest + 1 }
}

/// Every lease entry whose bytes lie in the arena; the others are lies and hold nothing.
fn held(memory: &Memory, arena: u64, first: u64) -> Vec<(u64, Range)> {
    let pages = (0..PAGES).map(|index| memory.page(index)).take_while(|page| protocol::is_used(&page.claimed));
    let mut held: Vec<_> = pages
        .filter(|page| page.claimed.load(Ordering::Acquire) != layout::FREE)
        .flat_map(|page| page.leases.iter().map(move |lease| (page, lease)))
        .filter_map(|(page, lease)| {
            let sequence = protocol::held_in(page, &lease.sequence, first);
            let range =
                Range { offset: lease.offset.load(Ordering::Relaxed), length: lease.length.load(Ordering::Relaxed) };
            (sequence != 0 && range.length > 0 && in_arena(range, arena)).then_some((sequence, range))
        })
        .collect();
    held.sort_unstable_by_key(|(sequence, range)| (*sequence, range.offset, range.length));
    held.dedup();
    held
}
