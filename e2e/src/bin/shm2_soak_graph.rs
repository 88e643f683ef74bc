//! Endurance of a mixed graph of pipelines: `shm2_soak_graph MINUTES`.
//!
//! A camera; an encoder of its frames; a recorder of the encoded stream; a mixer of the camera and of a guest; the guest,
//! one pipeline that publishes its own picture and shows the mixer's output, the return feed. Each is a process of
//! `gst-launch-1.0`. For every region this program reads the latency that the frames carry, their delay and their rate;
//! for every process its memory, descriptors and threads, and the frames that it missed. It compares the values at a
//! tenth of the time with those at the end, and exits with code 1 if one has grown.

#![forbid(unsafe_code)]

use shm2::{Consumer, ReceiveError};
use shm2_testing::{ChildGuard, TempRegion, process, skip, until};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Frames a second of each region.
const RATE: u64 = 30;
/// Frames of which the medians are taken.
const WINDOW: usize = 2 * RATE as usize;
/// Largest growth of a latency or a delay from a tenth of the time to the end.
const MOST_GROWTH: Duration = Duration::from_millis(40);
/// Largest latency of a region in a graph with a loop.
const MOST_LATENCY: Duration = Duration::from_millis(200);
/// Largest growth of a process's memory in bytes. Allocators and pools of pipelines grow for some minutes.
const MOST_MEMORY: u64 = 16 << 20;
const ELEMENTS: &[&str] = &["compositor", "matroskamux", "h264parse", "x264enc"];

fn main() -> ExitCode {
    let minutes: f64 = match std::env::args().nth(1).map_or(Ok(10.0), |m| m.parse()) {
        Ok(minutes) if minutes > 0.0 && minutes <= 10_000.0 => minutes,
        _ => {
            eprintln!("usage: shm2_soak_graph MINUTES, for example shm2_soak_graph 10");
            return ExitCode::from(2);
        }
    };
    if let Some(missing) = ELEMENTS.iter().find(|element| !exists(element)) {
        skip(&format!("the mixed graph: {missing} is not installed"));
        return ExitCode::SUCCESS;
    }
    let faults = Graph::start().run(Duration::from_secs_f64(minutes * 60.0));
    faults.iter().for_each(|fault| println!("  {fault}"));
    println!("{}", if faults.is_empty() { "no drift, no growth" } else { "the graph has drifted or grown" });
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn exists(element: &str) -> bool {
    let mut inspect = Command::new("gst-inspect-1.0");
    inspect.args(["--exists", element]).stdout(Stdio::null()).stderr(Stdio::null());
    inspect.status().is_ok_and(|status| status.success())
}

struct Graph {
    regions: [(&'static str, Monitor); 4],
    programs: [(&'static str, Program); 5],
    _names: [TempRegion; 4],
}

/// Values at one moment.
struct Sample {
    regions: Vec<Latency>,
    programs: Vec<process::Usage>,
}

impl Graph {
    fn start() -> Self {
        let names = std::array::from_fn(|_| TempRegion::new());
        let [camera, encoded, guest, feed] = &names;
        let (camera, encoded, guest, feed) = (&**camera, &**encoded, &**guest, &**feed);
        let picture = "video/x-raw,format=I420,width=320,height=240";
        let programs = [
            (
                "camera",
                format!("videotestsrc is-live=true ! {picture},framerate={RATE}/1 ! shm2sink shm-path={camera}"),
            ),
            (
                "encoder",
                format!(
                    "shm2src shm-path={camera} ! queue ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! \
                     shm2sink shm-path={encoded}"
                ),
            ),
            (
                "mixer",
                format!(
                    "compositor name=mix force-live=true sink_1::xpos=320 ! \
                     video/x-raw,format=I420,width=640,height=240,framerate={RATE}/1 ! \
                     shm2sink async=false shm-path={feed} shm2src shm-path={camera} ! queue ! mix.sink_0 \
                     shm2src shm-path={guest} ! queue ! mix.sink_1"
                ),
            ),
            (
                "guest",
                format!(
                    "videotestsrc is-live=true pattern=ball ! {picture},framerate={RATE}/1 ! \
                     shm2sink async=false shm-path={guest} \
                     shm2src shm-path={feed} ! queue ! fakesink sync=true async=false"
                ),
            ),
            (
                "recorder",
                format!(
                    "shm2src shm-path={encoded} ! queue ! h264parse ! matroskamux streamable=true ! \
                     filesink location=/dev/null"
                ),
            ),
        ];
        let programs = programs.map(|(name, pipeline)| (name, Program::start(&pipeline)));
        let regions = [("camera", camera), ("encoded", encoded), ("guest", guest), ("return feed", feed)];
        let regions = regions.map(|(name, region)| (name, Monitor::start(region)));
        Self { regions, programs, _names: names }
    }

    /// What has grown.
    fn run(mut self, time: Duration) -> Vec<String> {
        for (name, monitor) in &self.regions {
            until(name, || monitor.latency().is_some());
        }
        std::thread::sleep((time / 10).max(Duration::from_secs(4)));
        let (first, frames, begun) = (self.sample(), self.frames(), Instant::now());
        while begun.elapsed() < time * 9 / 10 {
            std::thread::sleep(Duration::from_millis(200).min(time));
            if let Some((name, _)) =
                self.programs.iter_mut().find_map(|(name, program)| Some((*name, program.child.ended()?)))
            {
                return vec![format!("{name} has ended")];
            }
        }
        let (last, seconds) = (self.sample(), begun.elapsed().as_secs_f64());
        let mut faults = Vec::new();
        for (index, (name, _)) in self.regions.iter().enumerate() {
            let (first, last) = (first.regions[index], last.regions[index]);
            let rate = (self.frames()[index] - frames[index]) as f64 / seconds;
            println!("  {name}: {first} at a tenth of the time, {last} at the end; {rate:.1} frames a second");
            faults.extend(last.faults_since(first).into_iter().map(|fault| format!("{name}: {fault}")));
            if rate < RATE as f64 * 0.8 {
                faults.push(format!("{name}: {rate:.1} frames a second"));
            }
        }
        for (index, (name, program)) in self.programs.iter().enumerate() {
            let (first, last) = (first.programs[index], last.programs[index]);
            let missed = program.missed.load(Ordering::Relaxed);
            println!("  {name}: {first} at a tenth of the time, {last} at the end; {missed} frames missed");
            let faults_of = [
                (last.descriptors > first.descriptors + 2, "descriptors grow"),
                (last.threads > first.threads + 1, "threads grow"),
                (last.resident_bytes > first.resident_bytes + MOST_MEMORY, "memory grows"),
                (missed as f64 > seconds * RATE as f64 / 20.0, "more than one frame of twenty is missed"),
            ];
            faults.extend(faults_of.iter().filter(|(is_so, _)| *is_so).map(|(_, fault)| format!("{name}: {fault}")));
        }
        faults
    }

    fn sample(&self) -> Sample {
        let regions = self.regions.iter().map(|(_, monitor)| monitor.latency().unwrap_or_default()).collect();
        let usage = |program: &Program| process::usage(program.child.id()).expect("a running process");
        Sample { regions, programs: self.programs.iter().map(|(_, program)| usage(program)).collect() }
    }

    fn frames(&self) -> [u64; 4] {
        std::array::from_fn(|index| self.regions[index].1.frames.load(Ordering::Relaxed))
    }
}

/// A process of `gst-launch-1.0`.
struct Program {
    child: ChildGuard,
    /// Frames that its sources missed, by their last statistics.
    missed: Arc<AtomicU64>,
}

impl Program {
    fn start(pipeline: &str) -> Self {
        let programs = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new("gst-launch-1.0");
        command.arg("-v").args(pipeline.split_whitespace()).stdout(Stdio::piped());
        command.env("GST_PLUGIN_PATH", programs.parent().expect("its directory"));
        let mut child = ChildGuard::spawn(&mut command).unwrap_or_else(|e| panic!("gst-launch-1.0: {e}"));
        let output = BufReader::new(child.take_stdout().expect("a pipe"));
        let missed = Arc::new(AtomicU64::new(0));
        let counter = missed.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(count) = line.split("missed=(guint64)").nth(1).and_then(|rest| rest.split(',').next()) {
                    counter.fetch_max(count.parse().unwrap_or(0), Ordering::Relaxed);
                }
            }
        });
        Self { child, missed }
    }
}

/// Medians of some frames of a region.
#[derive(Debug, Default, Clone, Copy)]
struct Latency {
    /// Latency of the producer's pipeline, as the frames carry it.
    declared: Duration,
    /// From the instant at which a frame was due to its arrival here.
    delay: Duration,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "latency {:.1?}, delay {:.1?}", self.declared, self.delay)
    }
}

