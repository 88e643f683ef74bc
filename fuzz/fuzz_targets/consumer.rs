//! Consumers of a region whose memory changes arbitrarily between steps of its producer.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shm2::consumer::{Access, Start};
use shm2::{Consumer, FrameInfo};
use shm2_fuzz::{Side, Store, builder, check, file, name, take};

#[derive(Arbitrary, Debug)]
enum Step {
    Store(Store),
    Send(u16),
    Caps(u8),
    End,
    Lease,
    Snapshot,
    Poll,
    Release(u8),
    Truncate(u32),
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
            Step::End => drop(producer.end_of_stream()),
            Step::Lease => held.extend(take(&mut lease)),
            Step::Snapshot => held.extend(take(&mut snapshot)),
            Step::Poll => held.extend(lease.try_next().ok().flatten()),
            Step::Release(n) if !held.is_empty() => drop(held.swap_remove(usize::from(n) % held.len())),
            Step::Release(_) => {}
            Step::Truncate(bytes) => drop(file.set_len(u64::from(bytes) % (6 << 20))),
        }
        check(&producer);
    }
});
