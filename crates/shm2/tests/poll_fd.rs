//! The descriptor of a consumer, in a poll loop.

#![cfg(target_os = "linux")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm2::{Access, Consumer, FrameInfo, Producer, ReceiveError, Start};
use shm2_testing::{TempRegion, until};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

fn is_readable_within(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    poll(&mut fds, Some(&timeout)).unwrap() > 0
}

/// Whether the descriptor becomes readable in a generous time.
fn becomes_readable(consumer: &mut Consumer) -> bool {
    is_readable_within(consumer.poll_fd().unwrap(), Duration::from_secs(20))
}

fn is_quiet(consumer: &mut Consumer) -> bool {
    !is_readable_within(consumer.poll_fd().unwrap(), Duration::from_millis(50))
}

/// Takes until there is nothing, as the descriptor demands; probes of a new attachment end after a moment.
fn drain(consumer: &mut Consumer) -> Vec<u64> {
    let mut taken = Vec::new();
    until("the descriptor is not readable", || {
        while let Some(frame) = consumer.try_next().unwrap() {
            taken.push(frame.info().pts.unwrap());
        }
        is_quiet(consumer)
    });
    taken
}

fn frame(pts: u64) -> FrameInfo {
    FrameInfo::new().with_pts(pts)
}

#[test]
fn a_descriptor_is_readable_as_long_as_there_may_be_frames() {
    for access in [Access::Lease, Access::Snapshot] {
        let region = TempRegion::new();
        let mut consumer = Consumer::builder(&region.uri()).unwrap().access(access).start(Start::Oldest).build();
        assert!(becomes_readable(&mut consumer), "at first");
        assert!(drain(&mut consumer).is_empty(), "without a producer");
        let mut producer = Producer::create(&region.uri()).unwrap();
        assert!(becomes_readable(&mut consumer), "a producer has come");
        assert!(drain(&mut consumer).is_empty());
        for round in 0..20 {
            producer.send(b"frame", &frame(2 * round)).unwrap();
            producer.send(b"frame", &frame(2 * round + 1)).unwrap();
            assert!(becomes_readable(&mut consumer), "{access:?} {round}");
            assert_eq!(consumer.try_next().unwrap().unwrap().info().pts, Some(2 * round));
            assert!(becomes_readable(&mut consumer), "one more is there");
            assert_eq!(consumer.try_next().unwrap().unwrap().info().pts, Some(2 * round + 1));
            assert!(consumer.try_next().unwrap().is_none());
        }
        assert!(drain(&mut consumer).is_empty());
    }
}

#[test]
fn a_descriptor_without_a_producer_becomes_quiet_until_one_comes() {
    let region = TempRegion::new();
    let mut consumer = Consumer::builder(&region.uri()).unwrap().start(Start::Oldest).build();
    until("no look for two seconds", || {
        assert!(consumer.try_next().unwrap().is_none());
        !is_readable_within(consumer.poll_fd().unwrap(), Duration::from_secs(2))
    });
    let mut producer = Producer::create(&region.uri()).unwrap();
    producer.send(b"frame", &frame(1)).unwrap();
    assert!(becomes_readable(&mut consumer));
    assert_eq!(drain(&mut consumer), [1]);
}

#[test]
fn a_descriptor_stays_the_same_over_restarts_of_the_producer() {
    let region = TempRegion::new();
    let mut consumer = Consumer::builder(&region.uri()).unwrap().start(Start::Oldest).build();
    let number = consumer.poll_fd().unwrap().as_raw_fd();
    for round in 0..3 {
        let mut producer = Producer::create(&region.uri()).unwrap();
        producer.send(b"frame", &frame(round)).unwrap();
        let mut taken = Vec::new();
        until("the frame is taken", || {
            assert!(becomes_readable(&mut consumer));
            taken.extend(consumer.try_next().unwrap().map(|frame| frame.info().pts.unwrap()));
            !taken.is_empty()
        });
        assert_eq!(taken, [round]);
        drop(producer);
        until("the end is seen", || {
            assert!(consumer.try_next().unwrap().is_none());
            !consumer.is_attached()
        });
    }
    assert_eq!(consumer.poll_fd().unwrap().as_raw_fd(), number);
}

#[test]
fn an_end_of_stream_and_a_truncated_file_make_the_descriptor_readable() {
    let region = TempRegion::new();
    let mut producer = Producer::create(&region.uri()).unwrap();
    let mut consumer = Consumer::builder(&region.uri()).unwrap().access(Access::Snapshot).build();
    drain(&mut consumer);
    producer.end_of_stream().unwrap();
    assert!(becomes_readable(&mut consumer));
    assert!(matches!(consumer.try_next(), Err(ReceiveError::EndOfStream)));
    assert!(becomes_readable(&mut consumer), "after an error");
    drain(&mut consumer);
    region.set_len(4096);
    let mut error = None;
    until("the truncation is reported", || {
        assert!(becomes_readable(&mut consumer));
        error = consumer.try_next().err();
        error.is_some()
    });
    assert!(matches!(error, Some(ReceiveError::Truncated { .. } | ReceiveError::Misbehaving { .. })), "{error:?}");
}
