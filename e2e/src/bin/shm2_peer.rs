//! A producer or consumer that checks every guarantee it can observe: `shm2_peer producer|consumer NAME [KEY=VALUE
//! ...]`.
//!
//! Counts go to standard output as `key=value`, separated by blanks. It stops when its standard input ends, and exits
//! with code 3 at the first violation. A byte on its input arms a kill point that waits for one.

#![forbid(unsafe_code)]

use shm2::consumer::{Access, Builder, Liveness, OnProducerExit, Start};
use shm2::{AttachError, Consumer, Frame, FrameInfo, FullPolicy, Producer, ReceiveError, SendError};
use shm2_cli::{Check, pattern};
use shm2_testing::Rng;
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Outcome = Result<(), String>;

const REPORT_EVERY: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [role, name, rest @ ..] = &arguments[..] else {
        eprintln!("usage: shm2_peer producer|consumer NAME [KEY=VALUE ...]");
        return ExitCode::from(2);
    };
    let options = Options(rest.iter().filter_map(|o| o.split_once('=')).collect());
    let stop = Arc::new(AtomicBool::new(false));
    if !role.starts_with("idle") {
        stop_at_end_of_input(&stop);
    }
    let outcome = match role.as_str() {
        "producer" => produce(name, &options, &stop),
        "consumer" => Reader::new(&options).run(name, &options, &stop),
        "idle-producer" => idle_producer(name, &options),
        "idle-consumer" => idle_consumer(name, &options),
        other => Err(format!("no role {other:?}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm2_peer {role} {name}: {error}");
            ExitCode::from(3)
        }
    }
}

struct Options<'a>(HashMap<&'a str, &'a str>);

impl Options<'_> {
    fn number(&self, key: &str, default: u64) -> u64 {
        self.0.get(key).and_then(|v| v.parse().ok()).unwrap_or(default)
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.0.get(key) == Some(&value)
    }

    fn consumer(&self, name: &str) -> Result<Builder, String> {
        let access = match self.0.get("access").copied() {
            Some("lease") => Access::Lease,
            Some("snapshot") => Access::Snapshot,
            _ => Access::Auto,
        };
        let liveness = if self.is("life", "heartbeat") { Liveness::Heartbeat } else { Liveness::Lock };
        let builder = Consumer::builder(name).map_err(|e| e.to_string())?.access(access).liveness(liveness);
        Ok(builder.on_producer_exit(OnProducerExit::Reconnect).start(Start::History))
    }
}

fn stop_at_end_of_input(stop: &Arc<AtomicBool>) {
    let ended = stop.clone();
    std::thread::spawn(move || {
        wait_for_end_of_input();
        ended.store(true, Ordering::Release);
    });
}

fn wait_for_end_of_input() {
    let mut rest = [0];
    while std::io::stdin().read(&mut rest).is_ok_and(|n| n > 0) {
        #[cfg(feature = "kill-points")]
        shm2::kill_points::arm();
    }
}

/// Limits reports to one every few milliseconds.
struct Reports(Instant);

impl Reports {
    fn is_due(&mut self) -> bool {
        let due = self.0.elapsed() >= REPORT_EVERY;
        if due {
            self.0 = Instant::now();
        }
        due
    }
}

