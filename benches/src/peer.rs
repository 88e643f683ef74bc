//! The other process of a measurement of `bindings/python/benches/compare.py`, in Rust: arguments, frames, work and
//! output are those of `role.py` beside it.
//!
//! `peer send|receive shm2 PLACE RATE SECONDS [written] [read]`

#![expect(unsafe_code, reason = "payloads are written and read through the pointers that the library gives")]

use figures::{Figures, Times, Usage, now_ns, sleep_until};
use serde_json::{Value, json};
use shm2::{Consumer, Frame, FrameInfo, FullPolicy, Producer, SendError};
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;
const FRAME_BYTES: usize = WIDTH * HEIGHT * 3 / 2;
const CAPS: &str = "video/x-raw, format=(string)NV12, width=(int)1920, height=(int)1080, framerate=(fraction)60/1";
/// Every so many rows of both planes are read.
const ROW_STEP: usize = 64;
/// Frames in flight at most.
const DEPTH: usize = 16;
/// Frames before the measured ones, and the time between two of them.
const WARM_UP: u64 = 60;
const WARM_UP_TIME: Duration = Duration::from_millis(5);
/// Time between the last measured frame and the one that ends the run.
const LAST_TIME: Duration = Duration::from_millis(100);
/// Stamp of the frame that ends the run.
const LAST: u64 = 0;
/// Longest time without a frame.
const LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["send", "shm2", place, rate, seconds, ref options @ ..] => {
            send(place, rate.parse()?, seconds.parse()?, options.contains(&"written"))
        }
        ["receive", "shm2", place, _, _, ref options @ ..] => receive(place, options.contains(&"read")),
        _ => Err("usage: peer send|receive shm2 PLACE RATE SECONDS [written] [read]".into()),
    }
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

fn wait_for_line() -> Result<()> {
    match std::io::stdin().lock().read_line(&mut String::new())? {
        0 => Err("the program that started this process has ended".into()),
        _ => Ok(()),
    }
}

/// Writes and publishes frames.
struct Sender {
    producer: Producer,
    picture: Option<Vec<u8>>,
    number: u64,
}

impl Sender {
    fn send(&mut self, stamp: impl FnOnce() -> u64) -> std::result::Result<(), SendError> {
        let mut slot = self.producer.reserve(FRAME_BYTES)?;
        if let Some(picture) = &self.picture {
            slot.write_at(0, picture)?;
        }
        let words = slot.as_mut_ptr().cast::<u64>();
        // SAFETY: the reservation has more than 16 bytes, which only this process writes; slots are aligned to 64 bytes.
        unsafe {
            words.write(stamp());
            words.add(1).write(self.number);
        }
        self.producer.publish(slot, &FrameInfo::new())?;
        self.number += 1;
        Ok(())
    }
}

fn send(place: &str, rate: u64, seconds: f64, writes: bool) -> Result<()> {
    // As most of the peers do, it waits for the consumer.
    let policy = FullPolicy::Block { timeout: Some(LIMIT) };
    let mut producer =
        Producer::builder(place)?.arena(((DEPTH + 4) * FRAME_BYTES) as u64).full_policy(policy).create()?;
    producer.set_caps(CAPS.as_bytes())?;
    let picture = writes.then(|| (0..FRAME_BYTES).map(|at| (at * 7) as u8).collect());
    let mut sender = Sender { producer, picture, number: 0 };
    say("ready")?;
    wait_for_line()?;
    for _ in 0..WARM_UP {
        sender.send(now_ns)?;
        std::thread::sleep(WARM_UP_TIME);
    }
    let (usage, begun) = (Usage::now(), now_ns());
    let end = begun + (seconds * 1e9) as u64;
    let mut sent = 0;
    while now_ns() < end {
        // Without a rate there is no time to wait for.
        if let Some(after) = ((sent + 1) * 1_000_000_000u64).checked_div(rate) {
            sleep_until(begun + after);
        }
        sender.send(now_ns)?;
        sent += 1;
    }
    let figures = figures(usage, begun, now_ns(), sent);
    std::thread::sleep(LAST_TIME);
    sender.send(|| LAST)?;
    let mut figures = figures;
    figures["memory"] = "shared".into();
    say(&figures.to_string())?;
    wait_for_line()
}

/// The figures that both sides have, named as in `role.py`.
fn figures(usage: Usage, begun: u64, ended: u64, frames: u64) -> Value {
    let mut used = Figures::new();
    Usage::now().per_frame(usage, frames, "this", &mut used);
    json!({
        "frames": frames,
        "us": (ended - begun) as f64 / frames.max(1) as f64 / 1e3,
        "CPU us": used["this CPU us"],
        "page faults": used["this page faults"],
        "waited for a CPU %": used["this waited for a CPU %"],
    })
}

fn receive(place: &str, reads: bool) -> Result<()> {
    let mut consumer = Consumer::new(place)?;
    say("ready")?;
    let (mut usage, mut begun, mut ended) = (Usage::now(), 0, 0);
    let (mut times, mut expected, mut missed, mut is_leased) = (Times::default(), WARM_UP, 0, true);
    loop {
        let frame = consumer.next(Some(LIMIT))?;
        let now = now_ns();
        let (stamp, number) = stamp_of(&frame)?;
        is_leased &= frame.is_leased();
        if number >= WARM_UP {
            missed += number - expected;
            expected = number + 1;
            if stamp == LAST {
                break;
            }
            if times.is_empty() {
                (usage, begun) = (Usage::now(), now_ns());
            }
            times.record(now - stamp);
            ended = now;
        }
        if reads {
            read_rows(&frame);
        }
    }
    // The first frame began the measurement.
    let mut figures = figures(usage, begun, ended.max(begun), times.len().saturating_sub(1));
    for (name, figure) in times.quantiles().named() {
        figures[format!("{name} us")] = figure.into();
    }
    figures["missed"] = missed.into();
    figures["memory"] = if is_leased { "shared" } else { "private" }.into();
    say(&figures.to_string())
}

/// Stamp and number of a frame.
fn stamp_of(frame: &Frame) -> Result<(u64, u64)> {
    if frame.len() != FRAME_BYTES {
        return Err(format!("a frame has {} bytes instead of {FRAME_BYTES}", frame.len()).into());
    }
    let words = frame.as_ptr().cast::<u64>();
    // SAFETY: the frame has more than 16 bytes and is held; the producer does not write to it any more.
    Ok(unsafe { (words.read_unaligned(), words.add(1).read_unaligned()) })
}

/// Sums a few rows of both planes: the work on each frame.
fn read_rows(frame: &Frame) {
    // SAFETY: the frame is held, and its producer does not write to it any more.
    let bytes = unsafe { std::slice::from_raw_parts(frame.as_ptr(), frame.len()) };
    let (luma, chroma) = bytes.split_at(WIDTH * HEIGHT);
    let rows = [luma, chroma].into_iter().flat_map(|plane| plane.chunks_exact(WIDTH).step_by(ROW_STEP));
    let sum = rows.flatten().fold(0u64, |sum, byte| sum + u64::from(*byte));
    std::hint::black_box(sum);
}
