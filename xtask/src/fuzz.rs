//! The fuzz targets of `fuzz/`, two at a time.
//!
//! The seeds of each are in `fuzz/seeds/TARGET.txt`, one input a line in hexadecimal. What a run finds besides stays in
//! the build directory; `cargo fuzz cmin` shrinks it when it is to become new seeds.

use crate::Outcome;
use crate::run::{command, root, run_command, succeeds, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

const TARGETS: &[&str] = &["attach", "consumer", "producer", "blobs", "ring", "spec", "media"];

/// Builds the targets and runs each for some seconds.
pub fn fuzz(seconds: &str) -> Outcome {
    if seconds.parse::<u32>().is_err() {
        return Err(format!("--seconds {seconds} is no number of seconds"));
    }
    if !succeeds("cargo fuzz --version") && !succeeds("cargo install cargo-fuzz --locked --debug") {
        println!("skipped: fuzz: cargo-fuzz can neither be found nor installed");
        return Ok(());
    }
    run_command(cargo_fuzz("build"), "cargo fuzz build")?;
    let corpus = target().join("fuzz-corpus");
    for pair in TARGETS.chunks(2) {
        let running = pair.iter().map(|name| start(name, seconds, &corpus)).collect::<Result<Vec<_>, _>>()?;
        for (name, mut child, log) in running {
            let status = child.wait().map_err(|e| format!("cannot wait for {name}: {e}"));
            // The target ended without cleaning up, if it made a region at all.
            let _ = fs::remove_file(region(name));
            let status = status?;
            let text = fs::read_to_string(&log).unwrap_or_default();
            if !status.success() {
                println!("{text}");
                return Err(format!("the fuzz target {name} failed: its input is above and in {}", log.display()));
            }
            let done = text.lines().rev().find(|line| line.starts_with("Done ")).unwrap_or("Done");
            println!("{name}: {done}");
        }
    }
    Ok(())
}

/// The region of a target's run.
fn region(name: &str) -> String {
    format!("/dev/shm/shm2-fuzz-{}-{name}", std::process::id())
}

/// The sanitizer and the coverage of the stable compiler are behind a switch.
fn cargo_fuzz(arguments: &str) -> Command {
    let mut fuzz = command(&format!("cargo fuzz {arguments}"));
    fuzz.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target().join("fuzz"));
    // GLib keeps what it interned, and its parser of caps leaks on bad text.
    fuzz.env("ASAN_OPTIONS", "detect_leaks=0");
    fuzz
}

fn start(name: &'static str, seconds: &str, corpus: &Path) -> Result<(&'static str, Child, PathBuf), String> {
    let directory = corpus.join(name);
    plant(name, &directory)?;
    let log = corpus.join(format!("{name}.log"));
    let output = fs::File::create(&log).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
    let errors = output.try_clone().map_err(|e| e.to_string())?;
    let time = format!("-max_total_time={seconds}");
    let limits = [&time, "-timeout=10", "-rss_limit_mb=1500", "-malloc_limit_mb=600", "-print_final_stats=1"];
    let mut fuzz = cargo_fuzz("run");
    fuzz.arg(name).arg(&directory).arg("--").args(limits);
    fuzz.env("SHM2_FUZZ_NAME", region(name));
    println!("==> cargo fuzz run {name} for {seconds} s");
    let child = fuzz.stdout(output).stderr(errors).spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
    Ok((name, child, log))
}

/// Writes the seeds as the files that the fuzzer reads.
fn plant(name: &str, directory: &Path) -> Outcome {
    let failed = |what: &Path, e: std::io::Error| format!("cannot use {}: {e}", what.display());
    fs::create_dir_all(directory).map_err(|e| failed(directory, e))?;
    let seeds = root().join(format!("fuzz/seeds/{name}.txt"));
    let text = fs::read_to_string(&seeds).map_err(|e| failed(&seeds, e))?;
    for (number, line) in text.lines().enumerate() {
        let bytes = bytes(line).ok_or_else(|| format!("{}:{}: not hexadecimal", seeds.display(), number + 1))?;
        let file = directory.join(format!("seed-{number}"));
        fs::write(&file, bytes).map_err(|e| failed(&file, e))?;
    }
    Ok(())
}

fn bytes(line: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(line.get(at..at + 2)?, 16).ok();
    (0..line.len()).step_by(2).map(pair).collect()
}
