//! Instructions of one frame, counted by callgrind:
//! `cargo bench --manifest-path benches/Cargo.toml --bench frames`. It needs valgrind and `gungraun-runner`
//! (`cargo install gungraun-runner`).
//!
//! Producer and consumer share one thread, and a plain region. The region, the attachment, and the first frames, which
//! touch every page, are set up before the count begins. Both are returned, so that they are dropped after it ends.

#![expect(missing_docs, reason = "the macros of gungraun make public items without documentation")]

use gungraun::prelude::*;
use shm2::{Access, Consumer, FrameInfo, Producer};
use std::hint::black_box;

const BYTES: usize = 1024;
/// More frames than the ring has slots, so that the measured ones reuse slots and memory.
const WARM_UP: usize = 5000;

struct Pair {
    producer: Producer,
    consumer: Consumer,
    info: FrameInfo,
}

impl Pair {
    fn new(access: Access) -> Self {
        let name = format!("/dev/shm/shm2-bench-frames-{}", std::process::id());
        let producer = Producer::builder(&name).unwrap().size(16 << 20).create().unwrap();
        let consumer = Consumer::builder(&name).unwrap().access(access).build();
        let mut pair = Self { producer, consumer, info: FrameInfo::new().with_pts(0) };
        // Attaches; a frame from before the attachment may or may not be delivered.
        assert!(pair.consumer.try_next().unwrap().is_none());
        for _ in 0..WARM_UP {
            pair.publish();
            assert_eq!(pair.take(), BYTES);
        }
        pair
    }

    fn publish(&mut self) {
        let mut slot = self.producer.reserve(black_box(BYTES)).unwrap();
        slot.write_at(0, &black_box(7u64).to_le_bytes()).unwrap();
        self.producer.publish(slot, &self.info).unwrap();
    }

    /// The frame's length; the frame is released before this returns.
    fn take(&mut self) -> usize {
        let frame = self.consumer.try_next().unwrap().unwrap();
        black_box(&frame).len()
    }

    fn hand_over(&mut self) -> usize {
        self.publish();
        self.take()
    }
}

fn leasing() -> Pair {
    Pair::new(Access::Lease)
}

fn snapshot() -> Pair {
    Pair::new(Access::Snapshot)
}

// One frame of 1 KiB: reserve, write 8 bytes, publish, take, release.
#[library_benchmark]
#[bench::lease(leasing())]
#[bench::snapshot(snapshot())]
fn hand_over_1(mut pair: Pair) -> Pair {
    assert_eq!(pair.hand_over(), BYTES);
    pair
}

// A hundred of them, one after the other: the work that is done only now and then is spread over them.
#[library_benchmark]
#[bench::lease(leasing())]
#[bench::snapshot(snapshot())]
fn hand_over_100(mut pair: Pair) -> Pair {
    for _ in 0..100 {
        assert_eq!(pair.hand_over(), BYTES);
    }
    pair
}

library_benchmark_group!(name = frames; benchmarks = hand_over_1, hand_over_100);
main!(library_benchmark_groups = frames);
