//! Frames older than the lag limit are not received: they count as skipped, with a reason of their own.

use shm2::{Access, Consumer, FrameInfo, Producer, ReceiveError, Start};
use shm2_testing::TempRegion;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const LIMIT: Duration = Duration::from_millis(1500);

fn consumer(name: &TempRegion, access: Access, latest_only: bool) -> Consumer {
    let builder = Consumer::builder(name).unwrap().access(access).start(Start::Oldest).events(true);
    builder.latest_only(latest_only).lag_limit(LIMIT).attach(LONG).unwrap()
}

fn send(producer: &mut Producer, frames: std::ops::Range<u64>) {
    for number in frames {
        producer.send(b"frame", &FrameInfo::new().with_pts(number)).unwrap();
    }
}

#[test]
fn old_frames_are_skipped_and_counted_and_events_and_ends_are_not() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    let kinds = [Access::Lease, Access::Snapshot].map(|access| [false, true].map(|latest| (access, latest)));
    let mut consumers = kinds.concat().into_iter().map(|(a, latest)| (consumer(&name, a, latest), latest));
    let mut consumers: Vec<_> = consumers.by_ref().collect();
    send(&mut producer, 0..5);
    producer.send_event(&FrameInfo::new(), b"event").unwrap();
    send(&mut producer, 5..9);
    std::thread::sleep(LIMIT + Duration::from_millis(50));
    for (consumer, is_latest) in &mut consumers {
        // All frames are old. Under latest-only an event before the newest item is skipped in any case.
        if !*is_latest {
            let event = consumer.next(LONG).unwrap();
            assert!(event.is_event() && event.meta() == b"event" && event.missed() == 0);
        }
        assert!(matches!(consumer.next(Some(Duration::ZERO)), Err(ReceiveError::TimedOut)));
        assert!(consumer.try_next().unwrap().is_none());
        let stats = consumer.stats();
        assert_eq!((stats.received, stats.missed, stats.skipped, stats.skipped_old), (0, 0, 9, 9));
    }
    send(&mut producer, 9..11);
    for (consumer, _) in &mut consumers {
        let frame = consumer.next(LONG).unwrap();
        assert_eq!((frame.info().pts, frame.is_discontinuity(), frame.missed()), (Some(9), true, 0));
        let frame = consumer.next(LONG).unwrap();
        assert_eq!((frame.info().pts, frame.is_discontinuity()), (Some(10), false));
    }
    send(&mut producer, 11..14);
    producer.end_of_stream().unwrap();
    std::thread::sleep(LIMIT + Duration::from_millis(50));
    for (consumer, _) in &mut consumers {
        assert!(matches!(consumer.next(LONG), Err(ReceiveError::EndOfStream)));
        assert_eq!((consumer.stats().received, consumer.stats().skipped_old), (2, 12));
    }
    // Without a limit all is received again.
    for (consumer, _) in &mut consumers {
        consumer.set_lag_limit(Duration::ZERO);
    }
    send(&mut producer, 14..15);
    std::thread::sleep(LIMIT + Duration::from_millis(50));
    drop(producer);
    for (consumer, _) in &mut consumers {
        assert_eq!(consumer.next(LONG).unwrap().info().pts, Some(14));
    }
}

#[test]
fn a_full_ring_of_old_frames_of_a_dead_producer_is_skipped_at_once() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(64 << 20).create().unwrap();
    let mut consumers = [Access::Lease, Access::Snapshot].map(|access| consumer(&name, access, false));
    send(&mut producer, 0..5000);
    std::thread::sleep(LIMIT + Duration::from_millis(50));
    drop(producer);
    for consumer in &mut consumers {
        assert!(matches!(consumer.next(Some(Duration::from_millis(10))), Err(ReceiveError::TimedOut)));
        let stats = consumer.stats();
        assert_eq!((stats.received, stats.skipped_old + stats.missed, consumer.is_attached()), (0, 5000, false));
    }
}
