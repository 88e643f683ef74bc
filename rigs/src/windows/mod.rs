//! The tests for Windows on Linux: a cross compiler, Wine, and the GStreamer that its project publishes for Windows.
//!
//! Nothing is installed in the system. All of it is unpacked into `target/windows`, once; the marker `ready` says
//! what was. Wine is not Windows: access lists, sessions, the privilege that `Global\` takes, and drivers are not
//! shown by it.

mod environment;
mod installation;
mod wine;

use crate::commands::absolute;
use environment::{Environment, GNU, MSVC, on_drive};
use installation::Installation;
use std::fs::File;
use std::time::{Duration, Instant};
use wine::{HELPERS, Server};
use xtask::Outcome;
use xtask::run::{command, run_command, target, test_threads};

/// One line, so that all have the same features of their dependencies, which are then built once. The skipped test needs
/// clocks that are finer than Wine's.
const TESTS: &str = "cargo test -p shm2 -p shm2-ring -p shm2-cli -p shm2-media -p gst-plugin-shm2 -p shm2-relayd --lib --test ring --test sections \
     --test backends --test transport --test events --test model --test heap --test processes --test windows \
     --test harness --test caps --test behaviour --test zero_copy --test time -- --skip sound_and_picture";

/// The target is added: the one that is not linked here, or the one that is built where the other cannot be had. Both
/// compile the same lines.
const LINTS: &str = "cargo clippy -p shm2 -p shm2-ring -p shm2-cli -p shm2-media -p shm2-tool -p gst-plugin-shm2 -p shm2-relayd --target";

/// Sets up and runs the suite, where that is possible.
pub fn windows() -> Outcome {
    match installation::prepare() {
        Err(why) => {
            println!("skipped: the tests for Windows: {why}");
            Ok(())
        }
        Ok(installation) => test(&installation),
    }
}

/// Runs cargo for Windows with these arguments: `cargo xtask windows run --bin shm2_consumer -- winshm://Local/x 100`.
pub fn cargo(arguments: &[&str]) -> Outcome {
    let installation = installation::prepare()?;
    let mut cargo = command("cargo");
    cargo.args(arguments);
    Environment::new(&installation, &absolute(&target())?.join("win")).apply(&mut cargo);
    run_command(cargo, &format!("cargo {}", arguments.join(" ")))
}

/// Runs the suite, prints the skips of its tests, and fails when the suite left a program running.
fn test(installation: &Installation) -> Outcome {
    let begin = Instant::now();
    let built = absolute(&target())?;
    let skipped = built.join("skipped-windows.txt");
    File::create(&skipped).map_err(|e| format!("{}: {e}", skipped.display()))?;
    let mut environment = Environment::new(installation, &built.join("win"));
    environment.set("SHM2_SKIPPED", on_drive(&skipped));
    environment.set("RUST_TEST_THREADS", test_threads());
    let server = Server::start(installation)?;
    let outcome = run_suite(installation, &environment);
    print!("{}", std::fs::read_to_string(&skipped).unwrap_or_default());
    outcome?;
    wait_for_end(installation, HELPERS)?;
    drop(server);
    wait_for_end(installation, &[])?;
    println!("windows: all green, {} s", begin.elapsed().as_secs());
    Ok(())
}

fn run_suite(installation: &Installation, environment: &Environment) -> Outcome {
    let lints = format!("{LINTS} {} -- -D warnings", if installation.has_msvc() { MSVC } else { GNU });
    for line in [TESTS, &lints] {
        let begin = Instant::now();
        let mut cargo = command(line);
        environment.apply(&mut cargo);
        let outcome = run_command(cargo, line);
        println!("windows: {line}: {} s", begin.elapsed().as_secs());
        outcome?;
    }
    Ok(())
}

/// Waits for the end of all programs but `except`: a program that was asked to end may take a moment.
fn wait_for_end(installation: &Installation, except: &[&str]) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = wine::processes(installation, except);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("still running under Wine: {}", left.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
