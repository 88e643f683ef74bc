//! The guarantees of the transport within one process: order, loss, held frames, policies and wake-ups.

use shm2::{Access, Consumer, FrameInfo, FullPolicy, OnProducerExit, Producer, ReceiveError, SendError, Start, layout};
use shm2_testing::{LIMIT, TempRegion};
use std::time::{Duration, Instant};

const SHORT: Option<Duration> = Some(Duration::from_millis(50));
const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn frame_bytes(n: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (n as usize * 31 + i) as u8).collect()
}

#[test]
fn frames_arrive_in_order_with_their_description() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().start(Start::Oldest).attach(LONG).unwrap();
    producer.set_caps(b"video/x-raw").unwrap();
    for n in 0..1000u64 {
        let mut info = FrameInfo::new().with_pts(n);
        (info.dts, info.duration, info.flags, info.offset) = (Some(n as i64 + 1), Some(2), n as u32, Some(n * 3));
        let sequence = producer.send(&frame_bytes(n, n as usize), &info).unwrap();
        assert_eq!(sequence, n + 1);
        let frame = consumer.next(LONG).unwrap();
        assert_eq!(frame.sequence(), sequence);
        assert_eq!(frame.info(), info);
        assert_eq!(frame.to_vec(), frame_bytes(n, n as usize));
        assert_eq!(frame.caps(), Some((1, &b"video/x-raw"[..])));
        assert!(frame.is_leased() && frame.missed() == 0 && !frame.is_discontinuity());
    }
    assert!(matches!(consumer.next(SHORT), Err(ReceiveError::TimedOut)));
}

#[test]
fn caps_change_between_frames() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().history(10).create().unwrap();
    for caps in ["a", "bb", ""] {
        producer.set_caps(caps.as_bytes()).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
    }
    for access in [Access::Lease, Access::Snapshot] {
        let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
        for (id, caps) in [(1, "a"), (2, "bb"), (3, "")] {
            assert_eq!(consumer.next(LONG).unwrap().caps(), Some((id, caps.as_bytes())));
        }
    }
}

#[test]
fn held_frames_never_change_and_never_stop_the_producer() {
    let name = TempRegion::new();
    let size = 100_000;
    let mut producer = Producer::builder(&name).unwrap().arena(2 << 20).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let mut held = Vec::new();
    for n in 0..5 {
        producer.send(&frame_bytes(n, size), &FrameInfo::new()).unwrap();
        held.push((n, consumer.next(LONG).unwrap()));
    }
    for n in 5..10_000 {
        producer.send(&frame_bytes(n, size), &FrameInfo::new()).unwrap();
    }
    for (n, frame) in &held {
        assert_eq!(frame.to_vec(), frame_bytes(*n, size), "held frame {n} changed");
    }
    let next = consumer.next(LONG).unwrap();
    assert_eq!(next.missed() + 6, next.sequence(), "every frame is received or missed");
    let stats = producer.handle().stats();
    assert_eq!(stats.held, 5);
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
    drop((held, next));
    producer.send(b"x", &FrameInfo::new()).unwrap();
    assert_eq!(producer.consumers(), 1);
    assert_eq!(producer.handle().stats().held, 0, "released frames are recycled");
}

#[test]
fn a_consumer_beyond_its_budget_gets_copies() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().max_leases(3).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let mut held = Vec::new();
    for n in 0..6 {
        producer.send(&frame_bytes(n, 1000), &FrameInfo::new()).unwrap();
        held.push(consumer.next(LONG).unwrap());
    }
    let leased: Vec<_> = held.iter().map(|f| f.is_leased()).collect();
    assert_eq!(leased, [true, true, true, false, false, false]);
    for (n, frame) in held.iter().enumerate() {
        assert_eq!(frame.to_vec(), frame_bytes(n as u64, 1000));
    }
    assert_eq!(consumer.stats().copied, 3);
    held.remove(0);
    producer.send(b"y", &FrameInfo::new()).unwrap();
    assert!(consumer.next(LONG).unwrap().is_leased(), "a freed lease is used again");
}

