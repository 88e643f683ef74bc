//! Generations that follow each other in the memory of a device, within one process: after the memory was cleared, after
//! a takeover, after a corrupt header.

#![cfg(target_os = "linux")]

use shm2::{Consumer, CreateError, FrameInfo, FullPolicy, Producer, ReceiveError, SendError, Start};
use shm2_testing::{DeviceFile, LIMIT};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const LEASE: Duration = Duration::from_millis(400);

#[test]
fn a_wiped_region_is_mended_without_a_frame_and_its_caps_come_with_the_next() {
    let bar = DeviceFile::new();
    let mut producer = Producer::builder(bar.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    producer.set_caps(b"video/x-raw").unwrap();
    producer.send(b"before", &FrameInfo::new()).unwrap();
    bar.clear(DeviceFile::BYTES);
    let consumer = Consumer::builder(&bar.guest()).unwrap().start(Start::Next);
    let mut consumer = consumer.attach(LONG).unwrap();
    producer.send(b"after", &FrameInfo::new()).unwrap();
    let frame = consumer.next(LONG).unwrap();
    assert_eq!((frame.to_vec(), frame.caps().map(|(_, text)| text)), (b"after".to_vec(), Some(&b"video/x-raw"[..])));
    let stats = producer.handle().stats();
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
}

/// Consumers would take a beat before the new generation stands for one of the dead producer.
#[test]
fn nobody_beats_for_a_dead_producer() {
    let bar = DeviceFile::new();
    let lease = Duration::from_millis(100);
    let create = || Producer::builder(&bar.guest()).unwrap().lease_time(lease).create().unwrap();
    drop(create());
    let file = OpenOptions::new().read(true).write(true).open(bar.host()).unwrap();
    let word = |at| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    for beat in 1..20 {
        // As of a producer that was killed.
        file.write_all_at(&1u32.to_le_bytes(), 512).unwrap();
        file.write_all_at(&u64::to_le_bytes(beat << 32), 672).unwrap();
        let dead = word(24);
        std::thread::scope(|scope| {
            let next = scope.spawn(create);
            loop {
                let found = word(672);
                if word(24) != dead {
                    break;
                }
                assert_eq!(found, beat << 32, "a beat");
            }
            drop(next.join().unwrap());
        });
    }
}

/// A consumer on another machine takes the beacon for a reading of this producer's clock.
#[test]
fn no_life_begins_with_the_clock_of_the_one_before() {
    let bar = DeviceFile::new();
    let mut before = 0;
    for name in [bar.host().to_owned(), bar.guest()] {
        let begun = shm2::monotonic_ns();
        let mut producer = Producer::builder(&name).unwrap().keep_region(true).create().unwrap();
        let mut beacon = [0; 16];
        fs::File::open(bar.host()).unwrap().read_exact_at(&mut beacon, 640).unwrap();
        let (number, time) = beacon.split_at(8);
        let (number, time) =
            (u64::from_le_bytes(number.try_into().unwrap()), u64::from_le_bytes(time.try_into().unwrap()));
        assert!(number > before && number % 2 == 0, "{number} after {before}");
        assert!((begun..=shm2::monotonic_ns()).contains(&time), "{time} is not after {begun}");
        producer.send(b"x", &FrameInfo::new()).unwrap();
        before = number;
    }
}

#[test]
fn a_stray_number_that_comes_back_is_looked_at_anew() {
    let bar = DeviceFile::new();
    let mut producer = Producer::builder(bar.host()).unwrap().keep_region(true).create().unwrap();
    let file = OpenOptions::new().read(true).write(true).open(bar.host()).unwrap();
    let mut own = [0; 8];
    file.read_exact_at(&mut own, 24).unwrap();
    // As the header of a producer in another kernel has it: a generation, and who is kept by a heartbeat alone.
    let write = |generation: &[u8], kept: u32| {
        file.write_all_at(&kept.to_le_bytes(), 116).unwrap();
        file.write_all_at(generation, 24).unwrap();
    };
    for _ in 0..3 {
        write(&77u64.to_le_bytes(), 2);
        // Nothing is written until it is clear what the number means.
        let refused = producer.send(b"x", &FrameInfo::new());
        assert!(matches!(refused, Err(SendError::Recovering)), "{refused:?}");
        write(&own, 1);
        producer.send(b"x", &FrameInfo::new()).unwrap();
        // Its heart beats meanwhile.
        std::thread::sleep(Duration::from_millis(400));
    }
}

#[test]
fn a_taken_over_producer_gets_its_own_error() {
    let bar = DeviceFile::new();
    let mut producer = Producer::builder(&bar.guest()).unwrap().create().unwrap();
    producer.send(b"x", &FrameInfo::new()).unwrap();
    let file = OpenOptions::new().write(true).open(bar.host()).unwrap();
    file.write_all_at(&77u64.to_le_bytes(), 24).unwrap();
    assert!(matches!(producer.send(b"y", &FrameInfo::new()), Err(SendError::Superseded { .. })));
    drop(producer);
    let mut generation = [0; 8];
    fs::File::open(bar.host()).unwrap().read_exact_at(&mut generation, 24).unwrap();
    assert_eq!(u64::from_le_bytes(generation), 77, "nothing of the successor's was touched");
}

/// What was filled in before a wipe is zeros after it: neither a reservation nor a part of one brings that to a consumer.
#[test]
fn a_frame_that_was_wiped_before_it_was_published_is_dropped_and_counted() {
    let bar = DeviceFile::new();
    let mut producer = Producer::builder(bar.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    let info = FrameInfo::new();
    let filled = |producer: &mut Producer| {
        let mut reservation = producer.reserve(6).unwrap();
        reservation.write_at(0, b"before").unwrap();
        reservation
    };
    let (whole, part, mut late) = (filled(&mut producer), filled(&mut producer), filled(&mut producer));
    bar.clear(DeviceFile::BYTES);
    for _ in 0..2 {
        assert!(matches!(late.write_at(0, b"late"), Err(SendError::Cleared { bytes: 6 })));
    }
    let attach = || Consumer::builder(&bar.guest()).unwrap().start(Start::Oldest).attach(LONG).unwrap();
    let mut consumer = attach();
    let sent = producer.publish(whole, &info);
    assert!(matches!(sent, Err(SendError::Cleared { bytes: 6 })), "{sent:?}");
    // However often: it may be that nobody fills it anew.
    for part in [&part, &part] {
        let sent = producer.publish_part(part, 0..6, &info, &[], Box::new(()));
        assert!(matches!(sent, Err(SendError::Cleared { bytes: 6 })), "{sent:?}");
        assert!(part.is_cleared());
    }
    drop(late);
    assert_eq!(producer.handle().stats().dropped_newest, 4);
    producer.send(b"after.", &info).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"after.");
    drop(part);
    let stats = producer.handle().stats();
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
}

/// Upstream may hold memory for long, be paused with it, and have a successor then.
#[test]
fn what_was_reserved_before_a_successor_came_is_not_written_and_beats_no_more() {
    for closes in [false, true] {
        let bar = DeviceFile::new();
        let mut producer = Producer::builder(&bar.guest()).unwrap().lease_time(LEASE).create().unwrap();
        let mut reservation = producer.reserve(100).unwrap();
        if closes {
            drop(producer);
        }
        let file = bar.open();
        let heart = || {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, 672).unwrap();
            u64::from_le_bytes(word)
        };
        // A successor's number.
        file.write_all_at(&77u64.to_le_bytes(), 24).unwrap();
        let written = reservation.write_at(0, &[1; 100]);
        let expected = if closes { SendError::Closed } else { SendError::Superseded { path: bar.guest().into() } };
        assert_eq!(written, Err(expected));
        // One beat may have been under way.
        std::thread::sleep(Duration::from_millis(100));
        let before = heart();
        std::thread::sleep(LEASE);
        assert_eq!(heart(), before);
        assert!(reservation.is_cleared());
        drop(reservation);
        // Who is closed looks twice a second whether its memory came back.
        std::thread::sleep(Duration::from_millis(700));
        assert!(before != 0 && heart() == before, "{before}, then {}", heart());
    }
}

