//! Cost of a message through each kind of ring, pipe and bus: medians of alternating runs, and ratios. Both sides of a
//! shared ring have their own mapping, as two processes would.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin rings -- [--rounds N] [--json FILE]`

use figures::{Record, median};
use shm2_benches::stream::{SIZES, WAYS};
use shm2_benches::{Options, RoundTrip, both_ways, bus::Bus, ping_pong};
use std::io;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::from_arguments(7)?;
    streams(&mut options)?;
    let mut trips = |case, ways: &[(&'static str, RoundTrip)], count| trips(&mut options, case, ways, count);
    trips("polled, 64 B there and back", &ping_pong::POLLED, 200_000)?;
    trips("signalled, 64 B there and back", &ping_pong::SIGNALLED, 10_000)?;
    trips("1,500 B there and back, up to 128 in flight", &both_ways::WAYS, 100_000)?;
    Ok(())
}

/// Runs all ways with all sizes.
fn streams(options: &mut Options) -> io::Result<()> {
    let bus = Bus::start();
    if bus.is_none() {
        println!("skipped: D-Bus: no dbus-daemon");
    }
    for size in SIZES {
        let mut runs = Runs::new(options, format!("stream of {size} B"));
        for _ in 0..runs.options.rounds {
            for (name, way) in WAYS {
                // As many messages as take about 0.1 s.
                let guess = way(size, 2000).max(1.0);
                runs.add(name, way(size, (1e8 / guess).clamp(2000.0, 3e6) as usize))?;
            }
            if let Some(bus) = &bus {
                runs.add("D-Bus call", bus.calls(size, 300))?;
            }
        }
        runs.show();
    }
    Ok(())
}

/// Times of round trips.
fn trips(options: &mut Options, case: &str, ways: &[(&'static str, RoundTrip)], count: usize) -> io::Result<()> {
    let mut runs = Runs::new(options, case.into());
    for _ in 0..runs.options.rounds {
        for (name, way) in ways {
            runs.add(name, way(count))?;
        }
    }
    runs.show();
    Ok(())
}

/// Nanoseconds of all runs of one case.
struct Runs<'a> {
    options: &'a mut Options,
    case: String,
    ways: Vec<(&'static str, Vec<f64>)>,
}

impl<'a> Runs<'a> {
    fn new(options: &'a mut Options, case: String) -> Self {
        Self { options, case, ways: Vec::new() }
    }

    fn add(&mut self, way: &'static str, ns: f64) -> io::Result<()> {
        match self.ways.iter_mut().find(|(name, _)| *name == way) {
            Some((_, all)) => all.push(ns),
            None => self.ways.push((way, vec![ns])),
        }
        let name = if way.starts_with("shm2") { "shm2" } else { way };
        self.options.recorder.write(&Record::new("rings", &self.case, name).with("ns", ns))
    }

    /// Prints medians, and their ratios to the first.
    fn show(self) {
        println!("{}: ns, and its ratio to the first; median of {} rounds", self.case, self.options.rounds);
        let medians: Vec<_> = self.ways.into_iter().map(|(name, all)| (name, median(all))).collect();
        for (name, own) in &medians {
            println!("  {name:<18}{own:>14.1}{:>8.2}x", own / medians[0].1);
        }
    }
}
