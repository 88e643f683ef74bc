//! Measures how far sound and picture are apart: `cargo run -p shm2 --example av_offset -- VIDEO AUDIO 8`
//!
//! The picture is raw video that changes between dark and bright, as of `videotestsrc pattern=blink`; the sound is
//! S16LE of one channel with a tick at each change, as of `audiotestsrc wave=ticks`. Each frame carries the instant at
//! which it was due in its producer. The difference between a change and the tick next to it is printed, and the mean.
//! With a fourth argument it fails if the mean differs from that many milliseconds by more than five. The page
//! docs/tutorials/clocks.md uses it.

use shm2::wait_set::Token;
use shm2::{Consumer, Frame, WaitSet};
use std::error::Error;
use std::time::Duration;

const LIMIT: Option<Duration> = Some(Duration::from_secs(20));
/// Changes of the mean brightness below this are none.
const CHANGE: i64 = 60;
/// Samples below this are silence.
const LOUD: u16 = 2000;
/// A tick begins after so much silence.
const SILENCE_NS: u64 = 200_000_000;
/// Changes and ticks that are further apart than this do not belong together.
const NEAR_NS: i64 = 200_000_000;
/// Means that differ by less are the same.
const SAME_MS: f64 = 5.0;

/// Instants of changes and ticks, in nanoseconds of the producers' monotonic clock.
#[derive(Default)]
struct Seen {
    brightness: Option<i64>,
    changes: Vec<u64>,
    loud_ns: Option<u64>,
    ticks: Vec<u64>,
}

impl Seen {
    fn picture(&mut self, bytes: &[u8], time: u64) {
        let brightness = bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>() / bytes.len().max(1) as i64;
        if self.brightness.is_some_and(|last| (brightness - last).abs() > CHANGE) {
            self.changes.push(time);
        }
        self.brightness = Some(brightness);
    }

    fn sound(&mut self, bytes: &[u8], time: u64, rate: u64) {
        for (number, sample) in (0..).zip(bytes.chunks_exact(2)) {
            let now = time + number * 1_000_000_000 / rate;
            if i16::from_le_bytes([sample[0], sample[1]]).unsigned_abs() > LOUD {
                // The first sounds of all may be the middle of a tick.
                if self.loud_ns.is_some_and(|last| now.saturating_sub(last) > SILENCE_NS) {
                    self.ticks.push(now);
                }
                self.loud_ns = Some(now);
            }
        }
    }

    /// Sound minus picture, of each change that has a tick.
    fn offsets(&self) -> Vec<i64> {
        let nearest = |change: &u64| {
            let distances = self.ticks.iter().map(|tick| *tick as i64 - *change as i64);
            distances.min_by_key(|distance| distance.abs()).filter(|distance| distance.abs() < NEAR_NS)
        };
        self.changes.iter().filter_map(nearest).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(video), Some(audio)) = (arguments.next(), arguments.next()) else {
        return Err("usage: av_offset VIDEO AUDIO [PAIRS [MILLISECONDS]]".into());
    };
    let pairs = arguments.next().map_or(Ok(8), |text| text.parse())?;
    let expected = arguments.next().map(|text| text.parse::<f64>()).transpose()?;
    let mean = measure(&video, &audio, pairs)?;
    println!("mean {mean:+.3} ms");
    match expected {
        Some(expected) if (mean - expected).abs() > SAME_MS => Err(format!("that is not {expected:+.3} ms").into()),
        _ => Ok(()),
    }
}

/// Prints the offsets of so many pairs. Returns their mean in milliseconds.
fn measure(video: &str, audio: &str, pairs: usize) -> Result<f64, Box<dyn Error>> {
    let mut set = WaitSet::new();
    let video = set.add(Consumer::new(video)?)?;
    set.add(Consumer::new(audio)?)?;
    let (mut seen, mut printed) = (Seen::default(), 0);
    while printed < pairs {
        let ready = set.next(LIMIT).ok_or("nothing came for 20 seconds")?;
        receive(&mut seen, &set, ready.token, &ready.frame?, ready.token == video)?;
        let offsets = seen.offsets();
        for offset in offsets.iter().skip(printed) {
            println!("sound minus picture {:+.3} ms", *offset as f64 / 1e6);
        }
        printed = offsets.len();
    }
    let offsets = seen.offsets();
    Ok(offsets.iter().sum::<i64>() as f64 / offsets.len().max(1) as f64 / 1e6)
}

fn receive(seen: &mut Seen, set: &WaitSet, token: Token, frame: &Frame, is_video: bool) -> Result<(), Box<dyn Error>> {
    let time = frame.info().time.or(frame.published_ns()).ok_or("a frame without a time")?;
    let time = set.get(token).map_or(time, |consumer| consumer.to_local(time));
    let bytes = frame.to_vec();
    if is_video {
        seen.picture(&bytes, time);
        return Ok(());
    }
    let caps = frame.caps().map(|(_, caps)| String::from_utf8_lossy(caps).into_owned()).unwrap_or_default();
    if !caps.contains("S16LE") || !caps.contains("channels=(int)1") {
        return Err(format!("the sound must be S16LE of one channel, not {caps}").into());
    }
    let rate = caps.split_once("rate=(int)").ok_or("sound without a rate")?.1;
    let rate = rate.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse::<u64>()?;
    seen.sound(&bytes, time, rate.max(1));
    Ok(())
}
