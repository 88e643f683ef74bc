//! What a producer, its handles and its reservations have in common: the region, the book-keeping, and the ways to
//! make room.

use super::builder::{FullPolicy, Settings, renew_beacon};
use super::consumer_liveness::Hearts;
use super::extents::ExtentId;
use super::ledger::{Ledger, Record};
use super::lifecycle::Settling;
use super::reservation::Reservation;
use crate::backend::{self, Event, OwnedRegion, ProcessEvent, ProducerRegion, Watch};
use crate::description::{Description, Kind};
use crate::error::SendError;
use crate::heartbeat;
use crate::kill_points::point;
use crate::layout;
use crate::mapped::Memory;
use crate::protocol;
use crate::sync::{AtomicU32, Ordering};
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often locks of consumers are probed when nothing else asks for it.
const PROBE_EVERY_NS: u64 = 250_000_000;
/// Unread frames above which a blocked producer lets its consumers work for a moment.
const BACKLOG: u64 = 256;
const BACKLOG_NAP: Duration = Duration::from_micros(50);
/// Fresh payload after which read frames are retired before the next reservation: small enough that the memory of
/// large frames is used again while it is warm, large enough that small frames share the cost.
const COLLECT_AFTER: u64 = 256 * 1024;
/// Longest sleep of a blocked producer before it looks around: for consumers other than the one it waits for.
const SPACE_SLICE: Duration = Duration::from_millis(10);

pub(crate) struct Shared {
    pub(super) memory: Memory,
    pub(super) region: OwnedRegion,
    pub(super) settings: Settings,
    pub(super) arena: u64,
    pub(super) event: Arc<Event>,
    _watch: Option<Watch>,
    pub(super) closed: AtomicBool,
    /// Nothing in the region may be written any more: it may belong to the next producer.
    pub(super) over: AtomicBool,
    /// After the end: the next producer may use this memory.
    pub(super) shared_memory: AtomicBool,
    /// Another producer lives in this memory.
    pub(super) taken_over: AtomicBool,
    cancelled: AtomicBool,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) ledger: Ledger,
    pub(super) caps: Option<CurrentCaps>,
    /// In memory that others can wipe: what stands there.
    pub(super) caps_copy: Option<Box<[u8]>>,
    /// The number of this life.
    pub(super) generation: u64,
    /// Another number that was found, the heart that was seen with it, and since when.
    pub(super) suspect: Option<(u64, u64, Instant)>,
    /// The memory was wiped, perhaps not to its end yet.
    pub(super) settling: Option<Settling>,
    /// When the last life began after a wipe.
    pub(super) begun_again: Option<Instant>,
    pub(super) stats: Counters,
    fresh: u64,
    pub(super) last_probe: u64,
    last_beacon: u64,
    pub(super) hearts: Hearts,
}

/// The caps that go with every frame until the next change; holds one use of their extent.
#[derive(Clone, Copy)]
pub(super) struct CurrentCaps {
    pub(super) id: u32,
    pub(super) extent: Option<ExtentId>,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Bytes of the stream's blob after them.
    pub(super) stream: u64,
}

#[derive(Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) dropped_newest: u64,
    pub(super) dropped_too_large: u64,
    pub(super) wakes: u64,
}

impl Shared {
    pub(super) fn new(
        memory: Memory,
        region: OwnedRegion,
        settings: Settings,
        generation: u64,
        ledger: Ledger,
        hearts: Hearts,
    ) -> Arc<Self> {
        let arena = ledger.extents.bytes();
        let stats = Counters::default();
        let (caps, caps_copy, suspect, settling, begun_again) = (None, None, None, None, None);
        let (fresh, last_probe, last_beacon) = (0, 0, 0);
        let inner = Inner {
            ledger,
            caps,
            caps_copy,
            generation,
            suspect,
            settling,
            begun_again,
            stats,
            fresh,
            last_probe,
            last_beacon,
            hearts,
        };
        let event = Arc::default();
        Arc::new(Self {
            _watch: region.watch(&event),
            memory,
            region,
            settings,
            arena,
            event,
            closed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            shared_memory: AtomicBool::new(false),
            taken_over: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            inner: Mutex::new(inner),
        })
    }