/// The magic number comes last. Whoever is ended before it, or writes at the same time in another kernel, leaves a part.
#[test]
fn a_header_of_which_a_part_is_written_is_no_foreign_file() {
    let bar = DeviceFile::new();
    drop(Producer::builder(bar.host()).unwrap().keep_region(true).create().unwrap());
    let mut header = [0; 128];
    bar.open().read_exact_at(&mut header, 0).unwrap();
    for written in [12, 16, 24, 32, 40, 48, 64, 100, 128] {
        bar.clear(DeviceFile::BYTES);
        bar.open().write_all_at(&header[8..written], 8).unwrap();
        let mut producer = Producer::builder(bar.host()).unwrap().keep_region(true).create().unwrap();
        let mut consumer = Consumer::builder(bar.host()).unwrap().attach(LONG).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"x");
    }
}

/// The bytes of another program look like no part of a header.
#[test]
fn what_is_no_part_of_a_header_is_a_foreign_file() {
    let bar = DeviceFile::new();
    for (at, text) in [(16, "a database"), (24, "0123456789abcdef0123456789"), (56, "MY PRECIOUS DATA"), (120, "tail")]
    {
        bar.clear(DeviceFile::BYTES);
        bar.open().write_all_at(text.as_bytes(), at).unwrap();
        for place in [bar.host().to_owned(), bar.guest()] {
            let error = Producer::builder(&place).unwrap().keep_region(true).create().unwrap_err();
            assert!(matches!(error, CreateError::NotAdoptable { .. }), "{place}, {text}: {error}");
        }
    }
}

