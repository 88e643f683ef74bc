//! Checks in virtual machines: what takes a kernel of its own. A Debian kernel runs under QEMU, without KVM, with a
//! tree of a newer release as its files; the programs that were built here are mounted into it.

mod guest;
mod image;
mod memory;
mod relay;
mod tutorial;
mod v4l2;

use guest::Guest;
use memory::BackingFiles;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use xtask::Outcome;
use xtask::run::{BUILD, run};

/// Paths of everything that a guest is started with.
pub struct GuestFiles {
    /// The rig's own files: the initial files, and what is exchanged with guests.
    folder: PathBuf,
    kernel: PathBuf,
    /// The guest's root directory.
    tree: PathBuf,
    /// The programs that were built here.
    built: PathBuf,
}

/// The command line's options.
struct Options {
    /// How long a guest stays paused while others run.
    pause: Duration,
    /// The module kvmfr, built for the guest's kernel.
    kvmfr: Option<PathBuf>,
    /// Only this part.
    only: Option<Part>,
}

/// A part that runs alone.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// The blocks of the tutorial of virtual machines.
    Tutorial,
    /// All about V4L2, and the blocks of its tutorial.
    V4l2,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let only = match words {
            ["tutorial"] => Some(Part::Tutorial),
            ["v4l2"] => Some(Part::V4l2),
            _ => None,
        };
        let mut options = Self { pause: Duration::from_secs(20), kvmfr: None, only };
        let words = if only.is_some() { &[] } else { words };
        for pair in words.chunks(2) {
            match pair {
                ["--pause", seconds] => {
                    let wrong = |_| format!("--pause {seconds:?} is no number of seconds: write for example 60");
                    options.pause = Duration::from_secs(seconds.parse().map_err(wrong)?);
                }
                ["--kvmfr", file] => options.kvmfr = Some(file.into()),
                other => {
                    return Err(format!(
                        "vm does not know {other:?}: it takes tutorial, v4l2, or --pause N and --kvmfr FILE"
                    ));
                }
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
    let guest_files = match image::prepare()? {
        Ok(guest_files) => guest_files,
        Err(why) => return skipped(&why),
    };
    println!("\n==> guests with shared memory, a camera (vivid) and vsock; without KVM this takes some minutes");
    let begun = Instant::now();
    let backing = BackingFiles::new();
    let mut guest = match Guest::boot(&guest_files, "guest", &backing.devices_of_first()) {
        Ok(guest) => guest,
        Err(why) => return skipped(&why),
    };
    if options.only == Some(Part::Tutorial) {
        return scene("tutorial", || tutorial::virtual_machine(&guest_files, &backing, &mut guest));
    }
    match v4l2::prepare(&guest_files) {
        Ok(module) => {
            v4l2::insert(&mut guest, &module)?;
            if options.only == Some(Part::V4l2) {
                scene("v4l2", || v4l2::long(&mut guest))?;
                return scene("tutorial", || tutorial::v4l2(&guest_files, &mut guest));
            }
            scene("v4l2", || v4l2::short(&mut guest))?;
        }
        Err(why) => println!("skipped: v4l2: {why}"),
    }
    if options.only == Some(Part::V4l2) {
        return Ok(());
    }
    scene("camera", || relay::camera(&mut guest))?;
    memory::all(&guest_files, &backing, guest, options.pause, options.kvmfr.as_deref())?;
    println!("vm: all green, {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Runs one check and prints how long it took.
fn scene(name: &str, run: impl FnOnce() -> Outcome) -> Outcome {
    let begun = Instant::now();
    run().map_err(|error| format!("vm: {name}: {error}"))?;
    println!("vm: {name}: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Fails unless each of the expected texts is in the output.
fn expect_all(output: &str, expected: &[&str]) -> Outcome {
    match expected.iter().find(|text| !output.contains(*text)) {
        None => Ok(()),
        Some(text) => Err(format!("{text:?} is missing in the output:\n{output}")),
    }
}