    /// Shows life where no lock does, from now on.
    pub(super) fn start_heartbeat(self: &Arc<Self>) -> io::Result<()> {
        if self.settings.keep_region {
            let heart: Weak<Self> = Arc::downgrade(self);
            heartbeat::keep_beating(heart, self.settings.lease_time)?;
            // Consumers of the last life may sleep, or wait for this one.
            self.wake(u64::MAX);
            self.region.notify_watchers();
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same as long as this producer is not closed, and its life goes on: what is reserved under the mutex before that
    /// is waited for.
    fn lock_open(&self) -> Result<MutexGuard<'_, Inner>, SendError> {
        let mut inner = self.lock();
        self.check()?;
        self.keep_life(&mut inner)?;
        Ok(inner)
    }

    /// Runs with the mutex held, then drops what user code attached to frames that ended meanwhile.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.lock();
        let result = f(&mut inner);
        let dropped = inner.ledger.take_dropped();
        drop(inner);
        drop(dropped);
        result
    }

    /// Room for `bytes` without ever waiting.
    pub(super) fn try_reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, SendError> {
        if let Some(reservation) = self.reserve_free(bytes)? {
            return Ok(reservation);
        }
        // Each step and the attempt after it are apart, because what a step drops may be the very reservations that
        // give room. Consumers may take a lease in between: then the last step is tried again.
        for step in 0..6 {
            let hopeful = self.with(|inner| {
                // In a kept region the next producer may write from the end of this one on.
                if self.closed.load(Ordering::Acquire) || self.keep_life(inner).is_err() {
                    return false;
                }
                if self.reap_before_drop(inner).is_err() {
                    return false;
                }
                if step == 0 {
                    inner.ledger.collect(&self.memory);
                    return true;
                }
                let limit = self.expendable(inner);
                inner.ledger.drop_for_bytes(&self.memory, bytes, limit)
            });
            if !hopeful {
                break;
            }
            if let Some(reservation) = self.grant(&mut *self.lock_open()?, bytes) {
                return Ok(reservation);
            }
        }
        Err(SendError::Full { bytes })
    }

    /// The usual case: there is room. Now and then retires what was read, so that its memory is used while it is warm.
    fn reserve_free(self: &Arc<Self>, bytes: u64) -> Result<Option<Reservation>, SendError> {
        let given = self.with(|inner| {
            self.check()?;
            self.keep_life(inner)?;
            if !inner.ledger.extents.could_hold(bytes) {
                return Err(SendError::TooLarge { bytes, arena: self.arena });
            }
            if inner.fresh >= COLLECT_AFTER {
                inner.fresh = 0;
                inner.ledger.collect(&self.memory);
                if inner.ledger.has_dropped() {
                    // Let the memory that they kept come back first.
                    return Ok(None);
                }
            }
            Ok(self.grant(inner, bytes))
        })?;
        let given = match given {
            None => self.grant(&mut *self.lock_open()?, bytes),
            given => given,
        };
        point!("reserve.taken");
        Ok(given)
    }

    /// Free memory, if there is so much in one piece. The caller has seen that the life goes on.
    fn grant(self: &Arc<Self>, inner: &mut Inner, bytes: u64) -> Option<Reservation> {
        let (id, offset) = match bytes {
            0 => (None, layout::ARENA_OFFSET),
            _ => inner.ledger.extents.reserve(bytes).map(|(id, offset)| (Some(id), offset))?,
        };
        Some(Reservation::new(self.clone(), id, offset, bytes, inner.generation))
    }

    /// The number of this life, if it goes on.
    pub(super) fn life(&self) -> Result<u64, SendError> {
        self.with(|inner| self.check().and_then(|()| self.keep_life(inner)).map(|()| inner.generation))
    }

    /// Frames below this may go to make space: all under `drop-oldest`, else those that everybody has read.
    fn expendable(&self, inner: &mut Inner) -> u64 {
        match self.settings.policy {
            FullPolicy::DropOldest => inner.ledger.next(),
            FullPolicy::DropNewest | FullPolicy::Block { .. } => inner.ledger.read_by_all(&self.memory),
        }
    }

