//! What one host publishes is what another host reads: bytes, times, metas, events, ends, changes of caps and sizes; and
//! nothing is sent while nobody reads.

mod common;

use common::*;
use shm2::{FrameInfo, FullPolicy, Overview, Producer, ReceiveError};
use shm2_testing::{TempRegion, until, until_within};
use std::time::Duration;

#[test]
fn frames_events_and_ends_arrive_with_times_metas_and_caps() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = producer(&region);
    let _publish = router.publish(&region, &["--lossless"]);
    let open = router.open(&region, &local, &["--lossless"]);
    open.says("opened");
    producer.set_stream(b"application/x-test, n=1", b"blob").unwrap();
    let mut consumer = consumer(&local);
    let mut count = 0;
    send_until(&mut producer, &mut count, || soon(&mut consumer).is_some());
    while soon(&mut consumer).is_some_and(|last| last + 1 < count) {}

    let mut info = FrameInfo::new().with_pts(5);
    (info.dts, info.duration, info.offset, info.offset_end) = (Some(-7), Some(40), Some(3), Some(4));
    (info.flags, info.latency, info.time) = (0x400, 9, Some(shm2::monotonic_ns()));
    let slot = producer.reserve(100).unwrap();
    producer.publish_with_meta(slot, &info, b"meta").unwrap();
    producer.send_event(&FrameInfo::new().with_pts(6), b"event").unwrap();
    producer.end_of_stream().unwrap();
    producer.set_stream(b"application/x-test, n=2", b"").unwrap();
    producer.send(b"other caps", &info).unwrap();

    let frame = consumer.next(SECONDS).unwrap();
    assert_eq!((frame.len(), frame.meta(), frame.stream_blob()), (100, &b"meta"[..], &b"blob"[..]));
    assert_eq!(frame.caps().unwrap().1, b"application/x-test, n=1");
    let shift = frame.info().time.unwrap().abs_diff(info.time.unwrap());
    println!("one machine: times differ by {shift} ns");
    // Both hosts are this machine, so both clocks are the same.
    assert!(shift < 2_000_000, "{shift}");
    info.time = frame.info().time;
    assert_eq!(frame.info(), info);
    let event = consumer.next(SECONDS).unwrap();
    assert!(event.is_event() && event.meta() == b"event" && event.info().pts == Some(6));
    assert!(matches!(consumer.next(SECONDS), Err(ReceiveError::EndOfStream)));
    let last = consumer.next(SECONDS).unwrap();
    assert_eq!(
        (last.to_vec().as_slice(), last.caps().unwrap().1),
        (&b"other caps"[..], &b"application/x-test, n=2"[..])
    );
    // Differences of times are exact.
    assert_eq!(last.info().time, frame.info().time);
}

#[test]
fn nothing_is_sent_while_nobody_reads() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = producer(&region);
    let publish = router.publish(&region, &[]);
    let open = router.open(&region, &local, &[]);
    open.says("opened");
    let mut count = 0;
    for _ in 0..100 {
        send(&mut producer, count);
        count += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!producer.handle().has_snapshot_consumers() && producer.consumers() == 0);
    assert!(!publish.text().contains("read:") && !open.text().contains("receiving"));
    let mut first = consumer(&local);
    send_until(&mut producer, &mut count, || soon(&mut first).is_some());
    assert!(producer.handle().has_snapshot_consumers());
    drop(first);
    until("the bridge lets go of the region", || !producer.handle().has_snapshot_consumers());
    publish.says("not read:");
    open.says("idle:");
}