/// Nothing is published until the memory is quiet: caps and the end wait for that, frames under `block` too.
#[test]
fn after_a_wipe_caps_frames_under_block_and_the_end_wait_until_the_memory_is_quiet() {
    let bar = DeviceFile::new();
    let policy = FullPolicy::Block { timeout: Some(LIMIT) };
    let builder = Producer::builder(bar.host()).unwrap().keep_region(true).lease_time(LEASE).full_policy(policy);
    let mut producer = builder.create().unwrap();
    let builder = Consumer::builder(&bar.guest()).unwrap().start(Start::Oldest);
    let mut consumer = builder.attach(LONG).unwrap();
    producer.send(b"before", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"before");
    bar.clear(DeviceFile::BYTES);
    producer.set_caps(b"video/x-raw").unwrap();
    bar.clear(DeviceFile::BYTES);
    producer.send(b"after", &FrameInfo::new()).unwrap();
    let frame = consumer.next(LONG).unwrap();
    assert_eq!((frame.to_vec(), frame.caps().map(|(_, text)| text)), (b"after".to_vec(), Some(&b"video/x-raw"[..])));
    bar.clear(DeviceFile::BYTES);
    producer.end_of_stream().unwrap();
    assert!(matches!(consumer.next(LONG), Err(ReceiveError::EndOfStream)));
    assert_eq!(producer.handle().stats().dropped_newest, 0);
}

/// Wipes the header when it is dropped, and leaves the producer's heart the time to see that.
struct Wipe(fs::File);

impl Drop for Wipe {
    fn drop(&mut self) {
        self.0.write_all_at(&[0; 1024], 0).unwrap();
        std::thread::sleep(Duration::from_millis(90));
    }
}

/// What goes with a frame is dropped in the middle of a reservation.
#[test]
fn no_memory_is_given_out_while_it_is_wiped() {
    let bar = DeviceFile::new();
    let mut producer = Producer::builder(bar.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    let info = FrameInfo::new();
    let large = producer.reserve(300_000).unwrap();
    producer.publish_part(&large, 0..300_000, &info, &[], Box::new(Wipe(bar.open()))).unwrap();
    drop(large);
    for bytes in [10, 10, 10, 10, 300_000] {
        producer.send(&vec![1; bytes], &info).unwrap();
    }
    let reserved = producer.reserve(1000);
    let mut state = [0];
    bar.open().read_exact_at(&mut state, 512).unwrap();
    // The wipe may be over by now.
    assert!(matches!(reserved, Err(SendError::Recovering)) || state == [1], "{reserved:?}");
    let begun = Instant::now();
    while producer.send(b"after", &info).is_err() {
        assert!(begun.elapsed() < LIMIT, "it never goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A second wipe, and a producer in another kernel that began and died, while the first wipe is waited for: the own heart
/// is none of that producer's.
#[test]
fn a_producer_that_waits_for_the_end_of_a_wipe_takes_its_own_heart_for_nobodys() {
    let bar = DeviceFile::new();
    let mut producer = Producer::builder(bar.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    bar.clear(DeviceFile::BYTES);
    let begun = Instant::now();
    let generation = || {
        let mut word = [0; 8];
        bar.open().read_exact_at(&mut word, 24).map(|()| u64::from_le_bytes(word)).unwrap()
    };
    while generation() == 0 {
        assert!(begun.elapsed() < LIMIT, "the wipe is not seen");
    }
    bar.open().write_all_at(&2u32.to_le_bytes(), 116).unwrap();
    bar.open().write_all_at(&0x0123_4567_u64.to_le_bytes(), 24).unwrap();
    while let Err(error) = producer.send(b"after", &FrameInfo::new()) {
        assert!(matches!(error, SendError::Recovering) && begun.elapsed() < LIMIT, "{error}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
