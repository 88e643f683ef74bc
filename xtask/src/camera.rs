//! The bridge to PipeWire, a workspace of its own: its build, lints and tests.

use crate::run::{BUILD, command, run, run_command};
use crate::{Outcome, setup};

/// What its build and tests take beside those of the main workspace: PipeWire's library, a parser of its headers, what
/// a desktop session runs, and readers.
const PACKAGES: &[&str] = &[
    "libpipewire-0.3-dev",
    "libclang-dev",
    "pipewire",
    "pipewire-bin",
    "wireplumber",
    "gstreamer1.0-pipewire",
    "xdg-desktop-portal",
    "libglib2.0-bin",
];
const FORMAT: &str = "cargo fmt --manifest-path bridges/camera/Cargo.toml --check";
const CLIPPY: &str = "cargo clippy --manifest-path bridges/camera/Cargo.toml --all-targets -- -D warnings";
const PROGRAM: &str = "cargo build --manifest-path bridges/camera/Cargo.toml";
const TESTS: &str = "cargo test --manifest-path bridges/camera/Cargo.toml";
/// The whole workspace, so that dependencies keep their features and are not built again.
const PAGE: &str = "cargo test --workspace --test pages shell::virtual_camera";

/// Installs what is missing, then builds, lints and tests.
pub fn test() -> Outcome {
    setup::setup()?;
    setup::ensure(PACKAGES)?;
    setup::browser();
    run(BUILD)?;
    run(PROGRAM)?;
    run(FORMAT)?;
    run(CLIPPY)?;
    for line in [TESTS, PAGE] {
        let mut tests = command(line);
        // With what was skipped.
        tests.args(["--", "--show-output"]);
        run_command(tests, line)?;
    }
    Ok(())
}
