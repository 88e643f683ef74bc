//! A producer that blocks until consumers free space, with several consumers, deaths and a cancel (docs/protocol.md
//! section 14).
//!
//! **Steps.** The producer's loop is that of `producer/policy.rs` `retry_blocking`, with `space_words` and
//! `set_waiting`; its attempt probes the consumers as `producer/reap.rs` does, then reads their leases as
//! `producer/ledger.rs` `holds`. A consumer does what `consumer/lease.rs` `release_slot`, `signal_space` and the drop of
//! `LeasedRegion` do, and `consumer/leasing.rs` `stop_reading`. The steps of `protocol.rs` are the code itself, with
//! shuttle's atomics.
//!
//! **Environment.** Threads are scheduled at random, evenly and by random priorities (PCT). In the form without a limit
//! a sleep ends by a wake alone; in the others it may also end at any moment, as the 10 ms of `SPACE_SLICE` do.
//!
//! **Properties.** The producer returns: with space when the last hold has ended or its owner has died, with
//! `Cancelled` after a cancel. shuttle reports a deadlock, and a producer that has not returned after 20,000 steps.
//!
//! **Bounds.** Three consumers, each with one lease on the frame that the producer needs back. 2,000 even schedules of
//! each form, and 2,000 by priorities of the form without a limit; 50,000 each in the long form.
//!
//! **Not modelled.** Memory order (see `crates/shm2/src/models.rs` `a_blocked_producer_is_woken`), the time limit of
//! the policy, the backlog's pause.

use crate::layout::{CLAIMING, FREE, HOLDING, Lease, Page, READING};
use crate::protocol;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner, thread};

const CONSUMERS: usize = 3;
/// Sequence of the frame whose memory the producer needs.
const HELD: u64 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    None,
    /// The space words are read after the attempt.
    LateWords,
    /// The producer does not try again after it announced that it waits.
    NoSecondAttempt,
    /// A consumer looks whether the producer waits before it ends its lease.
    EarlySignal,
    /// A consumer does not signal.
    NoSignal,
    /// The producer sleeps on the first word alone.
    FirstWord,
    /// The producer does not probe for dead consumers.
    NoProbe,
    /// The cancel is looked for before the first sleep only.
    UnreadCancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Every consumer ends its hold; no sleep ends by itself.
    Released,
    /// One consumer dies, sleeps end after a while.
    Death,
    /// No hold ends, a cancel comes.
    Cancel,
}

struct Region {
    pages: [Page; CONSUMERS],
    space: [AtomicU32; CONSUMERS],
    /// The pages' locks.
    locks: [AtomicU32; CONSUMERS],
    producer_waits: AtomicU32,
    cancelled: AtomicBool,
    futex: (Mutex<()>, Condvar),
    form: Form,
    mutation: Mutation,
}

impl Region {
    fn new(form: Form, mutation: Mutation) -> Self {
        let page = |_| Page {
            claimed: AtomicU32::new(READING),
            lease_count: AtomicU32::new(1),
            generation: AtomicU64::new(0),
            leases: [Lease { sequence: HELD.into() }],
        };
        Self {
            pages: std::array::from_fn(page),
            space: std::array::from_fn(|_| AtomicU32::new(0)),
            locks: std::array::from_fn(|_| AtomicU32::new(1)),
            producer_waits: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
            futex: (Mutex::new(()), Condvar::new()),
            form,
            mutation,
        }
    }

