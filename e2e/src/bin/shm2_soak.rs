//! Endurance: producers and consumers of several regions, and every few milliseconds a fault: `shm2_soak MINUTES
//! [SEED]`.
//!
//! The peers check contents, order and extents. This program injects the faults, measures the time until every consumer
//! gets frames again, compares memory and descriptors of the consumers that run to the end, and counts the wake-ups of
//! idle peers. It exits with code 1 at the first violation.

#![forbid(unsafe_code)]

use shm2_e2e::Peer;
use shm2_testing::{LIMIT, RECOVERY, Rng, Signal, TempRegion, process};
use std::fs::OpenOptions;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Sizes of frames: mostly small, now and then anything up to the whole arena.
const PRODUCERS: &[&str] = &[
    "arena=400000 most=20000 caps=40 eos=60 pace=100",
    "arena=400000 most=400000 caps=7 pace=1000",
    "arena=1000000 most=90000 policy=newest caps=3 eos=20 pace=300",
    "arena=800000 most=200000 policy=block timeout=20 pace=100 history=0",
    "arena=65536 most=65536 pace=200 history=1000",
    "arena=400000 least=0 most=1 pace=50",
];
const CONSUMERS: &[&str] = &[
    "access=lease hold=4",
    "access=lease hold=12 pace=2000",
    "access=snapshot",
    "access=snapshot latest=1 pace=5000",
    "access=lease latest=1",
    "access=auto hold=1",
];
const FAULTS: &[&str] = &[
    "consumers killed",
    "producers killed",
    "producers ended",
    "consumers ended",
    "consumers stalled",
    "producers stalled",
    "both killed",
    "names removed",
    "files truncated",
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let minutes: f64 = match arguments.first().map_or(Ok(10.0), |m| m.parse()) {
        Ok(minutes) if minutes > 0.0 && minutes <= 10_000.0 => minutes,
        _ => {
            eprintln!("usage: shm2_soak MINUTES [SEED], for example shm2_soak 10");
            return ExitCode::from(2);
        }
    };
    let seed = arguments.get(1).and_then(|s| s.parse().ok()).unwrap_or_else(shm2::monotonic_ns);
    println!("{minutes} minutes, seed {seed}; producers whose file is truncated say so, which is as it should be");
    let outcome = std::panic::catch_unwind(|| soak(Duration::from_secs_f64(minutes * 60.0), seed));
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A region with its peers. No fault ends the first two consumers.
struct Stage {
    name: TempRegion,
    kept: bool,
    producer: Peer,
    consumers: Vec<Peer>,
    options: Vec<&'static str>,
}

impl Stage {
    fn new(kept: bool, rng: &mut Rng) -> Self {
        let name = TempRegion::new();
        let producer = Self::new_producer(&name, kept, rng);
        let options: Vec<_> = (0..5).map(|_| *rng.choice(CONSUMERS).unwrap()).collect();
        let mut options = [vec!["access=lease hold=4", "access=snapshot"], options].concat();
        if kept {
            options.push("access=lease hold=4 life=heartbeat judge=once");
        }
        let consumers = options.iter().map(|o| Peer::consumer(&name, &lenient(o))).collect();
        Self { name, kept, producer, consumers, options }
    }

    fn new_producer(name: &TempRegion, kept: bool, rng: &mut Rng) -> Peer {
        // A kept file has one size for all generations.
        let options = if kept { PRODUCERS[0] } else { rng.choice(PRODUCERS).unwrap() };
        let keep = if kept { "keep=1 lease_ms=500" } else { "" };
        let mut peer = Peer::producer(name, &format!("{options} {keep} seed={}", rng.u64(..)));
        peer.wait("its region", RECOVERY * 2, |p| p.count("created") == 1);
        peer
    }

    fn restart(&mut self, rng: &mut Rng) {
        self.producer = Self::new_producer(&self.name, self.kept, rng);
    }

    /// Waits until every consumer has a new frame; returns the time it took.
    fn recover(&mut self) -> Duration {
        let begun = Instant::now();
        let limit = if self.kept { RECOVERY * 4 } else { RECOVERY * 3 };
        for consumer in &mut self.consumers {
            consumer.wait_more("checked", 1, limit);
        }
        begun.elapsed()
    }

    fn replace_consumer(&mut self, index: usize) -> Peer {
        let replacement = Peer::consumer(&self.name, &lenient(self.options[index]));
        std::mem::replace(&mut self.consumers[index], replacement)
    }

    /// Injects a fault; false when it does not apply to this stage.
    fn inject(&mut self, fault: usize, rng: &mut Rng) -> bool {
        let index = 2 + rng.usize(..self.consumers.len() - 2);
        let longest = 1 << rng.u64(..18);
        let stall = Duration::from_micros(rng.u64(..longest));
        match fault {
            0 => self.replace_consumer(index).kill(),
            1 => {
                self.producer.signal(Signal::KILL);
                self.producer.wait_end();
                self.restart(rng);
            }
            2 => {
                self.producer.ask_to_stop();
                assert!(self.producer.wait_end().success(), "a producer ended badly");
                self.restart(rng);
            }
            3 => drop(self.replace_consumer(index).stop()),
            4 => stop_for(&self.consumers[rng.usize(..self.consumers.len())], stall),
            5 => stop_for(&self.producer, stall),
            6 => {
                self.producer.signal(Signal::KILL);
                self.replace_consumer(index).kill();
                self.producer.wait_end();
                self.restart(rng);
            }
            7 if !self.kept => {
                let _ = std::fs::remove_file(self.name.path());
                self.producer.ask_to_stop();
                assert!(self.producer.wait_end().success(), "a producer ended badly");
                self.restart(rng);
            }
            8 if !self.kept => self.truncate(rng),
            _ => return false,
        }
        true
    }

    /// Truncates the file: the producer ends with an error, and the consumers attach to the next one.
    fn truncate(&mut self, rng: &mut Rng) {
        let file = OpenOptions::new().write(true).open(self.name.path());
        // Whole pages: the rest of a partial page reads as zeros, which a leasing consumer cannot detect.
        let length = rng.u64(..5 << 20) / 4096 * 4096;
        file.and_then(|file| file.set_len(length)).unwrap_or_else(|e| panic!("cannot truncate: {e}"));
        // A producer of small frames may never write to the part that is gone.
        let begun = Instant::now();
        while self.producer.ended().is_none() && begun.elapsed() < Duration::from_millis(200) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.producer.signal(Signal::KILL);
        self.producer.wait_end();
        self.restart(rng);
    }

    fn finish(mut self) {
        for consumer in self.consumers {
            consumer.stop();
        }
        self.producer.wait("nothing held", RECOVERY * 3, |p| p.count("held") == 0 && p.count("consumers") == 0);
        self.producer.stop();
    }
}

/// A consumer of a region that may be truncated counts errors and goes on.
fn lenient(options: &str) -> String {
    format!("{options} errors=count")
}

fn stop_for(peer: &Peer, time: Duration) {
    peer.signal(Signal::STOP);
    std::thread::sleep(time);
    peer.signal(Signal::CONT);
}

/// Faults and recoveries so far.
#[derive(Default)]
struct Tally {
    faults: [u64; FAULTS.len()],
    recoveries: Vec<Duration>,
}

impl Tally {
    fn print(&mut self, begun: Instant, checked: u64) {
        self.recoveries.sort_unstable();
        let at = |part: f64| {
            self.recoveries.get((self.recoveries.len() as f64 * part) as usize).copied().unwrap_or_default()
        };
        let worst = self.recoveries.last().copied().unwrap_or_default();
        println!(
            "{:>5.0} s: {} faults, {} recoveries, median {:.0?}, 99 of 100 within {:.0?}, worst {worst:.0?}; survivors took {checked} frames",
            begun.elapsed().as_secs_f64(),
            self.faults.iter().sum::<u64>(),
            self.recoveries.len(),
            at(0.5),
            at(0.99),
        );
    }
}

fn soak(time: Duration, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut stages = [Stage::new(false, &mut rng), Stage::new(false, &mut rng), Stage::new(true, &mut rng)];
    for stage in &mut stages {
        stage.recover();
    }
    let (begun, mut last_report, mut tally) = (Instant::now(), Instant::now(), Tally::default());
    let mut first: Option<Vec<process::Usage>> = None;
    while begun.elapsed() < time {
        let stage = &mut stages[rng.usize(..3)];
        let fault = rng.usize(..FAULTS.len());
        std::thread::sleep(Duration::from_micros(rng.u64(..20_000)));
        if stage.inject(fault, &mut rng) {
            tally.faults[fault] += 1;
            tally.recoveries.push(stage.recover());
        }
        if first.is_none() && begun.elapsed() > time / 10 {
            first = Some(survivors(&stages));
        }
        if last_report.elapsed() > Duration::from_secs(30) {
            last_report = Instant::now();
            tally.print(begun, checked(&stages));
        }
    }
    tally.print(begun, checked(&stages));
    for (name, count) in FAULTS.iter().zip(tally.faults) {
        println!("  {count:>7} {name}");
    }
    let last = survivors(&stages);
    for (index, (first, last)) in first.iter().flatten().zip(&last).enumerate() {
        println!("  survivor {index}: {first} at a tenth of the time, {last} at the end");
        assert!(last.descriptors <= first.descriptors + 2, "descriptors grow");
        assert!(last.threads <= first.threads + 1, "threads grow");
        assert!(last.resident_bytes <= first.resident_bytes + (2 << 20), "memory grows");
    }
    stages.into_iter().for_each(Stage::finish);
    let worst = tally.recoveries.last().copied().unwrap_or_default();
    assert!(worst < RECOVERY, "a recovery took {worst:?}");
    idle();
    println!("all promises kept");
}

/// Memory and descriptors of the consumers that no fault ends.
fn survivors(stages: &[Stage]) -> Vec<process::Usage> {
    stages.iter().flat_map(|stage| &stage.consumers[..2]).filter_map(|peer| process::usage(peer.id())).collect()
}

fn checked(stages: &[Stage]) -> u64 {
    stages.iter().flat_map(|stage| &stage.consumers[..2]).map(|peer| peer.count("checked")).sum()
}

/// Counts the wake-ups of idle peers.
fn idle() {
    const LOOK: Duration = Duration::from_secs(5);
    let name = TempRegion::new();
    let mut producer = Peer::start(&format!("idle-producer {}", &*name));
    producer.wait("its region", LIMIT, |p| p.count("created") == 1);
    let mut consumers =
        ["lease", "snapshot"].map(|access| Peer::start(&format!("idle-consumer {} access={access}", &*name)));
    for consumer in &mut consumers {
        consumer.wait("the only frame", LIMIT, |c| c.count("checked") == 1);
    }
    // Some polls follow an attach.
    std::thread::sleep(Duration::from_secs(1));
    let all = [&producer, &consumers[0], &consumers[1]];
    let before = all.map(|peer| process::switches(peer.id()));
    std::thread::sleep(LOOK);
    for (role, (peer, before)) in
        ["producer", "leasing consumer", "snapshot consumer"].iter().zip(all.iter().zip(before))
    {
        let rate = (process::switches(peer.id()) - before) as f64 / LOOK.as_secs_f64();
        println!("  idle {role}: {rate:.1} wake-ups a second");
        assert!(rate < 2.0, "an idle {role} wakes up too often");
    }
    consumers.into_iter().for_each(|consumer| drop(consumer.stop()));
    producer.stop();
}
