//! `shm2 bench`.

use super::{Failure, show};
use crate::output;
use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use shm2::{Consumer, FrameInfo, FullPolicy, Producer, ReceiveError};
use shm2_cli::{seconds, stop::Stop};
use std::time::{Duration, Instant};

/// Sizes of frames: a block of samples, and 1080p I420.
const SIZES: [usize; 2] = [1 << 10, 1920 * 1080 * 3 / 2];
/// Limit for everything that takes no time unless something is wrong.
const LIMIT: Duration = Duration::from_secs(5);

/// The shortest time in which the measurements have frames.
const LEAST: Duration = Duration::from_millis(100);

const NOTE: &str =
    "These are figures of this machine at this moment; `cargo xtask bench` compares with other transports.";

/// The figures are of this machine at this moment; `cargo xtask bench` of the sources compares with other transports.
#[derive(clap::Args)]
pub struct Arguments {
    /// Time for all measurements together, in seconds or as 500ms
    #[arg(long, value_parser = seconds, default_value = "9")]
    duration: Duration,
    /// Print one JSON object for each measurement on a line
    #[arg(long)]
    json: bool,
}

/// How a consumer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Consuming {
    Sleeping,
    Polling,
}

#[derive(Serialize)]
#[serde(tag = "measure", rename_all = "lowercase")]
enum Figure {
    Latency { consumer: Consuming, frame_bytes: usize, frames: u64, p50_ns: u64, p99_ns: u64, max_ns: u64 },
    Throughput { frame_bytes: usize, frames_per_second: f64, bytes_per_second: f64 },
}

/// What is measured with frames of a size.
#[derive(Clone, Copy)]
enum Measure {
    Latency(Consuming),
    Throughput,
}

/// Measures how long a frame takes to a consumer in another thread, and how many pass in a second.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.duration < LEAST {
        return Err(format!("--duration is {:?}: measurements take at least {LEAST:?}", arguments.duration).into());
    }
    let stop = Stop::on_signal(|| ())?;
    let has_two = std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
    let mut measures = vec![Measure::Latency(Consuming::Sleeping), Measure::Throughput];
    if has_two {
        // With one processor, a consumer that polls keeps the producer from it.
        measures.insert(1, Measure::Latency(Consuming::Polling));
    }
    let steps: Vec<_> = measures.iter().flat_map(|measure| SIZES.map(|bytes| (*measure, bytes))).collect();
    let each = arguments.duration / steps.len() as u32;
    let progress = ProgressBar::new(steps.len() as u64);
    let style = ProgressStyle::with_template("{msg:32} [{wide_bar}] {pos}/{len}");
    progress.set_style(style.unwrap_or(ProgressStyle::default_bar()));
    let mut figures = Vec::new();
    for (measure, bytes) in steps {
        progress.set_message(measure.text(bytes));
        figures.push(measure.run(bytes, each, &stop)?);
        progress.inc(1);
        if stop.is_set() {
            progress.finish_and_clear();
            return Err("stopped before all was measured".into());
        }
    }
    progress.finish_and_clear();
    report(&figures, arguments.json)
}

impl Measure {
    fn text(self, bytes: usize) -> String {
        let size = show::bytes(bytes as u64);
        match self {
            Self::Latency(Consuming::Sleeping) => format!("latency, sleeping, {size}"),
            Self::Latency(Consuming::Polling) => format!("latency, polling, {size}"),
            Self::Throughput => format!("throughput, {size}"),
        }
    }

    fn run(self, bytes: usize, time: Duration, stop: &Stop) -> Result<Figure, Failure> {
        match self {
            Self::Latency(consumer) => {
                let latencies = latency(consumer, bytes, time, stop)?;
                let at = |quantile| latencies.value_at_quantile(quantile);
                let (frames, max_ns) = (latencies.len(), latencies.max());
                Ok(Figure::Latency { consumer, frame_bytes: bytes, frames, p50_ns: at(0.5), p99_ns: at(0.99), max_ns })
            }
            Self::Throughput => {
                let rate = throughput(bytes, time, stop)?;
                Ok(Figure::Throughput {
                    frame_bytes: bytes,
                    frames_per_second: rate.round(),
                    bytes_per_second: (rate * bytes as f64).round(),
                })
            }
        }
    }
}

fn region(bytes: usize, policy: FullPolicy) -> Result<(Producer, Consumer), Failure> {
    let folder = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
    let name = format!("{folder}shm2-bench-{}", std::process::id());
    let arena = (8 * bytes as u64).max(1 << 20);
    let producer = Producer::builder(&name)?.arena(arena).full_policy(policy).create()?;
    let consumer = Consumer::builder(&name)?.attach(Some(LIMIT))?;
    Ok((producer, consumer))
}

