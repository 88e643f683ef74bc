//! The producer's private ledger: which frames are in the ring, which retired ones are still held, which consumers read.
//!
//! All of it sits behind one mutex. What user code attached to a frame ([`Keep`]) is never dropped in here, because
//! dropping it may call back: it goes out through [`Ledger::take_dropped`] and is dropped after the mutex is free.

use super::extents::{ExtentId, Extents};
use super::lifecycle::{Claims, Held, Past, claim};
use crate::description::Kind;
use crate::kill_points::point;
use crate::layout::{CELLS, FREE, LEASES, PAGES, Page, READING, claim_state};
use crate::mapped::Memory;
use crate::protocol;
use crate::sync::Ordering;
use std::any::Any;
use std::collections::{HashMap, VecDeque};

/// Something that must live as long as a frame's bytes are in use.
pub(crate) type Keep = Box<dyn Any + Send>;

/// A published item: what must be given back when it is over.
pub(crate) struct Record {
    pub(crate) sequence: u64,
    pub(crate) payload: Option<ExtentId>,
    pub(crate) caps: Option<ExtentId>,
    pub(crate) meta: Option<ExtentId>,
    pub(crate) keep: Option<Keep>,
    pub(crate) kind: Kind,
}

impl Record {
    fn extents(&self) -> impl Iterator<Item = ExtentId> + use<> {
        [self.payload, self.caps, self.meta].into_iter().flatten()
    }
}

/// Frames retired at once when the ring is full and consumers lag: one look at the pages for many frames.
const BATCH: u64 = 64;

pub(crate) struct Ledger {
    pub(crate) extents: Extents,
    ring: VecDeque<Record>,
    /// Items of the ring that are no frames.
    others: u64,
    limbo: Vec<Record>,
    /// What consumers hold of an earlier generation in the same memory.
    inherited: Vec<(Held, ExtentId)>,
    /// The pages' claims when this generation began.
    claims: Claims,
    dropped: Vec<Keep>,
    next: u64,
    oldest: u64,
    pages_seen: usize,
    answered: [u32; PAGES],
    max_leases: usize,
    history: u64,
    pub(crate) snapshots: bool,
    /// Snapshot consumers on another kernel show no presence.
    pub(crate) has_unseen_consumers: bool,
    pub(crate) dropped_oldest: u64,
}

impl Ledger {
    pub(crate) fn new(arena: u64, max_leases: usize, history: u64, past: Past) -> Self {
        let mut extents = Extents::new(arena);
        let ranges: Vec<_> = past.held.iter().map(|held| held.bytes).collect();
        let inherited = past.held.into_iter().zip(extents.adopt(&ranges)).collect();
        Self {
            extents,
            claims: past.claims,
            ring: VecDeque::with_capacity(CELLS as usize),
            others: 0,
            limbo: Vec::new(),
            inherited,
            dropped: Vec::new(),
            next: past.first,
            oldest: past.first,
            pages_seen: 0,
            answered: [0; PAGES],
            max_leases: max_leases.min(LEASES),
            history,
            snapshots: false,
            has_unseen_consumers: false,
            dropped_oldest: 0,
        }
    }

    /// The sequence that the next frame gets.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Sequences below this can be taken no more.
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Frames that a consumer can take.
    pub(crate) fn ready(&self) -> u64 {
        self.ring.len() as u64 - self.others
    }

    /// Frames retired but still held by a consumer.
    pub(crate) fn in_limbo(&self) -> usize {
        self.limbo.len() + self.inherited.len()
    }

    /// Whether the ring has a cell for one more frame. The last cell is for the end of a stream, which therefore never waits.
    pub(crate) fn has_cell(&self) -> bool {
        self.next - self.oldest < CELLS - 1
    }

    /// Whether the newest item is an end of stream.
    pub(crate) fn has_ended(&self) -> bool {
        self.ring.back().is_some_and(|record| record.kind == Kind::End)
    }

    /// What user code attached to frames that are over now: to be dropped without the mutex.
    pub(crate) fn take_dropped(&mut self) -> Vec<Keep> {
        std::mem::take(&mut self.dropped)
    }

