//! Large frames lie on large pages where the kernel has any. A page is replaced while frames beside it are in use, so
//! their bytes must stay.

#![cfg(target_os = "linux")]

use shm2::{Consumer, Frame, FrameInfo, Producer, Reservation, Start};
use shm2_testing::{TempRegion, skip};
use std::time::Duration;

const LARGE: usize = 2 << 20;
const BYTES: usize = 3 * LARGE + 4096;

#[test]
fn frames_stay_whole_while_their_pages_and_those_beside_them_are_replaced() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(32 * LARGE as u64).create().unwrap();
    let attach = || Consumer::builder(&name).unwrap().start(Start::Next).attach(Some(Duration::from_secs(10))).unwrap();
    let mut consumer = attach();
    let mut held = None;
    for round in 1..=20u8 {
        let small = vec![round; 30_000];
        producer.send(&small, &FrameInfo::new()).unwrap();
        let beside = next(&mut consumer);
        let mut slot = producer.reserve(BYTES).unwrap();
        slot.write_at(0, &vec![round; BYTES]).unwrap();
        let address = address(&mut slot);
        producer.publish(slot, &FrameInfo::new()).unwrap();
        let frame = next(&mut consumer);
        assert!(frame.is_leased());
        assert_eq!(address % LARGE, frame.as_ptr() as usize % LARGE, "the two mappings are aligned differently");
        assert!(is_filled(&beside, round) && is_filled(&frame, round), "round {round}");
        if let Some((before, frame)) = held.replace((round, frame)) {
            assert!(is_filled(&frame, before), "the frame held since round {before}");
        }
    }
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let large = smaps.lines().filter_map(|line| line.strip_prefix("ShmemPmdMapped:")).map(kib).max().unwrap_or(0);
    if large == 0 {
        skip("this kernel gave no large pages to shared memory");
    }
}

fn kib(field: &str) -> u64 {
    field.trim().trim_end_matches("kB").trim().parse().unwrap()
}

fn next(consumer: &mut Consumer) -> Frame {
    consumer.next(Some(Duration::from_secs(10))).unwrap()
}

fn address(slot: &mut Reservation) -> usize {
    slot.as_mut_ptr() as usize
}

fn is_filled(frame: &Frame, value: u8) -> bool {
    frame.to_vec().iter().all(|byte| *byte == value)
}
