//! Frames that the producer writes and consumers in other processes read, all of their bytes: frames per second, and the
//! distinct places of the frames in the arena; page faults of the producer and of the first consumer in the second half.
//!
//! `touched pool|heap|empty BYTES ARENA_FRAMES FRAMES CONSUMERS`: `pool` fills the memory of the region, `heap` copies
//! from other memory, `empty` touches nothing on either side.

#![expect(unsafe_code, reason = "frames are filled and read in place")]

use shm2::{Consumer, FrameInfo, FullPolicy, Producer, ReceiveError, Start};
use shm2_testing::{ChildGuard, TempRegion};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const LIMIT: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["read", feed, name, frames] => read(feed, name, frames.parse()?),
        [feed, bytes, arena, frames, consumers] => {
            write(feed, bytes.parse()?, arena.parse()?, frames.parse()?, consumers.parse()?)
        }
        _ => Err("touched pool|heap|empty BYTES ARENA_FRAMES FRAMES CONSUMERS".into()),
    }
}

fn write(feed: &str, bytes: usize, arena: u64, frames: u64, consumers: usize) -> Result<()> {
    let name = TempRegion::new();
    let policy = FullPolicy::Block { timeout: Some(LIMIT) };
    let arena = arena * bytes as u64 + (bytes as u64 / 8);
    let mut producer = Producer::builder(&name)?.arena(arena.max(2 << 20)).full_policy(policy).create()?;
    let reader = |_| {
        let mut reader = Command::new(std::env::current_exe()?);
        reader.args(["read", feed, &name, &frames.to_string()]).stdout(Stdio::piped());
        Ok(ChildGuard::spawn(&mut reader)?)
    };
    let readers = (0..consumers).map(reader).collect::<Result<Vec<_>>>()?;
    while producer.consumers() < consumers {
        std::thread::sleep(Duration::from_millis(1));
    }
    let source = vec![7u8; bytes];
    let mut places = BTreeMap::new();
    let (mut begun, mut faults) = (Instant::now(), 0);
    for frame in 0..frames {
        if frame == frames / 2 {
            (begun, faults) = (Instant::now(), page_faults());
            places.clear();
        }
        let mut slot = producer.reserve(bytes)?;
        *places.entry(slot.as_ptr() as usize).or_insert(0u64) += 1;
        match feed {
            "heap" => slot.write_at(0, black_box(&source))?,
            // SAFETY: the reservation has so many bytes.
            "pool" => unsafe { slot.as_mut_ptr().write_bytes(frame as u8, bytes) },
            _ => {}
        }
        producer.publish(slot, &FrameInfo::new())?;
    }
    producer.drain(LIMIT);
    let rate = (frames - frames / 2) as f64 / begun.elapsed().as_secs_f64();
    let faults = page_faults() - faults;
    producer.end_of_stream()?;
    drop(producer);
    let outputs = readers.into_iter().map(|reader| String::from_utf8_lossy(&reader.output().stdout).trim().to_owned());
    let read = outputs.collect::<Vec<_>>().join(" ");
    println!(
        "{feed} {bytes} B, {consumers} consumers: {rate:.0} frames/s, {} places, page faults {faults} / {read}",
        places.len()
    );
    Ok(())
}

fn read(feed: &str, name: &str, frames: u64) -> Result<()> {
    let mut consumer = Consumer::builder(name)?.start(Start::Next).attach(Some(LIMIT))?;
    let (mut faults, mut taken) = (0, 0);
    loop {
        if taken == frames / 2 {
            faults = page_faults();
        }
        match consumer.next(Some(LIMIT)) {
            Ok(frame) if feed != "empty" => _ = black_box(sum(&frame)),
            Ok(_) => {}
            Err(ReceiveError::EndOfStream | ReceiveError::ProducerGone { .. }) => break,
            Err(error) => return Err(error.into()),
        }
        taken += 1;
    }
    println!("{}", page_faults() - faults);
    Ok(())
}

fn sum(frame: &shm2::Frame) -> u64 {
    let words = frame.as_ptr().cast::<u64>();
    // SAFETY: inside the frame, which is aligned to 64 bytes.
    (0..frame.len() / 8).fold(0u64, |sum, at| sum.wrapping_add(unsafe { words.add(at).read() }))
}

/// Page faults of this process so far that needed no disk; 0 where there is no `/proc`.
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.into_iter().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
}
