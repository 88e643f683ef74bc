//! A local region that cannot take everything: full of frames that consumers hold, or on a full file system.

mod common;

use common::*;
use shm2::{Consumer, Frame, FrameInfo, Producer};
use shm2_testing::TempRegion;
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
        let mut producer = Producer::builder(&regions[0]).unwrap().arena(32 << 20).create().unwrap();
        producer.set_caps(caps).unwrap();
        let publish = router.publish(&regions[0], &["--lossless"]);
        let open = router.open(&regions[0], &regions[1], &["--lossless", "--size", "4M"]);
        let mut consumer = consumer(&regions[1]);
        let mut count = 0;
        send_until(&mut producer, &mut count, || soon(&mut consumer).is_some());
        while soon(&mut consumer).is_some_and(|last| last + 1 < count) {}
        Self { producer, consumer, count, open, _publish: publish, _regions: regions, _router: router }
    }

    /// Three frames that leave too little of the local arena for a fourth.
    fn hold(&mut self) -> Vec<Frame> {
        let hold = |_| {
            self.producer.send(&vec![0; BIG], &FrameInfo::new()).unwrap();
            self.consumer.next(SECONDS).unwrap()
        };
        (0..3).map(hold).collect()
    }
}

/// A stream whose description found no place must not go out under the description of the one before.
#[test]
fn frames_do_not_get_the_caps_of_the_stream_before() {
    let mut line = Line::new(b"application/x-first");
    let held = line.hold();
    line.producer.set_stream(b"application/x-second", &[1; 1 << 20]).unwrap();
    let (producer, count) = (&mut line.producer, &mut line.count);
    send_until(producer, count, || line.open.text().contains("no consumer freed space for 1048596 bytes"));
    drop(held);
    let mut frame = None;
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
