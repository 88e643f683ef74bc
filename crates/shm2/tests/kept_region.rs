//! A kept region, within one process: generations follow each other in one file, and held frames do not change over
//! them.

#![cfg(target_os = "linux")]

use shm2::consumer::{Access, Liveness};
use shm2::producer::Builder;
use shm2::{AttachError, Consumer, CreateError, FrameInfo, Producer, ReceiveError, Start, layout};
use shm2_testing::{RECOVERY, TempRegion};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const ARENA: u64 = 400_000;

fn kept(name: &TempRegion) -> Builder {
    Producer::builder(name).unwrap().arena(ARENA).keep_region(true)
}

#[test]
fn producers_follow_each_other_in_one_file_and_no_frame_is_unaccounted_for() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let mut producer = kept(&name).history(100).create().unwrap();
        let file = name.inode();
        let builder = Consumer::builder(&name).unwrap().access(access).start(Start::Oldest);
        let mut consumer = builder.attach(LONG).unwrap();
        let (mut last, mut sent, mut seen) = (0, 0, 0);
        for generation in 0..20u64 {
            for n in 0..=generation {
                sent = producer.send(&[generation as u8, n as u8], &FrameInfo::new()).unwrap();
            }
            // All frames of a generation but the last are read; the next generation makes that one a missed frame.
            for n in 0..generation {
                let frame = consumer.next(LONG).unwrap();
                assert_eq!(frame.to_vec(), [generation as u8, n as u8]);
                assert_eq!(frame.sequence(), last + 1 + frame.missed(), "generation {generation}");
                assert_eq!(frame.is_discontinuity(), n == 0 && generation > 1 || frame.missed() > 0);
                (last, seen) = (frame.sequence(), seen + 1 + frame.missed());
            }
            drop(producer);
            producer = kept(&name).history(100).create().unwrap();
            assert_eq!(name.inode(), file);
        }
        producer.send(b"end", &FrameInfo::new()).unwrap();
        let frame = consumer.next(LONG).unwrap();
        assert_eq!((frame.to_vec(), frame.sequence()), (b"end".to_vec(), sent + 1));
        assert_eq!(seen + 1 + frame.missed(), frame.sequence(), "{access:?}: received and missed are all");
    }
}

#[test]
fn frames_held_over_generations_never_change_and_their_memory_is_freed() {
    let name = TempRegion::new();
    let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).build();
    let mut held = Vec::new();
    for generation in 0..6u8 {
        let mut producer = kept(&name).create().unwrap();
        for n in 0..200u8 {
            let bytes = vec![generation ^ n; 10_000 + 64 * usize::from(n)];
            producer.send(&bytes, &FrameInfo::new()).unwrap();
            let frame = consumer.next(LONG).unwrap();
            assert_eq!(frame.to_vec(), bytes);
            if n % 80 == 3 {
                held.push((bytes, frame));
            }
        }
        for (bytes, frame) in &held {
            assert!(frame.is_leased());
            assert_eq!(&frame.to_vec(), bytes, "generation {generation}");
        }
        let stats = producer.handle().stats();
        assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
        assert_eq!(stats.held, held.len() as u64);
    }
    let mut producer = kept(&name).create().unwrap();
    assert_eq!(producer.handle().stats().held, held.len() as u64);
    held.clear();
    producer.send(b"x", &FrameInfo::new()).unwrap();
    producer.consumers();
    let stats = producer.handle().stats();
    assert_eq!((stats.held, stats.free_bytes + 64), (0, stats.arena_bytes));
}

