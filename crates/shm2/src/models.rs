//! loom models of the protocol's steps.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p shm2 --release --lib models`.
//!
//! Each model must pass unchanged, and must fail with one fence left out or with one [`Mutation`].
//!
//! # Safety
//! The only unsafe code reads and writes loom's cells, which report any access that could overlap another.

#![expect(unsafe_code, reason = "loom checks every access to its cells")]

use crate::layout::NONE;
use crate::protocol::*;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::cell::Cell;
use std::mem::ManuallyDrop;

std::thread_local! { static WEAKENED: Cell<Option<Site>> = const { Cell::new(None) }; }

pub(crate) fn weakened() -> Option<Site> {
    WEAKENED.get()
}

/// loom runs every model thread on the calling OS thread, so all of them see a thread-local.
fn run(weaken: Option<Site>, model: fn()) {
    WEAKENED.set(weaken);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn fails(site: Site, model: fn()) {
    let outcome = std::panic::catch_unwind(|| run(Some(site), model));
    WEAKENED.set(None);
    assert!(outcome.is_err(), "the model passes without the fence {site:?}: it proves nothing");
}

/// One ring cell, two extents; the frame's extent number is its description.
struct Region {
    cell: AtomicU64,
    description: AtomicU64,
    oldest: AtomicU64,
    entry: AtomicU64,
    extents: [UnsafeCell<u64>; 2],
}

fn region() -> Arc<Region> {
    Arc::new(Region {
        cell: AtomicU64::new(0),
        description: AtomicU64::new(0),
        oldest: AtomicU64::new(1),
        entry: AtomicU64::new(0),
        extents: [UnsafeCell::new(0), UnsafeCell::new(0)],
    })
}

/// Publishes frames 1, 2, 3 through one cell: each reuses the cell, and the third needs an extent back. A frame
/// that is held waits in limbo and the newest is then dropped. loom's `UnsafeCell` reports any write over a read.
fn produce(r: &Region) {
    let mut free = vec![0usize, 1];
    let mut current: Option<(u64, usize)> = None;
    let mut limbo: Vec<(u64, usize)> = Vec::new();
    for sequence in 1..=3 {
        limbo.extend(current.take());
        retire(&r.oldest, sequence);
        let holder = held(&r.entry);
        limbo.retain(|&(s, extent)| {
            if s != holder {
                free.push(extent);
            }
            s == holder
        });
        let Some(extent) = free.pop() else { return };
        // SAFETY: loom checks that no consumer reads the extent meanwhile; this is what the model tests.
        r.extents[extent].with_mut(|p| unsafe { *p = sequence });
        r.description.store(extent as u64, Ordering::Relaxed);
        publish(&r.cell, sequence);
        current = Some((sequence, extent));
    }
}

fn consume(r: &Region) {
    for _ in 0..2 {
        let sequence = published(&r.cell);
        if sequence == 0 {
            continue;
        }
        let extent = r.description.load(Ordering::Relaxed) as usize;
        if hold(&r.entry, &r.oldest, sequence) {
            // SAFETY: as above.
            let seen = r.extents[extent].with(|p| unsafe { *p });
            assert_eq!(seen, sequence, "a held frame changed, or its description was another's");
            release(&r.entry);
        }
    }
}

fn lease_model() {
    let r = region();
    let producer = {
        let r = r.clone();
        thread::spawn(move || produce(&r))
    };
    consume(&r);
    producer.join().expect("producer");
}

/// A futex word: `wait` sleeps only while the word still has the expected value.
struct Futex {
    word: AtomicU32,
    lock: Mutex<()>,
    condition: Condvar,
}

impl Futex {
    fn new() -> Self {
        Self { word: AtomicU32::new(0), lock: Mutex::new(()), condition: Condvar::new() }
    }
    fn wait(&self, expected: u32) {
        let guard = self.lock.lock().expect("lock");
        if self.word.load(Ordering::Relaxed) == expected {
            drop(self.condition.wait(guard).expect("wait"));
        }
    }
    fn wake(&self) {
        self.word.fetch_add(1, Ordering::Relaxed);
        drop(self.lock.lock().expect("lock"));
        self.condition.notify_all();
    }
}

struct Sleepers {
    cell: AtomicU64,
    tickets: [AtomicU32; 1],
    futex: Futex,
}

/// A consumer that waits for frame 1 must not sleep for ever, which loom reports as a deadlock.
fn wake_model() {
    let s = Arc::new(Sleepers { cell: AtomicU64::new(0), tickets: [AtomicU32::new(0)], futex: Futex::new() });
    let producer = {
        let s = s.clone();
        thread::spawn(move || {
            publish(&s.cell, 1);
            before_wake();
            let mut answered = 0;
            if must_wake(&s.tickets[0], &mut answered) {
                s.futex.wake();
            }
        })
    };
    sleep_until(&s, 1, &tickets(&s.tickets[0]));
    producer.join().expect("producer");
}

/// Not dropped: loom cannot drop its atomics after a model has failed.
fn tickets(found: &AtomicU32) -> ManuallyDrop<Tickets> {
    ManuallyDrop::new(Tickets::new(found))
}

/// Sleeps until item `sequence` is published.
fn sleep_until(s: &Sleepers, sequence: u64, tickets: &Tickets) {
    while published(&s.cell) < sequence {
        let expected = s.futex.word.load(Ordering::Acquire);
        announce_sleep(&s.tickets[0], tickets);
        if published(&s.cell) < sequence {
            s.futex.wait(expected);
        }
    }
}

/// A consumer whose timed sleep ends by itself takes its ticket back and looks, and sleeps for the next frame. With
/// `reused`, its next tickets are those that it took back.
fn withdrawn_model(reused: bool) {
    let s = Arc::new(Sleepers { cell: AtomicU64::new(0), tickets: [AtomicU32::new(0)], futex: Futex::new() });
    // Not dropped by a failure of the model: loom reports some deadlocks by a panic in this thread.
    let s = ManuallyDrop::new(s);
    let tickets = tickets(&s.tickets[0]);
    // The first ticket of an owner stays in its page.
    announce_sleep(&s.tickets[0], &tickets);
    let producer = {
        let s = Arc::clone(&s);
        thread::spawn(move || {
            let mut answered = 0;
            for sequence in 1..=2 {
                publish(&s.cell, sequence);
                before_wake();
                if must_wake(&s.tickets[0], &mut answered) {
                    s.futex.wake();
                }
            }
        })
    };
    announce_sleep(&s.tickets[0], &tickets);
    withdraw_sleep(&s.tickets[0], &tickets);
    if reused {
        tickets.reuse();
    }
    sleep_until(&s, 1, &tickets);
    sleep_until(&s, 2, &tickets);
    producer.join().expect("producer");
    drop(ManuallyDrop::into_inner(s));
}

struct SpaceWait {
    entry: AtomicU64,
    waits: AtomicU32,
    futex: Futex,
}

/// A producer that waits for a lease to end must not sleep for ever.
fn space_model() {
    let r = Arc::new(SpaceWait { entry: AtomicU64::new(7), waits: AtomicU32::new(0), futex: Futex::new() });
    let consumer = {
        let r = r.clone();
        thread::spawn(move || {
            release(&r.entry);
            if space_is_needed(&r.waits) {
                r.futex.wake();
            }
        })
    };
    while held(&r.entry) != 0 {
        let expected = r.futex.word.load(Ordering::Acquire);
        announce_need(&r.waits);
        if held(&r.entry) != 0 {
            r.futex.wait(expected);
        }
    }
    consumer.join().expect("consumer");
}

/// A deliberate error in the models of pages.
#[derive(Clone, Copy, PartialEq)]
enum Mutation {
    None,
    /// The producer scans only the pages that it saw before it retired the frame.
    CachedPages,
    /// A claimer skips a page that shows [`NEVER_CLAIMED`](crate::layout::NEVER_CLAIMED) without marking it.
    Unmarked,
    /// The producer clears a page without its lock.
    UnlockedReap,
}

/// Two consumer pages with their locks, and one frame whose bytes the producer reuses.
struct Pages {
    claimed: [AtomicU32; 2],
    entries: [AtomicU64; 2],
    locks: [AtomicU32; 2],
    oldest: AtomicU64,
    bytes: UnsafeCell<u64>,
}

fn pages() -> Arc<Pages> {
    Arc::new(Pages {
        claimed: [AtomicU32::new(0), AtomicU32::new(0)],
        entries: [AtomicU64::new(0), AtomicU64::new(0)],
        locks: [AtomicU32::new(0), AtomicU32::new(0)],
        oldest: AtomicU64::new(1),
        bytes: UnsafeCell::new(1),
    })
}

/// A file lock of the kernel.
fn try_lock(lock: &AtomicU32) -> bool {
    lock.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Claims the first free page as `consumer::claim` does, reads the frame if it is not retired, and detaches.
fn claim_and_read(p: &Pages, mutation: Mutation) {
    for index in 0..2 {
        if mutation != Mutation::Unmarked && !is_used(&p.claimed[index]) {
            mark_used(&p.claimed[index]);
        }
        if !try_lock(&p.locks[index]) {
            continue;
        }
        release(&p.entries[index]);
        enter(&p.claimed[index], crate::layout::READING);
        if hold(&p.entries[index], &p.oldest, 1) {
            // SAFETY: loom checks that the producer does not write meanwhile.
            assert_eq!(p.bytes.with(|b| unsafe { *b }), 1, "a held frame changed");
            release(&p.entries[index]);
        }
        p.claimed[index].store(crate::layout::FREE, Ordering::Release);
        p.locks[index].store(0, Ordering::Release);
        return;
    }
}

/// Retires the frame and overwrites it if no consumer holds it.
fn take_back(p: &Pages, mutation: Mutation) {
    let used = || p.claimed.iter().take_while(|c| is_used(c)).count();
    let before = used();
    retire(&p.oldest, 2);
    let now = used();
    let scanned = if mutation == Mutation::CachedPages { before } else { now };
    if p.entries.iter().take(scanned).all(|e| held(e) != 1) {
        // SAFETY: loom checks that no consumer reads meanwhile.
        p.bytes.with_mut(|b| unsafe { *b = 2 });
    }
}

/// Two consumers claim at the same time while the producer takes the frame back.
fn claim_model(mutation: Mutation) {
    let p = pages();
    let consumer = |p: Arc<Pages>| thread::spawn(move || claim_and_read(&p, mutation));
    let consumers = [consumer(p.clone()), consumer(p.clone())];
    take_back(&p, mutation);
    for c in consumers {
        c.join().expect("consumer");
    }
}

/// A page of a dead consumer is cleared while the next one claims it.
fn reap_model(mutation: Mutation) {
    let p = pages();
    p.claimed[0].store(crate::layout::READING, Ordering::Relaxed);
    let consumer = {
        let p = p.clone();
        thread::spawn(move || claim_and_read(&p, mutation))
    };
    let is_free = p.claimed[0].load(Ordering::Acquire) == crate::layout::FREE;
    let locked = !is_free && try_lock(&p.locks[0]);
    if locked || (!is_free && mutation == Mutation::UnlockedReap) {
        release(&p.entries[0]);
        p.claimed[0].store(crate::layout::FREE, Ordering::Release);
    }
    if locked {
        p.locks[0].store(0, Ordering::Release);
    }
    take_back(&p, mutation);
    consumer.join().expect("consumer");
}

/// A consumer that attaches while the producer closes must not sleep on the last value of the wake word.
fn close_model() {
    use crate::layout::STATE_LIVE;
    let words = Arc::new([AtomicU32::new(STATE_LIVE), AtomicU32::new(0), AtomicU32::new(0)]);
    let producer = {
        let words = words.clone();
        thread::spawn(move || {
            let [state, wake, _] = &*words;
            close(state);
            wake.fetch_add(1, Ordering::Relaxed);
        })
    };
    let [state, wake, ticket] = &*words;
    let expected = wake.load(Ordering::Acquire);
    announce_sleep(ticket, &tickets(ticket));
    let sleeps = state.load(Ordering::Acquire) == STATE_LIVE;
    producer.join().expect("producer");
    assert!(!sleeps || wake.load(Ordering::Relaxed) != expected, "it sleeps, and nothing will wake it");
}

/// A new producer in the same memory whose sequences start again at 1: `oldest` does not show that a frame is retired,
/// only the generation does.
fn next_generation_model() {
    let p = pages();
    let generation = Arc::new(AtomicU64::new(1));
    let consumer = {
        let (p, generation) = (p.clone(), generation.clone());
        thread::spawn(move || {
            let entry = &p.entries[0];
            // As `LeasedRegion::is_current`.
            if hold(entry, &p.oldest, 1) && generation.load(Ordering::Relaxed) == 1 {
                // SAFETY: loom checks that the producer does not write meanwhile.
                assert_eq!(p.bytes.with(|b| unsafe { *b }), 1, "a held frame changed");
            }
            release(entry);
        })
    };
    // As `Inheritance::end_previous`.
    generation.store(2, Ordering::Release);
    retire(&p.oldest, 1);
    if held(&p.entries[0]) == 0 {
        // SAFETY: loom checks that the consumer does not read meanwhile.
        p.bytes.with_mut(|b| unsafe { *b = 2 });
    }
    consumer.join().expect("consumer");
}

/// How the model of the time of publication is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TimeOrder {
    Right,
    /// The time of the item before is still in the cell when the next one is published.
    Stale,
    /// The time is stored before its item.
    Early,
}

/// Two items through one cell. A consumer that has found one asks for its time, which is ten times the sequence.
fn publication_time_model(order: TimeOrder) {
    let words = Arc::new([AtomicU64::new(0), AtomicU64::new(NONE)]);
    let producer = {
        let words = words.clone();
        thread::spawn(move || {
            let [cell, time] = &*words;
            for sequence in 1..=2 {
                if order != TimeOrder::Stale {
                    time.store(NONE, Ordering::Relaxed);
                }
                if order == TimeOrder::Early {
                    store_publication_time(time, 10 * sequence);
                }
                publish(cell, sequence);
                store_publication_time(time, 10 * sequence);
            }
        })
    };
    let [cell, time] = &*words;
    let sequence = published(cell);
    let said = publication_time(time, cell, sequence);
    assert!(sequence == 0 || said.is_none_or(|said| said == 10 * sequence), "the time of another item");
    producer.join().expect("producer");
}

fn check_mutation(mutation: Mutation, model: fn(Mutation)) {
    let outcome = std::panic::catch_unwind(|| {
        WEAKENED.set(None);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || model(mutation));
    });
    assert_eq!(
        outcome.is_ok(),
        mutation == Mutation::None,
        "the model must pass unchanged and fail with each mutation"
    );
}

