//! The producer's private ledger: which frames are in the ring, which retired ones are still held, which consumers
//! read.
//!
//! A retired frame that a consumer still holds is in *limbo*; when no consumer holds it any more, it is *recycled*: its
//! extents are freed.
//!
//! One mutex protects the ledger. A [`Keep`], which user code attached to a frame, is never dropped here, because its
//! drop may call the producer: [`Ledger::take_dropped`] returns it, and the caller drops it without the mutex.

use super::extents::{ExtentId, Extents};
use super::lifecycle::{Claims, Inheritance, InheritedLease, claim};
use crate::description::Kind;
use crate::kill_points::point;
use crate::layout::{CELLS, FREE, LEASES, PAGES, Page, READING, claim_state};
use crate::mapped::Memory;
use crate::protocol;
use crate::sync::Ordering;
use std::any::Any;
use std::collections::{HashMap, VecDeque};

/// A value of user code that exists as long as its frame's bytes are in use.
pub(crate) type Keep = Box<dyn Any + Send>;

/// A published item, with what is freed when it is recycled.
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

/// Frames that are retired together when the ring is full and consumers are slow, so that one scan of the pages serves
/// many frames.
const BATCH: u64 = 64;

pub(crate) struct Ledger {
    pub(crate) extents: Extents,
    ring: VecDeque<Record>,
    /// Items of the ring that are not frames.
    others: u64,
    /// Retired items that a consumer still holds.
    limbo: Vec<Record>,
    /// Leases of earlier generations in the same memory, with the extents of their bytes.
    inherited: Vec<(InheritedLease, ExtentId)>,
    generation: u64,
    /// The pages' claims when this generation began.
    claims: Claims,
    /// Keeps of recycled items, for [`take_dropped`](Self::take_dropped).
    dropped: Vec<Keep>,
    next: u64,
    oldest: u64,
    /// The claims of dead consumers whose pages cannot be cleared; those of the other pages are [`FREE`].
    dead: Claims,
    /// Number of pages that were ever claimed, as far as known.
    pages_seen: usize,
    /// The last ticket of each page that was answered by a wake.
    answered: [u32; PAGES],
    max_leases: usize,
    history: u64,
    /// Snapshot consumers are attached.
    pub(crate) snapshots: bool,
    /// There may be snapshot consumers on another kernel, whose presence is not visible here.
    pub(crate) has_unseen_consumers: bool,
    pub(crate) dropped_oldest: u64,
}

impl Ledger {
    pub(crate) fn new(arena: u64, max_leases: usize, history: u64, generation: u64, inheritance: Inheritance) -> Self {
        let mut extents = Extents::new(arena);
        let ranges: Vec<_> = inheritance.leases.iter().map(|held| held.bytes).collect();
        let inherited = inheritance.leases.into_iter().zip(extents.reserve_inherited(&ranges)).collect();
        Self {
            extents,
            generation,
            claims: inheritance.claims,
            ring: VecDeque::with_capacity(CELLS as usize),
            others: 0,
            limbo: Vec::new(),
            inherited,
            dropped: Vec::new(),
            next: inheritance.first_sequence,
            oldest: inheritance.first_sequence,
            dead: [(FREE, 0); PAGES],
            pages_seen: 0,
            answered: [0; PAGES],
            max_leases: max_leases.min(LEASES),
            history,
            snapshots: false,
            has_unseen_consumers: false,
            dropped_oldest: 0,
        }
    }

    /// Sequence of the next item.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The oldest sequence that consumers can still take.
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

    /// Whether the ring has a cell for one more frame. The last cell is reserved for an end of stream, which therefore
    /// never waits.
    pub(crate) fn has_cell(&self) -> bool {
        self.next - self.oldest < CELLS - 1
    }

    /// Whether the newest item is an end of stream.
    pub(crate) fn has_ended(&self) -> bool {
        self.ring.back().is_some_and(|record| record.kind == Kind::End)
    }

    /// The keeps of recycled frames, which the caller drops without the mutex.
    pub(crate) fn take_dropped(&mut self) -> Vec<Keep> {
        std::mem::take(&mut self.dropped)
    }