    /// Whether [`take_dropped`](Self::take_dropped) would return anything.
    pub(crate) fn has_dropped(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Books a frame whose cell is about to be filled.
    pub(crate) fn push(&mut self, record: Record) {
        debug_assert!(record.sequence == self.next && self.next - self.oldest < CELLS);
        self.next += 1;
        self.others += u64::from(record.kind != Kind::Frame);
        self.ring.push_back(record);
    }

    /// Pages that were ever claimed. Claims go in page order, so the first untouched one ends the list; the list only
    /// grows, and it is read anew for every scan.
    pub(crate) fn pages<'m>(&mut self, memory: &'m Memory) -> impl Iterator<Item = (usize, &'m Page)> + use<'m> {
        while self.pages_seen < PAGES && protocol::is_used(&memory.page(self.pages_seen).claimed) {
            self.pages_seen += 1;
        }
        (0..self.pages_seen).map(|i| (i, memory.page(i)))
    }

    /// A generation began in which these claims were there already.
    pub(super) fn inherit(&mut self, claims: Claims) {
        self.claims = claims;
    }

    /// Whether the owner of a page attached to the generation before: it may hold frames, but reads none of this one.
    pub(crate) fn is_inherited(&self, index: usize, page: &Page) -> bool {
        let (before, since) = self.claims[index];
        let is_same = |(claimed, attached): (u32, u64)| before >> 16 == claimed >> 16 && since == attached;
        before != FREE && is_same(claim(page))
    }

    /// Pages whose consumer says that it is attached.
    pub(crate) fn attached<'m>(&mut self, memory: &'m Memory) -> impl Iterator<Item = (usize, &'m Page)> {
        let pages = self.pages(memory);
        let reads = |page: &Page| claim_state(page.claimed.load(Ordering::Acquire)) == READING;
        pages.filter(move |(index, page)| reads(page) && !self.is_inherited(*index, page))
    }

    /// Page and cursor of the attached consumer that is furthest behind. A cursor that cannot be is put in range.
    pub(crate) fn slowest(&mut self, memory: &Memory) -> Option<(usize, u64)> {
        let (oldest, next) = (self.oldest, self.next);
        let cursor = |page: &Page| page.cursor.load(Ordering::Acquire).clamp(oldest, next);
        self.attached(memory).map(|(i, page)| (i, cursor(page))).min_by_key(|&(_, cursor)| cursor)
    }

    /// Retires what every attached consumer has read, but for the history and the grace of snapshot consumers, and
    /// recycles what no consumer holds.
    pub(crate) fn collect(&mut self, memory: &Memory) {
        let may_copy = self.snapshots || self.has_unseen_consumers;
        let grace = if may_copy { self.history.max(2) } else { self.history };
        let keep_from = self.newest_frames(grace);
        let read = self.read_by_all(memory);
        self.retire(memory, keep_from.min(read));
    }

    /// The sequence from which on there are so many frames.
    fn newest_frames(&self, count: u64) -> u64 {
        if self.others == 0 || count == 0 {
            return self.next.saturating_sub(count);
        }
        let mut frames = self.ring.iter().rev().filter(|record| record.kind == Kind::Frame);
        frames.nth(count as usize - 1).map_or(self.oldest, |record| record.sequence)
    }

    /// After the close: nothing is kept for consumers that attach later.
    pub(crate) fn collect_all(&mut self, memory: &Memory) {
        self.history = 0;
        let to = if self.snapshots { self.oldest } else { self.read_by_all(memory) };
        self.retire(memory, to);
    }

    /// Whether anything but the frames themselves, and what is kept with them, uses memory of the arena. `caps` has one
    /// use of its extent, too.
    pub(crate) fn upstream_may_write(&self, caps: Option<ExtentId>) -> bool {
        let mut known: HashMap<ExtentId, (u32, bool)> = HashMap::new();
        for record in self.ring.iter().chain(&self.limbo) {
            for id in record.extents() {
                let (users, keeps) = known.entry(id).or_default();
                *users += 1;
                // What is kept with a frame may be the reservation that it was published from.
                *keeps |= record.keep.is_some() && record.payload == Some(id);
            }
        }
        let inherited = self.inherited.iter().map(|(_, id)| *id);
        caps.into_iter().chain(inherited).for_each(|id| known.entry(id).or_default().0 += 1);
        self.extents.in_use().any(|(id, users)| {
            let (ours, keeps) = known.get(&id).copied().unwrap_or_default();
            users > ours + u32::from(keeps)
        })
    }

    /// Drops what user code attached to frames that no consumer holds. Writes nothing into the region.
    pub(crate) fn drop_unheld_keeps(&mut self, memory: &Memory) {
        let holds = self.holds(memory);
        let records = self.ring.iter_mut().chain(&mut self.limbo);
        let unheld = records.filter(|record| holds.binary_search(&record.sequence).is_err());
        self.dropped.extend(unheld.filter_map(|record| record.keep.take()));
    }

    /// Whether user code attached something to a frame that is not over.
    pub(crate) fn keeps_anything(&self) -> bool {
        self.ring.iter().chain(&self.limbo).any(|record| record.keep.is_some())
    }

    /// Every frame below this was read by every attached consumer.
    pub(crate) fn read_by_all(&mut self, memory: &Memory) -> u64 {
        self.slowest(memory).map_or(self.next, |(_, cursor)| cursor)
    }

    /// Frees a ring cell at the cost of the oldest frames below `limit`.
    pub(crate) fn drop_for_cell(&mut self, memory: &Memory, limit: u64) {
        self.drop_oldest(memory, (self.oldest + BATCH).min(limit));
    }

