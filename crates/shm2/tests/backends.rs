//! One suite for each kind of region: the guarantees of the transport hold for every backend. A plain file stands for
//! the memory of a device and is used in the same way: without locks and wake-ups, by heartbeats and polling.

use shm2::producer::Builder;
use shm2::{Access, Consumer, CreateError, FrameInfo, FullPolicy, Producer, ReceiveError, Start};
use shm2_testing::TempRegion;
use std::time::{Duration, Instant};

const SHORT: Option<Duration> = Some(Duration::from_millis(50));
const LONG: Option<Duration> = Some(Duration::from_secs(10));
const BOTH: [Access; 2] = [Access::Lease, Access::Snapshot];

/// A region name, and how its producer is built.
struct Place {
    text: String,
    kept: bool,
    _name: TempRegion,
}

impl Place {
    /// The system's own kind: a file on tmpfs, a named section.
    fn native() -> Self {
        let name = TempRegion::new();
        Self { text: name.to_string(), kept: false, _name: name }
    }

    #[cfg(target_os = "linux")]
    fn kept() -> Self {
        Self { kept: true, ..Self::native() }
    }

    #[cfg(target_os = "linux")]
    fn device() -> Self {
        let name = TempRegion::new();
        std::fs::File::create(name.path()).unwrap().set_len(8 << 20).unwrap();
        Self { text: format!("ivshmem://{}", name.path().display()), kept: false, _name: name }
    }

    fn producer(&self) -> Builder {
        let lease_time = Duration::from_millis(400);
        let builder = Producer::builder(&self.text).unwrap().size(8 << 20).lease_time(lease_time);
        if self.kept { builder.keep_region(true) } else { builder }
    }

    fn consumer(&self, access: Access) -> shm2::consumer::Builder {
        Consumer::builder(&self.text).unwrap().access(access)
    }
}

macro_rules! suite {
    ($place:ident: $($test:ident)*) => {
        mod $place {
            $(#[test]
            fn $test() {
                super::$test(&super::Place::$place());
            })*
        }
    };
    ($($place:ident)*) => {
        $(suite!($place:
            frames_arrive_in_order_and_whole
            held_frames_never_change_while_the_memory_goes_round
            a_consumer_may_come_first_and_follows_its_producers
            a_second_live_producer_is_refused
            a_sleeping_consumer_is_woken_and_can_be_cancelled
            an_end_of_stream_and_what_comes_after_it
            latest_only_takes_the_second_newest
            block_loses_nothing
            consumers_come_and_go_and_leave_nothing_behind
            many_consumers_at_once
            a_polling_consumer_notices_the_end
        );)*
    };
}

suite!(native);
#[cfg(target_os = "linux")]
suite!(kept device);

fn bytes(n: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (n as usize * 31 + i) as u8).collect()
}

fn frames_arrive_in_order_and_whole(place: &Place) {
    for access in BOTH {
        let mut producer = place.producer().create().unwrap();
        let mut consumer = place.consumer(access).start(Start::Oldest).attach(LONG).unwrap();
        assert_eq!(consumer.access(), Some(access));
        producer.set_caps(b"video/x-raw").unwrap();
        for n in 0..500u64 {
            let info = FrameInfo::new().with_pts(n);
            let sequence = producer.send(&bytes(n, n as usize * 7), &info).unwrap();
            let frame = consumer.next(LONG).unwrap();
            assert_eq!((frame.sequence(), frame.missed()), (sequence, 0));
            assert_eq!((frame.info(), frame.caps()), (info, Some((1, &b"video/x-raw"[..]))));
            assert_eq!(frame.to_vec(), bytes(n, n as usize * 7));
        }
        assert!(matches!(consumer.next(SHORT), Err(ReceiveError::TimedOut)));
    }
}

fn held_frames_never_change_while_the_memory_goes_round(place: &Place) {
    let mut producer = place.producer().create().unwrap();
    let mut consumer = place.consumer(Access::Lease).attach(LONG).unwrap();
    let mut held = Vec::new();
    for n in 0..8 {
        producer.send(&bytes(n, 100_000), &FrameInfo::new()).unwrap();
        held.push((n, consumer.next(LONG).unwrap()));
    }
    for n in 8..3000 {
        producer.send(&bytes(n, 100_000), &FrameInfo::new()).unwrap();
    }
    for (n, frame) in &held {
        assert!(frame.is_leased());
        assert_eq!(frame.to_vec(), bytes(*n, 100_000), "held frame {n} changed");
    }
    let next = consumer.next(LONG).unwrap();
    assert_eq!(next.missed() + 9, next.sequence(), "every frame is received or missed");
    assert_eq!(producer.handle().stats().held, 8);
    drop((held, next));
    producer.send(b"x", &FrameInfo::new()).unwrap();
    assert_eq!(producer.consumers(), 1);
    assert_eq!(producer.handle().stats().held, 0, "released frames are recycled");
}

fn a_consumer_may_come_first_and_follows_its_producers(place: &Place) {
    for access in BOTH {
        let mut consumer = place.consumer(access).build();
        assert!(matches!(consumer.next(SHORT), Err(ReceiveError::TimedOut)));
        let (said, heard) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            for generation in 0..3u8 {
                let frame = consumer.next(LONG).unwrap();
                assert_eq!((frame.to_vec(), frame.is_discontinuity()), (vec![generation], generation > 0));
                said.send(generation).unwrap();
            }
        });
        for generation in 0..3u8 {
            let mut producer = place.producer().create().unwrap();
            producer.send(&[generation], &FrameInfo::new()).unwrap();
            assert_eq!(heard.recv_timeout(LONG.unwrap()), Ok(generation));
        }
        reader.join().unwrap();
    }
}

