//! A target with 32-bit addresses. Sizes of regions have 64 bits there, too, so each one that becomes an address or a
//! length in memory must be checked.

use crate::Outcome;
use crate::run::{run, succeeds};
use crate::setup;

const TARGET: &str = "i686-unknown-linux-gnu";
/// The packages that have such sizes, and need no library of the target but C's.
const PACKAGES: &str = "-p shm2 -p shm2-ring -p shm2-channel -p shm2-media";
/// Tests about sizes, memory that a peer wrote, and waiting. Others expect 64-bit sizes or alignments.
const TESTS: &str = "--test address_space --test truncated_file --test hostile_memory --test fork_window --test ring \
                     --test dead_peer --test takeover --test caps --test media";

/// Builds the packages for the target.
pub fn check() -> Outcome {
    if !has_target() {
        return Ok(());
    }
    run(&format!("cargo check --target {TARGET} {PACKAGES}"))
}

/// Runs the packages' unit tests and the tests of [`TESTS`] on the target. An x86-64 kernel runs its programs.
pub fn test() -> Outcome {
    if !has_target() {
        return Ok(());
    }
    let links = || succeeds("gcc -m32 -shared -include stdio.h -o /dev/null -xc /dev/null");
    if !links() && (setup::install(&["gcc-multilib"]).is_err() || !links()) {
        println!("skipped: tests for {TARGET}: gcc cannot link for it, and gcc-multilib cannot be installed here");
        return Ok(());
    }
    run(&format!("cargo test --target {TARGET} {PACKAGES} --lib {TESTS}"))
}

/// Installs the target's standard library if it is not there.
fn has_target() -> bool {
    let is_there = succeeds(&format!("rustup target add {TARGET}"));
    if !is_there {
        println!("skipped: {TARGET}: `rustup target add` fails here");
    }
    is_there
}
