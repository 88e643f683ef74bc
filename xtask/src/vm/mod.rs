//! Checks in virtual machines: what takes a kernel of one's own. A Debian kernel under QEMU, without KVM, with a tree of a newer
//! release as its files and what was built here mounted into it.

mod guest;
mod image;
mod memory;
mod relay;

use crate::Outcome;
use crate::run::{command, run_command};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where everything is.
pub struct Place {
    /// The job's own files.
    folder: PathBuf,
    kernel: PathBuf,
    /// The guest's files.
    tree: PathBuf,
    /// What was built here.
    built: PathBuf,
}

/// Runs all checks, where that is possible. A guest that is paused meanwhile stays so for `pause`.
pub fn vm(pause: &str) -> Outcome {
    let pause =
        pause.parse().map_err(|_| format!("--pause {pause:?} is no number of seconds: write for example 60"))?;
    for line in [
        "cargo build -p shm2-relayd --bins --examples",
        "cargo build -p gst-plugin-shm2 --lib",
        "cargo build -p shm2-cli -p shm2-tests --bins",
    ] {
        run_command(command(line), line)?;
    }
    let skipped = |why: &str| {
        println!("skipped: checks in virtual machines: {why}");
        Ok(())
    };
    let place = match image::prepare() {
        Ok(place) => place,
        Err(why) => return skipped(&why),
    };
    println!("\n==> guests with shared memory, a camera (vivid) and vsock; without KVM this takes some minutes");
    let begun = Instant::now();
    let files = memory::Files::new();
    let mut guest = match guest::Guest::boot(&place, "guest", &files.memories()) {
        Ok(guest) => guest,
        Err(why) => return skipped(&why),
    };
    scene("camera", || relay::camera(&mut guest))?;
    memory::all(&place, &files, guest, Duration::from_secs(pause))?;
    println!("vm: all green, {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Runs one check and says how long it took.
fn scene(name: &str, run: impl FnOnce() -> Outcome) -> Outcome {
    let begun = Instant::now();
    run().map_err(|error| format!("vm: {name}: {error}"))?;
    println!("vm: {name}: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Each of the lines must be in the text.
fn check(text: &str, expected: &[&str]) -> Outcome {
    match expected.iter().find(|line| !text.contains(*line)) {
        None => Ok(()),
        Some(line) => Err(format!("it was not said {line:?}:\n{text}")),
    }
}
