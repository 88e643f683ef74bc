//! Tests, lints, models, benchmarks.

use crate::run::{command, run, run_command, succeeds, target};
use crate::{Outcome, faults, setup};

/// Sets up and runs every test.
pub fn test() -> Outcome {
    setup::setup()?;
    run("cargo build --workspace --bins --lib --examples")?;
    if succeeds("cargo nextest --version") {
        run("cargo nextest run --workspace")?;
        run("cargo test --workspace --doc")?;
    } else {
        run("cargo test --workspace")?;
    }
    faults::kill_points()?;
    models()
}

/// Runs the loom models, each also with its fences weakened.
pub fn models() -> Outcome {
    let mut models = command("cargo test -p shm2 --lib --release models");
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    models.env("RUSTFLAGS", format!("{flags} --cfg loom")).env("CARGO_TARGET_DIR", target().join("loom"));
    run_command(models, "cargo test -p shm2 --lib --release models (with --cfg loom)")
}

/// Formatting, clippy, documentation.
pub fn lint() -> Outcome {
    setup::setup()?;
    run("cargo fmt --all --check")?;
    run("cargo clippy --workspace --all-targets -- -D warnings")?;
    check_atomics()?;
    let mut doc = command("cargo doc --workspace --no-deps --quiet");
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run_command(doc, "cargo doc --workspace --no-deps")
}

/// Shared words go through `crate::sync`, so that the loom models run the product's code.
fn check_atomics() -> Outcome {
    let listed = command("git grep -nE std::sync::atomic.*Atomic(U32|U64) -- crates/shm2/src").output();
    let listed = listed.map_err(|e| format!("cannot run git: {e}"))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    match text.lines().find(|line| !line.starts_with("crates/shm2/src/sync.rs:")) {
        None => Ok(()),
        Some(line) => Err(format!("atomics must come from crate::sync: {line}")),
    }
}
