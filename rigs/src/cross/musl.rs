//! Programs that need no file of the system: linked with musl, and run on this machine.

use super::emulation::{add_target, timed};
use super::namespace;
use crate::commands::absolute;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::run::{command, run_command, succeeds, target, test_threads};
use xtask::{Outcome, setup};

const TRIPLE: &str = "x86_64-unknown-linux-musl";
/// One line, so that all have the same features of their dependencies, which are then built once.
const TESTS: &str = "cargo test --target x86_64-unknown-linux-musl -p shm2 -p shm2-ring -p shm2-channel -p shm2-media \
    -p shm2-tool -p shm2-cli --lib --bins --test transport --test backends --test waiting --test wait_set \
    --test hostile_memory --test fork --test ring --test channel --test duplex --test dead_peer --test processes \
    --test state --test recording --test serve";
const PROGRAMS: &str =
    "cargo build --target x86_64-unknown-linux-musl -p shm2-tool -p shm2-cli -p shm2-capi --bins --lib";
const FEW_PROGRAMS: &str = "cargo build --target x86_64-unknown-linux-musl -p shm2-cli --bins";
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Runs the tests if `all`, then programs in a root directory that is empty but for them: also the tool and a program
/// in C if `all`.
pub fn musl(all: bool) -> Outcome {
    if let Err(why) = add_target(TRIPLE) {
        super::skip(&format!("{TRIPLE}: {why}"));
        return Ok(());
    }
    let built = target().join(TRIPLE).join("debug");
    if !all {
        timed(command(FEW_PROGRAMS), FEW_PROGRAMS)?;
        return empty_root(&absolute(&built)?, false);
    }
    let mut tests = command(TESTS);
    tests.env("RUST_TEST_THREADS", test_threads());
    timed(tests, TESTS)?;
    timed(command(PROGRAMS), PROGRAMS)?;
    let built = absolute(&built)?;
    empty_root(&built, true)?;
    c_program(&built)
}

/// Frames go from a program to another, and there is no file but these programs. `with_tool`, a third describes them.
fn empty_root(built: &Path, with_tool: bool) -> Outcome {
    let root = target().join("cross/empty");
    // Of the last run; there may be none.
    let _ = fs::remove_dir_all(&root);
    let failed = |e: std::io::Error| format!("{}: {e}", root.display());
    fs::create_dir_all(&root).map_err(failed)?;
    let root = absolute(&root)?;
    let programs: &[&str] =
        if with_tool { &["shm2", "shm2_producer", "shm2_consumer"] } else { &["shm2_producer", "shm2_consumer"] };
    for program in programs {
        fs::copy(built.join(program), root.join(program)).map_err(failed)?;
    }
    let inside = |words: &[&str]| -> Command {
        let mut chroot = namespace();
        chroot.arg("chroot").arg(&root).args(words);
        chroot
    };
    run_command(inside(&["/shm2_consumer", "--version"]), "shm2_consumer --version in an empty root")?;
    let mut producer = inside(&["/shm2_producer", "/region", "200", "--frame-size", "64K", "--rate", "100"])
        .spawn()
        .map_err(|e| format!("shm2_producer: {e}"))?;
    let begin = Instant::now();
    while !root.join("region").exists() && begin.elapsed() < TIME_LIMIT {
        std::thread::sleep(Duration::from_millis(10));
    }
    let inspect = || run_command(inside(&["/shm2", "inspect", "/region"]), "shm2 inspect in an empty root");
    let outcome = if with_tool { inspect() } else { Ok(()) }
        .and_then(|()| run_command(inside(&["/shm2_consumer", "/region", "200"]), "shm2_consumer in an empty root"));
    if outcome.is_err() {
        let _ = producer.kill();
    }
    let status = producer.wait().map_err(|e| format!("shm2_producer: {e}"))?;
    outcome?;
    if status.success() { Ok(()) } else { Err(format!("shm2_producer in an empty root: {status}")) }
}

/// A program in C that contains the library.
fn c_program(built: &Path) -> Outcome {
    if !succeeds("musl-gcc --version") && setup::install(&["musl-tools"]).is_err() {
        super::skip("a program in C with musl: musl-tools cannot be installed here");
        return Ok(());
    }
    let library = built.join("libshm2_c.a");
    let program = target().join("cross/round_trip");
    let line =
        "musl-gcc -static -std=c11 -Wall -Werror -Icrates/capi/include -pthread crates/capi/tests/c/round_trip.c -o";
    let mut compile = command(line);
    compile.arg(&program).arg(library);
    // The unwinder that Rust brings for musl: GCC's own needs glibc.
    let root = command("rustc --print sysroot").output().map_err(|e| format!("rustc: {e}"))?;
    let root = Path::new(String::from_utf8_lossy(&root.stdout).trim()).join("lib/rustlib").join(TRIPLE);
    compile.arg("-L").arg(root.join("lib/self-contained")).arg("-lunwind");
    run_command(compile, "musl-gcc -static round_trip.c libshm2_c.a")?;
    let region = format!("/dev/shm/shm2-test-musl-{}", std::process::id());
    let mut run = Command::new(absolute(&program)?);
    run.arg(&region);
    let outcome = run_command(run, "round_trip");
    // It is there only after a failure.
    let _ = fs::remove_file(region);
    outcome
}
