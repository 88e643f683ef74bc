//! What many consumers, large frames, many regions and a very large one cost. Everything is in this process.

use crate::Result;
use figures::{Record, Recorder, now_ns};
use shm2::{Consumer, FrameInfo, Producer, Start};
use shm2_testing::{TempRegion, process};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const BENCH: &str = "scale";
const ATTACH: Duration = Duration::from_secs(20);
/// Arena of each of many regions.
const SMALL_ARENA: u64 = 64 << 10;

/// Measures one case.
type Measure = fn(&mut Output) -> Result<()>;

/// All cases: the name, what is measured, and the function.
pub(crate) const CASES: [(&str, &str, Measure); 4] = [
    ("scale-consumers", "producer's time per frame with consumers that keep up, ns", consumers),
    ("scale-sizes", "reserve, publish, take and release of one untouched frame, ns", sizes),
    ("scale-regions", "threads, descriptors and memory for each region, with a producer and a consumer", regions),
    ("scale-huge", "a region of 16 GiB", huge),
];

/// Where figures go.
pub(crate) struct Output<'a> {
    recorder: &'a mut Recorder,
    rounds: usize,
}

impl<'a> Output<'a> {
    pub(crate) fn new(recorder: &'a mut Recorder, rounds: usize) -> Self {
        Self { recorder, rounds }
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        let figures: Vec<_> = record.figures.iter().map(|(name, figure)| format!("{name} {figure:.1}")).collect();
        println!("  {:<28}{}", record.case, figures.join(", "));
        Ok(self.recorder.write(record)?)
    }
}

fn attach(name: &str) -> Result<Consumer> {
    Ok(Consumer::builder(name)?.start(Start::Next).attach(Some(ATTACH))?)
}

fn publish(producer: &mut Producer, bytes: usize) -> Result<()> {
    let slot = producer.reserve(bytes)?;
    producer.publish(slot, &FrameInfo::new())?;
    Ok(())
}

fn consumers(output: &mut Output) -> Result<()> {
    for _ in 0..output.rounds {
        for (bytes, label) in [(64, "64 B"), (3 << 20, "3 MB")] {
            for count in [0, 1, 2, 4, 8, 16, 32, 64] {
                let cost = added_cost(bytes, count)?;
                let record = Record::new(BENCH, &format!("{label}, {count} consumers"), "shm2");
                output.write(&record.with("producer ns", cost))?;
            }
        }
    }
    Ok(())
}

/// Nanoseconds of `reserve` and `publish` with this many attached consumers that read everything.
fn added_cost(bytes: usize, count: usize) -> Result<f64> {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name)?.arena(6 * bytes as u64 + (1 << 20)).create()?;
    let mut readers = (0..count).map(|_| attach(&name)).collect::<Result<Vec<_>>>()?;
    let is_small = bytes < 4096;
    // Many frames between two looks of the consumers, where they fit.
    let (batch, batches) = if is_small { (1024, 100) } else { (1, 3000) };
    let mut spent = 0;
    for _ in 0..batches {
        let begun = now_ns();
        for _ in 0..batch {
            publish(&mut producer, bytes)?;
        }
        spent += now_ns() - begun;
        for reader in &mut readers {
            while reader.try_next()?.is_some() {}
        }
    }
    Ok(spent as f64 / f64::from(batch * batches))
}

fn sizes(output: &mut Output) -> Result<()> {
    for _ in 0..output.rounds {
        for (bytes, label) in [
            (1 << 10, "1 KiB"),
            (16 << 10, "16 KiB"),
            (256 << 10, "256 KiB"),
            (3_110_400, "3.1 MB"),
            (33_177_600, "33 MB"),
            (132_710_400, "132 MB"),
        ] {
            let name = TempRegion::new();
            let mut producer = Producer::builder(&name)?.arena(4 * bytes as u64).create()?;
            let mut consumer = attach(&name)?;
            let count = 20_000;
            let begun = now_ns();
            for _ in 0..count {
                publish(&mut producer, bytes)?;
                consumer.try_next()?.ok_or("a frame is missing")?;
            }
            let cost = (now_ns() - begun) as f64 / f64::from(count);
            output.write(&Record::new(BENCH, &format!("frame of {label}"), "shm2").with("ns", cost))?;
        }
    }
    Ok(())
}

fn regions(output: &mut Output) -> Result<()> {
    let usage = || process::usage(std::process::id()).ok_or("no /proc");
    let before = usage()?;
    for count in [1usize, 100, 1000] {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        if limit.current.is_some_and(|limit| limit < 16 * count as u64) {
            println!("  skipped: {count} regions: the limit of open files is {:?}", limit.current);
            continue;
        }
        let begun = now_ns();
        let open = |_| -> Result<_> {
            let name = TempRegion::new();
            let producer = Producer::builder(&name)?.arena(SMALL_ARENA).create()?;
            let consumer = attach(&name)?;
            Ok((producer, consumer, name))
        };
        let all = (0..count).map(open).collect::<Result<Vec<_>>>()?;
        let took = (now_ns() - begun) as f64 / 1e3;
        let now = usage()?;
        let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / count as f64;
        let file = all.first().and_then(|(_, _, name)| std::fs::metadata(name.path()).ok());
        let record = Record::new(BENCH, &format!("{count} regions"), "shm2")
            .with("file KiB each", file.map_or(f64::NAN, |file| file.blocks() as f64 / 2.0))
            .with("threads each", each(now.threads, before.threads))
            .with("descriptors each", each(now.descriptors as u64, before.descriptors as u64))
            .with("private KiB each", each(now.resident_bytes, before.resident_bytes) / 1024.0)
            .with("set-up us each", took / count as f64);
        output.write(&record)?;
        drop(all);
    }
    Ok(())
}

/// On a disk: there the file system reserves the space without memory, which /dev/shm cannot.
fn huge(output: &mut Output) -> Result<()> {
    let program = std::env::current_exe()?;
    let directory = program.parent().ok_or("the program lies in no directory")?;
    let name = directory.join(format!("shm2-bench-huge-{}", std::process::id())).display().to_string();
    let begun = now_ns();
    let mut producer = match Producer::builder(&name)?.size(16 << 30).create() {
        Ok(producer) => producer,
        Err(error) => {
            println!("  skipped: a region of 16 GiB: {error}");
            return Ok(());
        }
    };
    let created = (now_ns() - begun) as f64 / 1e6;
    let mut consumer = attach(&name)?;
    let begun = now_ns();
    for _ in 0..10_000 {
        publish(&mut producer, 1 << 30)?;
        consumer.try_next()?.ok_or("a frame is missing")?;
    }
    let cost = (now_ns() - begun) as f64 / 1e4;
    let record = Record::new(BENCH, "region of 16 GiB", "shm2");
    output.write(&record.with("create ms", created).with("frame of 1 GiB ns", cost))
}