    /// Room for `bytes` as the policy has it: under `block` this waits.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, SendError> {
        let result = self.reserve_uncounted(bytes);
        match result {
            Err(SendError::Full { .. } | SendError::Recovering | SendError::TimedOut { .. }) => {
                self.count_dropped_newest()
            }
            Err(SendError::TooLarge { .. }) => self.count_too_large(),
            _ => {}
        }
        result
    }

    /// As [`reserve`](Self::reserve) for what is not a frame.
    pub(super) fn reserve_uncounted(self: &Arc<Self>, bytes: u64) -> Result<Reservation, SendError> {
        self.retry(bytes, || self.try_reserve(bytes))
    }

    /// Whether this producer can still do anything.
    pub(super) fn check(&self) -> Result<(), SendError> {
        let path = || self.region.path().into();
        match () {
            () if self.closed.load(Ordering::Acquire) => Err(SendError::Closed),
            () if self.memory.is_broken() => Err(SendError::Truncated { path: path() }),
            () if self.taken_over.load(Ordering::Acquire) => Err(SendError::Superseded { path: path() }),
            () => Ok(()),
        }
    }

    fn count_too_large(&self) {
        let mut inner = self.lock();
        inner.stats.dropped_too_large += 1;
        if self.is_mine(&inner) {
            self.memory.header().dropped_too_large.store(inner.stats.dropped_too_large, Ordering::Relaxed);
        }
    }

    pub(super) fn count_dropped_newest(&self) {
        let mut inner = self.lock();
        inner.stats.dropped_newest += 1;
        if self.is_mine(&inner) {
            self.memory.header().dropped_newest.store(inner.stats.dropped_newest, Ordering::Relaxed);
        }
    }

    /// Repeats `attempt` while it finds no room, sleeping in between, if the policy is to block.
    fn retry<T>(&self, bytes: u64, mut attempt: impl FnMut() -> Result<T, SendError>) -> Result<T, SendError> {
        let first = attempt();
        let FullPolicy::Block { timeout } = self.settings.policy else { return first };
        if !matches!(first, Err(SendError::Full { .. } | SendError::Recovering)) {
            return first;
        }
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        loop {
            if self.cancelled.load(Ordering::Acquire) {
                return Err(SendError::Cancelled);
            }
            if self.has_backlog() {
                // So many frames wait that no consumer runs dry: let it make room for more than one.
                std::thread::sleep(BACKLOG_NAP);
            }
            let expected = self.space_words();
            self.set_waiting(true);
            // Looked at before the last attempt: room that came in time counts.
            let is_late = deadline.is_some_and(|d| Instant::now() >= d);
            let again = attempt();
            let settled = !matches!(again, Err(SendError::Full { .. } | SendError::Recovering));
            let hopeless = expected.is_empty() && !self.is_settling();
            match () {
                () if settled || hopeless || is_late => {}
                () if expected.is_empty() => std::thread::sleep(SPACE_SLICE),
                () => self.region.wait_for_space(&expected, SPACE_SLICE),
            }
            self.set_waiting(false);
            if settled || hopeless {
                return again;
            }
            if is_late {
                return Err(SendError::TimedOut { bytes });
            }
        }
    }

    /// Says whether consumers have to signal what they give back.
    fn set_waiting(&self, waits: bool) {
        let inner = self.lock();
        let word = &self.memory.header().producer_waits;
        match waits {
            _ if !self.is_mine(&inner) => {}
            true => protocol::announce_need(word),
            false => word.store(0, Ordering::Relaxed),
        }
    }

    /// The words on which those who can make room are heard, with their values; none when nobody can.
    fn space_words(&self) -> Vec<(&AtomicU32, u32)> {
        let mut inner = self.lock();
        let active = |page: &layout::Page| page.claimed.load(Ordering::Acquire) != layout::FREE;
        let words = inner.ledger.pages(&self.memory).filter(|(_, page)| active(page)).map(|(_, page)| &page.space);
        words.map(|word| (word, word.load(Ordering::Acquire))).collect()
    }

    fn has_backlog(&self) -> bool {
        let mut inner = self.lock();
        let next = inner.ledger.next();
        next - inner.ledger.read_by_all(&self.memory) >= BACKLOG
    }

    /// Makes the blocking calls of this producer return `Cancelled` until it is undone.
    pub(super) fn set_cancelled(&self, cancelled: bool) {
        self.cancelled.store(cancelled, Ordering::Release);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Publishes one item: waits for a ring cell as the policy has it, fills the cell, wakes who sleeps. Its bytes were
    /// written in `life`.
    pub(super) fn publish(
        &self,
        mut description: Description,
        record: Record,
        life: Option<u64>,
    ) -> Result<u64, SendError> {
        let bytes = description.payload.length;
        let is_end = description.kind == Kind::End;
        let mut record = Some(record);
        let result = self.retry(bytes, || {
            self.with(|inner| {
                self.keep_life(inner)?;
                self.make_cell(inner)?;
                if life.is_some_and(|life| life != inner.generation) {
                    return Err(SendError::Cleared { bytes });
                }
                if is_end && inner.ledger.has_ended() {
                    // One end is enough, and is all that there is always a cell for.
                    return Ok(inner.ledger.next() - 1);
                }
                if inner.settling.is_some() {
                    return Err(SendError::Recovering);
                }
                if !inner.ledger.has_cell() && !is_end {
                    return Err(SendError::Full { bytes });
                }
                description.published_ns = backend::monotonic_ns();
                // Taken once: `retry` ends at the first success.
                let record = record.take().ok_or(SendError::Closed)?;
                Ok(self.fill(inner, &mut description, record))
            })
        });
        let result = result.and_then(|sequence| self.check().map(|()| sequence));
        if let (Err(error), Some(record)) = (&result, record) {
            self.give_up(record);
            if !matches!(error, SendError::Cancelled) && description.kind == Kind::Frame {
                self.count_dropped_newest();
            }
        }
        result
    }

    fn make_cell(&self, inner: &mut Inner) -> Result<(), SendError> {
        if inner.ledger.has_cell() {
            return Ok(());
        }
        inner.ledger.collect(&self.memory);
        if !inner.ledger.has_cell() {
            self.reap_before_drop(inner)?;
            inner.ledger.collect(&self.memory);
        }
        if !inner.ledger.has_cell() {
            let limit = self.expendable(inner);
            inner.ledger.drop_for_cell(&self.memory, limit);
        }
        Ok(())
    }

    fn fill(&self, inner: &mut Inner, description: &mut Description, mut record: Record) -> u64 {
        let sequence = inner.ledger.next();
        record.sequence = sequence;
        if let Some(caps) = inner.caps {
            description.caps = crate::description::Range { offset: caps.offset, length: caps.length };
            description.stream = caps.stream;
            description.caps_id = caps.id;
            record.caps = caps.extent;
            caps.extent.into_iter().for_each(|id| inner.ledger.extents.retain(id));
        }
        let cell = self.memory.cell(sequence);
        description.store(cell);
        point!("publish.cell");
        protocol::publish(&cell.words[layout::W_SEQUENCE], sequence);
        point!("publish.sequence");
        // SYNC: frame-published
        self.memory.header().head.store(sequence, Ordering::Release);
        point!("publish.head");
        inner.ledger.push(record);
        inner.fresh += description.payload.length;
        let sleepers = inner.ledger.sleepers(&self.memory);
        let told = sleepers != 0 || inner.ledger.snapshots;
        if told {
            inner.stats.wakes += 1;
            self.wake(sleepers);
        }
        self.look_around(inner, description.published_ns);
        if inner.ledger.snapshots && !told {
            // Snapshot consumers that came since the last look may sleep already.
            self.wake(0);
        }
        point!("publish.woken");
        sequence
    }

    /// Frees what belongs to a record that was never published.
    fn give_up(&self, record: Record) {
        let mut inner = self.lock();
        for id in [record.payload, record.meta].into_iter().flatten() {
            inner.ledger.extents.release(id);
        }
        drop(inner);
        drop(record.keep);
    }

    /// Wakes the consumers of `pages`, a bit each, and snapshot consumers.
    pub(super) fn wake(&self, pages: u64) {
        let word = &self.memory.header().wake;
        // Relaxed: this producer alone writes the word; the futex call orders it.
        word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.region.wake(word, pages);
    }

    /// What is due by time: dead consumers, presence of snapshot consumers, the beacon.
    fn look_around(&self, inner: &mut Inner, now: u64) {
        if now.saturating_sub(inner.last_probe) >= PROBE_EVERY_NS {
            self.reap(inner);
            inner.last_probe = now;
        }
        let is_due = now.saturating_sub(inner.last_beacon) >= self.settings.beacon.as_nanos() as u64;
        if is_due && self.is_mine(inner) {
            inner.last_beacon = now;
            renew_beacon(&self.memory, now, inner.ledger.next() - 1);
        }
    }

    /// Frees one use of a reservation's extent.
    pub(super) fn release(&self, id: ExtentId) {
        if !self.memory.is_here() {
            return;
        }
        self.lock().ledger.extents.release(id);
        if self.closed.load(Ordering::Acquire) {
            self.event.signal();
        }
    }
}
