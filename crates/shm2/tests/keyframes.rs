//! Requests of consumers for a keyframe, and the caps of a region before its first frame.

use shm2::Overview;
use shm2::producer::Handle;
use shm2::{Access, AttachError, Consumer, FrameInfo, Producer, layout};
use shm2_testing::{TempRegion, until, words};
use std::mem::offset_of;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn consumer(name: &TempRegion, access: Access) -> Consumer {
    Consumer::builder(name).unwrap().access(access).attach(LONG).unwrap()
}

/// Waits for changes, as the sink does, until `count` requests were seen.
fn await_requests(handle: &Handle, count: u64) {
    until("the request is seen", || {
        let seen = handle.changes();
        handle.consumers();
        handle.keyframe_requests() == count || {
            handle.wait_change(seen, Some(Duration::from_millis(1)));
            false
        }
    });
}

#[test]
fn a_keyframe_request_reaches_the_producer_from_each_access_and_each_consumer() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let mut producer = Producer::create(&name).unwrap();
        let handle = producer.handle();
        let mut consumers = [(); 2].map(|()| consumer(&name, access));
        assert_eq!(handle.keyframe_requests(), 0, "an attach is no request");
        let mut count = 0;
        for _ in 0..2 {
            for consumer in &mut consumers {
                let changes = handle.changes();
                assert!(consumer.request_keyframe());
                assert!(handle.wait_change(changes, LONG), "the request is a change");
                count += 1;
                await_requests(&handle, count);
                // A snapshot consumer's request lasts for a time, and ends with a frame after it.
                std::thread::sleep(Duration::from_millis(if access == Access::Lease { 0 } else { 310 }));
                producer.send(b"frame", &FrameInfo::new()).unwrap();
                consumer.next(LONG).unwrap();
                handle.consumers();
            }
        }
        assert_eq!(handle.keyframe_requests(), 4);
        drop(consumers);
    }
}

#[test]
fn a_request_of_a_kept_region_belongs_to_its_generation() {
    let name = TempRegion::new();
    let keep = || Producer::builder(&name).unwrap().arena(1 << 20).keep_region(true).create().unwrap();
    let producer = keep();
    assert!(consumer(&name, Access::Lease).request_keyframe());
    assert_eq!(producer.handle().keyframe_requests(), 1);
    drop(producer);
    let producer = keep();
    assert_eq!(producer.handle().keyframe_requests(), 0);
    let mut next = consumer(&name, Access::Lease);
    assert_eq!(producer.handle().keyframe_requests(), 0);
    next.request_keyframe();
    assert_eq!(producer.handle().keyframe_requests(), 1);
    drop(producer);
    assert!(matches!(next.next(Some(Duration::from_millis(1))), Err(shm2::ReceiveError::TimedOut)));
    assert!(!next.request_keyframe(), "a detached consumer reaches no producer");
}

#[test]
fn caps_are_seen_before_the_first_frame_and_without_a_frame_in_the_ring() {
    let name = TempRegion::new();
    let create = || Producer::builder(&name).unwrap().arena(1 << 20).history(0).keep_region(true).create().unwrap();
    let mut producer = create();
    let caps = || Overview::of(&name).unwrap().caps;
    assert_eq!(caps(), None);
    producer.set_stream(b"first", b"blob").unwrap();
    assert_eq!(caps().as_deref(), Some(&b"first"[..]));
    producer.set_caps(b"second").unwrap();
    assert_eq!(caps().as_deref(), Some(&b"second"[..]), "of the next frame");
    for _ in 0..10 {
        producer.send(b"frame", &FrameInfo::new()).unwrap();
        assert_eq!(caps().as_deref(), Some(&b"second"[..]));
    }
    drop(producer);
    assert!(matches!(Overview::of(&name), Err(AttachError::NoProducer { .. })));
    let producer = create();
    assert_eq!(caps(), None, "the caps are those of this generation");
    drop(producer);
}

#[cfg(unix)]
#[test]
fn no_value_of_the_caps_words_disturbs_a_reader() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(1 << 20).create().unwrap();
    producer.set_caps(b"caps").unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(name.path()).unwrap();
    let fields = [
        offset_of!(layout::Header, caps_sequence),
        offset_of!(layout::Header, caps_offset),
        offset_of!(layout::Header, caps_length_id),
        offset_of!(layout::Header, caps_blob),
    ];
    for field in fields.map(|field| field as u64) {
        let right = words::read(&file, field, 8);
        let wrong = [0, 1, u64::MAX, right + 1, 1 << 63, right | 0xffff_ffff, right | 0xffff_ffff << 32, 1 << 20];
        for value in wrong {
            words::write(&file, field, 8, value);
            let caps = Overview::of(&name).unwrap().caps;
            assert!(caps.is_none_or(|caps| caps.len() <= 65_536), "{field}: {value:x}");
        }
        words::write(&file, field, 8, right);
    }
    assert_eq!(Overview::of(&name).unwrap().caps.as_deref(), Some(&b"caps"[..]));
}

#[test]
fn decoding_times_before_zero_arrive_as_they_were_sent() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let mut producer = Producer::create(&name).unwrap();
        let mut consumer = consumer(&name, access);
        let cases = [(Some(0), Some(0)), (Some(-66_666_667), Some(-66_666_667)), (None, None), (Some(-1), Some(-2))];
        for (sent, received) in
            cases.into_iter().chain([(Some(i64::MAX), Some(i64::MAX)), (Some(i64::MIN), Some(i64::MIN))])
        {
            let mut info = FrameInfo::new().with_pts(0);
            info.dts = sent;
            producer.send(b"frame", &info).unwrap();
            assert_eq!(consumer.next(LONG).unwrap().info().dts, received);
        }
    }
}
