//! Many regions in one process: what the consumers cost in a silence and with a frame in each region 30 times a second.
//!
//! `many [--regions 500] [--rate 30] [--seconds 10] [--rounds 1] [--way NAME]... [--json FILE]`. One process has all
//! producers, another one all consumers. `wait-set` receives on one thread from a `shm2::WaitSet`, `looking` asks each
//! consumer in turn and then sleeps for 1 ms, and `threads` has a thread for each consumer. The ways alternate in rounds;
//! a figure is the median of the rounds. Latency is from just before `publish` to the returned frame.

#![forbid(unsafe_code)]

use figures::{Record, Recorder, Times, group, now_ns, sleep_until};
use rustix::process::{Resource, getrlimit, setrlimit};
use shm2::{Consumer, Frame, FrameInfo, Producer, ReceiveError, Start, WaitSet};
use shm2_testing::{ChildGuard, process};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const WAYS: [&str; 3] = ["wait-set", "looking", "threads"];
const LIMIT: Duration = Duration::from_secs(60);
/// Arena and frames of each region.
const ARENA: u64 = 64 << 10;
const FRAME_BYTES: usize = 256;
/// Sleep between two looks at all consumers.
const NAP: Duration = Duration::from_millis(1);
/// Time after the attaches, and at the begin of the frames, that does not count.
const SETTLE: Duration = Duration::from_secs(1);
/// Stack of each thread of `threads`.
const STACK_BYTES: usize = 256 << 10;

/// What is measured.
#[derive(Clone)]
struct Plan {
    regions: usize,
    rate: u64,
    seconds: f64,
    rounds: usize,
    ways: Vec<String>,
    json: Option<PathBuf>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { regions: 500, rate: 30, seconds: 10.0, rounds: 1, ways: Vec::new(), json: None }
    }
}

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    raise_limit()?;
    match words[..] {
        ["produce", folder, regions, rate] => produce(folder, regions.parse()?, rate.parse()?),
        ["consume", way, folder, regions, seconds] => consume(way, folder, regions.parse()?, seconds.parse()?),
        _ => compare(&plan(&words)?),
    }
}

fn plan(words: &[&str]) -> Result<Plan> {
    let mut plan = Plan::default();
    let (pairs, rest) = words.as_chunks::<2>();
    for [name, value] in pairs {
        match *name {
            "--regions" => plan.regions = value.parse()?,
            "--rate" => plan.rate = value.parse()?,
            "--seconds" => plan.seconds = value.parse()?,
            "--rounds" => plan.rounds = value.parse()?,
            "--way" if WAYS.contains(value) => plan.ways.push((*value).into()),
            "--json" => plan.json = Some(value.into()),
            _ => return Err(format!("{name} {value}: see the head of many.rs").into()),
        }
    }
    if !rest.is_empty() || plan.regions == 0 || plan.rate == 0 {
        return Err("each option has a value; regions and rate are at least 1".into());
    }
    if plan.ways.is_empty() {
        plan.ways = WAYS.map(String::from).into();
    }
    Ok(plan)
}