fn a_second_live_producer_is_refused(place: &Place) {
    let mut first = place.producer().create().unwrap();
    let refused = place.producer().create();
    assert!(matches!(refused, Err(CreateError::Busy { .. })), "{refused:?}");
    first.send(b"still here", &FrameInfo::new()).unwrap();
    let mut consumer = place.consumer(Access::Auto).attach(LONG).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"still here");
    drop(first);
    assert!(place.producer().create().is_ok());
}

fn a_sleeping_consumer_is_woken_and_can_be_cancelled(place: &Place) {
    for access in BOTH {
        let mut producer = place.producer().create().unwrap();
        let mut consumer = place.consumer(access).attach(LONG).unwrap();
        let canceller = consumer.canceller();
        let reader = std::thread::spawn(move || {
            let frame = consumer.next(LONG).unwrap().to_vec();
            (frame, consumer.next(LONG).map(|_| ()))
        });
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        producer.send(b"woken", &FrameInfo::new()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        canceller.set(true);
        let (frame, end) = reader.join().unwrap();
        assert_eq!(frame, b"woken");
        assert!(matches!(end, Err(ReceiveError::Cancelled)));
        assert!(start.elapsed() < LONG.unwrap(), "no wait reached its time limit");
    }
}

fn an_end_of_stream_and_what_comes_after_it(place: &Place) {
    for access in BOTH {
        let mut producer = place.producer().create().unwrap();
        let mut consumer = place.consumer(access).attach(LONG).unwrap();
        producer.send(b"last", &FrameInfo::new()).unwrap();
        producer.end_of_stream().unwrap();
        producer.send(b"first", &FrameInfo::new()).unwrap();
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"last");
        assert!(matches!(consumer.next(LONG), Err(ReceiveError::EndOfStream)));
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"first");
    }
}

fn latest_only_takes_the_second_newest(place: &Place) {
    let mut producer = place.producer().create().unwrap();
    let mut consumer = place.consumer(Access::Lease).latest_only(true).attach(LONG).unwrap();
    for n in 1..=10u8 {
        producer.send(&[n], &FrameInfo::new()).unwrap();
    }
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), [9]);
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), [10]);
    assert_eq!(consumer.stats().skipped, 8);
}

fn block_loses_nothing(place: &Place) {
    const COUNT: u64 = 400;
    let policy = FullPolicy::Block { timeout: LONG };
    let mut producer = place.producer().full_policy(policy).create().unwrap();
    let mut consumer = place.consumer(Access::Lease).start(Start::Oldest).attach(LONG).unwrap();
    let reader = std::thread::spawn(move || {
        for n in 0..COUNT {
            let frame = consumer.next(LONG).unwrap();
            assert_eq!((frame.missed(), frame.to_vec()), (0, bytes(n, 300_000)));
        }
    });
    for n in 0..COUNT {
        producer.send(&bytes(n, 300_000), &FrameInfo::new()).unwrap();
    }
    reader.join().unwrap();
    let stats = producer.handle().stats();
    assert_eq!((stats.dropped_oldest, stats.dropped_newest), (0, 0));
}

fn consumers_come_and_go_and_leave_nothing_behind(place: &Place) {
    let mut producer = place.producer().create().unwrap();
    let free = producer.handle().stats().free_bytes;
    for round in 0..12u8 {
        let mut consumer = place.consumer(BOTH[usize::from(round % 2)]).start(Start::Next).attach(LONG).unwrap();
        let kept: Vec<_> = (0..6u8)
            .map(|n| {
                producer.send(&[round ^ n; 5000], &FrameInfo::new()).unwrap();
                consumer.next(LONG).unwrap()
            })
            .collect();
        drop(consumer);
        // Frames outlive the consumer that took them.
        assert!(kept.iter().zip(0..).all(|(frame, n)| frame.to_vec() == [round ^ n; 5000]));
    }
    assert_eq!(producer.consumers(), 0);
    let stats = producer.handle().stats();
    assert_eq!(stats.held, 0);
    // History for late consumers; regions that cannot count snapshot consumers keep two frames.
    assert!(free - stats.free_bytes <= 3 * 5056, "{stats:?}");
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
}

fn many_consumers_at_once(place: &Place) {
    const COUNT: u64 = 200;
    let mut producer = place.producer().create().unwrap();
    let readers: Vec<_> = BOTH
        .into_iter()
        .cycle()
        .take(8)
        .map(|access| {
            let mut consumer = place.consumer(access).start(Start::Next).attach(LONG).unwrap();
            std::thread::spawn(move || {
                let mut seen = 0;
                while seen < COUNT {
                    let frame = consumer.next(LONG).unwrap();
                    seen += 1 + frame.missed();
                    assert_eq!(frame.to_vec(), bytes(frame.sequence(), 20_000));
                }
                seen
            })
        })
        .collect();
    for n in 1..=COUNT {
        producer.send(&bytes(n, 20_000), &FrameInfo::new()).unwrap();
        std::thread::sleep(Duration::from_micros(300));
    }
    assert!(readers.into_iter().all(|reader| reader.join().unwrap() == COUNT));
}

fn a_polling_consumer_notices_the_end(place: &Place) {
    let mut producer = place.producer().create().unwrap();
    let exit = shm2::OnProducerExit::Error;
    let mut consumer = place.consumer(Access::Lease).on_producer_exit(exit).attach(LONG).unwrap();
    producer.send(b"x", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.try_next().unwrap().unwrap().to_vec(), b"x");
    drop(producer);
    let start = Instant::now();
    let end = loop {
        match consumer.try_next() {
            Ok(None) => assert!(start.elapsed() < LONG.unwrap(), "the end is never seen"),
            other => break other.map(|_| ()),
        }
    };
    assert!(matches!(end, Err(ReceiveError::ProducerGone { .. })), "{end:?}");
}
