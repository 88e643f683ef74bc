//! Faults, sanitizers, fuzzing, endurance.

use crate::Outcome;
use crate::run::{self, BUILD, command, run, run_command, succeeds, target, test_threads};
use std::process::Command;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The tests that need the kill points compiled in.
pub fn kill_points() -> Outcome {
    let (test, line) = kill_points_command();
    run_command(test, line)
}

pub(crate) fn kill_points_command() -> (Command, &'static str) {
    let line = "cargo test -p shm2-e2e --features kill-points --test kill_points";
    let mut test = command(line);
    // A directory of its own: with and without the points, the library is two different things.
    test.env("CARGO_TARGET_DIR", target().join("points"));
    (test, line)
}

/// The core, the fault tests and the elements under AddressSanitizer. The stable compiler has it, behind a switch.
pub fn asan(with_elements: bool) -> Outcome {
    if !cfg!(target_arch = "x86_64") {
        println!("skipped: asan: only set up for {TRIPLE}");
        return Ok(());
    }
    // The examples are programs that a test starts: they have to be built by themselves.
    let features = format!("--features shm2-e2e/kill-points,shm2-channel/tokio --target {TRIPLE}");
    let runner = if succeeds("cargo nextest --version") { "nextest run" } else { "test" };
    for line in [
        format!("cargo build -p shm2 -p shm2-channel -p shm2-e2e --examples {features}"),
        format!("cargo {runner} -p shm2 -p shm2-channel -p shm2-e2e --tests {features}"),
    ] {
        let mut test = command(&line);
        test.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address").env("SHM2_SANITIZED", "1");
        test.env("CARGO_TARGET_DIR", target().join("asan"));
        test.env("NEXTEST_TEST_THREADS", test_threads()).env("RUST_TEST_THREADS", test_threads());
        run_command(test, &format!("{line} (with -Zsanitizer=address)"))?;
    }
    if !with_elements {
        return Ok(());
    }
    // GStreamer itself is not instrumented, and keeps what it once made: leaks are for its own tracer to find.
    let line = format!("cargo test -p gst-plugin-shm2 --lib {SANITIZED_ELEMENTS} --target {TRIPLE}");
    let mut test = command(&line);
    test.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address").env("ASAN_OPTIONS", "detect_leaks=0");
    test.env("CARGO_TARGET_DIR", target().join("asan")).env("G_DEBUG", "fatal-criticals");
    test.env("RUST_TEST_THREADS", test_threads());
    run_command(test, &format!("{line} (with -Zsanitizer=address)"))
}

/// Tests of the elements that start no other program, into which the sanitizer could not be brought.
const SANITIZED_ELEMENTS: &str =
    "--test harness --test events --test zero_copy --test behaviour --test time --test file";

/// The core under Miri, which comes with a nightly toolchain.
pub fn miri() -> Outcome {
    if !succeeds("cargo +nightly miri --version") && !install_miri() {
        println!("skipped: miri: no nightly toolchain with miri can be had (rustup toolchain install nightly -c miri)");
        return Ok(());
    }
    for line in
        ["cargo +nightly miri test -p shm2 --lib --test heap", "cargo +nightly miri test -p shm2-ring --test ring"]
    {
        under_miri(line)?;
    }
    Ok(())
}

fn under_miri(line: &str) -> Outcome {
    let mut test = command(line);
    test.env("CARGO_TARGET_DIR", target().join("miri"))
        .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks");
    test.env("PROPTEST_CASES", "1");
    run_command(test, line)
}

fn install_miri() -> bool {
    succeeds("rustup toolchain install nightly --profile minimal --component miri --component rust-src")
        && succeeds("cargo +nightly miri --version")
}

/// Faults without end, then a mixed graph of pipelines for the same time.
pub fn soak(minutes: &str) -> Outcome {
    if !minutes.parse::<f64>().is_ok_and(|m| m > 0.0) {
        return Err(format!("--minutes {minutes} is no number of minutes above 0"));
    }
    run(BUILD)?;
    for program in ["debug/shm2_soak", "debug/shm2_soak_graph"] {
        let mut soak = run::program(target().join(program));
        soak.arg(minutes);
        run_command(soak, &format!("{program} {minutes}"))?;
    }
    Ok(())
}