    /// Whether [`take_dropped`](Self::take_dropped) would return anything.
    pub(crate) fn has_dropped(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Records an item whose cell was filled.
    pub(crate) fn push(&mut self, record: Record) {
        debug_assert!(record.sequence == self.next && self.next - self.oldest < CELLS);
        self.next += 1;
        self.others += u64::from(record.kind != Kind::Frame);
        self.ring.push_back(record);
    }

    /// Pages that were ever claimed. Pages are claimed in order, so the first unused one ends the list. The list only
    /// grows, and is extended before every scan.
    pub(crate) fn pages<'m>(&mut self, memory: &'m Memory) -> impl Iterator<Item = (usize, &'m Page)> + use<'m> {
        while self.pages_seen < PAGES && protocol::is_used(&memory.page(self.pages_seen).claimed) {
            self.pages_seen += 1;
        }
        (0..self.pages_seen).map(|i| (i, memory.page(i)))
    }

    /// Begins a generation that inherits these claims.
    pub(super) fn inherit(&mut self, generation: u64, claims: Claims) {
        (self.generation, self.claims) = (generation, claims);
    }

    /// Whether the owner of a page attached to a previous generation. It may hold frames, but reads none of this one.
    pub(crate) fn is_inherited(&self, index: usize, page: &Page) -> bool {
        let (before, since) = self.claims[index];
        let now = claim(page);
        let is_same = |(claimed, attached): (u32, u64)| before >> 16 == claimed >> 16 && since == attached;
        // A consumer may have made its claim for a previous generation, and shown its time only after this one began.
        // Relaxed: stored before the claim that was just read shows a reader.
        let is_earlier = || ![0, self.generation].contains(&page.generation.load(Ordering::Relaxed));
        (before != FREE && is_same(now)) || (claim_state(now.0) == READING && is_earlier())
    }

    /// Notes that the owner that made this claim is dead. Its page may stay claimed.
    pub(super) fn mark_dead(&mut self, index: usize, claim: (u32, u64)) {
        self.dead[index] = claim;
    }

    /// Takes back what [`mark_dead`](Self::mark_dead) noted: a probe has found an owner.
    pub(super) fn mark_alive(&mut self, index: usize) {
        self.dead[index] = (FREE, 0);
    }

    /// Whether the page still shows the claim of a consumer that is known to be dead.
    pub(super) fn is_dead(&self, index: usize, page: &Page) -> bool {
        self.dead[index].0 != FREE && self.dead[index] == claim(page)
    }

    /// Pages of consumers that are attached to this generation.
    pub(crate) fn attached<'m>(&mut self, memory: &'m Memory) -> impl Iterator<Item = (usize, &'m Page)> {
        let pages = self.pages(memory);
        let reads = |page: &Page| claim_state(page.claimed.load(Ordering::Acquire)) == READING;
        let counts = |index, page| !self.is_inherited(index, page) && !self.is_dead(index, page);
        pages.filter(move |(index, page)| reads(page) && counts(*index, page))
    }

    /// Page and cursor of the attached consumer that is furthest behind. Clamps a cursor that is out of range.
    pub(crate) fn slowest(&mut self, memory: &Memory) -> Option<(usize, u64)> {
        let (oldest, next) = (self.oldest, self.next);
        let cursor = |page: &Page| page.cursor.load(Ordering::Acquire).clamp(oldest, next);
        self.attached(memory).map(|(i, page)| (i, cursor(page))).min_by_key(|&(_, cursor)| cursor)
    }

    /// Retires the items that every attached consumer has read, except the history and, with snapshot consumers, the
    /// newest two frames; recycles the retired ones that no consumer holds.
    pub(crate) fn collect(&mut self, memory: &Memory) {
        let may_copy = self.snapshots || self.has_unseen_consumers;
        let grace = if may_copy { self.history.max(2) } else { self.history };
        let keep_from = self.newest_frames(grace);
        let read = self.read_by_all(memory);
        self.retire(memory, keep_from.min(read));
    }

    /// The sequence at which the newest `count` frames begin.
    fn newest_frames(&self, count: u64) -> u64 {
        if self.others == 0 || count == 0 {
            return self.next.saturating_sub(count);
        }
        let mut frames = self.ring.iter().rev().filter(|record| record.kind == Kind::Frame);
        frames.nth(count as usize - 1).map_or(self.oldest, |record| record.sequence)
    }

    /// As [`collect`](Self::collect) after the close, when no history is kept for consumers that attach later.
    pub(crate) fn collect_all(&mut self, memory: &Memory) {
        self.history = 0;
        let to = if self.snapshots { self.oldest } else { self.read_by_all(memory) };
        self.retire(memory, to);
    }