impl Latency {
    fn faults_since(self, first: Self) -> Vec<String> {
        let faults = [
            (self.declared > first.declared + MOST_GROWTH, "the latency grows"),
            (self.delay > first.delay + MOST_GROWTH, "the delay grows"),
            (self.declared > MOST_LATENCY, "the latency is too large"),
        ];
        faults.iter().filter(|(is_so, _)| *is_so).map(|(_, fault)| (*fault).to_owned()).collect()
    }
}

/// A thread that reads every frame of a region.
struct Monitor {
    last: Arc<Mutex<Vec<Latency>>>,
    frames: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    fn start(region: &str) -> Self {
        let mut consumer = Consumer::new(region).expect("a region's name");
        let (last, frames, ended) = <(Arc<Mutex<Vec<Latency>>>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let mut monitor = Self { last: last.clone(), frames: frames.clone(), ended: ended.clone(), thread: None };
        let follow = move || {
            while !ended.load(Ordering::Relaxed) {
                let frame = match consumer.next(Some(Duration::from_millis(200))) {
                    Ok(frame) => frame,
                    Err(ReceiveError::TimedOut) => continue,
                    Err(error) => return eprintln!("{error}"),
                };
                frames.fetch_add(1, Ordering::Relaxed);
                let info = frame.info();
                let Some(due) = info.time.or_else(|| frame.published_ns()) else { continue };
                let due = consumer.to_local(due);
                let latency = Latency {
                    declared: Duration::from_nanos(info.latency),
                    delay: Duration::from_nanos(shm2::monotonic_ns().saturating_sub(due)),
                };
                let mut last = last.lock().expect("no panic");
                if last.len() == WINDOW {
                    last.remove(0);
                }
                last.push(latency);
            }
        };
        monitor.thread = Some(std::thread::spawn(follow));
        monitor
    }

    /// Medians of the last frames; `None` before the first.
    fn latency(&self) -> Option<Latency> {
        let last = self.last.lock().expect("no panic");
        let median = |value: fn(&Latency) -> Duration| {
            let mut values: Vec<_> = last.iter().map(value).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied()
        };
        Some(Latency { declared: median(|latency| latency.declared)?, delay: median(|latency| latency.delay)? })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