#[test]
fn larger_frames_get_a_larger_region() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut small = producer(&region);
    let _publish = router.publish(&region, &["--lossless"]);
    let open = router.open(&region, &local, &["--size-limit", "64M"]);
    open.says("opened");
    let mut consumer = consumer(&local);
    let mut count = 0;
    send_until(&mut small, &mut count, || soon(&mut consumer).is_some());
    drop(small);
    let mut large = Producer::builder(&region).unwrap().arena(40 << 20).create().unwrap();
    let info = FrameInfo::new();
    until("a large frame arrives", || {
        large.send(&vec![9; 8 << 20], &info).unwrap();
        matches!(consumer.next(Some(Duration::from_millis(100))), Ok(frame) if frame.len() == 8 << 20)
    });
    assert!(Overview::of(&local).unwrap().arena_bytes >= 32 << 20);
    // Beyond the limit a frame is dropped, with one sentence.
    drop(large);
    let mut huge = Producer::builder(&region).unwrap().arena(140 << 20).create().unwrap();
    until("the frame is refused", || {
        huge.send(&vec![9; 65 << 20], &info).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        open.text().contains("67108864 are accepted: raise --size-limit")
    });
    assert_eq!(open.text().matches("are accepted").count(), 1);
}

#[test]
fn regions_are_listed_by_host_and_those_that_appear_later_too() {
    let (router, first, second) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut one = producer(&first);
    one.set_caps(b"video/x-raw, format=RGBA").unwrap();
    let pattern = format!("shm2-test-{}-*", std::process::id());
    let publish = router.bridge(&["publish", &pattern, "--host", "south"]);
    publish.says("published: south/");
    let _two = producer(&second);
    let name = |region: &TempRegion| format!("south/{}", region.path().file_name().unwrap().to_str().unwrap());
    publish.says(&format!("published: {}", name(&second)));
    let list = |more: &[&str]| router.bridge(&[&["list"], more].concat()).stop_by_itself();
    let text = list(&[]);
    assert!(text.contains(&format!("{}  video/x-raw, format=RGBA\n", name(&first))), "{text}");
    assert!(text.contains(&format!("{}  (no caps yet)\n", name(&second))), "{text}");
    let json = list(&["--json"]);
    assert!(json.contains(r#""host":"south""#) && json.contains(r#""caps":"video/x-raw, format=RGBA""#), "{json}");
    drop(one);
    publish.says(&format!("gone: {}", name(&first)));
    assert!(!list(&[]).contains(&name(&first)));
}

/// A reader that stands still, and a producer that waits for slow consumers: the producer must not notice either.
#[test]
fn back_pressure_does_not_reach_the_producer() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    // Each frame fails that waits this long for a consumer.
    let policy = FullPolicy::Block { timeout: Some(Duration::from_secs(1)) };
    let mut producer = Producer::builder(&region).unwrap().arena(4 << 20).full_policy(policy).create().unwrap();
    let publish = router.publish(&region, &["--lossless"]);
    let open = router.open(&region, &local, &["--lossless", "--queue", "1"]);
    open.says("opened");
    let mut consumer = consumer(&local);
    let mut count = 0;
    send_until(&mut producer, &mut count, || soon(&mut consumer).is_some());
    // The consumer takes nothing now, and its region waits for it; so do the queues of the network.
    let info = FrameInfo::new();
    let bytes = vec![1; 1 << 20];
    for number in 0..200 {
        let sent = producer.send(&bytes, &info);
        assert!(sent.is_ok(), "frame {number} of 200 waited for the reader: {sent:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    until("frames flow again, and the loss is marked", || {
        send(&mut producer, count);
        std::thread::sleep(Duration::from_millis(5));
        matches!(consumer.next(Some(Duration::from_millis(20))), Ok(frame) if frame.info().flags & 0x40 != 0)
    });
    drop(consumer);
    publish.says("not read:");
    // A connection that was closed has a line of its own.
    let text = publish.text();
    let counts = text.lines().filter_map(|line| line.strip_suffix(" missed")?.rsplit(", ").next());
    let missed: u64 = counts.map(|count| count.parse::<u64>().unwrap()).sum();
    println!("{missed} items missed by the bridge");
    assert!(missed > 0, "{}", publish.text());
}

/// The flag of a unit that cannot be decoded alone.
const DELTA: u32 = 0x2000;

#[test]
fn an_encoded_stream_begins_with_a_keyframe_and_goes_on_when_its_tags_change() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = producer(&region);
    let _publish = router.publish(&region, &["--lossless"]);
    let open = router.open(&region, &local, &["--lossless"]);
    open.says("opened");
    let caps = b"video/x-h264, stream-format=byte-stream, alignment=au";
    producer.set_stream(caps, b"tags 1").unwrap();
    let mut consumer = consumer(&local);
    let unit = |number: u64, flags: u32| {
        let mut info = FrameInfo::new().with_pts(number);
        info.flags = flags;
        info
    };
    // The first units are of no use, and the producer is asked for a keyframe.
    until("the request of a keyframe reaches the producer", || {
        producer.send(&[1; 10], &unit(1, DELTA)).unwrap();
        assert!(consumer.next(Some(Duration::from_millis(20))).is_err(), "a unit that cannot be decoded arrived");
        producer.consumers();
        producer.handle().keyframe_requests() > 0
    });
    producer.send(&[2; 10], &unit(2, 0)).unwrap();
    producer.set_stream(caps, b"tags 2").unwrap();
    producer.send(&[3; 10], &unit(3, DELTA)).unwrap();
    for expected in [2, 3] {
        assert_eq!(consumer.next(SECONDS).unwrap().info().pts, Some(expected));
    }
}

