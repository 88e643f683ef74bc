//! What `cargo xtask instructions` counts under callgrind: steps of the core, the rings, the channels and the elements.
//!
//! Callgrind counts inside [`counted`], and writes the count of a batch at each call of [`end_of_batch`]. A line on
//! standard output names the case of each batch, in order. One thread publishes and takes all frames, so no step sleeps.
//! Work that depends on the time (heartbeats, the search for dead consumers) occurs in few batches; the median over the
//! batches of a case leaves it out.

#![forbid(unsafe_code)]

use std::hint::black_box;

/// Batches of each case.
pub const BATCHES: usize = 9;

/// Runs `step`; callgrind counts its instructions.
#[inline(never)]
pub fn counted<R>(step: impl FnOnce() -> R) -> R {
    black_box(step())
}

/// Runs `step`, counted if `is_counted`.
pub fn step_if<R>(is_counted: bool, step: impl FnOnce() -> R) -> R {
    if is_counted { counted(step) } else { black_box(step()) }
}

/// Callgrind writes what it counted since the last call.
#[inline(never)]
pub fn end_of_batch() {
    black_box(());
}

/// Runs the batches of a case, each of `steps` calls of `step`.
pub fn batches(name: &str, steps: usize, mut step: impl FnMut()) {
    for _ in 0..BATCHES {
        (0..steps).for_each(|_| step());
        end_of_batch();
        announce(name, steps);
    }
}

/// Prints the name of a batch, and the number of its steps.
pub fn announce(name: &str, steps: usize) {
    println!("{steps} {name}");
}
