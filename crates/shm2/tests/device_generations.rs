//! Generations that follow each other in the memory of a device, within one process: after the memory was cleared,
//! after a takeover, after a corrupt header.

#![cfg(target_os = "linux")]

use shm2::layout::Page;
use shm2::{Access, Consumer, CreateError, FrameInfo, FullPolicy, Producer, ReceiveError, SendError, Start};
use shm2_testing::{DeviceFile, LIMIT};
use std::fs::{self, OpenOptions};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const LEASE: Duration = Duration::from_millis(400);

#[test]
fn a_cleared_region_recovers_without_a_frame_and_the_next_frame_carries_its_caps() {
    let device = DeviceFile::new();
    let mut producer = Producer::builder(device.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    producer.set_caps(b"video/x-raw").unwrap();
    producer.send(b"before", &FrameInfo::new()).unwrap();
    device.clear(DeviceFile::BYTES);
    let consumer = Consumer::builder(&device.guest()).unwrap().start(Start::Next);
    let mut consumer = consumer.attach(LONG).unwrap();
    producer.send(b"after", &FrameInfo::new()).unwrap();
    let frame = consumer.next(LONG).unwrap();
    assert_eq!((frame.to_vec(), frame.caps().map(|(_, text)| text)), (b"after".to_vec(), Some(&b"video/x-raw"[..])));
    let stats = producer.handle().stats();
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
}

/// A heartbeat before the new generation is written would look to consumers like one of the dead producer.
#[test]
fn no_heartbeat_appears_for_a_dead_producer() {
    let device = DeviceFile::new();
    let lease = Duration::from_millis(100);
    let create = || Producer::builder(&device.guest()).unwrap().lease_time(lease).create().unwrap();
    drop(create());
    let file = OpenOptions::new().read(true).write(true).open(device.host()).unwrap();
    let word = |at| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    for heartbeat in 1..20 {
        // The state that a killed producer leaves.
        file.write_all_at(&1u32.to_le_bytes(), 512).unwrap();
        file.write_all_at(&u64::to_le_bytes(heartbeat << 32), 672).unwrap();
        let dead = word(24);
        std::thread::scope(|scope| {
            let next = scope.spawn(create);
            loop {
                let found = word(672);
                if word(24) != dead {
                    break;
                }
                assert_eq!(found, heartbeat << 32, "a heartbeat");
            }
            drop(next.join().unwrap());
        });
    }
}

/// A consumer on another machine takes the beacon for a reading of this producer's clock.
#[test]
fn no_generation_starts_with_the_beacon_of_the_previous_one() {
    let device = DeviceFile::new();
    let mut before = 0;
    for name in [device.host().to_owned(), device.guest()] {
        let begun = shm2::monotonic_ns();
        let mut producer = Producer::builder(&name).unwrap().keep_region(true).create().unwrap();
        let mut beacon = [0; 16];
        fs::File::open(device.host()).unwrap().read_exact_at(&mut beacon, 640).unwrap();
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
fn a_stray_generation_is_examined_each_time_it_appears() {
    let device = DeviceFile::new();
    let mut producer = Producer::builder(device.host()).unwrap().keep_region(true).create().unwrap();
    let file = OpenOptions::new().read(true).write(true).open(device.host()).unwrap();
    let mut own = [0; 8];
    file.read_exact_at(&mut own, 24).unwrap();
    // As a producer in another kernel writes it: a generation, and liveness by heartbeat only.
    let write = |generation: &[u8], kept: u32| {
        file.write_all_at(&kept.to_le_bytes(), 116).unwrap();
        file.write_all_at(generation, 24).unwrap();
    };
    for _ in 0..3 {
        write(&77u64.to_le_bytes(), 2);
        // The producer writes nothing until it knows what the generation means.
        let refused = producer.send(b"x", &FrameInfo::new());
        assert!(matches!(refused, Err(SendError::Recovering)), "{refused:?}");
        write(&own, 1);
        producer.send(b"x", &FrameInfo::new()).unwrap();
        // Its heartbeat continues meanwhile.
        std::thread::sleep(Duration::from_millis(400));
    }
}

#[test]
fn a_superseded_producer_gets_its_own_error() {
    let device = DeviceFile::new();
    let mut producer = Producer::builder(&device.guest()).unwrap().create().unwrap();
    producer.send(b"x", &FrameInfo::new()).unwrap();
    let file = OpenOptions::new().write(true).open(device.host()).unwrap();
    file.write_all_at(&77u64.to_le_bytes(), 24).unwrap();
    assert!(matches!(producer.send(b"y", &FrameInfo::new()), Err(SendError::Superseded { .. })));
    drop(producer);
    let mut generation = [0; 8];
    fs::File::open(device.host()).unwrap().read_exact_at(&mut generation, 24).unwrap();
    assert_eq!(u64::from_le_bytes(generation), 77, "nothing of the successor's was touched");
}

/// Bytes filled in before the memory was cleared are zeros after it. No consumer receives them, neither from a whole
/// reservation nor from a part.
#[test]
fn a_frame_cleared_before_it_was_published_is_dropped_and_counted() {
    let device = DeviceFile::new();
    let mut producer = Producer::builder(device.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    let info = FrameInfo::new();
    let filled = |producer: &mut Producer| {
        let mut reservation = producer.reserve(6).unwrap();
        reservation.write_at(0, b"before").unwrap();
        reservation
    };
    let (whole, part, mut late) = (filled(&mut producer), filled(&mut producer), filled(&mut producer));
    device.clear(DeviceFile::BYTES);
    for _ in 0..2 {
        assert!(matches!(late.write_at(0, b"late"), Err(SendError::Cleared { bytes: 6 })));
    }
    let attach = || Consumer::builder(&device.guest()).unwrap().start(Start::Oldest).attach(LONG).unwrap();
    let mut consumer = attach();
    let sent = producer.publish(whole, &info);
    assert!(matches!(sent, Err(SendError::Cleared { bytes: 6 })), "{sent:?}");
    // Each time, because upstream may never fill it again.
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

/// Upstream may hold a reservation while its process is paused and another producer takes over.
#[test]
fn a_reservation_of_a_superseded_producer_is_not_written_and_its_heartbeat_stops() {
    for closes in [false, true] {
        let device = DeviceFile::new();
        let mut producer = Producer::builder(&device.guest()).unwrap().lease_time(LEASE).create().unwrap();
        let mut reservation = producer.reserve(100).unwrap();
        if closes {
            drop(producer);
        }
        let file = device.open();
        let heartbeat = || {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, 672).unwrap();
            u64::from_le_bytes(word)
        };
        // The generation of a producer that took over.
        file.write_all_at(&77u64.to_le_bytes(), 24).unwrap();
        let written = reservation.write_at(0, &[1; 100]);
        let expected = if closes { SendError::Closed } else { SendError::Superseded { path: device.guest().into() } };
        assert_eq!(written, Err(expected));
        // One heartbeat may have been in progress.
        std::thread::sleep(Duration::from_millis(100));
        let before = heartbeat();
        std::thread::sleep(LEASE);
        assert_eq!(heartbeat(), before);
        assert!(reservation.is_cleared());
        drop(reservation);
        // A closed producer checks twice a second whether its memory came back.
        std::thread::sleep(Duration::from_millis(700));
        assert!(before != 0 && heartbeat() == before, "{before}, then {}", heartbeat());
    }
}

/// The magic number is written last. A producer that is killed before that, or one in another kernel that writes at the
/// same time, leaves a part of a header.
#[test]
fn a_partly_written_header_is_no_foreign_file() {
    let device = DeviceFile::new();
    drop(Producer::builder(device.host()).unwrap().keep_region(true).create().unwrap());
    let mut header = [0; 128];
    device.open().read_exact_at(&mut header, 0).unwrap();
    for written in [12, 16, 24, 32, 40, 48, 64, 100, 128] {
        device.clear(DeviceFile::BYTES);
        device.open().write_all_at(&header[8..written], 8).unwrap();
        let mut producer = Producer::builder(device.host()).unwrap().keep_region(true).create().unwrap();
        let mut consumer = Consumer::builder(device.host()).unwrap().attach(LONG).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"x");
    }
}

/// Bytes of another program do not match any part of a header.
#[test]
fn bytes_that_are_no_part_of_a_header_are_a_foreign_file() {
    let device = DeviceFile::new();
    for (at, text) in [(16, "a database"), (24, "0123456789abcdef0123456789"), (56, "MY PRECIOUS DATA"), (120, "tail")]
    {
        device.clear(DeviceFile::BYTES);
        device.open().write_all_at(text.as_bytes(), at).unwrap();
        for place in [device.host().to_owned(), device.guest()] {
            let error = Producer::builder(&place).unwrap().keep_region(true).create().unwrap_err();
            assert!(matches!(error, CreateError::NotInheritable { .. }), "{place}, {text}: {error}");
        }
    }
}

/// Nothing is published during recovery: caps, end of stream, and frames under the policy `block` wait for its end.
#[test]
fn caps_blocked_frames_and_end_of_stream_wait_for_the_recovery() {
    let device = DeviceFile::new();
    let policy = FullPolicy::Block { timeout: Some(LIMIT) };
    let builder = Producer::builder(device.host()).unwrap().keep_region(true).lease_time(LEASE).full_policy(policy);
    let mut producer = builder.create().unwrap();
    let builder = Consumer::builder(&device.guest()).unwrap().start(Start::Oldest);
    let mut consumer = builder.attach(LONG).unwrap();
    producer.send(b"before", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"before");
    device.clear(DeviceFile::BYTES);
    producer.set_caps(b"video/x-raw").unwrap();
    device.clear(DeviceFile::BYTES);
    producer.send(b"after", &FrameInfo::new()).unwrap();
    let frame = consumer.next(LONG).unwrap();
    assert_eq!((frame.to_vec(), frame.caps().map(|(_, text)| text)), (b"after".to_vec(), Some(&b"video/x-raw"[..])));
    device.clear(DeviceFile::BYTES);
    producer.end_of_stream().unwrap();
    assert!(matches!(consumer.next(LONG), Err(ReceiveError::EndOfStream)));
    assert_eq!(producer.handle().stats().dropped_newest, 0);
}

/// Clears the header at drop, and waits until the producer's heartbeat thread has seen that.
struct ClearAtDrop(fs::File);

impl Drop for ClearAtDrop {
    fn drop(&mut self) {
        self.0.write_all_at(&[0; 1024], 0).unwrap();
        std::thread::sleep(Duration::from_millis(90));
    }
}

/// The attachment of an old frame is dropped in the middle of a reservation.
#[test]
fn no_memory_is_reserved_while_it_is_cleared() {
    let device = DeviceFile::new();
    let mut producer = Producer::builder(device.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    let info = FrameInfo::new();
    let large = producer.reserve(300_000).unwrap();
    producer.publish_part(&large, 0..300_000, &info, &[], Box::new(ClearAtDrop(device.open()))).unwrap();
    drop(large);
    for bytes in [10, 10, 10, 10, 300_000] {
        producer.send(&vec![1; bytes], &info).unwrap();
    }
    let reserved = producer.reserve(1000);
    let mut state = [0];
    device.open().read_exact_at(&mut state, 512).unwrap();
    // The recovery may be over by now.
    assert!(matches!(reserved, Err(SendError::Recovering)) || state == [1], "{reserved:?}");
    let begun = Instant::now();
    while producer.send(b"after", &info).is_err() {
        assert!(begun.elapsed() < LIMIT, "it never goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// While the producer recovers, the memory is cleared again and a producer in another kernel starts and dies. The
/// recovering producer must not take its own heartbeat for one of that producer.
#[test]
fn a_recovering_producer_does_not_take_its_own_heartbeat_for_another_producers() {
    let device = DeviceFile::new();
    let mut producer = Producer::builder(device.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    device.clear(DeviceFile::BYTES);
    let begun = Instant::now();
    let generation = || {
        let mut word = [0; 8];
        device.open().read_exact_at(&mut word, 24).map(|()| u64::from_le_bytes(word)).unwrap()
    };
    while generation() == 0 {
        assert!(begun.elapsed() < LIMIT, "the clear is not seen");
    }
    device.open().write_all_at(&2u32.to_le_bytes(), 116).unwrap();
    device.open().write_all_at(&0x0123_4567_u64.to_le_bytes(), 24).unwrap();
    while let Err(error) = producer.send(b"after", &FrameInfo::new()) {
        assert!(matches!(error, SendError::Recovering) && begun.elapsed() < LIMIT, "{error}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A producer on the other side sees no locks, so it cannot tell a dead consumer with a lock from one that reads.
#[test]
fn a_frame_held_by_a_consumer_with_a_lock_outlives_the_takeover_by_the_other_side() {
    let device = DeviceFile::new();
    let mut before = Producer::builder(device.host()).unwrap().keep_region(true).lease_time(LEASE).create().unwrap();
    let mut consumer = Consumer::builder(device.host()).unwrap().access(Access::Lease).attach(LONG).unwrap();
    let bytes = 300_000;
    before.send(&vec![77; bytes], &FrameInfo::new()).unwrap();
    let frame = consumer.next(LONG).unwrap();
    drop(before);
    let mut producer = Producer::builder(&device.guest()).unwrap().lease_time(LEASE).create().unwrap();
    // Probes the consumers, as the producer also does while it publishes.
    producer.consumers();
    for number in 0..32 {
        producer.send(&vec![number; bytes], &FrameInfo::new()).unwrap();
    }
    assert!(frame.to_vec().iter().all(|byte| *byte == 77), "the held frame was overwritten");
    drop(frame);
    drop(consumer);
    producer.send(b"x", &FrameInfo::new()).unwrap();
}

/// A consumer that was stopped between its claim and the words that follow it, over the start of the next producer.
#[test]
fn a_consumer_that_attached_to_the_generation_before_is_not_waited_for() {
    let device = DeviceFile::new();
    let create = || {
        let settings = Producer::builder(&device.guest()).unwrap().lease_time(LEASE);
        settings.full_policy(FullPolicy::Block { timeout: Some(Duration::from_secs(2)) }).create().unwrap()
    };
    let first = create();
    let generation = device.word64(24);
    let page = shm2::layout::page_words_offset(0);
    let (file, owner) = (device.open(), 5 << 16 | shm2::layout::BY_HEARTBEAT);
    let write = |at: usize, bytes: &[u8]| file.write_all_at(bytes, page + at as u64).unwrap();
    write(offset_of!(Page, claimed), &(owner | shm2::layout::CLAIMING).to_le_bytes());
    drop(first);
    let mut second = create();
    write(offset_of!(Page, attached_ns), &77u64.to_le_bytes());
    write(offset_of!(Page, generation), &generation.to_le_bytes());
    write(offset_of!(Page, claimed), &(owner | shm2::layout::READING).to_le_bytes());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let beats = (1u64..).take_while(|_| !is_over.load(Ordering::Relaxed));
            beats.for_each(|beat| {
                write(offset_of!(Page, heartbeat), &beat.to_le_bytes());
                std::thread::sleep(Duration::from_millis(10));
            });
        });
        let sent = (0..2 * shm2::layout::CELLS).try_for_each(|_| second.send(b"frame", &FrameInfo::new()).map(drop));
        let consumers = second.consumers();
        is_over.store(true, Ordering::Relaxed);
        sent.unwrap();
        assert_eq!(consumers, 0);
    });
}

/// After a clear, sequences begin at 1 again, so an item of the next producer has the sequence of the held frame.
#[test]
fn a_held_frame_never_has_the_publication_time_of_another_producers_item() {
    let device = DeviceFile::new();
    let lease_time = Duration::from_millis(300);
    let create = || {
        let builder = Producer::builder(device.host()).unwrap();
        builder.keep_region(true).lease_time(lease_time).create().unwrap()
    };
    let mut producer = create();
    let builder = Consumer::builder(device.host()).unwrap().access(Access::Lease).start(Start::Oldest);
    let mut consumer = builder.attach(LONG).unwrap();
    producer.send(b"one", &FrameInfo::new()).unwrap();
    let frame = consumer.next(LONG).unwrap();
    drop(producer);
    device.clear(DeviceFile::BYTES);
    std::thread::sleep(2 * lease_time);
    assert_eq!(create().send(b"two", &FrameInfo::new()).unwrap(), frame.sequence());
    assert_eq!(frame.published_ns(), None);
}
