//! Running other programs.

use crate::Outcome;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The workspace's root.
pub fn root() -> PathBuf {
    // At run time: the same target directory may serve several copies of the project.
    let here =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds all programs that tests and demonstrations start. It is always the whole workspace: for a part of it cargo
/// would choose other features of the dependencies, and build them once more.
pub const BUILD: &str = "cargo build --workspace --bins --lib --examples";

/// Number of tests that run at a time: more than processors, as most tests wait most of the time.
pub fn test_threads() -> String {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    (2 * processors).to_string()
}

/// A command that runs in the workspace's root. `line` is split at blanks.
pub fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("true"));
    command.args(words).current_dir(root());
    command
}

/// Runs a command and shows it; an exit code other than 0 is an error.
pub fn run(line: &str) -> Outcome {
    run_command(command(line), line)
}

/// As [`run`], for a command that `line` cannot express; `name` is shown in its place.
pub fn run_command(mut command: Command, name: &str) -> Outcome {
    println!("\n==> {name}");
    let status = command.status().map_err(|e| format!("cannot run {name:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name:?} failed: {status}")) }
}

/// Whether a command can be run and succeeds; its output is not shown.
pub fn succeeds(line: &str) -> bool {
    let mut command = command(line);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    command("id -u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
