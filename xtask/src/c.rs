//! The library for C and C++: its tests, and the installation by cargo-c.

use crate::Outcome;
use crate::run::{command, run, run_command, succeeds, target};
use crate::setup;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What the tests use. clang is used where it is installed already.
const PACKAGES: &[&str] = &["gcc", "g++", "libc6-dev", "binutils", "pkg-config", "valgrind"];
/// The newest one for Rust 1.95. Its build takes longer than all tests together.
const CARGO_C: &str = "cargo install --locked cargo-c --version 0.10.24";
/// The whole workspace, so that dependencies keep their features and are not built again.
const TESTS: &str = "cargo test --workspace --test c_header --test c_programs --test c_examples";

/// Builds the library with plain cargo and runs its tests, then those with what cargo-c installs, where it is.
pub fn test() -> Outcome {
    setup::ensure(PACKAGES)?;
    run_tests(None)?;
    if succeeds("cargo cinstall --version") {
        return installed();
    }
    println!("skipped: cargo cinstall: cargo-c is not installed; `cargo xtask c install` installs it (some minutes)");
    Ok(())
}

/// As [`test`], and installs cargo-c first.
pub fn install() -> Outcome {
    if !succeeds("cargo cinstall --version") {
        run(CARGO_C)?;
    }
    test()
}

/// Installs the library below the target directory, and runs the tests with it.
fn installed() -> Outcome {
    let prefix = absolute(target().join("c"));
    let line = "cargo cinstall -p shm2-capi --profile dev";
    let mut install = command(line);
    install.arg("--prefix").arg(&prefix).args(["--libdir", "lib", "--includedir", "include"]);
    install.env("CARGO_TARGET_DIR", target().join("cargo-c"));
    run_command(install, &format!("{line} --prefix {}", prefix.display()))?;
    run_tests(Some(prefix))
}

/// With the library that cargo builds, or with the one that is installed at `prefix`. Prints what did not run.
fn run_tests(prefix: Option<PathBuf>) -> Outcome {
    let skipped = absolute(target().join("skipped-c.txt"));
    // Of the last run; there may be none.
    let _ = std::fs::remove_file(&skipped);
    let mut tests = command(TESTS);
    tests.env("SHM2_SKIPPED", &skipped);
    let note = if prefix.is_some() { " (with the installed library)" } else { "" };
    prefix.iter().for_each(|prefix| {
        tests.env("SHM2_PREFIX", prefix);
    });
    let outcome = run_command(tests, &format!("{TESTS}{note}"));
    let text = std::fs::read_to_string(&skipped).unwrap_or_default();
    let lines: BTreeSet<_> = text.lines().collect();
    lines.iter().for_each(|line| println!("{line}"));
    outcome
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
