//! The core, the rings and the channels.

#![forbid(unsafe_code)]

mod core;
mod rings;

fn main() {
    core::run();
    rings::run();
}
