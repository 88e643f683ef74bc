//! loom models of the ring's steps.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p shm2-ring --release --lib models`.
//!
//! Each model runs as it is and must pass, then with one fence left out and must fail.
//!
//! # Safety
//! The only unsafe code reads and writes loom's cells, which report any access that could overlap another.

#![allow(unsafe_code)]

use crate::protocol::{Site, ask, observe, poll, publish, take_back};
use crate::sync::{AtomicU32, AtomicU64};
use core::cell::Cell;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::{panic, thread_local};

thread_local! { static WEAKENED: Cell<Option<Site>> = const { Cell::new(None) }; }

pub(crate) fn weakened() -> Option<Site> {
    WEAKENED.get()
}

/// loom runs every model thread on the calling OS thread, so a thread-local reaches all of them.
fn run(weaken: Option<Site>, model: fn()) {
    WEAKENED.set(weaken);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn fails(site: Site, model: fn()) {
    let outcome = panic::catch_unwind(|| run(Some(site), model));
    WEAKENED.set(None);
    assert!(outcome.is_err(), "the model passes without the fence {site:?}: it proves nothing");
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

/// Three elements through one slot, by two sides that look again and again; the sender says so.
fn exchange() {
    const COUNT: u64 = 3;
    let ring = ring();
    let r = ring.clone();
    let mut polls = false;
    let sending = thread::spawn(move || {
        let mut polls = false;
        poll(&r.sender_waits);
        for written in 0..COUNT {
            while observe(&r.read) < written {
                thread::yield_now();
            }
            // SAFETY: loom checks that nobody reads the slot meanwhile; that is the point of the model.
            r.slot.with_mut(|p| unsafe { *p = written });
            assert!(!publish(&r.written, written + 1, &r.waits, &mut polls));
        }
    });
    for read in 0..COUNT {
        while observe(&ring.written) <= read {
            thread::yield_now();
        }
        // SAFETY: loom checks that nobody writes the slot meanwhile.
        let value = ring.slot.with(|p| unsafe { *p });
        assert_eq!(value, read);
        assert!(!publish(&ring.read, read + 1, &ring.sender_waits, &mut polls));
    }
    sending.join().unwrap();
}

/// One side waits for the other's count, which moves twice. It must not sleep unless a signal comes, and for one asking
/// there is one signal at most. Both directions take these very steps.
fn wait() {
    let ring = ring();
    let r = ring.clone();
    let moving = thread::spawn(move || {
        let mut polls = false;
        (1..=2u64).filter(|count| publish(&r.written, *count, &r.waits, &mut polls)).count()
    });
    let (mut asked, mut sleeps) = (0, false);
    if observe(&ring.written) == 0 {
        ask(&ring.waits);
        asked = 1;
        // It goes on at once if there is something after all, and takes the asking back unless the other side took it.
        sleeps = observe(&ring.written) == 0;
        if !sleeps && take_back(&ring.waits) {
            asked = 0;
        }
    }
    let signals = moving.join().unwrap();
    assert!(!sleeps || signals == 1, "it sleeps, and nothing wakes it");
    assert_eq!(signals, asked, "one signal for each asking that was not taken back");
}

#[test]
fn models_elements_arrive_whole() {
    run(None, exchange);
}

#[test]
fn models_no_signal_is_lost_and_none_comes_twice() {
    run(None, wait);
    fails(Site::Publish, wait);
    fails(Site::Ask, wait);
}
