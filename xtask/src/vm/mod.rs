//! Checks in virtual machines: what takes a kernel of one's own. A Debian kernel under QEMU, without KVM, with a tree of a newer
//! release as its files and what was built here mounted into it.

mod guest;
mod image;
mod memory;
mod relay;

use crate::Outcome;
use crate::run::{BUILD, run};
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

/// What the command line may say.
struct Options {
    /// How long a guest stays paused while others run.
    pause: Duration,
    kvmfr: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { pause: Duration::from_secs(20), kvmfr: None };
        for pair in words.chunks(2) {
            match pair {
                ["--pause", seconds] => {
                    let wrong = |_| format!("--pause {seconds:?} is no number of seconds: write for example 60");
                    options.pause = Duration::from_secs(seconds.parse().map_err(wrong)?);
                }
                ["--kvmfr", file] => options.kvmfr = Some(file.into()),
                other => return Err(format!("vm does not know {other:?}: it takes --pause N and --kvmfr FILE")),
            }
        }
        Ok(options)
    }
}

/// Runs all checks, where that is possible.
pub fn vm(words: &[&str]) -> Outcome {
    let options = Options::parse(words)?;
    run(BUILD)?;
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
    memory::all(&place, &files, guest, options.pause, options.kvmfr.as_deref())?;
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