fn say(line: &str) {
    // The reader may have ended; the end of input reports that.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One frame, then nothing until the input ends.
fn idle_producer(name: &str, options: &Options) -> Outcome {
    let builder = Producer::builder(name).map_err(|e| e.to_string())?;
    let mut producer = builder.keep_region(options.is("keep", "1")).create().map_err(|e| e.to_string())?;
    producer.send(b"the only one", &FrameInfo::new()).map_err(|e| e.to_string())?;
    say("created=1");
    wait_for_end_of_input();
    Ok(())
}

/// Takes frames without a time limit, until the input ends.
fn idle_consumer(name: &str, options: &Options) -> Outcome {
    let builder = options.consumer(name)?;
    let mut consumer = builder.build();
    let canceller = consumer.canceller();
    std::thread::spawn(move || {
        wait_for_end_of_input();
        canceller.set(true);
    });
    let mut checked = 0;
    while consumer.next(None).is_ok() {
        checked += 1;
        say(&format!("checked={checked} attaches={}", consumer.stats().attaches));
    }
    Ok(())
}

fn produce(name: &str, options: &Options, stop: &AtomicBool) -> Outcome {
    let policy = match options.0.get("policy").copied() {
        Some("newest") => FullPolicy::DropNewest,
        Some("block") => FullPolicy::Block { timeout: Some(Duration::from_millis(options.number("timeout", 200))) },
        _ => FullPolicy::DropOldest,
    };
    let builder = Producer::builder(name).map_err(|e| e.to_string())?;
    let builder = builder.arena(options.number("arena", 1 << 20)).full_policy(policy);
    let builder = builder.history(options.number("history", 1) as u32).max_leases(options.number("leases", 8) as u32);
    let lease = Duration::from_millis(options.number("lease_ms", 2000));
    let builder = builder.keep_region(options.is("keep", "1")).lease_time(lease);
    let mut producer = builder.create().map_err(|e| e.to_string())?;
    say("created=1");
    let mut writer = Writer {
        rng: Rng::with_seed(options.number("seed", 1)),
        number: 0,
        dropped: 0,
        reports: Reports(Instant::now()),
    };
    while !stop.load(Ordering::Acquire) {
        writer.send(&mut producer, options)?;
        match options.number("pace", 300) {
            0 => {}
            pace => std::thread::sleep(Duration::from_micros(pace)),
        }
    }
    if options.is("drain", "1") {
        producer.drain(Duration::from_secs(2));
    }
    writer.report(&producer)
}

struct Writer {
    rng: Rng,
    number: u64,
    dropped: u64,
    reports: Reports,
}

impl Writer {
    fn send(&mut self, producer: &mut Producer, options: &Options) -> Outcome {
        let (least, most) = (options.number("least", 0), options.number("most", 20_000));
        let bytes = least + self.rng.u64(..most - least + 1);
        if options.number("caps", 0) > 0 && self.number.is_multiple_of(options.number("caps", 0)) {
            let text = format!("caps-of-{}", self.number);
            self.dropped += u64::from(counted(producer.set_caps(text.as_bytes()).map(|()| 0))?.is_none());
        }
        if options.number("eos", 0) > 0 && self.rng.u64(..options.number("eos", 0)) == 0 {
            counted(producer.end_of_stream())?;
        }
        let meta = self.number.to_le_bytes();
        let meta = &meta[..if self.number.is_multiple_of(3) { 8 } else { 0 }];
        let sent = producer.reserve(bytes as usize).and_then(|mut slot| {
            pattern::fill(&mut slot, self.number)?;
            producer.publish_with_meta(slot, &FrameInfo::new().with_pts(self.number), meta)
        });
        if counted(sent)?.is_none() {
            self.dropped += 1;
        }
        self.number += 1;
        if self.reports.is_due() { self.report(producer) } else { Ok(()) }
    }

    fn report(&self, producer: &Producer) -> Outcome {
        let s = producer.handle().stats();
        if s.free_bytes + s.used_bytes != s.arena_bytes {
            return Err(format!("extents do not add up: {s:?}"));
        }
        let consumers = producer.consumers();
        say(&format!(
            "published={} dropped={} old={} held={} free={} used={} arena={} consumers={consumers}",
            s.published, self.dropped, s.dropped_oldest, s.held, s.free_bytes, s.used_bytes, s.arena_bytes
        ));
        Ok(())
    }
}

fn is_expelled(consumer: &mut Consumer) -> bool {
    let next = consumer.next(Some(Duration::ZERO));
    matches!(next, Err(ReceiveError::Expelled { .. }))
}

/// Whether the consumer finds the generation it read from gone.
fn is_gone(consumer: &mut Consumer) -> bool {
    let before = consumer.generation();
    let _ = consumer.next(Some(Duration::ZERO));
    !consumer.is_attached() || consumer.generation() != before
}

/// A dropped frame is `None`; any other error is a failure.
fn counted(sent: Result<u64, SendError>) -> Result<Option<u64>, String> {
    match sent {
        Ok(sequence) => Ok(Some(sequence)),
        Err(error) if error.is_drop() || matches!(error, SendError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

struct Reader {
    rng: Rng,
    held: VecDeque<(Frame, u64)>,
    hold: usize,
    /// The region is overwritten at random: read the bytes, check only what holds in spite of that.
    hostile: bool,
    /// Errors of the region are counted, not fatal.
    lenient: bool,
    last: u64,
    generation: Option<u64>,
    ends: u64,
    missed: u64,
    checked: u64,
    violations: u64,
    refused: u64,
    expelled: u64,
    /// Age of the newest frame at its arrival, in microseconds of this process's clock.
    age_us: u64,
}

impl Reader {
    fn new(options: &Options) -> Self {
        Self {
            rng: Rng::with_seed(options.number("seed", 2)),
            held: VecDeque::new(),
            hold: options.number("hold", 0) as usize,
            hostile: options.is("hostile", "1"),
            lenient: options.is("hostile", "1") || options.is("errors", "count"),
            last: 0,
            generation: None,
            ends: 0,
            missed: 0,
            checked: 0,
            violations: 0,
            refused: 0,
            expelled: 0,
            age_us: 0,
        }
    }

    fn run(mut self, name: &str, options: &Options, stop: &AtomicBool) -> Outcome {
        let mut consumer = options.consumer(name)?.latest_only(options.is("latest", "1")).build();
        let mut reports = Reports(Instant::now());
        say("started=1");
        while !stop.load(Ordering::Acquire) {
            let result = consumer.next(Some(Duration::from_millis(20)));
            self.take(&mut consumer, result, options)?;
            if reports.is_due() {
                self.report(&consumer);
            }
            if let pace @ 1.. = options.number("pace", 0) {
                std::thread::sleep(Duration::from_micros(pace));
            }
        }
        while let Some((frame, number)) = self.held.pop_front() {
            self.judge(&frame, number)?;
        }
        self.report(&consumer);
        Ok(())
    }

    fn take(&mut self, consumer: &mut Consumer, result: Result<Frame, ReceiveError>, options: &Options) -> Outcome {
        match result {
            Ok(frame) => self.accept(consumer, frame, options),
            Err(ReceiveError::TimedOut) if options.is("release", "never") => Ok(()),
            Err(ReceiveError::TimedOut) => match self.held.pop_front() {
                // The held frames may occupy all the memory.
                Some((frame, number)) if !options.is("judge", "once") => self.judge(&frame, number),
                _ => Ok(()),
            },
            Err(ReceiveError::EndOfStream) => {
                self.ends += 1;
                Ok(())
            }
            Err(ReceiveError::Expelled { .. }) => {
                // What was held may have changed.
                self.held.clear();
                self.expelled += 1;
                Ok(())
            }
            Err(error @ (ReceiveError::Misbehaving { .. } | ReceiveError::Truncated { .. })) => {
                self.violation(&error.to_string())
            }
            Err(ReceiveError::Attach(AttachError::Full { .. })) => self.pause(),
            Err(ReceiveError::Attach(error)) => self.violation(&error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn pause(&mut self) -> Outcome {
        self.refused += 1;
        std::thread::sleep(Duration::from_millis(2));
        Ok(())
    }

    fn violation(&mut self, text: &str) -> Outcome {
        if !self.lenient {
            return Err(text.to_owned());
        }
        self.violations += 1;
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn accept(&mut self, consumer: &mut Consumer, frame: Frame, options: &Options) -> Outcome {
        self.check_sequence(consumer, &frame, options)?;
        if let Some(published) = frame.published_ns() {
            self.age_us = shm2::monotonic_ns().abs_diff(consumer.to_local(published)) / 1000;
        }
        let number = frame.info().pts.unwrap_or_default();
        if let Err(error) = self.judge(&frame, number) {
            // A heartbeat consumer that was stopped here may have lost the frame; the next step reports it.
            let expelled = options.is("judge", "once") && is_expelled(consumer);
            self.expelled += u64::from(expelled);
            self.held.clear();
            // The bytes of a leased frame are cleared with the memory, before the consumer can know.
            let cleared = options.is("cleared", "1") && options.is("access", "lease") && is_gone(consumer);
            if cleared {
                (self.last, self.generation) = (0, None);
            }
            return if expelled || cleared { Ok(()) } else { Err(error) };
        }
        self.checked += 1;
        if self.hold > 0 {
            self.held.push_back((frame, number));
        }
        while self.held.len() > self.hold || (!self.held.is_empty() && self.rng.u64(..20) == 0) {
            let index = self.rng.usize(..self.held.len());
            if let Some((frame, number)) = self.held.remove(index).filter(|_| !options.is("judge", "once")) {
                self.judge(&frame, number)?;
            }
        }
        Ok(())
    }

    /// Checks the order, and that each sequence is received, missed, or an end of stream.
    fn check_sequence(&mut self, consumer: &Consumer, frame: &Frame, options: &Options) -> Outcome {
        let ends = std::mem::take(&mut self.ends);
        let is_new = std::mem::replace(&mut self.generation, consumer.generation()) != consumer.generation();
        let last = std::mem::replace(&mut self.last, frame.sequence());
        self.missed = self.missed.saturating_add(frame.missed());
        if self.hostile || (is_new && last == 0) {
            return Ok(());
        }
        if is_new && !frame.is_discontinuity() {
            return Err(format!("frame {} of a new producer is no discontinuity", frame.sequence()));
        }
        let expected = last + 1 + frame.missed() + ends;
        let skips = options.is("latest", "1");
        if !is_new && (frame.sequence() < expected || (!skips && frame.sequence() != expected)) {
            let (s, m) = (frame.sequence(), frame.missed());
            return Err(format!("frame {s} after {last} with {m} missed and {ends} ends"));
        }
        Ok(())
    }

    /// Checks that the content is the one sent with this number.
    fn judge(&self, frame: &Frame, number: u64) -> Outcome {
        if self.hostile {
            std::hint::black_box(frame.to_vec());
            return Ok(());
        }
        if let Some(offset) = pattern::mismatch(frame, number, Check::Full) {
            if self.lenient && !frame.read_at(0, &mut []) {
                // The file was truncated, and the frame reports it.
                return Ok(());
            }
            let sequence = frame.sequence();
            return Err(format!("frame {sequence} (number {number}) differs at {offset} of {}", frame.len()));
        }
        let meta = if number.is_multiple_of(3) { &number.to_le_bytes()[..] } else { &[] };
        if frame.meta() == meta { Ok(()) } else { Err(format!("frame {number} came with metas {:?}", frame.meta())) }
    }

    fn report(&self, consumer: &Consumer) {
        let (s, held) = (consumer.stats(), self.held.len());
        say(&format!(
            "checked={} missed={} copied={} attaches={} held={held} violations={} refused={} expelled={} age_us={} attached={}",
            self.checked,
            self.missed,
            s.copied,
            s.attaches,
            self.violations,
            self.refused,
            self.expelled,
            self.age_us,
            u8::from(consumer.is_attached())
        ));
    }
}
