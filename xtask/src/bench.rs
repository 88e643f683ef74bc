//! Benchmarks: the core's hand-over, and the elements beside GStreamer's own `shmsink` and `shmsrc`.

use crate::program::Program;
use crate::run::{run, succeeds};
use crate::{Outcome, setup};
use std::time::Duration;

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(4);

/// One way to bring frames from one process to another.
struct Pair {
    name: &'static str,
    sink: &'static str,
    src: &'static str,
    path: String,
}

/// Medians of a pair: p50 and p99 in us, processor time per frame in us of sender and receiver.
type Figures = [f64; 4];

/// Runs all benchmarks.
pub fn bench() -> Outcome {
    setup::setup()?;
    run("cargo run --release --manifest-path benches/Cargo.toml --bin handover")?;
    run("cargo run --release --manifest-path benches/Cargo.toml --bin rings target/rings.svg")?;
    run("cargo bench --manifest-path benches/Cargo.toml --bench rings")?;
    instructions()?;
    run("cargo build --release -p gst-plugin-shm2 --lib --examples")?;
    let id = std::process::id();
    let pairs = [
        Pair {
            name: "shm2",
            sink: "shm2sink sync=false shm-path",
            src: "shm2src shm-path",
            path: format!("/dev/shm/shm2-bench-{id}"),
        },
        Pair {
            name: "shmsink",
            sink: "shmsink sync=false wait-for-connection=false shm-size=67108864 socket-path",
            src: "shmsrc is-live=true socket-path",
            path: format!("/tmp/shm2-bench-{id}.socket"),
        },
    ];
    for (label, width, height) in [("1080p NV12", 1920, 1080), ("320x240 NV12", 320, 240)] {
        let caps = format!("video/x-raw,format=NV12,width={width},height={height},framerate=60/1");
        compare(label, &caps, &pairs)?;
    }
    Ok(())
}

/// Counted by callgrind, where that is there.
fn instructions() -> Outcome {
    for (program, remedy) in [("valgrind", "install valgrind"), ("gungraun-runner", "cargo install gungraun-runner")] {
        if !succeeds(&format!("{program} --version")) {
            println!("skipped: instructions are not counted: no {program} ({remedy})");
            return Ok(());
        }
    }
    run("cargo bench --manifest-path benches/Cargo.toml --bench instructions --bench frames")
}

fn compare(label: &str, caps: &str, pairs: &[Pair; 2]) -> Outcome {
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (pair, runs) in pairs.iter().zip(&mut runs) {
            runs.push(measure(pair, caps)?);
        }
    }
    println!("\n{label}, 60/s, written in place by videotestsrc; medians of {ROUNDS} alternating runs, in us");
    println!("{:<10}{:>10}{:>10}{:>20}{:>20}", "", "p50", "p99", "sender CPU/frame", "receiver CPU/frame");
    let [ours, theirs] = runs.map(|runs| medians(&runs));
    for (pair, f) in pairs.iter().zip([ours, theirs]) {
        println!("{:<10}{:>10.0}{:>10.0}{:>20.0}{:>20.0}", pair.name, f[0], f[1], f[2], f[3]);
    }
    let ratio = |i: usize| ours[i] / theirs[i];
    println!("{:<10}{:>10.2}{:>10.2}{:>20.2}{:>20.2}", "ratio", ratio(0), ratio(1), ratio(2), ratio(3));
    Ok(())
}

fn medians(runs: &[Figures]) -> Figures {
    std::array::from_fn(|i| {
        let mut values: Vec<_> = runs.iter().map(|run| run[i]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

fn measure(pair: &Pair, caps: &str) -> Result<Figures, String> {
    let source = format!("videotestsrc is-live=true pattern=black ! {caps}");
    let produce = format!("{source} ! {}={} name=sink", pair.sink, pair.path);
    let consume = format!("{}={} name=src ! {caps} ! fakesink sync=false", pair.src, pair.path);
    let producer = Program::start_in("release", "producer", "produce", &produce)?;
    std::thread::sleep(WARM_UP);
    let consumer = Program::start_in("release", "consumer", "consume", &consume)?;
    std::thread::sleep(WARM_UP);
    let before = [producer.processor_seconds(), consumer.processor_seconds(), consumer.count("frames")];
    std::thread::sleep(TIME);
    let frames = consumer.count("frames") - before[2];
    let spent = [producer.processor_seconds() - before[0], consumer.processor_seconds() - before[1]];
    let latency = [consumer.count("p50"), consumer.count("p99")];
    consumer.stop()?;
    producer.stop()?;
    if frames < 10.0 {
        return Err(format!("{}: only {frames} frames came", pair.name));
    }
    Ok([latency[0], latency[1], spent[0] / frames * 1e6, spent[1] / frames * 1e6])
}
