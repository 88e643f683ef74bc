//! Tests and models.

use crate::run::{BUILD, command, run, run_command, succeeds, target, test_threads};
use crate::{Outcome, faults, setup};
use std::path::Path;
use std::process::{Command, Stdio};

/// The whole workspace, so that dependencies keep their features and are not built again.
const DECODING: &str = "cargo test --workspace --features shm2-tool/gst --test decoding";
/// A workspace of its own, as it needs zbus.
const EXAMPLE_DBUS: &str = "cargo test --manifest-path examples/dbus/Cargo.toml";

/// Sets up and runs every test.
pub fn test() -> Outcome {
    setup::setup()?;
    setup::browser();
    run(BUILD)?;
    let skipped = target().join("skipped.txt");
    // Of the last run; there may be none.
    let _ = std::fs::remove_file(&skipped);
    let building = std::thread::spawn(build_ahead);
    let outcome = run_tests(&skipped);
    let _ = building.join();
    print!("{}", std::fs::read_to_string(&skipped).unwrap_or_default());
    outcome?;
    faults::kill_points()?;
    models("short")
}

/// Builds what is tested afterwards, while the tests wait most of the time. A failure shows when it is tested.
fn build_ahead() {
    let others = [faults::kill_points_command().0, loom_command().0, models_command("short").0];
    for mut build in [command(DECODING), command(EXAMPLE_DBUS)].into_iter().chain(others) {
        build.arg("--no-run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = build.status();
    }
}

/// Each test that finds that it cannot run here writes a line into `skipped`.
fn run_tests(skipped: &Path) -> Outcome {
    let lines = match succeeds("cargo nextest --version") {
        true => &["cargo nextest run --workspace", "cargo test --workspace --doc", DECODING, EXAMPLE_DBUS][..],
        false => &["cargo test --workspace", DECODING, EXAMPLE_DBUS],
    };
    for line in lines {
        let mut tests = command(line);
        tests.env("SHM2_SKIPPED", skipped).env("G_DEBUG", "fatal-criticals");
        tests.env("NEXTEST_TEST_THREADS", test_threads()).env("RUST_TEST_THREADS", test_threads());
        run_command(tests, line)?;
    }
    Ok(())
}

/// Runs the loom models, each also with its fences weakened, and those of `models/`, each also with deliberate errors.
/// `form` is `short`, or `long` for larger bounds of the latter, some minutes.
pub fn models(form: &str) -> Outcome {
    let (loom, line) = loom_command();
    run_command(loom, &format!("{line} (with --cfg loom)"))?;
    let (models, line) = models_command(form);
    run_command(models, &format!("{line} ({form} form)"))
}

fn models_command(form: &str) -> (Command, &'static str) {
    // A workspace of its own, as it needs stateright and shuttle.
    let line = "cargo test --release --manifest-path models/Cargo.toml";
    let mut models = command(line);
    models.env("SHM2_MODELS", form).env("CARGO_TARGET_DIR", target().join("models"));
    (models, line)
}

fn loom_command() -> (Command, &'static str) {
    let line = "cargo test -p shm2 -p shm2-ring --lib --release models";
    let mut models = command(line);
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    models.env("RUSTFLAGS", format!("{flags} --cfg loom")).env("CARGO_TARGET_DIR", target().join("loom"));
    // Quick to run, and not so slow to build as a release.
    models.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    (models, line)
}