    fn try_lock_page(&self, index: usize) -> bool {
        self.locks[index].compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Clears the pages of dead consumers; whether no page holds the frame then.
    fn attempt(&self) -> bool {
        for (index, page) in self.pages.iter().enumerate() {
            let claimed = page.claimed.load(Ordering::Acquire);
            let probes = claimed != FREE && self.mutation != Mutation::NoProbe;
            if probes && self.try_lock_page(index) {
                protocol::clear_page(page, claimed);
                self.locks[index].store(0, Ordering::Release);
            }
        }
        let claimed = self.pages.iter().filter(|page| page.claimed.load(Ordering::Acquire) != FREE);
        let mut entries = claimed.flat_map(|page| page.leases.iter().map(move |lease| (page, &lease.sequence)));
        entries.all(|(page, entry)| protocol::held_in(page, entry, HELD + 1) != HELD)
    }

    fn space_words(&self) -> Vec<(usize, u32)> {
        let active = (0..CONSUMERS).filter(|index| self.pages[*index].claimed.load(Ordering::Acquire) != FREE);
        active.map(|index| (index, self.space[index].load(Ordering::Acquire))).collect()
    }

    /// As `futex_waitv`: sleeps only while every word has its expected value.
    fn wait(&self, expected: &[(usize, u32)]) {
        let guard = self.futex.0.lock().expect("lock");
        let words = if self.mutation == Mutation::FirstWord { &expected[..1] } else { expected };
        if words.iter().any(|(index, value)| self.space[*index].load(Ordering::Relaxed) != *value) {
            return;
        }
        if self.form == Form::Released {
            let sleeps =
                |_: &mut ()| words.iter().all(|(index, value)| self.space[*index].load(Ordering::Relaxed) == *value);
            drop(self.futex.1.wait_while(guard, sleeps).expect("wait"));
        } else {
            drop(guard);
            thread::yield_now();
        }
    }

    /// As `retry_blocking`: true with space, false when it was cancelled.
    fn block(&self) -> bool {
        if self.attempt() {
            return true;
        }
        for round in 0.. {
            let reads_cancel = self.mutation != Mutation::UnreadCancel || round == 0;
            if reads_cancel && self.cancelled.load(Ordering::Acquire) {
                return false;
            }
            let mut expected = self.space_words();
            protocol::announce_need(&self.producer_waits);
            let is_done = self.mutation != Mutation::NoSecondAttempt && self.attempt();
            if self.mutation == Mutation::LateWords {
                expected = self.space_words();
            }
            let is_hopeless = expected.is_empty();
            if !is_done && !is_hopeless {
                self.wait(&expected);
            }
            self.producer_waits.store(0, Ordering::Relaxed);
            if is_done || is_hopeless {
                return is_done || self.attempt();
            }
            if self.mutation == Mutation::NoSecondAttempt && self.attempt() {
                return true;
            }
        }
        unreachable!()
    }

    fn signal_space(&self, index: usize) {
        let needed = protocol::space_is_needed(&self.producer_waits);
        if needed && self.mutation != Mutation::NoSignal {
            self.space[index].fetch_add(1, Ordering::Release);
            drop(self.futex.0.lock().expect("lock"));
            self.futex.1.notify_all();
        }
    }

    /// Stops to read, ends its lease, leaves.
    fn leave(&self, index: usize) {
        let page = &self.pages[index];
        let steps: [&dyn Fn(); 3] = [
            &|| page.claimed.store(HOLDING, Ordering::Release),
            &|| protocol::release(&page.leases[0].sequence),
            &|| page.claimed.store(FREE, Ordering::Release),
        ];
        for (number, step) in steps.iter().enumerate() {
            if self.mutation == Mutation::EarlySignal && number < 2 {
                self.signal_space(index);
            }
            step();
            if self.mutation != Mutation::EarlySignal {
                self.signal_space(index);
            }
        }
        self.locks[index].store(0, Ordering::Release);
    }

    fn consume(&self, index: usize) {
        match self.form {
            Form::Cancel => {}
            // The kernel ends the locks of a dead process, and nothing else.
            Form::Death if index == 0 => self.locks[index].store(0, Ordering::Release),
            _ => self.leave(index),
        }
    }
}

fn model(form: Form, mutation: Mutation) {
    let region = Arc::new(Region::new(form, mutation));
    let consumers = (0..CONSUMERS).map(|index| {
        let region = region.clone();
        thread::spawn(move || region.consume(index))
    });
    let mut others: Vec<_> = consumers.collect();
    if form == Form::Cancel {
        let region = region.clone();
        others.push(thread::spawn(move || region.cancelled.store(true, Ordering::Release)));
    }
    assert_eq!(region.block(), form != Form::Cancel, "space, unless it was cancelled");
    others.into_iter().for_each(|other| other.join().expect("a thread that ends"));
    let leftover = region.pages.iter().any(|page| page.claimed.load(Ordering::Relaxed) == CLAIMING);
    assert!(!leftover, "a page that was not cleared to its end");
}

fn run(form: Form, mutation: Mutation) {
    let schedules = if crate::is_long() { 50_000 } else { 2_000 };
    let mut config = Config::new();
    config.silence_warnings = true;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(20_000);
    Runner::new(RandomScheduler::new_from_seed(1, schedules), config.clone()).run(move || model(form, mutation));
    // Strict priorities would starve the others while the producer's sleeps end by themselves.
    if form == Form::Released {
        Runner::new(PctScheduler::new_from_seed(1, 3, schedules), config).run(move || model(form, mutation));
    }
}

#[test]
fn a_blocked_producer_always_returns() {
    for form in [Form::Released, Form::Death, Form::Cancel] {
        let begun = std::time::Instant::now();
        run(form, Mutation::None);
        println!("block, {form:?}: {:.1} s", begun.elapsed().as_secs_f32());
    }
}

#[test]
fn each_weakened_block_is_caught() {
    use Mutation::*;
    let caught = [
        (Form::Released, LateWords),
        (Form::Released, NoSecondAttempt),
        (Form::Released, EarlySignal),
        (Form::Released, NoSignal),
        (Form::Released, FirstWord),
        (Form::Death, NoProbe),
        (Form::Cancel, UnreadCancel),
    ];
    for (form, mutation) in caught {
        let outcome = std::panic::catch_unwind(|| run(form, mutation));
        assert!(outcome.is_err(), "{form:?} passes with {mutation:?}: it proves nothing");
        println!("block, {form:?}, {mutation:?}: caught");
    }
}
