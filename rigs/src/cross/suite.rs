//! The tests that run for aarch64 under QEMU, and those that cannot.
//!
//! QEMU translates programs and passes their system calls on. On x86-64 it orders accesses to memory more strongly than
//! an aarch64 machine does, so this suite shows nothing about weak ordering: the loom models do. It shows layouts,
//! alignment, numbers and structures of system calls, and what happens without `futex_waitv`, which QEMU lacks.

use super::emulation::{Emulation, timed};
use std::collections::BTreeSet;
use std::fs;
use xtask::Outcome;
use xtask::run::{target, test_threads};

/// One line, so that all have the same features of their dependencies, which are then built once.
const PACKAGES: &str = "cargo test -p shm2 -p shm2-ring -p shm2-channel -p shm2-media -p shm2-cli -p shm2-tool -p shm2-capi \
     -p gst-plugin-shm2 -p shm2-relayd";
/// What the short form runs.
const SHORT: &str = "--lib --bins --test transport --test backends --test sections --test waiting --test waiting_threads \
     --test wait_set --test hostile_memory --test file_kinds --test poll_fd --test fork --test ring --test channel \
     --test duplex --test dead_peer --test processes --test recording --test c_header --test harness";

/// A test, or all whose names contain this text, and why it cannot run under QEMU.
const SKIPPED: &[(&str, &str)] = &[];

/// Builds and runs the tests: a part of them, or `all`.
pub fn tests(emulation: &Emulation, all: bool) -> Outcome {
    let line = if all { PACKAGES.to_owned() + " --tests --examples" } else { format!("{PACKAGES} {SHORT}") };
    timed(emulation.cargo(&format!("{line} --no-run")), &format!("{line} --no-run"))?;
    SKIPPED.iter().for_each(|(name, why)| println!("skipped: {name} under QEMU: {why}"));
    let skipped = std::path::absolute(target().join("skipped-cross.txt")).map_err(|e| e.to_string())?;
    // Of the last run; there may be none.
    let _ = fs::remove_file(&skipped);
    let mut tests = emulation.enter("cargo");
    tests.args(line.split_whitespace().skip(1)).arg("--no-fail-fast").arg("--");
    tests.args(SKIPPED.iter().flat_map(|(name, _)| ["--skip", name]));
    tests.env("SHM2_SKIPPED", &skipped).env("RUST_TEST_THREADS", test_threads());
    let outcome = timed(tests, &format!("{line} (under QEMU)"));
    let text = fs::read_to_string(&skipped).unwrap_or_default();
    let lines: BTreeSet<_> = text.lines().collect();
    lines.iter().for_each(|line| println!("{line}"));
    outcome
}
