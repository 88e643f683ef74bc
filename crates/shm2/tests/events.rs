//! Events between frames, and stream data that applies to all frames.

use shm2::{Access, Consumer, Frame, FrameInfo, Producer, ReceiveError};
use shm2_testing::TempRegion;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const BOTH: [Access; 2] = [Access::Lease, Access::Snapshot];

fn consumer(name: &TempRegion, access: Access, events: bool) -> Consumer {
    Consumer::builder(name).unwrap().access(access).events(events).attach(LONG).unwrap()
}

fn send(producer: &mut Producer, pts: u64) {
    producer.send(b"frame", &FrameInfo::new().with_pts(pts)).unwrap();
}

fn next(consumer: &mut Consumer) -> Frame {
    consumer.next(LONG).unwrap()
}

#[test]
fn events_come_between_frames_when_requested() {
    for access in BOTH {
        let name = TempRegion::new();
        let mut producer = Producer::create(&name).unwrap();
        producer.set_caps(b"caps").unwrap();
        let (mut curious, mut plain) = (consumer(&name, access, true), consumer(&name, access, false));
        for number in 0..10 {
            send(&mut producer, number);
            producer.send_event(&FrameInfo::new().with_pts(100 + number), &number.to_le_bytes()).unwrap();
        }
        for number in 0..10 {
            let frame = next(&mut curious);
            assert_eq!((frame.is_event(), frame.info().pts), (false, Some(number)));
            let event = next(&mut curious);
            assert_eq!((event.is_event(), event.info().pts, event.len()), (true, Some(100 + number), 0));
            assert_eq!((event.meta(), event.missed()), (&number.to_le_bytes()[..], 0));
            let frame = next(&mut plain);
            assert_eq!((frame.is_event(), frame.info().pts, frame.missed()), (false, Some(number), 0));
        }
        for consumer in [&curious, &plain] {
            assert_eq!((consumer.stats().received, consumer.stats().missed), (10, 0));
        }
        let timed_out = plain.next(Some(Duration::from_millis(20)));
        assert!(matches!(timed_out, Err(ReceiveError::TimedOut)), "the last event is no frame");
    }
}

#[test]
fn stream_data_reaches_consumers_that_attach_late() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_stream(b"caps", b"tags").unwrap();
    send(&mut producer, 1);
    for access in BOTH {
        let frame = next(&mut consumer(&name, access, false));
        assert_eq!((frame.caps(), frame.stream_blob()), (Some((1, &b"caps"[..])), &b"tags"[..]));
    }
    let mut early = BOTH.map(|access| consumer(&name, access, false));
    early.iter_mut().for_each(|consumer| drop(next(consumer)));
    let long = vec![7; 300_000];
    producer.set_stream(b"other", &long).unwrap();
    send(&mut producer, 2);
    producer.set_caps(b"none").unwrap();
    send(&mut producer, 3);
    for mut consumer in early {
        let frame = next(&mut consumer);
        assert_eq!((frame.caps(), frame.stream_blob()), (Some((2, &b"other"[..])), &long[..]));
        let frame = next(&mut consumer);
        assert_eq!((frame.caps(), frame.stream_blob()), (Some((3, &b"none"[..])), &b""[..]));
    }
    let error = producer.set_stream(b"", &vec![0; (1 << 20) + 1]).unwrap_err();
    assert!(error.to_string().contains("1048577"), "{error}");
}

#[test]
fn history_counts_frames_only() {
    for access in BOTH {
        let name = TempRegion::new();
        let mut producer = Producer::builder(&name).unwrap().history(2).create().unwrap();
        for number in 0..5 {
            send(&mut producer, number);
        }
        for number in 0..300u64 {
            producer.send_event(&FrameInfo::new(), &number.to_le_bytes()).unwrap();
        }
        producer.end_of_stream().unwrap();
        // Frees what may be freed.
        drop(producer.reserve(1 << 20).unwrap());
        let mut late = consumer(&name, access, false);
        assert_eq!([next(&mut late).info().pts, next(&mut late).info().pts], [Some(3), Some(4)]);
        assert!(matches!(late.next(LONG), Err(ReceiveError::EndOfStream)));
        assert_eq!(late.stats().missed, 0);
    }
}

