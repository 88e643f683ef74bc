//! The bridge to PipeWire, a workspace of its own: its build, lints and tests.

use crate::run::{BUILD, command, run, run_command};
use crate::{Outcome, setup};

/// What its build takes beside that of the main workspace: PipeWire's library, and a parser of its headers.
const LIBRARIES: &[&str] = &["libpipewire-0.3-dev", "libclang-dev"];
/// What its tests take: what a desktop session runs, and readers.
const PACKAGES: &[&str] =
    &["pipewire", "pipewire-bin", "wireplumber", "gstreamer1.0-pipewire", "xdg-desktop-portal", "libglib2.0-bin"];
const FORMAT: &str = "cargo fmt --manifest-path bridges/camera/Cargo.toml --check";
const CLIPPY: &str = "cargo clippy --manifest-path bridges/camera/Cargo.toml --all-targets -- -D warnings";
const PROGRAM: &str = "cargo build --manifest-path bridges/camera/Cargo.toml";
const TESTS: &str = "cargo test --manifest-path bridges/camera/Cargo.toml";
/// The whole workspace, so that dependencies keep their features and are not built again.
const PAGE: &str = "cargo test --workspace --test pages shell::virtual_camera";

/// Builds the program as a part of a release.
pub fn build(profile: &str) -> Outcome {
    setup::ensure(LIBRARIES)?;
    run(&format!("{PROGRAM} --locked --profile {profile}"))
}

/// Installs what is missing, then builds, lints and tests. `long`: each process is killed ten times, and Firefox is
/// installed; else it is tried if it is there.
pub fn test(long: bool) -> Outcome {
    setup::setup()?;
    setup::ensure(&[LIBRARIES, PACKAGES].concat())?;
    setup::browser();
    if long {
        setup::ensure(&["firefox-esr"])?;
    }
    run(BUILD)?;
    run(PROGRAM)?;
    run(FORMAT)?;
    run(CLIPPY)?;
    for line in [TESTS, PAGE] {
        let mut tests = command(line);
        // With what was skipped.
        // They mostly wait.
        tests.args(["--", "--show-output", "--test-threads=6"]);
        if long {
            tests.env("SHM2_KILLS", "10");
        }
        run_command(tests, line)?;
    }
    Ok(())
}