#[test]
fn memory_that_upstream_still_writes_is_not_given_to_the_next_producer() {
    let name = TempRegion::new();
    let mut producer = kept(&name).create().unwrap();
    let slot = producer.reserve(1000).unwrap();
    let mut shown = producer.reserve(1000).unwrap();
    producer.publish_part(&shown, 0..10, &FrameInfo::new(), b"", Box::new(())).unwrap();
    drop(producer);
    assert!(matches!(kept(&name).create(), Err(CreateError::Busy { .. })));
    drop(slot);
    let begun = Instant::now();
    let mut next = loop {
        match kept(&name).create() {
            Ok(next) => break next,
            Err(error) => assert!(begun.elapsed() < RECOVERY, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    next.send(b"x", &FrameInfo::new()).unwrap();
    assert!(matches!(shown.write_at(0, b"y"), Err(shm2::SendError::Closed)), "it is the next one's by now");
}

/// The first died between its stores to the cell and to `head`, the second after it had emptied the cells.
#[test]
fn sequences_continue_after_two_producers_that_died_in_a_row() {
    let name = TempRegion::new();
    let mut producer = kept(&name).create().unwrap();
    let last = (0..4).map(|_| producer.send(b"x", &FrameInfo::new()).unwrap()).last().unwrap();
    drop(producer);
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    for cell in 0..layout::CELLS {
        file.write_all_at(&[0; 8], layout::cell_offset(cell)).unwrap();
    }
    file.write_all_at(&(last - 1).to_le_bytes(), 128).unwrap();
    file.write_all_at(&(last + 1).to_le_bytes(), 256).unwrap();
    let mut producer = kept(&name).create().unwrap();
    assert_eq!(producer.send(b"y", &FrameInfo::new()).unwrap(), last + 1);
}

#[test]
fn implausible_counters_are_reset() {
    let cell = layout::cell_offset(7);
    let violations: [(u64, &[u8]); 7] = [
        (128, &[0xff; 8]),
        (128, &[0; 8]),
        (256, &[0xff; 8]),
        (128, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]),
        (cell, &[0x39, 0x30, 0, 0, 0, 0, 0, 0]),
        (cell, &[0xff; 8]),
        // A cleared header.
        (0, &[0; 1024]),
    ];
    for liveness in [Liveness::Lock, Liveness::Heartbeat] {
        let name = TempRegion::new();
        for (at, violation) in violations {
            let mut producer = kept(&name).max_leases(16).create().unwrap();
            let builder = Consumer::builder(&name).unwrap().access(Access::Lease).liveness(liveness);
            let mut consumer = builder.attach(LONG).unwrap();
            let held = [1, 2, 3, 4].map(|n| {
                producer.send(&[n; 5000], &FrameInfo::new()).unwrap();
                consumer.next(LONG).unwrap()
            });
            drop(producer);
            let file = OpenOptions::new().write(true).open(name.path()).unwrap();
            file.write_all_at(violation, at).unwrap();
            let mut producer = kept(&name).max_leases(2).create().unwrap();
            for n in 0..300u32 {
                producer.send(&[n as u8; 5000], &FrameInfo::new()).unwrap();
            }
            for (n, frame) in (1..).zip(&held) {
                assert_eq!(frame.to_vec(), [n; 5000], "{at}: {violation:?}");
            }
            producer.send(b"last", &FrameInfo::new()).unwrap();
            let frame = (0..4).find_map(|_| consumer.next(LONG).ok().filter(|f| f.to_vec() == b"last"));
            assert!(frame.is_some(), "{at}: {violation:?}");
        }
    }
}

#[test]
fn an_existing_file_keeps_its_size_and_permissions() {
    let name = TempRegion::new();
    fs::write(name.path(), vec![0; 5 << 20]).unwrap();
    fs::set_permissions(name.path(), fs::Permissions::from_mode(0o604)).unwrap();
    let file = name.inode();
    let mut producer = kept(&name).create().unwrap();
    let meta = fs::metadata(name.path()).unwrap();
    assert_eq!((meta.ino(), meta.len(), meta.permissions().mode() & 0o777), (file, 5 << 20, 0o604));
    assert_eq!(producer.handle().stats().arena_bytes, layout::arena_bytes(5 << 20).unwrap());
    producer.send(b"in a prepared file", &FrameInfo::new()).unwrap();
    assert_eq!(Consumer::new(&name).unwrap().next(LONG).unwrap().to_vec(), b"in a prepared file");
    assert!(matches!(kept(&name).create(), Err(CreateError::Busy { .. })));
    assert!(matches!(Producer::create(&name), Err(CreateError::Busy { .. })));
    drop(producer);
    assert_eq!(name.inode(), file, "its name stays");
    let error = Producer::create(&name).unwrap_err();
    assert!(matches!(error, CreateError::Kept { .. }) && error.to_string().contains("set keep-region"));
    fs::write(name.path(), vec![9; 5 << 20]).unwrap();
    assert!(matches!(kept(&name).create(), Err(CreateError::NotInheritable { .. })));
    fs::write(name.path(), vec![0; 5000]).unwrap();
    assert!(matches!(kept(&name).create(), Err(CreateError::FileSize { bytes: 5000, .. })));
}

#[test]
fn a_heartbeat_consumer_is_refused_when_the_producer_has_no_heartbeat() {
    let name = TempRegion::new();
    let _producer = Producer::builder(&name).unwrap().arena(ARENA).create().unwrap();
    let builder = Consumer::builder(&name).unwrap().access(Access::Lease).liveness(Liveness::Heartbeat);
    let error = builder.build().next(LONG).unwrap_err();
    assert!(matches!(error, ReceiveError::Attach(AttachError::NoHeartbeat { .. })), "{error}");
    assert!(error.to_string().contains("set keep-region"));
}

#[test]
fn frames_held_under_a_larger_budget_stay_held_in_generations_with_smaller_ones() {
    let name = TempRegion::new();
    let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).build();
    let mut producer = kept(&name).max_leases(16).create().unwrap();
    let held: Vec<_> = (0..6u8)
        .map(|n| {
            producer.send(&[n; 9000], &FrameInfo::new()).unwrap();
            consumer.next(LONG).unwrap()
        })
        .collect();
    for leases in [2, 1, 3] {
        drop(producer);
        producer = kept(&name).max_leases(leases).create().unwrap();
        for n in 0..200u8 {
            producer.send(&[n ^ 0x55; 9000], &FrameInfo::new()).unwrap();
        }
        for (n, frame) in (0u8..).zip(&held) {
            assert_eq!(frame.to_vec(), [n; 9000], "with a budget of {leases}");
        }
    }
}

#[test]
fn a_consumer_may_wait_at_a_prepared_file() {
    for bytes in [0, 5 << 20] {
        for access in [Access::Lease, Access::Snapshot] {
            let name = TempRegion::new();
            fs::write(name.path(), vec![0; bytes]).unwrap();
            let mut consumer = Consumer::builder(&name).unwrap().access(access).build();
            let waiting = std::thread::spawn(move || consumer.next(LONG).unwrap().to_vec());
            std::thread::sleep(Duration::from_millis(50));
            let mut producer = kept(&name).create().unwrap();
            producer.send(b"first", &FrameInfo::new()).unwrap();
            assert_eq!(waiting.join().unwrap(), b"first");
        }
    }
}
