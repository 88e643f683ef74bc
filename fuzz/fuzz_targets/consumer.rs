//! Consumers of a region whose memory changes arbitrarily between steps of its producer. No call takes long, also where
//! the region holds thousands of events, or says so.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shm2::consumer::{Access, Start};
use shm2::{Consumer, FrameInfo};
use shm2_fuzz::{Side, Store, builder, check, file, name, take};
use std::time::{Duration, Instant};

#[derive(Arbitrary, Debug)]
enum Step {
    Store(Store),
    Send(u16),
    Caps(u8),
    /// Up to 2,040 events.
    Events(u8),
    End,
    Lease,
    Snapshot,
    Poll,
    /// For both consumers.
    LatestOnly(bool),
    Release(u8),
    Truncate(u32),
}

/// Runs a call that waits for a millisecond at most; one that takes seconds would run for minutes elsewhere.
fn in_time<T>(call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = call();
    assert!(begun.elapsed() < Duration::from_secs(3), "a call took {:?}", begun.elapsed());
    result
}

fuzz_target!(|steps: Vec<Step>| {
    let mut producer = builder().history(8).create().expect("a region can be made");
    let file = file();
    let consumer = |access| {
        let builder = Consumer::builder(&name()).expect("the name is good");
        builder.access(access).start(Start::Oldest).build()
    };
    let (mut lease, mut snapshot) = (consumer(Access::Lease), consumer(Access::Snapshot));
    let mut held = Vec::new();
    for step in steps.iter().take(40) {
        match *step {
            Step::Store(store) => store.apply(&file, Side::Both),
            Step::Send(bytes) => drop(producer.send(&vec![7; bytes.into()], &FrameInfo::new())),
            Step::Caps(n) => drop(producer.set_caps(&vec![b'c'; n.into()])),
            Step::Events(n) => (0..8 * u32::from(n)).for_each(|_| drop(producer.send_event(&FrameInfo::new(), b"event"))),
            Step::End => drop(producer.end_of_stream()),
            Step::Lease => held.extend(in_time(|| take(&mut lease))),
            Step::Snapshot => held.extend(in_time(|| take(&mut snapshot))),
            Step::LatestOnly(latest_only) => {
                lease.set_latest_only(latest_only);
                snapshot.set_latest_only(latest_only);
            }
            Step::Poll => held.extend(lease.try_next().ok().flatten()),
            Step::Release(n) if !held.is_empty() => drop(held.swap_remove(usize::from(n) % held.len())),
            Step::Release(_) => {}
            Step::Truncate(bytes) => drop(file.set_len(u64::from(bytes) % (6 << 20))),
        }
        check(&producer);
    }
});