#[test]
fn a_consumer_holds_at_most_a_third_of_the_arena() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(6 * 65_536).create().unwrap();
    let mut consumers = [0; 3].map(|_| Consumer::builder(&name).unwrap().attach(LONG).unwrap());
    let [stalled, others @ ..] = &mut consumers;
    let mut held = Vec::new();
    for n in 0..50 {
        producer.send(&frame_bytes(n, 65_536), &FrameInfo::new()).unwrap();
        held.push(stalled.next(LONG).unwrap());
        for other in &mut *others {
            let frame = other.next(LONG).unwrap();
            assert!(frame.is_leased() && frame.missed() == 0);
        }
    }
    assert_eq!(held.iter().filter(|frame| frame.is_leased()).count(), 2);
    for (n, frame) in held.iter().enumerate() {
        assert_eq!(frame.to_vec(), frame_bytes(n as u64, 65_536));
    }
    drop(held);
    producer.send(&frame_bytes(0, 65_536), &FrameInfo::new()).unwrap();
    assert!(stalled.next(LONG).unwrap().is_leased(), "its share is free again");
    // Only two frames of this size fit: no consumer may hold one of them.
    producer.send(&frame_bytes(1, 3 * 65_536), &FrameInfo::new()).unwrap();
    assert!(!stalled.next(LONG).unwrap().is_leased());
}

#[test]
fn a_frame_without_free_space_is_dropped_and_counted() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(4 * 65_536).create().unwrap();
    // Each consumer may hold a third.
    let mut consumers: Vec<_> = (0..4).map(|_| Consumer::builder(&name).unwrap().attach(LONG).unwrap()).collect();
    let mut held = Vec::new();
    for n in 0..4 {
        producer.send(&frame_bytes(n, 65_536), &FrameInfo::new()).unwrap();
        let frames = consumers.iter_mut().map(|consumer| consumer.next(LONG).unwrap());
        held.extend(frames.enumerate().filter(|(i, _)| *i as u64 == n).map(|(_, frame)| frame));
    }
    assert!(matches!(producer.send(&[0; 65_536], &FrameInfo::new()), Err(SendError::Full { bytes: 65_536, .. })));
    assert_eq!(producer.handle().stats().dropped_newest, 1);
    for (n, frame) in held.iter().enumerate() {
        assert_eq!(frame.to_vec(), frame_bytes(n as u64, 65_536));
    }
    held.pop();
    producer.send(&[0; 65_536], &FrameInfo::new()).unwrap();
}

#[test]
fn drop_newest_keeps_what_was_not_read() {
    let name = TempRegion::new();
    let mut producer =
        Producer::builder(&name).unwrap().arena(4 * 65_536).full_policy(FullPolicy::DropNewest).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let sent: Vec<_> = (0..10).map(|n| producer.send(&frame_bytes(n, 65_536), &FrameInfo::new()).is_ok()).collect();
    assert_eq!(sent, [true, true, true, true, false, false, false, false, false, false]);
    for n in 0..4 {
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), frame_bytes(n, 65_536));
    }
    let stats = producer.handle().stats();
    assert_eq!((stats.dropped_newest, stats.dropped_oldest), (6, 0));
    producer.send(b"again", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().missed(), 0);
}

#[test]
fn drop_newest_counts_a_full_ring_of_empty_frames() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().full_policy(FullPolicy::DropNewest).create().unwrap();
    let _consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let sent = (0..5000).filter(|_| producer.send(b"", &FrameInfo::new()).is_ok()).count();
    assert_eq!(sent as u64, layout::CELLS - 1, "one cell is for the end");
    producer.end_of_stream().unwrap();
    assert_eq!(producer.handle().stats().dropped_newest, 5001 - layout::CELLS);
}

#[test]
fn block_loses_nothing_and_ends_in_time() {
    let name = TempRegion::new();
    let policy = FullPolicy::Block { timeout: Some(Duration::from_secs(3)) };
    let mut producer = Producer::builder(&name).unwrap().arena(4 * 65_536).full_policy(policy).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().start(Start::Oldest).attach(LONG).unwrap();
    let reader = std::thread::spawn(move || {
        for n in 0..2000 {
            let frame = consumer.next(LONG).unwrap();
            assert_eq!((frame.missed(), frame.to_vec()), (0, frame_bytes(n, 30_000)));
        }
        consumer
    });
    for n in 0..2000 {
        producer.send(&frame_bytes(n, 30_000), &FrameInfo::new()).unwrap();
    }
    let consumer = reader.join().unwrap();
    let blocked = (0..20).find_map(|_| producer.send(&[0; 30_000], &FrameInfo::new()).err());
    assert_eq!(blocked, Some(SendError::TimedOut { bytes: 30_000 }));
    let handle = producer.handle();
    handle.set_cancelled(true);
    assert_eq!(producer.send(&[0; 30_000], &FrameInfo::new()), Err(SendError::Cancelled));
    handle.set_cancelled(false);
    drop(consumer);
    producer.send(&[0; 30_000], &FrameInfo::new()).unwrap();
}