/// Size and caps change with each frame: each one arrives with its own.
#[test]
fn caps_that_change_with_each_frame_stay_with_their_frames() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = producer(&region);
    let _publish = router.publish(&region, &["--lossless"]);
    let open = router.open(&region, &local, &["--lossless"]);
    let (mut consumer, mut number, mut right) = (consumer(&local), 0_usize, 0);
    shm2_testing::until("200 frames arrive", || {
        let side = 2 + 2 * (number % 50);
        number += 1;
        let caps = format!("video/x-raw, format=RGBA, width={side}, height={side}, framerate=30/1");
        producer.set_caps(caps.as_bytes()).unwrap();
        producer.send(&vec![side as u8; side * side * 4], &FrameInfo::new()).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        while let Ok(frame) = consumer.next(Some(Duration::ZERO)) {
            let (bytes, caps) = (frame.to_vec(), frame.caps().map(|(_, caps)| caps.to_vec()).unwrap_or_default());
            let side = usize::from(bytes[0]);
            assert_eq!(bytes.len(), side * side * 4);
            assert!(String::from_utf8_lossy(&caps).contains(&format!("width={side},")), "{side} {caps:?}");
            right += 1;
        }
        right >= 200
    });
    let text = open.stop();
    assert!(text.contains(" 0 malformed"), "{text}");
}

/// A stream without caps after one with caps has a description, too.
#[test]
fn a_stream_that_loses_its_caps_goes_on() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut with = producer(&region);
    with.set_caps(b"application/x-test").unwrap();
    let _publish = router.publish(&region, &[]);
    let open = router.open(&region, &local, &[]);
    let (mut consumer, mut count) = (consumer(&local), 0);
    let mut arrives = |producer: &mut Producer, expected: &[u8]| {
        until_within(Duration::from_secs(20), "a frame with these caps arrives", || {
            send(producer, count);
            count += 1;
            let frame = consumer.next(Some(Duration::from_millis(20)));
            frame.is_ok_and(|frame| frame.caps().map_or(&b""[..], |(_, caps)| caps) == expected)
        });
    };
    arrives(&mut with, b"application/x-test");
    drop(with);
    arrives(&mut producer(&region), b"");
    let text = open.stop();
    assert!(text.contains(" without their description"), "{text}");
}

