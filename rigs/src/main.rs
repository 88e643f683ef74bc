//! The test rigs: systems other than this machine's own, on which the tests run. `cargo xtask cross | vm | windows |
//! newer | packages` starts this program.
//!
//! The Rust files prepare a rig, run the programs and judge the results. Shell and C stand in files of their own, in
//! folders of `rigs`, and are run from there.

#![forbid(unsafe_code)]

mod commands;
mod cross;
mod debian;
mod newer;
mod packages;
mod vm;
mod windows;

use std::process::ExitCode;
use xtask::Outcome;

const HELP: &str = "\
cargo run -p shm2-rigs -- RIG

  vm [--pause N] [--kvmfr FILE]   guests under QEMU
  vm tutorial                     only the blocks of docs/tutorials/virtual-machine.md
  vm v4l2                         only cameras and v4l2loopback, and the blocks of docs/tutorials/v4l2.md
  windows [ARGUMENTS]             cross-built for Windows and run under Wine: the tests, or cargo with these arguments
  cross [PART]                    tests for aarch64 under QEMU, musl, other targets (parts: tests, plugin, python, musl,
                                  targets, all)
  newer [forky | trixie]          the element tests in trees of newer Debian releases, or of one
  packages [systemd | obs]        packages for Debian on clean systems of Debian 12 and 13 (systemd: only the relay's unit;
                                  obs: that for OBS too)
  bench OPTIONS                   the program `elements` of benches/ in the newest of these trees";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome: Outcome = match &words[..] {
        ["vm", options @ ..] => vm::vm(options),
        ["windows"] => windows::windows(),
        ["windows", arguments @ ..] => windows::cargo(arguments),
        ["cross"] => cross::cross(None),
        ["cross", part] => cross::cross(Some(part)),
        ["newer"] => newer::newer(None),
        ["newer", release] => newer::newer(Some(release)),
        ["packages", options @ ..] => packages::packages(options),
        ["bench", options @ ..] => newer::bench(options),
        other => Err(format!("{:?} is no rig\n\n{HELP}", other.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rigs: {error}");
            ExitCode::FAILURE
        }
    }
}