#[test]
fn latest_only_takes_the_second_newest() {
    let name = TempRegion::new();
    for access in [Access::Lease, Access::Snapshot] {
        let mut producer = Producer::builder(&name).unwrap().history(100).create().unwrap();
        producer.send(&[0], &FrameInfo::new()).unwrap();
        let builder = Consumer::builder(&name).unwrap().access(access).latest_only(true);
        let mut consumer = builder.attach(LONG).unwrap();
        for n in 1..10u8 {
            producer.send(&[n], &FrameInfo::new()).unwrap();
        }
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), [8]);
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), [9]);
        assert_eq!((consumer.stats().skipped, consumer.stats().missed), (8, 0));
    }
}

#[test]
fn snapshot_consumers_need_no_write_permission_and_count_every_missed_frame() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().perms(0o444).arena(1 << 20).create().unwrap();
    let mut consumer =
        Consumer::builder(&name).unwrap().access(Access::Snapshot).start(Start::Oldest).attach(LONG).unwrap();
    assert!(producer.handle().has_snapshot_consumers());
    assert_eq!(producer.consumers(), 0);
    let reader = std::thread::spawn(move || {
        let (mut received, mut missed) = (0, 0);
        loop {
            match consumer.next(LONG) {
                Ok(frame) => {
                    assert_eq!(frame.to_vec(), frame_bytes(frame.sequence(), 50_000));
                    received += 1;
                    missed += frame.missed();
                }
                Err(ReceiveError::EndOfStream) => return received + missed,
                Err(e) => panic!("{e}"),
            }
        }
    });
    for n in 1..=3000 {
        producer.send(&frame_bytes(n, 50_000), &FrameInfo::new()).unwrap();
        if n % 10 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    producer.end_of_stream().unwrap();
    let accounted: u64 = reader.join().unwrap();
    assert_eq!(accounted, 3000, "each frame is received or missed, once");
}

#[test]
fn a_sleeping_consumer_is_woken_and_can_be_cancelled() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let canceller = consumer.canceller();
    let sleeper = std::thread::spawn(move || {
        let frame = consumer.next(None).unwrap();
        let cancelled = consumer.next(None);
        (frame.to_vec(), cancelled.is_err_and(|e| matches!(e, ReceiveError::Cancelled)))
    });
    std::thread::sleep(Duration::from_millis(100));
    producer.send(b"wake", &FrameInfo::new()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    canceller.set(true);
    assert_eq!(sleeper.join().unwrap(), (b"wake".to_vec(), true));
}

#[test]
fn a_snapshot_consumer_is_woken_by_the_first_frame_after_a_long_silence() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.send(b"before", &FrameInfo::new()).unwrap();
    let builder = Consumer::builder(&name).unwrap().access(Access::Snapshot).start(Start::Next);
    let mut consumer = builder.attach(LONG).unwrap();
    let sleeper = std::thread::spawn(move || consumer.next(LONG).map(|frame| frame.to_vec()));
    // Longer than the fallback polling takes.
    std::thread::sleep(Duration::from_millis(900));
    let sent = Instant::now();
    producer.send(b"after", &FrameInfo::new()).unwrap();
    assert_eq!(sleeper.join().unwrap().unwrap(), b"after");
    assert!(sent.elapsed() < Duration::from_secs(5), "it slept on");
}