/// Frames would go in a circle: what a bridge has opened is published only if that is asked for.
#[test]
fn an_opened_region_is_published_again_only_with_republish() {
    let (router, region, locals) = (Router::start(), TempRegion::new(), [TempRegion::new(), TempRegion::new()]);
    let mut producer = producer(&region);
    let _publish = router.publish(&region, &[]);
    let _open = router.open(&region, &locals[0], &[]);
    until("the local region is there", || locals[0].exists());
    let again = ["publish", &locals[0], "--host", "south"];
    let refused = router.bridge(&again);
    refused.says("waiting: no region in");
    // Time in which it could still be published.
    let text = router.bridge(&["list"]).stop_by_itself();
    assert!(!text.contains("south/") && !refused.text().contains("published: "), "{text}");
    let _again = router.bridge(&[&again[..], &["--republish"]].concat());
    let name = format!("south/{}", locals[0].path().file_name().unwrap().to_str().unwrap());
    let _open_again = router.bridge(&["open", &name, "--as", &locals[1]]);
    let (mut consumer, mut count) = (consumer(&locals[1]), 0);
    send_until(&mut producer, &mut count, || soon(&mut consumer).is_some());
}

#[test]
fn a_local_consumer_that_comes_later_gets_the_history() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = keeping_producer(&region);
    let _publish = router.publish(&region, &["--lossless"]);
    let _open = router.open(&region, &local, &["--lossless", "--history", "12"]);
    let (mut first, mut count) = (consumer(&local), 0);
    send_until(&mut producer, &mut count, || soon(&mut first).is_some());
    // Large ones, of which no more than five are kept without a history.
    for _ in 0..30 {
        producer.send(&[&count.to_le_bytes()[..], &[7; 200_000]].concat(), &FrameInfo::new()).unwrap();
        until("it arrives", || soon(&mut first) == Some(count));
        count += 1;
    }
    let mut later = shm2::Consumer::builder(&local).unwrap().start(shm2::Start::Oldest).build();
    let kept: Vec<_> = (0..12).map(|_| number(&later.next(SECONDS).unwrap().to_vec())).collect();
    assert!(kept.windows(2).all(|pair| pair[1] == pair[0] + 1) && kept[0] <= count - 12, "{kept:?} of {count}");
}

/// Many regions at once: each is listed, and the ones that are read have their own frames.
#[test]
fn a_hundred_regions_are_published_and_each_reader_gets_its_own() {
    let router = Router::start();
    let regions: Vec<_> = (0..100).map(|_| TempRegion::new()).collect();
    let create = |region: &TempRegion| Producer::builder(region).unwrap().arena(64 << 10).create().unwrap();
    let mut producers: Vec<_> = regions.iter().map(create).collect();
    let names: Vec<_> = regions.iter().map(|region| &**region).collect();
    let publish = router.bridge(&[&["publish", "--host", "north"], &names[..]].concat());
    until("all are published", || publish.text().matches("published: north/").count() == 100);
    assert_eq!(router.bridge(&["list"]).stop_by_itself().matches("north/").count(), 100);
    let read: Vec<_> = (0..100).step_by(20).map(|index| (index, TempRegion::new())).collect();
    let _open: Vec<_> = read.iter().map(|(index, local)| router.open(&regions[*index], local, &[])).collect();
    let mut consumers: Vec<_> = read.iter().map(|(index, local)| (*index as u64, consumer(local), 0)).collect();
    until("each reader has ten frames", || {
        producers.iter_mut().zip(0..).for_each(|(producer, index)| send(producer, index));
        std::thread::sleep(Duration::from_millis(5));
        for (index, consumer, count) in &mut consumers {
            if let Some(number) = soon(consumer) {
                assert_eq!(number, *index);
                *count += 1;
            }
        }
        consumers.iter().all(|(_, _, count)| *count >= 10)
    });
    let text = publish.stop();
    assert_eq!(text.lines().filter(|line| line.starts_with("read: ")).count(), 5, "nothing else is read: {text}");
}
