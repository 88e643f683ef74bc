//! The whole core on heap memory, for Miri, which detects undefined accesses and data races. The counts are small
//! because Miri is about a thousand times slower.

use shm2::{Access, Consumer, FrameInfo, FullPolicy, Producer, ReceiveError, Start, layout};
use shm2_testing::TempRegion;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(60));
#[cfg(not(windows))]
const NOW: Option<Duration> = Some(Duration::ZERO);

fn builder(name: &str) -> shm2::producer::Builder {
    Producer::builder(name).unwrap().size(layout::MIN_REGION)
}

#[test]
fn frames_go_through_in_both_ways_and_what_is_held_stays() {
    let name = TempRegion::new();
    let mut producer = builder(&name).history(4).create().unwrap();
    producer.set_caps(b"caps").unwrap();
    let consumer = |access| Consumer::builder(&name).unwrap().access(access).start(Start::Oldest).max_leases(2);
    let mut lease = consumer(Access::Lease).attach(LONG).unwrap();
    let mut snapshot = consumer(Access::Snapshot).attach(LONG).unwrap();
    let mut held = Vec::new();
    for n in 0..24u8 {
        let mut slot = producer.reserve(3000).unwrap();
        slot.write_at(0, &[n; 3000]).unwrap();
        producer.publish_with_meta(slot, &FrameInfo::new().with_pts(n.into()), b"meta").unwrap();
        for consumer in [&mut lease, &mut snapshot] {
            let frame = consumer.next(LONG).unwrap();
            assert_eq!((frame.to_vec(), frame.meta()), (vec![n; 3000], &b"meta"[..]));
            assert_eq!(frame.caps(), Some((1, &b"caps"[..])));
            // The third leased frame is over the budget, and a copy.
            if n % 8 < 3 {
                held.push((n, frame));
            }
        }
        if n % 8 == 7 {
            assert!(held.drain(..).all(|(n, frame)| frame.to_vec() == [n; 3000]));
        }
    }
    producer.end_of_stream().unwrap();
    assert!(matches!(lease.next(LONG), Err(ReceiveError::EndOfStream)));
    let stats = producer.handle().stats();
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
    assert!(lease.stats().copied > 0);
}

#[test]
fn threads_read_in_place_while_the_memory_goes_round() {
    const FRAMES: u64 = 30;
    for policy in [FullPolicy::DropOldest, FullPolicy::Block { timeout: LONG }] {
        let name = TempRegion::new();
        let mut producer = builder(&name).history(2).full_policy(policy).create().unwrap();
        std::thread::scope(|scope| {
            let read = || {
                let builder = Consumer::builder(&name).unwrap().access(Access::Lease).start(Start::Oldest);
                let mut consumer = builder.attach(LONG).unwrap();
                let (mut last, mut held) = (0, Vec::new());
                loop {
                    let frame = match consumer.next(LONG) {
                        Ok(frame) => frame,
                        Err(ReceiveError::EndOfStream) => return,
                        Err(error) => panic!("{error}"),
                    };
                    assert!(last == 0 || frame.sequence() == last + 1 + frame.missed());
                    last = frame.sequence();
                    held.push(frame);
                    if held.len() > 2 {
                        let frame = held.remove(0);
                        let bytes = frame.to_vec();
                        assert!(bytes == vec![bytes[0]; bytes.len()], "a held frame changed");
                    }
                }
            };
            let readers = [scope.spawn(read), scope.spawn(read)];
            while producer.consumers() < 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            for n in 0..FRAMES {
                let _ = producer.send(&[n as u8; 6000], &FrameInfo::new());
            }
            producer.end_of_stream().unwrap();
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
    }
}

// Sections on Windows are replaced, never kept.
#[cfg(not(windows))]
#[test]
fn producers_follow_each_other_in_the_same_memory() {
    let name = TempRegion::new();
    let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).start(Start::Oldest).build();
    let mut held = Vec::new();
    for generation in 0..3u8 {
        let mut producer = builder(&name).keep_region(true).create().unwrap();
        for n in 0..12 {
            producer.send(&[generation * 20 + n; 8000], &FrameInfo::new()).unwrap();
            let frame = consumer.next(LONG).unwrap();
            if n == 5 {
                held.push((generation * 20 + n, frame));
            }
        }
        assert!(held.iter().all(|(n, frame)| frame.to_vec() == [*n; 8000]));
    }
    assert!(matches!(consumer.next(NOW), Err(ReceiveError::TimedOut)));
}