/// Each region needs a few descriptors.
fn raise_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn compare(plan: &Plan) -> Result<()> {
    let mut recorder = Recorder::append(plan.json.as_deref())?;
    let mut records = Vec::new();
    for _ in 0..plan.rounds {
        for way in &plan.ways {
            let record = run(plan, way)?;
            recorder.write(&record)?;
            records.push(record);
        }
    }
    println!("{} regions, {} frames/s each; medians of {} rounds\n", plan.regions, plan.rate, plan.rounds);
    let records = group(&records);
    let names: Vec<_> = records.iter().flat_map(|record| record.figures.keys()).collect();
    let names: std::collections::BTreeSet<_> = names.into_iter().collect();
    println!("| | {} |", plan.ways.join(" | "));
    println!("|---|{}", "---|".repeat(plan.ways.len()));
    for name in names {
        let cell = |record: &Record| record.figures.get(name).map_or("-".into(), |figure| format!("{figure:.2}"));
        println!("| {name} | {} |", records.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}

/// One way in two new processes.
fn run(plan: &Plan, way: &str) -> Result<Record> {
    let folder = Folder::create()?;
    let (name, regions) = (folder.0.display().to_string(), plan.regions.to_string());
    let mut producer = start(&["produce", &name, &regions, &plan.rate.to_string()])?;
    producer.line()?;
    let mut consumer = start(&["consume", way, &name, &regions, &plan.seconds.to_string()])?;
    consumer.line()?; // all are attached
    consumer.line()?; // the silence was measured
    let begun = process::busy(producer.guard.id());
    let time = Instant::now();
    producer.say()?;
    let text = consumer.line()?;
    let busy = (process::busy(producer.guard.id()) - begun).as_secs_f64() / time.elapsed().as_secs_f64();
    let mut record: Record = serde_json::from_str(&text)?;
    record.case = format!("{} regions at {}/s", plan.regions, plan.rate);
    Ok(record.with("producers CPU %", 100.0 * busy))
}

/// A folder for the regions, which is removed with all that is in it.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        let path = PathBuf::from(format!("/dev/shm/shm2-many-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The processes of the run have ended.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process of a run.
struct Side {
    output: BufReader<std::process::ChildStdout>,
    input: std::process::ChildStdin,
    guard: ChildGuard,
}

fn start(words: &[&str]) -> Result<Side> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut guard = ChildGuard::spawn(&mut command)?;
    let output = BufReader::new(guard.take_stdout().ok_or("no output")?);
    let input = guard.take_stdin().ok_or("no input")?;
    Ok(Side { output, input, guard })
}

impl Side {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err("a process of the measurement has ended".into()),
            _ => Ok(line),
        }
    }

    fn say(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"\n")?)
    }
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

fn name_of(folder: &str, region: usize) -> String {
    format!("{folder}/{region}")
}

/// Makes all regions, waits for a line, and publishes until it is killed. The regions take turns, evenly.
fn produce(folder: &str, regions: usize, rate: u64) -> Result<()> {
    let create = |region| Ok(Producer::builder(&name_of(folder, region))?.arena(ARENA).create()?);
    let mut producers = (0..regions).map(create).collect::<Result<Vec<_>>>()?;
    say("ready")?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let begun = now_ns();
    for turn in 0u64.. {
        for (region, producer) in producers.iter_mut().enumerate() {
            let number = turn * regions as u64 + region as u64;
            sleep_until(begun + number * 1_000_000_000 / (rate * regions as u64));
            let mut slot = producer.reserve(FRAME_BYTES)?;
            slot.write_at(0, &now_ns().to_ne_bytes())?;
            producer.publish(slot, &FrameInfo::new())?;
        }
    }
    Ok(())
}

