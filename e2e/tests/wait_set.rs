//! Many producers as processes, killed and stopped at random, and one thread that receives from all: by a set, and by
//! descriptors in a poll loop. The seed of a run is printed; `SHM2_SEED` repeats it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm2::{Consumer, Frame, ReceiveError, WaitSet};
use shm2_e2e::Peer;
use shm2_testing::{LIMIT, RECOVERY, Rng, Signal, TempRegion};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const REGIONS: usize = 8;
const FAULTS: usize = 40;
const PRODUCER: &str = "arena=400000 most=20000 caps=40 pace=500";

/// What one thread received of one region.
#[derive(Default)]
struct Received {
    frames: u64,
    generation: Option<u64>,
    sequence: u64,
}

impl Received {
    /// Within a generation no item comes twice, and each gap is counted.
    fn check(&mut self, frame: &Frame, generation: Option<u64>) {
        if self.generation == generation && self.frames > 0 {
            let gap = frame.sequence() - self.sequence - 1;
            assert!(
                frame.sequence() > self.sequence && gap >= frame.missed(),
                "{} {}",
                self.sequence,
                frame.sequence()
            );
        }
        (self.generation, self.sequence) = (generation, frame.sequence());
        self.frames += 1;
    }
}

/// Something that receives from all regions on this thread.
trait Receiver {
    /// Receives for some time. Errors that tell of a dead producer are no faults.
    fn receive(&mut self, time: Duration);
    fn frames(&self) -> Vec<u64>;
}

struct Set {
    set: WaitSet,
    received: HashMap<shm2::wait_set::Token, Received>,
    tokens: Vec<shm2::wait_set::Token>,
}

impl Receiver for Set {
    fn receive(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Some(ready) = self.set.next(Some(left)) else { continue };
            let generation = self.set.get(ready.token).and_then(Consumer::generation);
            match ready.frame {
                Ok(frame) => self.received.entry(ready.token).or_default().check(&frame, generation),
                Err(ReceiveError::EndOfStream) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn frames(&self) -> Vec<u64> {
        self.tokens.iter().map(|token| self.received.get(token).map_or(0, |received| received.frames)).collect()
    }
}

struct Descriptors(Vec<(Consumer, Received)>);

impl Receiver for Descriptors {
    fn receive(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let fds: Vec<_> = self.0.iter_mut().map(|(consumer, _)| consumer.poll_fd().unwrap()).collect();
            let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            poll(&mut fds, Some(&timeout)).unwrap();
            let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            for ((consumer, received), _) in self.0.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                match consumer.try_next() {
                    Ok(Some(frame)) => received.check(&frame, consumer.generation()),
                    Ok(None) | Err(ReceiveError::EndOfStream) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn frames(&self) -> Vec<u64> {
        self.0.iter().map(|(_, received)| received.frames).collect()
    }
}

fn run(make: impl FnOnce(Vec<Consumer>) -> Box<dyn Receiver>) {
    let mut rng = Rng::with_seed(shm2_testing::seed());
    let names: Vec<_> = (0..REGIONS).map(|_| TempRegion::new()).collect();
    let mut receiver = make(names.iter().map(|name| Consumer::new(&name.uri()).unwrap()).collect());
    let mut producers: Vec<_> = names.iter().map(|name| Peer::producer(name, PRODUCER)).collect();
    for fault in 0..=FAULTS {
        let index = rng.usize(..REGIONS);
        let producer = &mut producers[index];
        match rng.usize(..3) {
            0 => {
                producer.signal(Signal::STOP);
                receiver.receive(Duration::from_millis(20));
                producer.signal(Signal::CONT);
            }
            _ => {
                producer.signal(Signal::KILL);
                receiver.receive(Duration::from_millis(rng.u64(..20)));
                producer.wait_end();
                *producer = Peer::producer(&names[index], PRODUCER);
                producer.wait("its region", LIMIT, |producer| producer.count("created") == 1);
            }
        }
        let (before, begun) = (receiver.frames(), Instant::now());
        while receiver.frames().iter().zip(&before).any(|(now, before)| *now < before + 2) {
            assert!(begun.elapsed() < RECOVERY, "fault {fault}: {before:?}, now {:?}", receiver.frames());
            receiver.receive(Duration::from_millis(5));
        }
    }
    println!("frames of each region: {:?}", receiver.frames());
}

#[test]
fn a_set_follows_producers_that_are_killed_and_stopped() {
    run(|consumers| {
        let mut set = WaitSet::new();
        let tokens = consumers.into_iter().map(|consumer| set.add(consumer).unwrap()).collect();
        Box::new(Set { set, received: HashMap::new(), tokens })
    });
}

#[test]
fn descriptors_follow_producers_that_are_killed_and_stopped() {
    run(|consumers| {
        Box::new(Descriptors(consumers.into_iter().map(|consumer| (consumer, Received::default())).collect()))
    });
}