#[test]
fn held_frames_never_change() {
    run(None, lease_model);
    fails(Site::Lease, lease_model);
    fails(Site::Retire, lease_model);
}

#[test]
fn no_wake_up_is_lost() {
    run(None, wake_model);
    fails(Site::Sleep, wake_model);
    fails(Site::Publish, wake_model);
}

#[test]
fn no_wake_up_is_lost_after_a_ticket_was_taken_back() {
    run(None, || withdrawn_model(false));
    fails(Site::Sleep, || withdrawn_model(false));
    fails(Site::Publish, || withdrawn_model(false));
    let reused = std::panic::catch_unwind(|| run(None, || withdrawn_model(true)));
    assert!(reused.is_err(), "the model passes with tickets that are announced twice: it proves nothing");
}

#[test]
fn the_time_of_publication_is_never_that_of_another_item() {
    run(None, || publication_time_model(TimeOrder::Right));
    let wrong: [fn(); 2] = [|| publication_time_model(TimeOrder::Stale), || publication_time_model(TimeOrder::Early)];
    for model in wrong {
        let outcome = std::panic::catch_unwind(|| run(None, model));
        assert!(outcome.is_err(), "the model passes with a cell that has a wrong time: it proves nothing");
    }
}

#[test]
fn a_blocked_producer_is_woken() {
    run(None, space_model);
    fails(Site::NeedSpace, space_model);
    fails(Site::FreedSpace, space_model);
}

#[test]
fn pages_are_claimed_by_two_at_once() {
    check_mutation(Mutation::None, claim_model);
    check_mutation(Mutation::CachedPages, claim_model);
    check_mutation(Mutation::Unmarked, claim_model);
}

#[test]
fn a_dead_consumers_page_is_claimed_again() {
    check_mutation(Mutation::None, reap_model);
    check_mutation(Mutation::UnlockedReap, reap_model);
}

#[test]
fn no_consumer_sleeps_through_the_close() {
    run(None, close_model);
    fails(Site::Close, close_model);
}

#[test]
fn a_lease_of_the_previous_generation_is_seen_or_refused() {
    run(None, next_generation_model);
    fails(Site::Lease, next_generation_model);
    fails(Site::Retire, next_generation_model);
}
