//! Words that count start near their limits.

#![cfg(target_os = "linux")]

use shm2::layout::{self, Header, Page};
use shm2::{Access, Consumer, FrameInfo, Producer, Start};
use shm2_testing::{TempRegion, until, words};
use std::fs::File;
use std::mem::offset_of;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn file(name: &TempRegion) -> File {
    File::options().read(true).write(true).open(name.path()).unwrap()
}

fn page_word(offset: usize) -> u64 {
    layout::page_words_offset(0) + offset as u64
}

/// Each frame is published while the consumer sleeps, so each one needs its wake-up.
#[test]
fn no_wake_up_is_lost_where_the_wake_word_and_the_tickets_wrap() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let mut producer = Producer::create(&name).unwrap();
        words::write(&file(&name), offset_of!(Header, wake) as u64, 4, u32::MAX as u64 - 2);
        // An owner begins 65,536 above the ticket that it finds.
        words::write(&file(&name), page_word(offset_of!(Page, ticket)), 4, (u32::MAX - (1 << 16) - 2) as u64);
        let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
        // A snapshot consumer sleeps shortly until its producer has noticed it.
        std::thread::sleep(Duration::from_millis(650));
        let (received, was_received) = std::sync::mpsc::channel();
        let sleeping = std::thread::spawn(move || {
            for _ in 0..8 {
                received.send(consumer.next(LONG).unwrap().sequence()).unwrap();
            }
            consumer.stats()
        });
        for frame in 1..=8 {
            std::thread::sleep(Duration::from_millis(30));
            producer.send(b"frame", &FrameInfo::new()).unwrap();
            assert_eq!(was_received.recv(), Ok(frame));
        }
        assert_eq!(sleeping.join().unwrap().lost_wakes, 0, "{access:?}");
        let wake = words::read(&file(&name), offset_of!(Header, wake) as u64, 4);
        assert!(wake < 100, "{access:?}: the word has wrapped: {wake}");
    }
}

#[test]
fn requests_of_keyframes_are_seen_where_their_count_wraps() {
    let name = TempRegion::new();
    let producer = Producer::create(&name).unwrap();
    words::write(&file(&name), page_word(offset_of!(Page, keyframe_requests)), 4, u32::MAX.into());
    let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    let handle = producer.handle();
    handle.consumers();
    let before = handle.keyframe_requests();
    for request in 1..=2 {
        assert!(consumer.request_keyframe());
        until("the request is seen", || {
            handle.consumers();
            handle.keyframe_requests() == before + request
        });
    }
}

/// A generation continues up to the limit of the sequences; a producer that finds more than half of them used begins
/// anew.
#[test]
fn sequences_near_half_of_their_limit_are_used_and_then_begin_anew() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let keep = || Producer::builder(&name).unwrap().arena(1 << 20).keep_region(true).create().unwrap();
        drop(keep());
        let half = layout::MAX_SEQUENCE / 2;
        words::write(&file(&name), offset_of!(Header, head) as u64, 8, half - 5);
        let mut producer = keep();
        let builder = Consumer::builder(&name).unwrap().access(access).start(Start::Oldest);
        let mut consumer = builder.attach(LONG).unwrap();
        for frame in 0..10 {
            let sequence = producer.send(b"frame", &FrameInfo::new()).unwrap();
            assert_eq!(sequence, half - 4 + frame);
            assert_eq!(consumer.next(LONG).unwrap().sequence(), sequence, "{access:?}");
        }
        drop(producer);
        let mut producer = keep();
        assert_eq!(producer.send(b"first", &FrameInfo::new()).unwrap(), 1);
        let frame = consumer.next(LONG).unwrap();
        assert_eq!((frame.sequence(), frame.to_vec()), (1, b"first".to_vec()), "{access:?}");
        assert!(frame.is_discontinuity());
    }
}
