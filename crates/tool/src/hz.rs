//! `shm2 hz`.

use super::{Failure, output, show};
use serde::Serialize;
use shm2::Overview;
use shm2::discovery::RecentFrame;
use shm2_cli::seconds;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    /// Region, for example shm:///dev/shm/camera
    #[arg(value_parser = shm2_cli::region())]
    region: String,
    /// Time over which each line measures, in seconds or as 500ms
    #[arg(long, value_parser = seconds, default_value = "1")]
    window: Duration,
    /// Lines to print; without it until Ctrl+C
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Print one JSON object on a line
    #[arg(long)]
    json: bool,
}

/// One line. Times are in nanoseconds.
#[derive(Serialize)]
struct Line {
    /// Frames of the window.
    frames: usize,
    /// Frames a second, from the distances between the publications.
    rate: Option<f64>,
    /// The shortest, the mean and the longest distance.
    shortest_ns: Option<u64>,
    mean_ns: Option<u64>,
    longest_ns: Option<u64>,
    /// Standard deviation of the distances.
    jitter_ns: Option<u64>,
    /// Age of the newest frame.
    age_ns: Option<u64>,
    bytes: u64,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut newest = Overview::of(&arguments.region)?.newest;
    let mut last = None;
    for line in 0.. {
        if arguments.count.is_some_and(|count| line >= count) {
            break;
        }
        std::thread::sleep(arguments.window);
        let age = Overview::of(&arguments.region)?.age;
        let frames = Overview::recent_frames(&arguments.region, newest)?;
        newest = frames.last().map_or(newest, |frame| frame.sequence);
        let measured = measure(last, &frames, age);
        last = frames.last().map(|frame| frame.published_ns).or(last);
        output::print(&if arguments.json { serde_json::to_string(&measured)? } else { text(&measured) })?;
    }
    Ok(())
}

/// `last` is when the frame before the first one was published.
fn measure(last: Option<u64>, frames: &[RecentFrame], age: Option<Duration>) -> Line {
    let times: Vec<_> = last.into_iter().chain(frames.iter().map(|frame| frame.published_ns)).collect();
    let distances: Vec<_> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    let mean = distances.iter().map(|d| *d as f64).sum::<f64>() / distances.len().max(1) as f64;
    let square = distances.iter().map(|d| (*d as f64 - mean).powi(2)).sum::<f64>() / distances.len().max(1) as f64;
    let known = |value: f64| (!distances.is_empty()).then_some(value);
    Line {
        frames: frames.len(),
        rate: known(1e9 / mean.max(1.0)),
        shortest_ns: distances.iter().min().copied(),
        mean_ns: known(mean).map(|mean| mean as u64),
        longest_ns: distances.iter().max().copied(),
        jitter_ns: known(square.sqrt()).map(|jitter| jitter as u64),
        age_ns: age.map(|age| age.as_nanos() as u64),
        bytes: frames.iter().map(|frame| frame.bytes).fold(0, u64::saturating_add),
    }
}

fn text(line: &Line) -> String {
    let time = |ns: Option<u64>| ns.map_or("-".into(), |ns| show::time(Duration::from_nanos(ns)));
    let rate = line.rate.map_or("no frames".into(), |rate| format!("{rate:.2}/s"));
    format!(
        "{rate:<12} interval {} to {}, jitter {}, age {}, {} frames, {}",
        time(line.shortest_ns),
        time(line.longest_ns),
        time(line.jitter_ns),
        time(line.age_ns),
        line.frames,
        show::bytes(line.bytes),
    )
}
