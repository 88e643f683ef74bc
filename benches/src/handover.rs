//! Cost of handing a frame from one process to another, from `publish` to a held lease, compared with the time of a
//! signal between two CPUs. All figures are medians over alternating runs.
//!
//! Two processes play ping-pong through two regions; the payload is not touched. Memory for the next frame is reserved
//! while the current one is in flight. The raw figures come from two threads:
//! a pair of atomics that both spin on, and a pair of shared futex words that both sleep on.

#![forbid(unsafe_code)]

use figures::{Record, median};
use rustix::thread::futex::{self, Flags};
use shm2::{Consumer, Frame, FrameInfo, Producer, Start};
use shm2_benches::Options;
use shm2_testing::{ChildGuard, TempRegion};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const POLLED: u32 = 20_000;
const WOKEN: u32 = 2_000;
const SIZES: [(usize, &str); 3] = [(1 << 10, "1 KiB"), (3 << 20, "3 MiB"), (132 << 20, "132 MiB")];

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["--rounds" | "--json", ..] => report(),
        ["answer", ping, pong, size, polled] => answer(ping, pong, size.parse()?, polled == "polled"),
        _ => Err("options: --rounds N, --json FILE".into()),
    }
}

fn report() -> Result<()> {
    let mut options = Options::from_arguments(7)?;
    let rounds = options.rounds;
    println!("hand-over, one way, microseconds (half a round trip), median of {rounds} alternating runs\n");
    let mut table: Vec<Vec<f64>> = vec![Vec::new(); 2 * (SIZES.len() + 1)];
    for round in 0..rounds {
        eprint!("\rrun {} of {rounds}", round + 1);
        table[0].push(raw_spin());
        table[1].push(raw_futex());
        for (index, (size, _)) in SIZES.iter().enumerate() {
            table[2 + 2 * index].push(ping_pong(*size, true)?);
            table[3 + 2 * index].push(ping_pong(*size, false)?);
        }
    }
    eprintln!();
    let medians: Vec<f64> = table.into_iter().map(median).collect();
    for (mode, first) in [("polled", 0), ("woken", 1)] {
        let labels = std::iter::once("one word").chain(SIZES.map(|(_, label)| label));
        for (label, us) in labels.zip(medians.iter().skip(first).step_by(2)) {
            let way = if label == "one word" { "raw" } else { "shm2" };
            options.recorder.write(&Record::new("handover", &format!("{mode}, {label}"), way).with("us", *us))?;
        }
    }
    println!("{:<28}{:>10}{:>10}{:>10}{:>10}", "", "polled", "x raw", "woken", "x raw");
    println!("{:<28}{:>10.3}{:>10}{:>10.2}{:>10}", "raw atomics / raw futex", medians[0], "1.00", medians[1], "1.00");
    for (index, (_, label)) in SIZES.iter().enumerate() {
        let (polled, woken) = (medians[2 + 2 * index], medians[3 + 2 * index]);
        let name = format!("shm2, frames of {label}");
        println!("{name:<28}{polled:>10.3}{:>10.2}{woken:>10.2}{:>10.2}", polled / medians[0], woken / medians[1]);
    }
    Ok(())
}

fn one_way_us(begun: Instant, round_trips: u32) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(round_trips) / 2.0
}

/// One word on its own cache lines.
#[repr(align(128))]
struct Word(AtomicU32);

fn raw_spin() -> f64 {
    let (ping, pong) = (Word(AtomicU32::new(0)), Word(AtomicU32::new(0)));
    let follow = |word: &AtomicU32, value| {
        while word.load(Ordering::Acquire) != value {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 1..=POLLED {
                follow(&ping.0, value);
                pong.0.store(value, Ordering::Release);
            }
        });
        let begun = Instant::now();
        for value in 1..=POLLED {
            ping.0.store(value, Ordering::Release);
            follow(&pong.0, value);
        }
        one_way_us(begun, POLLED)
    })
}

fn raw_futex() -> f64 {
    let (ping, pong) = (Word(AtomicU32::new(0)), Word(AtomicU32::new(0)));
    let tell = |word: &AtomicU32, value| {
        word.store(value, Ordering::Release);
        let _ = futex::wake(word, Flags::empty(), 1);
    };
    let follow = |word: &AtomicU32, value: u32| {
        while word.load(Ordering::Acquire) != value {
            let _ = futex::wait(word, Flags::empty(), value - 1, None);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 1..=WOKEN {
                follow(&ping.0, value);
                tell(&pong.0, value);
            }
        });
        let begun = Instant::now();
        for value in 1..=WOKEN {
            tell(&ping.0, value);
            follow(&pong.0, value);
        }
        one_way_us(begun, WOKEN)
    })
}

/// The other process, killed on drop.
fn peer(arguments: &[&str]) -> Result<ChildGuard> {
    Ok(ChildGuard::spawn(Command::new(std::env::current_exe()?).args(arguments))?)
}

fn region(name: &str, frame: usize) -> Result<Producer> {
    Ok(Producer::builder(name)?.arena(6 * frame as u64 + (1 << 20)).create()?)
}

fn take(consumer: &mut Consumer, polled: bool) -> Result<Frame> {
    if !polled {
        return Ok(consumer.next(Some(Duration::from_secs(20)))?);
    }
    loop {
        if let Some(frame) = consumer.try_next()? {
            return Ok(frame);
        }
        std::hint::spin_loop();
    }
}

fn ping_pong(size: usize, polled: bool) -> Result<f64> {
    let (ping, pong) = (TempRegion::new(), TempRegion::new());
    let mut producer = region(&ping, size)?;
    let mode = if polled { "polled" } else { "woken" };
    let _peer = peer(&["answer", &ping, &pong, &size.to_string(), mode])?;
    let mut consumer = Consumer::builder(&pong)?.start(Start::Oldest).attach(Some(Duration::from_secs(20)))?;
    while producer.consumers() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let rounds = if polled { POLLED } else { WOKEN };
    let (mut slot, mut held) = (producer.reserve(size)?, None);
    let mut begun = Instant::now();
    for round in 0..rounds + rounds / 10 {
        if round == rounds / 10 {
            begun = Instant::now();
        }
        producer.publish(slot, &FrameInfo::new())?;
        slot = producer.reserve(size)?;
        // The previous frame is released after the answer arrived: the release is not part of a hand-over.
        let frame = take(&mut consumer, polled)?;
        drop(held.replace(frame));
    }
    Ok(one_way_us(begun, rounds))
}

/// The other side of [`ping_pong`].
fn answer(ping: &str, pong: &str, size: usize, polled: bool) -> Result<()> {
    let mut producer = region(pong, size)?;
    let mut consumer = Consumer::builder(ping)?.start(Start::Next).attach(Some(Duration::from_secs(20)))?;
    let mut held = None;
    loop {
        let slot = producer.reserve(size)?;
        let frame = take(&mut consumer, polled)?;
        producer.publish(slot, &FrameInfo::new())?;
        drop(held.replace(frame));
    }
}