#[test]
fn a_consumer_may_come_first_and_follows_its_producers() {
    let name = TempRegion::new();
    let mut consumer = Consumer::builder(&name).unwrap().build();
    assert!(matches!(consumer.next(SHORT), Err(ReceiveError::TimedOut)));
    for (round, size) in [64u64 << 20, 8 << 20, 128 << 20].into_iter().enumerate() {
        let path = name.to_string();
        let starter = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            let mut producer = Producer::builder(&path).unwrap().size(size).create().unwrap();
            producer.send(&[round as u8], &FrameInfo::new()).unwrap();
            producer.drain(Duration::from_secs(5));
            producer
        });
        let begun = Instant::now();
        let frame = consumer.next(LONG).unwrap();
        assert!(begun.elapsed() < LONG.unwrap() / 2);
        assert_eq!((frame.to_vec(), frame.is_discontinuity()), (vec![round as u8], round > 0));
        drop(starter.join().unwrap());
        assert_eq!(frame.to_vec(), [round as u8], "a frame outlives its producer");
    }
    assert_eq!(consumer.stats().attaches, 3);
}

#[test]
fn end_of_stream_is_in_band_and_a_stream_may_follow() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().history(9).create().unwrap();
    producer.send(b"1", &FrameInfo::new()).unwrap();
    producer.end_of_stream().unwrap();
    producer.send(b"2", &FrameInfo::new()).unwrap();
    for access in [Access::Lease, Access::Snapshot] {
        let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"1");
        assert!(matches!(consumer.next(LONG), Err(ReceiveError::EndOfStream)));
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"2");
    }
}

#[test]
fn the_consumer_after_the_sixty_fourth_gets_snapshots() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    let builder = Consumer::builder(&name).unwrap();
    let mut consumers: Vec<_> = (0..64).map(|_| builder.clone().attach(LONG).unwrap()).collect();
    // Where probes are slow, the count is that of the last probe.
    shm2_testing::until("64 consumers", || producer.consumers() == 64);
    let refused = builder.clone().access(Access::Lease).attach(LONG).unwrap_err();
    assert!(matches!(refused, shm2::AttachError::Full { .. }), "{refused}");
    let mut extra = builder.attach(LONG).unwrap();
    assert_eq!(extra.access(), Some(Access::Snapshot));
    producer.send(b"all", &FrameInfo::new()).unwrap();
    for consumer in consumers.iter_mut().chain([&mut extra]) {
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"all");
    }
    consumers.clear();
    shm2_testing::until("no consumer", || producer.consumers() == 0);
}

#[test]
fn small_frames_without_a_consumer_never_stop_the_producer() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().size(layout::MIN_REGION).create().unwrap();
    for n in 0..100_000u64 {
        producer.send(&n.to_le_bytes(), &FrameInfo::new()).unwrap();
    }
    let stats = producer.handle().stats();
    assert_eq!((stats.published, stats.dropped_newest), (100_000, 0));
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
}

#[test]
fn one_reservation_may_be_published_several_times_and_in_part() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let mut slot = producer.reserve(1000).unwrap();
    slot.write_at(0, &frame_bytes(7, 1000)).unwrap();
    let token = std::sync::Arc::new(());
    for _ in 0..10 {
        producer.publish_part(&slot, 100..200, &FrameInfo::new(), b"meta", Box::new(token.clone())).unwrap();
        let frame = consumer.next(LONG).unwrap();
        assert_eq!((frame.to_vec(), frame.meta()), (frame_bytes(7, 1000)[100..200].to_vec(), &b"meta"[..]));
    }
    let outside = producer.publish_part(&slot, 900..1001, &FrameInfo::new(), b"", Box::new(()));
    assert_eq!(outside, Err(SendError::Range { offset: 900, end: 1001, bytes: 1000 }));
    drop(consumer);
    drop(slot);
    producer.consumers();
    assert_eq!(std::sync::Arc::strong_count(&token), 2, "only the history keeps its frame");
    let stats = producer.handle().stats();
    assert_eq!(stats.used_bytes, 1024 + 64, "the extent and one meta blob");
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
}

#[test]
fn frames_of_every_size_up_to_the_arena() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(1 << 20).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let arena = producer.handle().stats().arena_bytes as usize;
    for len in [0, 1, 63, 64, 65, 4095, 100_000, arena - 1, arena] {
        producer.send(&frame_bytes(3, len), &FrameInfo::new()).unwrap();
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), frame_bytes(3, len));
    }
    let too_large = producer.send(&vec![0; arena + 1], &FrameInfo::new()).unwrap_err();
    assert!(matches!(too_large, SendError::TooLarge { .. }), "{too_large}");
}