/// Times from just before a publication to the receipt. The bytes are in the region before.
fn latency(how: Consuming, bytes: usize, time: Duration, stop: &Stop) -> Result<Histogram<u64>, Failure> {
    let (mut producer, mut consumer) = region(bytes, FullPolicy::DropOldest)?;
    let interval = if bytes > 1 << 20 { Duration::from_millis(4) } else { Duration::from_micros(500) };
    let payload = vec![0x5a; bytes];
    std::thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            let mut latencies = Histogram::new(3).map_err(|error| error.to_string())?;
            while let Some(frame) = receive(&mut consumer, how)? {
                let now = shm2::monotonic_ns();
                latencies += now.saturating_sub(frame.info().time.unwrap_or(now));
            }
            Ok::<_, String>(latencies)
        });
        let end = Instant::now() + time;
        let sent = (|| {
            while Instant::now() < end && !stop.is_set() && !receiving.is_finished() {
                let mut reservation = producer.reserve(bytes)?;
                reservation.write_at(0, &payload)?;
                std::thread::sleep(interval);
                let mut info = FrameInfo::new();
                info.time = Some(shm2::monotonic_ns());
                producer.publish(reservation, &info)?;
            }
            producer.end_of_stream()
        })();
        // Ends the consumer also after a failure.
        drop(producer);
        let latencies = receiving.join().map_err(|_| "the consumer's thread has ended early")??;
        sent?;
        Ok(latencies)
    })
}

/// The next frame; `None` at the end.
fn receive(consumer: &mut Consumer, how: Consuming) -> Result<Option<shm2::Frame>, String> {
    let received = match how {
        Consuming::Sleeping => consumer.next(Some(LIMIT)).map(Some),
        Consuming::Polling => loop {
            match consumer.try_next() {
                Ok(None) => std::hint::spin_loop(),
                received => break received,
            }
        },
    };
    match received {
        Err(ReceiveError::EndOfStream) => Ok(None),
        received => received.map_err(|error| error.to_string()),
    }
}

/// Frames in a second. The producer writes each byte, and the consumer takes the frames in place.
fn throughput(bytes: usize, time: Duration, stop: &Stop) -> Result<f64, Failure> {
    let (mut producer, mut consumer) = region(bytes, FullPolicy::Block { timeout: Some(LIMIT) })?;
    let payload = vec![0x5a; bytes];
    std::thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            let mut frames = 0_u32;
            while receive(&mut consumer, Consuming::Sleeping)?.is_some() {
                frames += 1;
            }
            Ok::<_, String>(frames)
        });
        let begun = Instant::now();
        let sent = (|| {
            while begun.elapsed() < time && !stop.is_set() && !receiving.is_finished() {
                producer.send(&payload, &FrameInfo::new())?;
            }
            producer.end_of_stream()
        })();
        let is_read = producer.drain(LIMIT);
        let elapsed = begun.elapsed();
        drop(producer);
        let frames = receiving.join().map_err(|_| "the consumer's thread has ended early")??;
        sent?;
        if !is_read {
            return Err("the consumer did not read all frames in time".into());
        }
        Ok(f64::from(frames) / elapsed.as_secs_f64())
    })
}

fn report(figures: &[Figure], is_json: bool) -> Result<(), Failure> {
    if is_json {
        for figure in figures {
            output::print(&serde_json::to_string(figure)?)?;
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["FRAME", "CONSUMER", "P50", "P99", "MAX", "FRAMES/S", "BYTES/S"]);
    let time = |ns: u64| format!("{:.1} us", ns as f64 / 1e3);
    for figure in figures {
        table.add_row(match figure {
            Figure::Latency { consumer, frame_bytes, p50_ns, p99_ns, max_ns, .. } => {
                let consumer = if *consumer == Consuming::Sleeping { "sleeping" } else { "polling" };
                let size = show::bytes(*frame_bytes as u64);
                [size, consumer.into(), time(*p50_ns), time(*p99_ns), time(*max_ns), "-".into(), "-".into()]
            }
            Figure::Throughput { frame_bytes, frames_per_second, bytes_per_second } => {
                let (size, rate) = (show::bytes(*frame_bytes as u64), show::bytes(*bytes_per_second as u64));
                let none = || "-".to_owned();
                [size, "sleeping".into(), none(), none(), none(), format!("{frames_per_second:.0}"), rate]
            }
        });
    }
    output::print(&format!("{table}\n{NOTE}"))
}
