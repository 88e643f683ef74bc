//! A local region that cannot take everything: full of frames that a consumer does not read, or on a full file system.

mod common;

use common::*;
use shm2::{Consumer, FrameInfo, Producer};
use shm2_testing::{TempPath, TempRegion};
use std::process::Command;
use std::time::Duration;

const BIG: usize = 1_300_000;

/// A lossless line into a local region of 4 MiB.
struct Line {
    producer: Producer,
    consumer: Consumer,
    count: u64,
    open: Bridge,
    _publish: Bridge,
    _regions: [TempRegion; 2],
    _router: Router,
}

impl Line {
    fn new(caps: &[u8]) -> Self {
        let (router, regions) = (Router::start(), [TempRegion::new(), TempRegion::new()]);
        let mut producer = keeping_producer(&regions[0]);
        producer.set_caps(caps).unwrap();
        let publish = router.publish(&regions[0], &["--lossless"]);
        let open = router.open(&regions[0], &regions[1], &["--lossless", "--size", "4M"]);
        let mut consumer = consumer(&regions[1]);
        let mut count = 0;
        send_until(&mut producer, &mut count, || soon(&mut consumer).is_some());
        while soon(&mut consumer).is_some_and(|last| last + 1 < count) {}
        Self { producer, consumer, count, open, _publish: publish, _regions: regions, _router: router }
    }

    /// Three frames that leave too little of the local arena for a fourth, until they are read.
    fn fill(&mut self) {
        for _ in 0..3 {
            self.producer.send(&vec![0; BIG], &FrameInfo::new()).unwrap();
        }
    }

    fn read_them(&mut self) {
        (0..3).for_each(|_| assert_eq!(self.consumer.next(SECONDS).unwrap().len(), BIG));
    }
}

/// A stream whose description found no place must not go out under the description of the one before.
#[test]
fn frames_do_not_get_the_caps_of_the_stream_before() {
    let mut line = Line::new(b"application/x-first");
    line.fill();
    line.producer.set_stream(b"application/x-second", &[1; 1 << 20]).unwrap();
    let (producer, count) = (&mut line.producer, &mut line.count);
    send_until(producer, count, || line.open.text().contains("no consumer freed space for 1048596 bytes"));
    line.read_them();
    let (producer, count, mut frame) = (&mut line.producer, &mut line.count, None);
    send_until(producer, count, || {
        frame = line.consumer.next(Some(Duration::from_millis(20))).ok();
        frame.is_some()
    });
    let frame = frame.unwrap();
    assert_eq!(frame.caps().map(|(_, caps)| caps), Some(&b"application/x-second"[..]), "{}", number(&frame.to_vec()));
    assert!(frame.stream_blob().len() == 1 << 20 && frame.info().flags & 0x40 != 0);
    let text = line.open.stop();
    assert!(!text.contains(" 0 without their description"), "{text}");
}

/// A unit that found no place is missing: what depends on it is not published, and the producer is asked for a keyframe.
#[test]
fn an_encoded_stream_goes_on_with_a_keyframe_after_a_unit_found_no_place() {
    let mut line = Line::new(b"video/x-h264, stream-format=byte-stream, alignment=au");
    line.fill();
    let unit = |number: u64, flags: u32| {
        let mut info = FrameInfo::new().with_pts(number);
        info.flags = flags;
        info
    };
    const DELTA: u32 = 0x2000;
    let asked = line.producer.handle().keyframe_requests();
    line.producer.send(&vec![0; BIG], &unit(1, DELTA)).unwrap();
    line.open.says("no consumer freed space for 1300000 bytes");
    line.read_them();
    shm2_testing::until("the producer is asked for a keyframe", || {
        line.producer.send(&[2; 10], &unit(2, DELTA)).unwrap();
        let frame = line.consumer.next(Some(Duration::from_millis(20)));
        assert!(frame.is_err(), "a unit that cannot be decoded arrived");
        // The producer looks for requests.
        line.producer.consumers();
        line.producer.handle().keyframe_requests() > asked
    });
    line.producer.send(&[3; 10], &unit(3, 0)).unwrap();
    let frame = line.consumer.next(SECONDS).unwrap();
    assert!(frame.info().pts == Some(3) && frame.info().flags & 0x40 != 0);
    let text = line.open.stop();
    assert!(text.contains(" 1 dropped here") && !text.contains(" 0 not decodable"), "{text}");
}

/// A file system of 24 MiB, unmounted at drop.
struct SmallDisk(TempPath);

impl SmallDisk {
    /// `None` for a user who may not mount one.
    fn mount() -> Option<Self> {
        let disk = Self(TempPath::new("zenoh-disk"));
        std::fs::create_dir(&disk.0).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=24M", "tmpfs"]).arg(&disk.0).status();
        mounted.is_ok_and(|status| status.success()).then_some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-q", "-l"]).arg(&self.0).status();
    }
}

/// Frames of 8 MiB want an arena of 32 MiB, for which the file system has no space.
#[test]
fn a_region_that_cannot_grow_is_not_made_again_for_each_frame() {
    let Some(disk) = SmallDisk::mount() else { return shm2_testing::skip("a full disk: this user may not mount one") };
    let (router, region, local) = (Router::start(), TempRegion::new(), disk.0.join("local"));
    let mut small = producer(&region);
    let _publish = router.publish(&region, &["--lossless"]);
    let open = router.bridge(&["open", &source(&region), "--as", local.to_str().unwrap(), "--lossless"]);
    open.says("opened");
    let (mut consumer, mut count) = (consumer(local.to_str().unwrap()), 0);
    send_until(&mut small, &mut count, || soon(&mut consumer).is_some());
    drop(small);
    let mut large = Producer::builder(&region).unwrap().arena(64 << 20).create().unwrap();
    for number in 0.. {
        large.send(&vec![9; 8 << 20], &FrameInfo::new()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        // The consumer attaches to the region that is made again once.
        while soon(&mut consumer).is_some() {}
        if number > 20 && open.text().contains("does not fit into an arena of 4194304") {
            break;
        }
        assert!(number < 500, "{}", open.text());
    }
    send_until(&mut large, &mut count, || soon(&mut consumer).is_some());
    assert_eq!(consumer.stats().attaches, 2);
    let text = open.stop();
    assert_eq!(text.matches("the local region stays small: no free space for").count(), 1, "{text}");
    assert!(!text.contains(" 0 dropped here"), "{text}");
}
