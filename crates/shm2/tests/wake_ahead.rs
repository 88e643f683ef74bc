//! A consumer that wakes ahead of time: it takes every frame, of a steady and of an irregular rhythm, and every reason to
//! end a wait ends its sleeps and looks. When it looks and for how long is tested beside the decision, without a clock.

use shm2::{Access, Consumer, FrameInfo, OnProducerExit, Producer, ReceiveError, Start, layout};
use shm2_testing::TempRegion;
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
/// Time between two frames of the steady rhythm.
const STEP: Duration = Duration::from_millis(5);

fn pair(name: &str, access: Access) -> (Producer, Consumer) {
    let producer = Producer::builder(name).unwrap().size(layout::MIN_REGION).create().unwrap();
    let builder = Consumer::builder(name).unwrap().access(access).start(Start::Next).wake_ahead(true);
    (producer, builder.on_producer_exit(OnProducerExit::Error).attach(Some(LIMIT)).unwrap())
}

/// Sends one frame after each of the pauses, from its own thread, and returns the producer at the end.
fn send(mut producer: Producer, pauses: Vec<Duration>) -> thread::JoinHandle<Producer> {
    thread::spawn(move || {
        for (number, pause) in pauses.into_iter().enumerate() {
            thread::sleep(pause);
            producer.send(&(number as u64).to_le_bytes(), &FrameInfo::new()).unwrap();
        }
        producer
    })
}

/// Takes so many frames, and checks that none is missing.
fn take(consumer: &mut Consumer, count: usize) {
    for number in 0..count as u64 {
        let frame = consumer.next(Some(LIMIT)).unwrap();
        assert_eq!((frame.to_vec(), frame.missed()), (number.to_le_bytes().to_vec(), 0));
    }
}

#[test]
fn every_frame_of_a_steady_and_of_an_irregular_rhythm_arrives() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let (producer, mut consumer) = pair(&name, access);
        let steady = vec![STEP; 60];
        let irregular = (0..60).map(|number| Duration::from_micros(number * 7919 % 12_000));
        let bursts = (0..40).map(|number| if number % 4 == 0 { 3 * STEP } else { Duration::ZERO });
        let pauses: Vec<_> =
            steady.iter().copied().chain(irregular).chain(bursts).chain(steady.iter().copied()).collect();
        let count = pauses.len();
        let sender = send(producer, pauses);
        take(&mut consumer, count);
        let stats = consumer.stats();
        println!("{access:?}: {stats:?}");
        assert_eq!((stats.received, stats.missed), (count as u64, 0));
        drop(sender.join().unwrap());
    }
}

#[test]
fn a_consumer_without_the_setting_never_looks() {
    let name = TempRegion::new();
    let producer = Producer::builder(&name).unwrap().size(layout::MIN_REGION).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().start(Start::Next).attach(Some(LIMIT)).unwrap();
    let sender = send(producer, vec![STEP; 40]);
    take(&mut consumer, 40);
    let stats = consumer.stats();
    assert_eq!((stats.looks_found, stats.looks_missed, stats.looked_ns), (0, 0, 0));
    drop(sender.join().unwrap());
}

/// Makes the rhythm known, and returns the producer.
fn learn(producer: Producer, consumer: &mut Consumer, count: usize) -> Producer {
    let sender = send(producer, vec![STEP; count]);
    take(consumer, count);
    sender.join().unwrap()
}

#[test]
fn a_steady_rhythm_is_looked_for() {
    let name = TempRegion::new();
    let (mut producer, mut consumer) = pair(&name, Access::Lease);
    for _ in 0..5 {
        producer = learn(producer, &mut consumer, 80);
        let stats = consumer.stats();
        if stats.looks_found + stats.looks_missed > 0 {
            assert!(stats.looked_ns > 0);
            return;
        }
    }
    shm2_testing::skip("this machine keeps no rhythm of 5 ms, or has one processor");
}

#[test]
fn a_cancel_ends_a_wait_at_any_time_before_and_after_a_frame_is_due() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let (producer, mut consumer) = pair(&name, access);
        let mut producer = learn(producer, &mut consumer, 40);
        for after in (0..24).map(|step| step * STEP / 12) {
            let canceller = consumer.canceller();
            let waiting = thread::spawn(move || {
                let ended = consumer.next(None);
                (consumer, ended)
            });
            thread::sleep(after);
            canceller.set(true);
            let (back, ended) = waiting.join().unwrap();
            assert!(matches!(ended, Err(ReceiveError::Cancelled)), "{ended:?}");
            consumer = back;
            canceller.set(false);
            producer.send(b"next", &FrameInfo::new()).unwrap();
            assert_eq!(consumer.next(Some(LIMIT)).unwrap().to_vec(), b"next");
        }
    }
}

#[test]
fn a_timeout_and_the_end_of_the_producer_end_a_wait() {
    for access in [Access::Lease, Access::Snapshot] {
        for after in (0..12).map(|step| step * STEP / 6) {
            let name = TempRegion::new();
            let (producer, mut consumer) = pair(&name, access);
            let producer = learn(producer, &mut consumer, 24);
            let short = Duration::from_micros(500);
            let begun = Instant::now();
            assert!(matches!(consumer.next(Some(short)), Err(ReceiveError::TimedOut)));
            assert!(begun.elapsed() >= short);
            let ending = thread::spawn(move || {
                thread::sleep(after);
                drop(producer);
            });
            let ended = consumer.next(Some(LIMIT));
            assert!(matches!(ended, Err(ReceiveError::ProducerGone { .. })), "{ended:?}");
            ending.join().unwrap();
        }
    }
}