    /// Whether anything except frames and their keeps uses memory of the arena, such as a reservation. `caps` has one
    /// use of its extent as well.
    pub(crate) fn upstream_may_write(&self, caps: Option<ExtentId>) -> bool {
        let mut known: HashMap<ExtentId, (u32, bool)> = HashMap::new();
        for record in self.ring.iter().chain(&self.limbo) {
            for id in record.extents() {
                let (users, keeps) = known.entry(id).or_default();
                *users += 1;
                // The keep may contain the reservation from which the frame was published.
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

    /// Moves the keeps of frames that no consumer holds to the dropped ones. Writes nothing into the region.
    pub(crate) fn drop_unheld_keeps(&mut self, memory: &Memory) {
        let holds = self.holds(memory);
        let records = self.ring.iter_mut().chain(&mut self.limbo);
        let unheld = records.filter(|record| holds.binary_search(&record.sequence).is_err());
        self.dropped.extend(unheld.filter_map(|record| record.keep.take()));
    }

    /// Whether any frame in the ring or in limbo has a keep.
    pub(crate) fn keeps_anything(&self) -> bool {
        self.ring.iter().chain(&self.limbo).any(|record| record.keep.is_some())
    }

    /// Every attached consumer has read every item below this sequence.
    pub(crate) fn read_by_all(&mut self, memory: &Memory) -> u64 {
        self.slowest(memory).map_or(self.next, |(_, cursor)| cursor)
    }

    /// Frees a ring cell at the cost of the oldest frames below `limit`.
    pub(crate) fn drop_for_cell(&mut self, memory: &Memory, limit: u64) {
        self.drop_oldest(memory, (self.oldest + BATCH).min(limit));
    }

    /// Drops as many of the oldest frames below `limit` as needed to free `bytes` in one range, and none if that is not
    /// possible. True when there should be enough free space now.
    pub(crate) fn drop_for_bytes(&mut self, memory: &Memory, bytes: u64, limit: u64) -> bool {
        if self.extents.fits(bytes) {
            return true;
        }
        let Some(last) = self.last_to_drop(memory, bytes, limit) else { return false };
        // Many small frames are dropped at once, so that not every new frame repeats the search.
        let batch = self.oldest + BATCH.min(self.ring.len() as u64 / 16);
        self.drop_oldest(memory, (last + 1).max(batch.min(limit)));
        true
    }

    /// The last frame that would have to be retired to free `bytes` in one range.
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
                // The keep may contain the reservation, which is then the extent's last user.
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
        let (extents, dead) = (&mut self.extents, &self.dead);
        self.inherited.retain(|(held, id)| {
            let is_held = held.is_held(memory, dead);
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

    /// Sorted sequences that consumers hold now; of each page no more entries than the producer honours.
    fn holds(&mut self, memory: &Memory) -> Vec<u64> {
        let (most, next) = (self.max_leases, self.next);
        let mut holds = Vec::new();
        for (index, page) in self.pages(memory) {
            // The entries of a free page do not count. A claimer leaves that state before its first lease.
            if page.claimed.load(Ordering::Acquire) == FREE || self.is_dead(index, page) {
                continue;
            }
            // Relaxed: written before the entries that it counts, which the lease's fence orders.
            let count = (page.lease_count.load(Ordering::Relaxed) as usize).min(most);
            let entries = page.leases[..count].iter().map(|lease| protocol::held_in(page, &lease.sequence, next));
            holds.extend(entries.filter(|sequence| *sequence != 0));
        }
        holds.sort_unstable();
        holds
    }

    /// The pages of consumers that sleep and were not woken since, one bit each. Called after the frame is visible.
    pub(crate) fn sleepers(&mut self, memory: &Memory) -> u64 {
        protocol::before_wake();
        let mut sleepers = 0;
        for (index, page) in self.pages(memory) {
            sleepers |= u64::from(protocol::must_wake(&page.ticket, &mut self.answered[index])) << index;
        }
        sleepers
    }

    /// After the region was cleared: retires every item, none of which a consumer still holds. Returns the next
    /// sequence, which `oldest` shows from now on.
    pub(crate) fn forget_all(&mut self, memory: &Memory) -> u64 {
        self.pages_seen = 0;
        self.answered = [0; PAGES];
        // Stored even when there is nothing to retire, because the region's word was cleared.
        protocol::retire(&memory.header().oldest, self.next);
        self.retire(memory, self.next);
        self.next
    }
}