    /// Drops as many of the oldest frames below `limit` as it takes to free `bytes`, and none if that cannot do it. True
    /// when there should be enough free space now.
    pub(crate) fn drop_for_bytes(&mut self, memory: &Memory, bytes: u64, limit: u64) -> bool {
        if self.extents.fits(bytes) {
            return true;
        }
        let Some(last) = self.last_to_drop(memory, bytes, limit) else { return false };
        // Many small frames go at once, so that the search is not made anew for each new one.
        let batch = self.oldest + BATCH.min(self.ring.len() as u64 / 16);
        self.drop_oldest(memory, (last + 1).max(batch.min(limit)));
        true
    }

    /// The frame up to which all would have to be retired to free `bytes`.
    fn last_to_drop(&mut self, memory: &Memory, bytes: u64, limit: u64) -> Option<u64> {
        let holds = self.holds(memory);
        let mut outlook = self.extents.outlook();
        let mut users: HashMap<ExtentId, u32> = HashMap::new();
        for record in self.ring.iter().take_while(|r| r.sequence < limit) {
            if holds.binary_search(&record.sequence).is_ok() {
                continue;
            }
            for id in record.extents() {
                let left = users.entry(id).or_insert_with(|| self.extents.users(id));
                if *left == 0 {
                    continue;
                }
                *left -= 1;
                // What is kept with the frame may be the reservation's last owner.
                if *left == 1 && record.keep.is_some() && record.payload == Some(id) {
                    *left = 0;
                }
                if *left == 0 && self.extents.would_fit(&mut outlook, id, bytes) {
                    return Some(record.sequence);
                }
            }
        }
        None
    }

    fn drop_oldest(&mut self, memory: &Memory, to: u64) {
        if let Some((_, unread)) = self.slowest(memory) {
            let gone = self.ring.iter().take_while(|record| record.sequence < to);
            let unread = gone.filter(|record| record.sequence >= unread && record.kind == Kind::Frame);
            self.dropped_oldest += unread.count() as u64;
            memory.header().dropped_oldest.store(self.dropped_oldest, Ordering::Relaxed);
        }
        self.retire(memory, to);
    }

    /// Takes every frame below `to` out of the ring, then recycles those that no consumer holds.
    fn retire(&mut self, memory: &Memory, to: u64) {
        if to > self.oldest {
            protocol::retire(&memory.header().oldest, to);
            point!("recycle.retired");
            self.oldest = to;
            while self.ring.front().is_some_and(|r| r.sequence < to) {
                let Some(record) = self.ring.pop_front() else { break };
                self.others -= u64::from(record.kind != Kind::Frame);
                self.limbo.push(record);
            }
        }
        if !self.limbo.is_empty() {
            self.recycle(memory);
        }
        let extents = &mut self.extents;
        self.inherited.retain(|(held, id)| {
            let is_held = held.is_held(memory);
            if !is_held {
                extents.drop_use(*id);
            }
            is_held
        });
    }

    fn recycle(&mut self, memory: &Memory) {
        let holds = self.holds(memory);
        point!("recycle.scanned");
        let (extents, dropped) = (&mut self.extents, &mut self.dropped);
        self.limbo.retain_mut(|record| {
            if holds.binary_search(&record.sequence).is_ok() {
                return true;
            }
            for id in record.extents() {
                extents.drop_use(id);
            }
            dropped.extend(record.keep.take());
            false
        });
    }

    /// Sorted sequences that consumers hold now, of each page no more than its budget.
    fn holds(&mut self, memory: &Memory) -> Vec<u64> {
        let (most, next) = (self.max_leases, self.next);
        let mut holds = Vec::new();
        for (_, page) in self.pages(memory) {
            // A free page holds nothing, whatever its entries say; a claimer leaves that state before its first lease.
            if page.claimed.load(Ordering::Acquire) == FREE {
                continue;
            }
            // Relaxed: written before the entries that it counts, and those are ordered by the lease's fence.
            let count = (page.lease_count.load(Ordering::Relaxed) as usize).min(most);
            let entries = page.leases[..count].iter().map(|lease| protocol::held_in(page, &lease.sequence, next));
            holds.extend(entries.filter(|sequence| *sequence != 0));
        }
        holds.sort_unstable();
        holds
    }

    /// The pages of consumers that sleep and were not woken since, a bit each. Comes after the frame is visible.
    pub(crate) fn sleepers(&mut self, memory: &Memory) -> u64 {
        protocol::before_wake();
        let mut sleepers = 0;
        for (index, page) in self.pages(memory) {
            sleepers |= u64::from(protocol::must_wake(&page.ticket, &mut self.answered[index])) << index;
        }
        sleepers
    }

    /// The region was cleared: everything in it is retired, and no consumer holds anything that is still there. Returns the
    /// next sequence, which `oldest` shows from here on.
    pub(crate) fn forget_all(&mut self, memory: &Memory) -> u64 {
        self.pages_seen = 0;
        self.answered = [0; PAGES];
        // Also when nothing is left to retire: the region's own word was cleared.
        protocol::retire(&memory.header().oldest, self.next);
        self.retire(memory, self.next);
        self.next
    }
}
