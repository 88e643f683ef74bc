//! Raw pictures of 1920x1080, and their ages where they arrive; for `cargo xtask zenoh bench`.
//!
//! ```text
//! flow send REGION SECONDS RATE    pictures with the time at which they were made; then its greatest lateness
//! flow take REGION SECONDS         ages on this kernel's clock, and what did not arrive
//! ```

use shm2::{Consumer, FrameInfo, Producer, ReceiveError};
use shm2_cli::stop::Stop;
use std::time::{Duration, Instant};

const CAPS: &[u8] = b"video/x-raw, format=I420, width=1920, height=1080, framerate=60/1";
const BYTES: usize = 1920 * 1080 * 3 / 2;
/// Pictures at the beginning, which have waited for the connection.
const WARM_UP: usize = 60;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["send", region, seconds, rate] => send(region, seconds.parse()?, rate.parse()?),
        ["take", region, seconds] => take(region, seconds.parse()?),
        _ => Err("send REGION SECONDS RATE, or take REGION SECONDS".into()),
    }
}

fn send(region: &str, seconds: u32, rate: u32) -> Result<(), Failure> {
    // What lossless bridges need: else the producer uses memory again that they have not read.
    let mut producer = Producer::builder(region)?.arena(8 * BYTES as u64).history(u32::MAX).create()?;
    producer.set_caps(CAPS)?;
    let picture = vec![128; BYTES];
    let stop = Stop::on_signal(|| {})?;
    let due = |number: u32| Duration::from_secs(1) * number / rate;
    let (begun, mut sent, mut number, mut latest) = (Instant::now(), 0, 0, Duration::ZERO);
    while number < seconds * rate && !stop.is_set() {
        stop.pause(due(number).saturating_sub(begun.elapsed()));
        let late = begun.elapsed().saturating_sub(due(number));
        latest = latest.max(late);
        // After a stall, a camera goes on with the picture of now. The ones before would fill the region at once.
        number += (late.as_nanos() * u128::from(rate) / 1_000_000_000) as u32;
        let mut info = FrameInfo::new().with_pts(u64::from(number));
        info.time = Some(shm2::monotonic_ns());
        producer.send(&picture, &info)?;
        (sent, number) = (sent + 1, number + 1);
    }
    println!("{sent} sent, {} skipped as overdue, at most {:.1} ms late", number - sent, latest.as_secs_f64() * 1e3);
    Ok(())
}

fn take(region: &str, seconds: u64) -> Result<(), Failure> {
    let mut consumer = Consumer::new(region)?;
    let (mut ages, mut numbers) = (Vec::new(), Vec::new());
    let mut begun = Instant::now();
    while numbers.len() <= WARM_UP || begun.elapsed() < Duration::from_secs(seconds) {
        let frame = match consumer.next(Some(Duration::from_secs(20))) {
            Ok(frame) => frame,
            Err(ReceiveError::EndOfStream) => break,
            Err(error) => return Err(error.into()),
        };
        if numbers.len() == WARM_UP {
            begun = Instant::now();
        }
        let info = frame.info();
        ages.push(shm2::monotonic_ns().saturating_sub(info.time.unwrap_or_default()));
        numbers.push(info.pts.unwrap_or_default());
    }
    let (ages, numbers) = (&mut ages[WARM_UP..], &numbers[WARM_UP..]);
    let expected = numbers.last().zip(numbers.first()).map_or(0, |(last, first)| last - first + 1);
    ages.sort_unstable();
    let age = |share: usize| ages.get(ages.len() * share / 100).map_or(0.0, |age| *age as f64 / 1e6);
    let gap = numbers.windows(2).map(|pair| pair[1].saturating_sub(pair[0] + 1)).max().unwrap_or_default();
    let (taken, missed) = (numbers.len(), consumer.stats().missed);
    println!(
        "{taken} of {expected} pictures, {missed} missed in the local region, {gap} at once; age p50 {:.1} ms, p99 {:.1} ms",
        age(50),
        age(99)
    );
    Ok(())
}
