//! Five hundred faults at random moments: a process that was hit is replaced or goes on, the others only miss frames,
//! and nothing stays held. The seed of a run is printed; `SHM2_SEED` repeats it.

use shm2_e2e::Peer;
use shm2_testing::{LIMIT, RECOVERY, Rng, Signal, TempRegion};
use std::time::{Duration, Instant};

const FAULTS: usize = 500;
const PRODUCER: &str = "arena=400000 most=20000 caps=40 eos=60 pace=100";
const CONSUMERS: [&str; 4] =
    ["access=lease hold=4", "access=lease hold=12 pace=500", "access=snapshot", "access=lease latest=1"];

struct Stage {
    name: TempRegion,
    producer: Peer,
    consumers: Vec<Peer>,
    worst: Duration,
}

impl Stage {
    fn new(name: TempRegion) -> Self {
        let producer = Peer::producer(&name, PRODUCER);
        let consumers = CONSUMERS.iter().map(|options| Peer::consumer(&name, options)).collect();
        Self { name, producer, consumers, worst: Duration::ZERO }
    }

    /// Checks that every consumer gets frames in time.
    fn check(&mut self) {
        let begun = Instant::now();
        for consumer in &mut self.consumers {
            consumer.wait_more("checked", 2, RECOVERY * 3);
        }
        assert!(begun.elapsed() < RECOVERY, "frames came only after {:?}", begun.elapsed());
        self.worst = self.worst.max(begun.elapsed());
    }

    fn kill_consumer(&mut self, index: usize) {
        let replacement = Peer::consumer(&self.name, CONSUMERS[index]);
        std::mem::replace(&mut self.consumers[index], replacement).kill();
    }

    fn kill_producer(&mut self) {
        self.producer.signal(Signal::KILL);
        self.producer.wait_end();
        self.producer = Peer::producer(&self.name, PRODUCER);
    }

    fn stall(peer: &Peer, time: Duration) {
        peer.signal(Signal::STOP);
        std::thread::sleep(time);
        peer.signal(Signal::CONT);
    }
}

#[test]
fn five_hundred_faults_at_random_moments() {
    let mut rng = Rng::with_seed(shm2_testing::seed());
    let mut stage = Stage::new(TempRegion::new());
    stage.producer.wait("its region", LIMIT, |p| p.count("created") == 1);
    stage.check();
    let mut counts = [0; 4];
    for fault in 0..FAULTS {
        std::thread::sleep(Duration::from_micros(rng.u64(..8000)));
        let index = rng.usize(..CONSUMERS.len());
        let kind = rng.usize(..8);
        let time = Duration::from_micros(rng.u64(..5000));
        match kind {
            0..=3 => stage.kill_consumer(index),
            4 => stage.kill_producer(),
            5 => Stage::stall(&stage.producer, time),
            _ => Stage::stall(&stage.consumers[index], time),
        }
        counts[kind.saturating_sub(3).min(3)] += 1;
        if fault % 4 == 3 {
            stage.check();
        }
    }
    stage.check();
    let Stage { mut producer, consumers, worst, .. } = stage;
    consumers.into_iter().for_each(|consumer| drop(consumer.stop()));
    producer.wait("nothing held", RECOVERY * 2, |p| p.count("held") == 0 && p.count("consumers") == 0);
    producer.stop();
    println!(
        "{FAULTS} faults ({} consumers killed, {} producers killed, {} producers and {} consumers stalled), slowest recovery {worst:?}",
        counts[0], counts[1], counts[2], counts[3]
    );
}
