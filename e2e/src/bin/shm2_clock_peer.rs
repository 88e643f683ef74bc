//! Frames to another kernel and back: the time it takes, and the error of mapped times.
//! `shm2_clock_peer host OUT IN COUNT` on one side, `shm2_clock_peer guest IN OUT` on the other.
//!
//! A frame in each direction gives the difference of the clocks, with an error of at most half of the round trip (as
//! with NTP). The result of [`Consumer::to_local`] is compared with that.

#![forbid(unsafe_code)]

use shm2::{Access, Consumer, Frame, FrameInfo, Producer, ReceiveError, Start, monotonic_ns};
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

/// Numbers in each frame, eight bytes each.
const WORDS: usize = 4;
const LIMIT: Duration = Duration::from_secs(120);
/// Number that ends the other side.
const LAST: u64 = u64::MAX;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["host", out, back, count] => count.parse().map_err(Failure::from).and_then(|n| host(out, back, n)),
        ["guest", from, back] => guest(from, back),
        _ => Err("usage: shm2_clock_peer host OUT IN COUNT | guest IN OUT".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm2_clock_peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn producer(name: &str) -> Result<Producer, Failure> {
    Ok(Producer::builder(name)?.size(16 << 20).keep_region(true).create()?)
}

fn consumer(name: &str) -> Result<Consumer, Failure> {
    Ok(Consumer::builder(name)?.access(Access::Snapshot).start(Start::Next).attach(Some(LIMIT))?)
}

fn send(producer: &mut Producer, words: [u64; WORDS]) -> Result<(), Failure> {
    let bytes: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    producer.send(&bytes, &FrameInfo::new())?;
    Ok(())
}

fn words(frame: &Frame) -> [u64; WORDS] {
    let bytes = frame.to_vec();
    std::array::from_fn(|w| u64::from_le_bytes(std::array::from_fn(|i| bytes.get(w * 8 + i).copied().unwrap_or(0))))
}

/// The next frame; polls without a pause.
fn next(consumer: &mut Consumer, limit: Duration) -> Result<Frame, Failure> {
    let begun = Instant::now();
    loop {
        match consumer.try_next() {
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) if begun.elapsed() > limit => return Err(ReceiveError::TimedOut.into()),
            Ok(None) => std::hint::spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends each number back with its arrival time and its publication time, both on this clock.
fn guest(from: &str, back: &str) -> Result<(), Failure> {
    let mut producer = producer(back)?;
    let mut consumer = consumer(from)?;
    loop {
        let frame = next(&mut consumer, LIMIT)?;
        let came = monotonic_ns();
        // The time is unknown when the producer lost its processor right after the frame.
        let published = frame.published_ns().map_or(came, |time| consumer.to_local(time));
        let number = words(&frame)[0];
        if number == LAST {
            return Ok(());
        }
        send(&mut producer, [number, came, published, 0])?;
    }
}

/// One round trip: times in nanoseconds, offsets of the guest's clock against this one.
struct Trip {
    round: u64,
    offset: i128,
    /// Offsets by the mapping of the guest and of this side.
    mapped: [i128; 2],
}

fn host(out: &str, back: &str, count: u64) -> Result<(), Failure> {
    let mut producer = producer(out)?;
    let mut consumer = consumer(back)?;
    let mut trips = Vec::new();
    let begun = Instant::now();
    for number in 0..count {
        match trip(&mut producer, &mut consumer, number) {
            Ok(trip) => trips.extend(trip),
            // The guest may have attached after the first frames.
            Err(error) if trips.is_empty() && begun.elapsed() < LIMIT => drop(error),
            Err(error) => return Err(error),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    send(&mut producer, [LAST, 0, 0, 0])?;
    // Time for the guest to take it.
    std::thread::sleep(Duration::from_millis(300));
    report(&mut trips)
}

/// `None` if the time at which the answer was sent is unknown.
fn trip(producer: &mut Producer, consumer: &mut Consumer, number: u64) -> Result<Option<Trip>, Failure> {
    let sent = monotonic_ns();
    send(producer, [number, sent, 0, 0])?;
    let frame = loop {
        let frame = next(consumer, Duration::from_secs(2))?;
        if words(&frame)[0] == number {
            break frame;
        }
    };
    let back = monotonic_ns();
    let [_, came, published_there, _] = words(&frame);
    let Some(left) = frame.published_ns() else { return Ok(None) };
    let round = (back - sent).saturating_sub(left.saturating_sub(came));
    let offset = (i128::from(came) - i128::from(sent) + i128::from(left) - i128::from(back)) / 2;
    let there = i128::from(published_there) - i128::from(sent);
    let here = i128::from(left) - i128::from(consumer.to_local(left));
    Ok(Some(Trip { round, offset, mapped: [there, here] }))
}

/// The mapping improves over time, so only the last quarter is checked.
fn report(trips: &mut [Trip]) -> Result<(), Failure> {
    let best = trips.iter().min_by_key(|trip| trip.round).ok_or("no frame came back")?;
    let (offset, bound) = (best.offset, best.round / 2);
    let late = &trips[trips.len() * 3 / 4..];
    let worst = |side: usize| late.iter().map(|t| (t.mapped[side] - offset).abs()).max().unwrap_or_default() / 1000;
    let (there, here) = (worst(0), worst(1));
    let mut rounds: Vec<_> = trips.iter().map(|trip| trip.round).collect();
    rounds.sort_unstable();
    let at = |share: f64| rounds[((rounds.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "trips={} one way p50={:.1} us p99={:.1} us; clocks differ by {:.3} s (known within {:.1} us); \
         times mapped with an error of at most {there} us in the guest, {here} us on the host",
        rounds.len(),
        at(0.5) / 2.0,
        at(0.99) / 2.0,
        offset as f64 / 1e9,
        bound as f64 / 1e3,
    );
    println!("mapping_error_us={}", there.max(here));
    Ok(())
}
