//! A producer whose consumers write arbitrary words into their pages, and that may begin a new generation in the same memory.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shm2::{FrameInfo, FullPolicy, Producer};
use shm2_fuzz::{Side, Store, builder, check, file};
use std::time::Duration;

#[derive(Arbitrary, Debug)]
enum Step {
    Store(Store),
    Reserve(u16),
    Publish,
    PublishPart(u16, u16),
    Forget,
    Send(u16),
    Meta(u16),
    Caps(u8),
    End,
    Consumers,
    /// Another producer takes over the same file.
    NewGeneration,
}

fuzz_target!(|input: (u8, u8, Vec<Step>)| {
    let (policy, leases, steps) = input;
    let policy = match policy % 3 {
        0 => FullPolicy::DropOldest,
        1 => FullPolicy::DropNewest,
        _ => FullPolicy::Block { timeout: Some(Duration::from_micros(1)) },
    };
    let builder = builder().history(3).max_leases(u32::from(leases % 64) + 1).full_policy(policy).keep_region(true);
    let create = || builder.clone().create().expect("a region can be made");
    let mut producer = create();
    let file = file();
    let mut slots = Vec::new();
    for step in steps.iter().take(60) {
        run(step, &mut producer, &mut slots, &file);
        if let Step::NewGeneration = step {
            slots.clear();
            drop(producer);
            producer = create();
        }
        check(&producer);
    }
    slots.clear();
    drop(producer);
    // The region is kept: the next run must start without it.
    let _ = std::fs::remove_file(shm2_fuzz::name());
});

fn run(step: &Step, producer: &mut Producer, slots: &mut Vec<shm2::Reservation>, file: &std::fs::File) {
    let info = FrameInfo::new();
    match *step {
        Step::Store(store) => store.apply(file, Side::Pages),
        Step::Reserve(bytes) => slots.extend(producer.reserve(bytes.into()).ok()),
        Step::Publish => drop(slots.pop().map(|slot| producer.publish(slot, &info))),
        Step::PublishPart(from, to) => {
            if let Some(slot) = slots.last() {
                let _ = producer.publish_part(slot, from.into()..to.into(), &info, b"meta", Box::new(()));
            }
        }
        Step::Forget => drop(slots.pop()),
        Step::Send(bytes) => drop(producer.send(&vec![1; bytes.into()], &info)),
        Step::Meta(bytes) => {
            if let Ok(slot) = producer.reserve(10) {
                let _ = producer.publish_with_meta(slot, &info, &vec![2; bytes.into()]);
            }
        }
        Step::Caps(n) => drop(producer.set_caps(&vec![b'c'; n.into()])),
        Step::End => drop(producer.end_of_stream()),
        Step::Consumers => drop(producer.consumers()),
        Step::NewGeneration => {}
    }
}
