//! loom models of the ring's protocol steps.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p shm2-ring --release --lib models`.
//!
//! Each model must pass unchanged. The model of the signals must fail when one fence is left out.
//!
//! # Safety
//! Unsafe code only reads and writes loom's cells. loom reports overlapping accesses.

#![expect(unsafe_code, reason = "access to loom's cells, see the head of this file")]

use crate::protocol::{declare_polling, observe, publish, request_signal, withdraw_request};
use crate::sync::{AtomicU32, AtomicU64, Site};
use core::cell::Cell;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::{panic, thread_local};

thread_local! { static WEAKENED: Cell<Option<Site>> = const { Cell::new(None) }; }

pub(crate) fn weakened() -> Option<Site> {
    WEAKENED.get()
}

/// loom runs all threads of a model on the calling OS thread, so a thread-local applies to all of them.
fn run(weaken: Option<Site>, model: fn()) {
    WEAKENED.set(weaken);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn fails(site: Site, model: fn()) {
    let outcome = panic::catch_unwind(|| run(Some(site), model));
    WEAKENED.set(None);
    assert!(outcome.is_err(), "the model passes without the fence {site:?}, so it does not test that fence");
}

/// A ring of one element.
struct Ring {
    written: AtomicU64,
    read: AtomicU64,
    waits: AtomicU32,
    sender_waits: AtomicU32,
    slot: UnsafeCell<u64>,
}

fn ring() -> Arc<Ring> {
    Arc::new(Ring {
        written: AtomicU64::new(0),
        read: AtomicU64::new(0),
        waits: AtomicU32::new(0),
        sender_waits: AtomicU32::new(0),
        slot: UnsafeCell::new(0),
    })
}

/// Three elements pass through one slot between two polling sides; the sender declares that it polls.
fn exchange() {
    const COUNT: u64 = 3;
    let ring = ring();
    let r = ring.clone();
    let mut polls = false;
    let sending = thread::spawn(move || {
        let mut polls = false;
        declare_polling(&r.sender_waits);
        for written in 0..COUNT {
            while observe(&r.read) < written {
                thread::yield_now();
            }
            // SAFETY: loom checks that no other thread reads the slot meanwhile; the model tests this.
            r.slot.with_mut(|p| unsafe { *p = written });
            assert!(!publish(&r.written, written + 1, &r.waits, &mut polls));
        }
    });
    for read in 0..COUNT {
        while observe(&ring.written) <= read {
            thread::yield_now();
        }
        // SAFETY: loom checks that no other thread writes the slot meanwhile.
        let value = ring.slot.with(|p| unsafe { *p });
        assert_eq!(value, read);
        assert!(!publish(&ring.read, read + 1, &ring.sender_waits, &mut polls));
    }
    sending.join().unwrap();
}

/// A thread in which the other side's count advances twice; it returns the number of signals.
fn advance_twice(ring: &Arc<Ring>) -> thread::JoinHandle<usize> {
    let ring = ring.clone();
    thread::spawn(move || {
        let mut polls = false;
        (1..=2u64).filter(|count| publish(&ring.written, *count, &ring.waits, &mut polls)).count()
    })
}

/// One side waits for the other's count, which advances twice. It must not sleep without a later signal, and one
/// request causes at most one signal. Both directions use the same steps.
fn wait() {
    let ring = ring();
    let moving = advance_twice(&ring);
    let (mut requests, mut sleeps) = (0, false);
    if observe(&ring.written) == 0 {
        request_signal(&ring.waits);
        requests = 1;
        // The waiting side continues if the count has advanced, and withdraws its request unless it was answered.
        sleeps = observe(&ring.written) == 0;
        if !sleeps && withdraw_request(&ring.waits) {
            requests = 0;
        }
    }
    let signals = moving.join().unwrap();
    assert!(!sleeps || signals == 1, "the waiting side sleeps without a signal");
    assert_eq!(signals, requests, "one signal for each request that was not withdrawn");
}

/// As [`wait`], by a side that withdraws its request, checks the count by itself, and requests a signal again before it
/// sleeps. Each request that was not withdrawn is answered by one signal, so the last one wakes it.
fn spin_and_wait() {
    let ring = ring();
    let moving = advance_twice(&ring);
    let (mut requests, mut sleeps) = (0, false);
    request_signal(&ring.waits);
    if !withdraw_request(&ring.waits) {
        requests += 1;
    }
    if observe(&ring.written) == 0 {
        request_signal(&ring.waits);
        sleeps = observe(&ring.written) == 0;
        if sleeps || !withdraw_request(&ring.waits) {
            requests += 1;
        }
    }
    let signals = moving.join().unwrap();
    assert!(!sleeps || signals > 0, "the waiting side sleeps without a signal");
    assert_eq!(signals, requests, "one signal for each request that was not withdrawn");
}

#[test]
fn models_elements_arrive_whole() {
    run(None, exchange);
}

#[test]
fn models_no_signal_is_lost_and_none_comes_twice() {
    run(None, wait);
    fails(Site::Publish, wait);
    fails(Site::Request, wait);
}

#[test]
fn models_a_withdrawn_request_costs_no_later_signal() {
    run(None, spin_and_wait);
    fails(Site::Publish, spin_and_wait);
    fails(Site::Request, spin_and_wait);
}