#[cfg(unix)]
#[test]
fn a_corrupt_cell_is_an_error_that_names_the_violation() {
    use std::os::unix::fs::FileExt;
    let name = TempRegion::new();
    for access in [Access::Lease, Access::Snapshot] {
        let mut producer = Producer::create(&name).unwrap();
        let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(name.path()).unwrap();
        file.write_at(&u64::MAX.to_le_bytes(), layout::cell_offset(1) + 8).unwrap();
        match consumer.next(LONG) {
            Err(ReceiveError::Misbehaving {
                violation: shm2::Violation::Payload { sequence: 1, offset: u64::MAX, length: 1 },
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn thousands_of_events_stop_no_call_of_a_consumer() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let mut producer = Producer::create(&name).unwrap();
        let builder = Consumer::builder(&name).unwrap().access(access).latest_only(true);
        let mut consumer = builder.attach(LONG).unwrap();
        for _ in 0..4000 {
            producer.send_event(&FrameInfo::new(), b"event").unwrap();
        }
        let begun = Instant::now();
        assert!(matches!(consumer.next(Some(Duration::from_millis(10))), Err(ReceiveError::TimedOut)));
        println!("{access:?}: {:?}", begun.elapsed());
        producer.send(b"frame", &FrameInfo::new()).unwrap();
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"frame");
        // The last items of a producer that is gone are taken, although events come first.
        for _ in 0..3000 {
            producer.send_event(&FrameInfo::new(), b"event").unwrap();
        }
        producer.send(b"last", &FrameInfo::new()).unwrap();
        drop(producer);
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"last");
    }
}

#[test]
fn a_consumer_that_spins_hears_its_timeout_and_its_producer() {
    let name = TempRegion::new();
    let producer = Producer::create(&name).unwrap();
    let builder = Consumer::builder(&name).unwrap().spin(Duration::MAX).on_producer_exit(OnProducerExit::Error);
    let mut consumer = builder.attach(LONG).unwrap();
    assert!(matches!(consumer.next(SHORT), Err(ReceiveError::TimedOut)));
    drop(producer);
    assert!(matches!(consumer.next(None), Err(ReceiveError::ProducerGone { .. })));
}

#[test]
fn the_time_limit_of_block_is_one_for_all_parts_of_a_frame() {
    let name = TempRegion::new();
    let limit = Duration::from_secs(2);
    let policy = FullPolicy::Block { timeout: Some(limit) };
    let mut producer = Producer::builder(&name).unwrap().arena(1 << 20).full_policy(policy).create().unwrap();
    let _consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    let (half, rest) = (producer.reserve(1 << 19).unwrap(), producer.reserve((1 << 19) - 64).unwrap());
    let begun = Instant::now();
    let freeing = std::thread::spawn(move || {
        std::thread::sleep(limit * 3 / 4);
        drop(half);
    });
    let slot = producer.reserve(1 << 19).unwrap();
    let result = producer.publish_with_meta(slot, &FrameInfo::new(), &[0; 1000]);
    let took = begun.elapsed();
    assert!(matches!(result, Err(SendError::TimedOut { .. })), "{result:?}");
    assert!(took >= limit && took < limit * 3 / 2, "{took:?}");
    freeing.join().unwrap();
    drop(rest);
}

#[test]
fn a_canceller_is_heard_at_any_moment() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let mut producer = Producer::create(&name).unwrap();
        let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
        consumer.next(LONG).unwrap();
        let canceller = consumer.canceller();
        let mut worst = Duration::ZERO;
        for round in 0..2000u64 {
            let waiting = std::thread::spawn(move || (consumer.next(Some(LIMIT)).map(drop), consumer));
            std::thread::sleep(Duration::from_micros(round * 7 % 300));
            let begun = Instant::now();
            canceller.set(true);
            let (result, back) = waiting.join().unwrap();
            worst = worst.max(begun.elapsed());
            assert!(matches!(result, Err(ReceiveError::Cancelled)), "{access:?} {round}: {result:?}");
            canceller.set(false);
            consumer = back;
        }
        println!("{access:?}: worst {worst:?}");
    }
}
