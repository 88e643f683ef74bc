//! The bridge between hosts, `bridges/zenoh`: a workspace of its own, because zenoh has some 400 dependencies.

use crate::run::{BUILD, command, program, root, run, run_command, target};
use crate::{Outcome, setup};
use std::path::PathBuf;
use std::process::Command;

const NAME: &str = "shm2_zenoh";
const PROGRAM: &str = "cargo build --manifest-path bridges/zenoh/Cargo.toml";
const FORMAT: &str = "cargo fmt --manifest-path bridges/zenoh/Cargo.toml -- --check";
const CLIPPY: &str = "cargo clippy --manifest-path bridges/zenoh/Cargo.toml --all-targets -- -D warnings";
const TESTS: &str = "cargo test --manifest-path bridges/zenoh/Cargo.toml";
const WORKSPACE: &str = "cargo build --release --workspace --bins --lib --examples";
const RELEASE: &str = "cargo build --release --manifest-path bridges/zenoh/Cargo.toml --bins --examples";

/// Where this workspace is built: its dependencies have other features than the same crates elsewhere.
fn folder() -> PathBuf {
    target().join("zenoh")
}

fn cargo(line: &str) -> Command {
    let mut cargo = command(line);
    // Line numbers of 400 crates would take gigabytes.
    cargo.env("CARGO_TARGET_DIR", folder()).env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo
}

/// Builds the program as a part of a release, and puts it beside the other ones. `is_quick`: as the tests do.
pub fn build(profile: &str, is_quick: bool) -> Outcome {
    let (own, made) = if is_quick { ("dev", "debug") } else { ("release", "release") };
    let line = format!("{PROGRAM} --locked --profile {own}");
    run_command(cargo(&line), &line)?;
    let (from, to) = (folder().join(made).join(NAME), target().join(profile).join(NAME));
    std::fs::copy(&from, &to).map(drop).map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))
}

/// Lints, builds and tests the bridge, then runs its tutorial.
pub fn zenoh() -> Outcome {
    // Certificates of a test.
    setup::ensure(&["openssl"])?;
    for line in [FORMAT, CLIPPY] {
        run_command(cargo(line), line)?;
    }
    run(BUILD)?;
    run_command(cargo(TESTS), TESTS)?;
    run("cargo test --workspace --test pages another_host")
}

/// Ages, misses and processor time between two network namespaces, beside SRT and RTP.
pub fn bench() -> Outcome {
    setup::ensure(&["iproute2", "python3", "util-linux"])?;
    for (mut build, line) in [(command(WORKSPACE), WORKSPACE), (cargo(RELEASE), RELEASE)] {
        // Quick to build; the time is spent in copies and in the kernel.
        build.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        build.env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        run_command(build, line)?;
    }
    let mut bench = program(root().join("rigs/zenoh/bench.sh"));
    bench.arg(target().join("release")).arg(folder().join("release/shm2_zenoh"));
    run_command(bench, "rigs/zenoh/bench.sh")
}
