//! Waking ahead of time: delay from just before `publish` to the returned frame, and the consumer's processor time, with
//! a plain sleep, with `wake_ahead`, and with a consumer that looks all the time as the limit.
//!
//! `ahead [rates|jitter|busy|one] [seconds] [rounds] [--json FILE]`. Producer and consumer are two processes; frames of 3 MiB are not
//! touched. The producer sleeps until the time of each frame, which is `i / rate` plus an even distribution of jitter.

#![forbid(unsafe_code)]

use figures::{Record, Recorder};
use rustix::time::{ClockId, clock_gettime};
use shm2::{Consumer, Frame, FrameInfo, Producer, Start};
use shm2_benches::median;
use shm2_testing::{ChildGuard, TempRegion};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const LIMIT: Duration = Duration::from_secs(20);
const BYTES: usize = 3 << 20;
/// Frames before the first one that is measured.
const WARM: usize = 40;
const MODES: [&str; 3] = ["sleep", "ahead", "spin"];
/// Figures of a run, in their order.
const FIGURES: [&str; 6] = ["p50 us", "p99 us", "consumer CPU %", "looked %", "found %", "producer us/frame"];

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let json = match arguments[..] {
        [.., "--json", file] => Some(Path::new(file)),
        _ => None,
    };
    arguments.truncate(arguments.len() - if json.is_some() { 2 } else { 0 });
    let mut recorder = Recorder::append(json)?;
    match arguments[..] {
        ["consume", name, mode, count] => return consume(name, mode, count.parse()?),
        ["burn"] => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
    let number = |index: usize, default: f64| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let (seconds, rounds) = (number(1, 2.0)?, number(2, 2.0)? as usize);
    let cases: Vec<(f64, f64)> = match arguments.first().copied().unwrap_or("rates") {
        "rates" => [24.0, 25.0, 30.0, 50.0, 59.94, 60.0, 120.0].map(|rate| (rate, 0.0)).into(),
        "jitter" => [0.0, 0.5, 1.0, 2.0].map(|jitter| (60.0, jitter)).into(),
        "busy" => vec![(25.0, 0.0), (60.0, 0.0), (60.0, 1.0), (120.0, 0.0)],
        "one" => vec![(60.0, 0.0)],
        other => return Err(format!("{other}: rates, jitter, busy or one").into()),
    };
    let busy = if arguments.first() == Some(&"busy") { std::thread::available_parallelism()?.get() } else { 0 };
    let _burning = (0..busy).map(|_| spawn(&["burn"])).collect::<Result<Vec<_>>>()?;
    println!("medians of {rounds} rounds of {seconds} s; us, and percent of one CPU\n");
    println!("| rate, jitter | | p50 | p99 | consumer CPU | looked | found | producer us/frame |");
    println!("|---|---|---|---|---|---|---|---|");
    for (rate, jitter) in cases {
        let mut rows = vec![Vec::new(); MODES.len()];
        for _ in 0..rounds {
            for (row, mode) in rows.iter_mut().zip(MODES) {
                let figures = run(mode, rate, jitter, (seconds * rate) as usize)?;
                let record = Record::new("ahead", &format!("{rate}/s, {jitter} ms"), mode);
                recorder
                    .write(&FIGURES.iter().zip(&figures).fold(record, |r, (name, figure)| r.with(name, *figure)))?;
                row.push(figures);
            }
        }
        for (row, mode) in rows.iter().zip(MODES) {
            let column = |index: usize| median(row.iter().map(|figures| figures[index]).collect());
            println!(
                "| {rate}/s, {jitter} ms | {mode} | {:.1} | {:.1} | {:.2} % | {:.2} % | {:.0} % | {:.0} |",
                column(0),
                column(1),
                column(2),
                column(3),
                column(4),
                column(5)
            );
        }
    }
    Ok(())
}

fn spawn(arguments: &[&str]) -> Result<ChildGuard> {
    Ok(ChildGuard::spawn(Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()))?)
}

/// Publishes `count` frames after the first ones. Returns the consumer's figures and the producer's time for a frame.
fn run(mode: &str, rate: f64, jitter_ms: f64, count: usize) -> Result<Vec<f64>> {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name)?.arena(8 * BYTES as u64).create()?;
    let mut consumer = spawn(&["consume", &name, mode, &count.to_string()])?;
    while producer.consumers() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (begun, mut random, mut spent) = (Instant::now(), 88_172_645_463_325_252_u64, 0.0);
    for frame in 0..WARM + count {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let jitter = jitter_ms / 1e3 * (random >> 11) as f64 / (1u64 << 53) as f64;
        let due = begun + Duration::from_secs_f64((frame + 1) as f64 / rate + jitter);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let before = seconds(ClockId::ThreadCPUTime);
        let slot = producer.reserve(BYTES)?;
        producer.publish(slot, &FrameInfo::new().with_pts(shm2::monotonic_ns()))?;
        spent += seconds(ClockId::ThreadCPUTime) - before;
    }
    let mut text = String::new();
    consumer.take_stdout().ok_or("no output")?.read_to_string(&mut text)?;
    let figures: std::result::Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
    let mut figures = figures?;
    figures.push(spent * 1e6 / (WARM + count) as f64);
    Ok(figures)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Prints p50 and p99 in microseconds, and in percent: processor time, time spent looking, frames found by a look.
fn consume(name: &str, mode: &str, count: usize) -> Result<()> {
    let builder = Consumer::builder(name)?.start(Start::Next).wake_ahead(mode == "ahead");
    let mut consumer = builder.attach(Some(LIMIT))?;
    let mut delays = Vec::with_capacity(count);
    let (mut begun, mut spent, mut before) = (Instant::now(), 0.0, consumer.stats());
    for frame in 0..WARM + count {
        if frame == WARM {
            (begun, spent, before) = (Instant::now(), seconds(ClockId::ProcessCPUTime), consumer.stats());
        }
        let frame_taken = take(&mut consumer, mode)?;
        let delay = shm2::monotonic_ns() - frame_taken.info().pts.ok_or("no time")?;
        if frame >= WARM {
            delays.push(delay as f64 / 1e3);
        }
    }
    let (elapsed, stats) = (begun.elapsed().as_secs_f64(), consumer.stats());
    let percent = |part: f64, whole: f64| 100.0 * part / whole;
    let spent = percent(seconds(ClockId::ProcessCPUTime) - spent, elapsed);
    let looked = percent((stats.looked_ns - before.looked_ns) as f64 * 1e-9, elapsed);
    let found = percent((stats.looks_found - before.looks_found) as f64, count as f64);
    delays.sort_by(f64::total_cmp);
    println!("{} {} {spent} {looked} {found}", delays[count / 2], delays[count * 99 / 100]);
    Ok(())
}

fn take(consumer: &mut Consumer, mode: &str) -> Result<Frame> {
    if mode != "spin" {
        return Ok(consumer.next(Some(LIMIT))?);
    }
    loop {
        if let Some(frame) = consumer.try_next()? {
            return Ok(frame);
        }
        std::hint::spin_loop();
    }
}
