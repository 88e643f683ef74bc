//! Cost of a message through each kind of ring, pipe and bus: medians of alternating runs, and ratios. Both sides of a
//! shared ring have their own mapping, as two processes would.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin rings [CHART.svg]`

use shm2_benches::stream::{SIZES, WAYS};
use shm2_benches::{RoundTrip, both_ways, bus::Bus, chart, median, ping_pong};

const ROUNDS: usize = 7;

fn main() -> std::io::Result<()> {
    let chart = std::env::args().nth(1);
    let (names, figures) = streams();
    if let Some(path) = chart {
        let columns = SIZES.map(|size| format!("{size} bytes"));
        std::fs::write(
            &path,
            chart::svg("Nanoseconds per message, shorter is better (logarithmic)", &names, &columns, &figures),
        )?;
        println!("chart: {path}");
    }
    trips("polled, 64 bytes there and back", &ping_pong::POLLED, 200_000);
    trips("signalled, 64 bytes there and back", &ping_pong::SIGNALLED, 10_000);
    trips("1,500 bytes there and back, up to 128 in flight", &both_ways::WAYS, 100_000);
    Ok(())
}

/// Runs all ways with all sizes.
fn streams() -> (Vec<&'static str>, Vec<Vec<f64>>) {
    println!("ns per message, median of {ROUNDS} alternating runs, and its ratio to shm2");
    println!("{:<18}{}", "", SIZES.map(|size| format!("{size:>12} B{:>7}", "")).concat());
    let bus = Bus::start();
    let mut names: Vec<_> = WAYS.iter().map(|(name, _)| *name).collect();
    match bus {
        Some(_) => names.push("D-Bus call"),
        None => println!("skipped: D-Bus: no dbus-daemon"),
    }
    let mut all = vec![Vec::new(); names.len()];
    for size in SIZES {
        let mut runs = vec![Vec::new(); names.len()];
        for _ in 0..ROUNDS {
            for ((_, way), runs) in WAYS.iter().zip(&mut runs) {
                // As many messages as take about 0.1 s.
                let guess = way(size, 2000).max(1.0);
                runs.push(way(size, (1e8 / guess).clamp(2000.0, 3e6) as usize));
            }
            if let Some(bus) = &bus {
                runs[WAYS.len()].push(bus.calls(size, 300));
            }
        }
        all.iter_mut().zip(runs).for_each(|(row, runs)| row.push(median(runs)));
    }
    for (name, row) in names.iter().zip(&all) {
        let cells = row.iter().zip(&all[0]).map(|(own, ours)| format!("{own:>14.1}{:>6.2}x", own / ours));
        println!("{name:<18}{}", cells.collect::<String>());
    }
    (names, all)
}

/// Prints times of round trips, and their ratios to the first.
fn trips(title: &str, ways: &[(&str, RoundTrip)], count: usize) {
    let mut runs = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, way), runs) in ways.iter().zip(&mut runs) {
            runs.push(way(count));
        }
    }
    let medians: Vec<_> = runs.into_iter().map(median).collect();
    println!("\n{title}: ns per round trip, median of {ROUNDS} alternating runs, and its ratio to the first");
    for ((name, _), own) in ways.iter().zip(&medians) {
        println!("{name:<18}{own:>14.1}{:>6.2}x", own / medians[0]);
    }
}
