//! A frame of the core: reserve and publish, take, release.

use shm2::{Consumer, FrameInfo, Producer, Start};
use shm2_counts::{batches, step_if};
use shm2_testing::{LIMIT, TempRegion};

/// Steps of a batch: the memory of a large frame is used again several times within it.
const STEPS: usize = 256;

const SIZES: [(&str, usize); 2] = [("64 B", 64), ("3 MB", 3_000_000)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Publish,
    Take,
    Release,
}

struct Region {
    producer: Producer,
    consumers: Vec<Consumer>,
    bytes: usize,
    info: FrameInfo,
    _name: TempRegion,
}

impl Region {
    fn new(bytes: usize, consumers: usize) -> Self {
        let name = TempRegion::new();
        let producer = Producer::builder(&name).expect("a name").arena(6 * bytes as u64 + (1 << 20)).create();
        let attach = || Consumer::builder(&name).expect("a name").start(Start::Oldest).attach(Some(LIMIT));
        let consumers = (0..consumers).map(|_| attach().expect("a consumer")).collect();
        let producer = producer.expect("a region");
        let mut new = Self { producer, consumers, bytes, info: FrameInfo::new().with_pts(0), _name: name };
        // More frames than the ring has cells, so that cells and memory are used again.
        (0..5000).for_each(|_| new.hand_over(None));
        new
    }

    /// One frame to all consumers. Counts the step of the producer, or that of the first consumer.
    fn hand_over(&mut self, counts: Option<Step>) {
        let Self { producer, consumers, bytes, info, _name } = self;
        step_if(counts == Some(Step::Publish), || {
            let slot = producer.reserve(*bytes).expect("free space");
            producer.publish(slot, info).expect("published");
        });
        for (number, consumer) in consumers.iter_mut().enumerate() {
            let counts = counts.filter(|_| number == 0);
            let frame = step_if(counts == Some(Step::Take), || consumer.try_next().expect("the producer lives"));
            assert_eq!(frame.as_ref().map(|frame| frame.len()), Some(*bytes));
            step_if(counts == Some(Step::Release), || drop(frame));
        }
    }
}

pub fn run() {
    for (size, bytes) in SIZES {
        for consumers in [1, 8] {
            let mut region = Region::new(bytes, consumers);
            for (step, name) in [(Step::Publish, "publish"), (Step::Take, "take"), (Step::Release, "release")] {
                let name = format!("core: {name}, {size}, consumers: {consumers}");
                batches(&name, STEPS, || region.hand_over(Some(step)));
            }
        }
    }
}