#[test]
fn a_discontinuity_before_an_event_is_marked_on_the_next_frame() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(1 << 20).create().unwrap();
    let mut consumer = consumer(&name, Access::Lease, true);
    send(&mut producer, 0);
    assert!(!next(&mut consumer).is_event());
    for _ in 0..5000 {
        send(&mut producer, 1);
    }
    producer.send_event(&FrameInfo::new(), b"event").unwrap();
    let mut missed = 0;
    let mut frames = 0;
    while frames + missed < 5000 {
        let item = next(&mut consumer);
        assert!(!item.is_event() && item.is_discontinuity() == (frames == 0));
        missed += item.missed();
        frames += 1;
    }
    assert!(missed > 0 && next(&mut consumer).is_event());
    drop(producer);
    let mut producer = Producer::builder(&name).unwrap().history(2).create().unwrap();
    producer.send_event(&FrameInfo::new(), b"event").unwrap();
    send(&mut producer, 2);
    let event = next(&mut consumer);
    assert!(event.is_event() && !event.is_discontinuity());
    assert!(next(&mut consumer).is_discontinuity(), "a new producer");
}

#[test]
fn events_without_free_space_do_not_count_as_dropped_frames() {
    let name = TempRegion::new();
    let mut producer =
        Producer::builder(&name).unwrap().arena(1 << 20).full_policy(shm2::FullPolicy::DropNewest).create().unwrap();
    let _reader = consumer(&name, Access::Lease, true);
    let blob = vec![1; 100_000];
    let results: Vec<_> = (0..20).map(|_| producer.send_event(&FrameInfo::new(), &blob)).collect();
    assert!(results.iter().any(Result::is_err));
    assert_eq!(producer.handle().stats().dropped_newest, 0);
}

#[test]
fn latest_only_takes_frames_however_many_events_follow_them() {
    for access in BOTH {
        for asks in [true, false] {
            let name = TempRegion::new();
            let mut producer = Producer::builder(&name).unwrap().history(50).create().unwrap();
            let builder = Consumer::builder(&name).unwrap().access(access).events(asks).latest_only(true);
            let mut consumer = builder.attach(LONG).unwrap();
            let mut frames = Vec::new();
            for number in 0..30 {
                send(&mut producer, number);
                for _ in 0..3 {
                    producer.send_event(&FrameInfo::new(), b"event").unwrap();
                }
                if number % 3 == 2 {
                    while let Some(item) = consumer.try_next().unwrap() {
                        frames.extend(item.info().pts.filter(|_| !item.is_event()));
                    }
                }
            }
            // The second newest and the newest of each three.
            let expected: Vec<u64> = (0..30).filter(|number| number % 3 != 0).collect();
            assert_eq!((frames, consumer.stats().skipped, consumer.stats().missed), (expected, 10, 0));
        }
    }
}

#[test]
fn a_flood_of_events_blocks_no_consumer() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    let mut consumer = consumer(&name, Access::Lease, false);
    let canceller = consumer.canceller();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = producer.send_event(&FrameInfo::new(), b"event");
            }
        });
        let begun = std::time::Instant::now();
        assert!(matches!(consumer.next(Some(Duration::from_millis(200))), Err(ReceiveError::TimedOut)));
        assert!(consumer.try_next().unwrap().is_none());
        canceller.set(true);
        assert!(matches!(consumer.next(None), Err(ReceiveError::Cancelled)));
        assert!(begun.elapsed() < Duration::from_secs(5));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn only_frames_count_as_dropped_and_metas_count_for_the_share() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(1 << 20).create().unwrap();
    let mut consumer = consumer(&name, Access::Lease, false);
    for number in 0..6000 {
        producer.send_event(&FrameInfo::new(), b"").unwrap();
        send(&mut producer, number);
    }
    let stats = producer.handle().stats();
    assert_eq!(stats.dropped_oldest + stats.ready, 6000);
    while consumer.next(Some(Duration::from_millis(50))).is_ok() {}
    let blob = vec![3; 100_000];
    let mut held = Vec::new();
    for _ in 0..6 {
        let slot = producer.reserve(5).unwrap();
        producer.publish_with_meta(slot, &FrameInfo::new(), &blob).unwrap();
        held.push(next(&mut consumer));
    }
    assert_eq!(held.iter().filter(|frame| frame.is_leased()).count(), 3);
}