/// Attaches to all regions, measures a silence and then the frames, and prints a record.
fn consume(way: &str, folder: &str, regions: usize, seconds: f64) -> Result<()> {
    let attach = |region| Ok(Consumer::builder(&name_of(folder, region))?.start(Start::Next).attach(Some(LIMIT))?);
    let consumers = (0..regions).map(attach).collect::<Result<Vec<_>>>()?;
    let mut receiver: Box<dyn Receiver> = match way {
        "wait-set" => Box::new(OfSet::new(consumers)?),
        "looking" => Box::new(Looking(consumers)),
        "threads" => Box::new(Threads::start(consumers)?),
        _ => return Err(format!("there is no way {way}").into()),
    };
    let time = Duration::from_secs_f64(seconds);
    say("attached")?;
    receiver.receive(SETTLE, &mut Seen::default())?;
    let silence = Counters::now();
    receiver.receive(time, &mut Seen::default())?;
    let mut record = silence.until_now("silence", Record::new("many", "", way));
    let used = process::usage(std::process::id()).ok_or("no /proc")?;
    say("silence")?;
    receiver.receive(SETTLE, &mut Seen::default())?;
    let (frames, mut seen) = (Counters::now(), Seen::default());
    receiver.receive(time, &mut seen)?;
    record = frames.until_now("frames", record);
    let record = record
        .with("threads", used.threads as f64)
        .with("descriptors", used.descriptors as f64)
        .with("private KiB", used.resident_bytes as f64 / 1024.0)
        .with("frames/s", seen.times.len() as f64 / seconds)
        .with("missed", seen.missed as f64)
        .with_latency(&seen.times);
    say(&serde_json::to_string(&record)?)?;
    // Until this process is killed.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// What all threads of this process used up to a time.
struct Counters {
    time: Instant,
    busy: Duration,
    switches: u64,
}

impl Counters {
    fn now() -> Self {
        let id = std::process::id();
        Self { time: Instant::now(), busy: process::busy(id), switches: process::switches(id) }
    }

    fn until_now(&self, when: &str, record: Record) -> Record {
        let (now, seconds) = (Self::now(), self.time.elapsed().as_secs_f64());
        let busy = now.busy.saturating_sub(self.busy).as_secs_f64() / seconds;
        let switches = now.switches.saturating_sub(self.switches) as f64 / seconds;
        record.with(&format!("{when}, CPU %"), 100.0 * busy).with(&format!("{when}, switches/s"), switches)
    }
}

/// The frames of one phase.
#[derive(Default)]
struct Seen {
    times: Times,
    missed: u64,
}

impl Seen {
    fn frame(&mut self, frame: &Frame) {
        self.record(latency_ns(frame), frame.missed());
    }

    fn record(&mut self, ns: u64, missed: u64) {
        self.times.record(ns);
        self.missed += missed;
    }
}

/// Time since the frame's stamp.
fn latency_ns(frame: &Frame) -> u64 {
    let (now, mut stamp) = (now_ns(), [0; 8]);
    let is_read = frame.read_at(0, &mut stamp);
    if is_read { now.saturating_sub(u64::from_ne_bytes(stamp)) } else { u64::MAX }
}

/// A way to receive from all consumers.
trait Receiver {
    /// Receives for this time.
    fn receive(&mut self, time: Duration, seen: &mut Seen) -> Result<()>;
}

struct OfSet(WaitSet);

impl OfSet {
    fn new(consumers: Vec<Consumer>) -> Result<Self> {
        let mut set = WaitSet::new();
        for consumer in consumers {
            set.add(consumer)?;
        }
        Ok(Self(set))
    }
}

impl Receiver for OfSet {
    fn receive(&mut self, time: Duration, seen: &mut Seen) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(ready) = self.0.next(Some(end.saturating_duration_since(Instant::now()))) {
            seen.frame(&ready.frame?);
        }
        Ok(())
    }
}

struct Looking(Vec<Consumer>);

impl Receiver for Looking {
    fn receive(&mut self, time: Duration, seen: &mut Seen) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for consumer in &mut self.0 {
                while let Some(frame) = consumer.try_next()? {
                    seen.frame(&frame);
                }
            }
            thread::sleep(NAP);
        }
        Ok(())
    }
}

/// Each thread sends latency and missed items of its frames.
struct Threads(mpsc::Receiver<(u64, u64)>);

impl Threads {
    fn start(consumers: Vec<Consumer>) -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        for mut consumer in consumers {
            let sender = sender.clone();
            let run = move || -> std::result::Result<(), ReceiveError> {
                loop {
                    let frame = consumer.next(None)?;
                    if sender.send((latency_ns(&frame), frame.missed())).is_err() {
                        return Ok(());
                    }
                }
            };
            thread::Builder::new().stack_size(STACK_BYTES).spawn(run)?;
        }
        Ok(Self(receiver))
    }
}

impl Receiver for Threads {
    fn receive(&mut self, time: Duration, seen: &mut Seen) -> Result<()> {
        thread::sleep(time);
        self.0.try_iter().for_each(|(ns, missed)| seen.record(ns, missed));
        Ok(())
    }
}
