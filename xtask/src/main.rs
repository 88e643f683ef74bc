//! The project's tasks: `cargo xtask TASK`, without a task the list of all.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod audit;
mod bench;
mod book;
mod c;
mod camera;
mod demo;
mod dist;
mod faults;
mod fuzz;
mod instructions;
mod lint;
mod msrv;
mod narrow;
mod obs;
mod program;
mod publish;
mod python;
mod rtsp;
mod tests;
mod zenoh;

use dist::Build;
use std::process::ExitCode;
use xtask::{Outcome, run, setup};

const HELP: &str = "\
cargo xtask TASK

  setup                 install the system packages that are missing (Debian and Ubuntu)
  demo [--input FILE]   show the main job: live video to several processes, with kills and restarts
  test                  set up, then run every test
  lint [tree]           formatting, clippy, documentation, the build for a 32-bit target; imports, pages, shell files,
                        spelling (tree: only the last four)
  book [pictures]       the book of docs/ into target/book, by mdBook, and its checks (pictures: draw docs/pictures again)
  models [long]         the models of the protocol: loom's, and those of models/ (long: with larger bounds, minutes)
  narrow                tests of the core, the ring and the channel on a 32-bit target (lint builds them)
  msrv                  each published package with the oldest Rust that it takes
  faults                kill points: processes ended and stopped at named places
  c [install]           libshm2, the library for C and C++: compiled, run, under sanitizers and valgrind (install: also
                        as cargo-c installs it, which is installed first)
  camera [long]         the bridge to PipeWire: built, its lints and tests, with a session of PipeWire of its own (long:
                        each process killed ten times; with Firefox)
  newer [NAME]          the element tests on GStreamer 1.26 and 1.28, in trees of newer Debian releases, or in one:
                        trixie or forky
  vm [--pause N] [--kvmfr FILE]
                        guests under QEMU: frames through ivshmem, faults (one is paused for N seconds, 20), the relay
                        with a camera and vsock; FILE is the module kvmfr, built for the guest's kernel
  vm tutorial           only the blocks of docs/tutorials/virtual-machine.md, in one guest
  vm v4l2               only cameras and v4l2loopback in a guest, whole, and the blocks of docs/tutorials/v4l2.md
  windows [ARGUMENTS]   cross-built for Windows and run under Wine, with GStreamer for Windows: the tests, or cargo with
                        these arguments, such as: run --bin shm2_consumer -- winshm://Local/x 100
  cross [PART]          the tests for aarch64 under QEMU, the plugin for aarch64, musl, other targets; or one of tests,
                        plugin, python, musl, targets, or all
  obs [long] [TEST]     the plugin for OBS, built and tested in OBS on a screen in memory: colours, sound in step, restarts
                        (long: also OBS killed, and the time of the processor; TEST: only this one of rigs/obs/check.py)
  python [wheels]       the Python package: built, installed below target, its tests and lints (wheels: release wheels for
                        x86-64 and aarch64, checked; and for Python without a global lock)
  zenoh [bench]         the bridge between hosts: lints, build and tests, with the blocks of its tutorial (bench: between
                        two network namespaces, beside SRT and RTP; needs root)
  rtsp [quick | bench]  the RTSP server with ffmpeg, mpv and rtspsrc, and kills of every side (quick: a part of both, in a
                        minute; bench: one decode for three readers, beside three clients)
  publish [verify]      the packages of crates.io: made and looked into (verify: a dry run of publishing, which builds
                        each from its package)
  audit [install]       licences, sources and advisories of dependencies, and the Rust interface against the last tag,
                        by the tools that are installed (install: cargo-deny and cargo-semver-checks are installed first)
  dist                  a release in target/dist: packages for Debian, wheels, sources, dependencies, check sums
  packages [quick] [systemd | obs]
                        packages for Debian, made, installed, used, upgraded and purged in clean trees of Debian 12 and 13,
                        and their units under systemd (quick: built with less optimization, and
                        without the package for OBS, but with obs; systemd: the unit alone)
  asan [core]           the core's, the fault and the element tests under AddressSanitizer (core: not the elements')
  miri                  the core on heap memory under Miri
  fuzz [--seconds N]    every fuzz target for N seconds (60)
  soak [--minutes N]    faults without end, then a mixed graph, for N minutes each (10)
  instructions [--update]
                        instructions of single steps, counted by callgrind, against counts/baseline.txt (update: write
                        that file)
  bench [--quick] [--only PART]
                        speed beside the peers and the limits of the machine, with a report in target/bench (--quick:
                        about 4 minutes; PART: frames, elements, ahead, newer, rings, handover, copies, scale)";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome = match &words[..] {
        ["setup"] => setup::setup(),
        ["demo"] => demo::demo(None),
        ["demo", "--input", file] => demo::demo(Some(file)),
        ["demo", "--input"] => Err("--input needs a file: cargo xtask demo --input FILE".into()),
        ["test"] => tests::test(),
        ["lint"] => lint::lint(),
        ["lint", "tree"] => lint::tree(),
        ["book"] => book::book(),
        ["book", "pictures"] => book::pictures(),
        ["models"] => tests::models("short"),
        ["models", "long"] => tests::models("long"),
        ["narrow"] => narrow::test(),
        ["msrv"] => msrv::check(),
        ["faults"] => faults::kill_points(),
        ["c"] => c::test(),
        ["c", "install"] => c::install(),
        ["camera"] => camera::test(false),
        ["camera", "long"] => camera::test(true),
        ["cross" | "newer" | "vm" | "windows", ..] => rig(&words),
        ["dist"] => dist::dist(),
        ["packages", options @ ..] => packages(options),
        ["obs", options @ ..] => obs::obs(options),
        ["python"] => python::python(),
        ["python", "wheels"] => python::wheels(),
        ["zenoh"] => zenoh::zenoh(),
        ["zenoh", "bench"] => zenoh::bench(),
        ["rtsp"] => rtsp::test(false),
        ["rtsp", "quick"] => rtsp::test(true),
        ["rtsp", "bench"] => rtsp::bench(),
        ["publish"] => publish::publish(false),
        ["publish", "verify"] => publish::publish(true),
        ["audit"] => audit::audit(),
        ["audit", "install"] => audit::install(),
        ["asan"] => faults::asan(true),
        ["asan", "core"] => faults::asan(false),
        ["miri"] => faults::miri(),
        ["fuzz"] => fuzz::fuzz("60"),
        ["fuzz", "--seconds", seconds] => fuzz::fuzz(seconds),
        ["soak"] => faults::soak("10"),
        ["soak", "--minutes", minutes] => faults::soak(minutes),
        ["instructions"] => instructions::instructions(false),
        ["instructions", "--update"] => instructions::instructions(true),
        ["bench", options @ ..] => bench::bench(options),
        [] | [.., "help" | "-h" | "--help"] => {
            println!("{HELP}");
            Ok(())
        }
        other => Err(format!("{:?} is no task\n\n{HELP}", other.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the packages and tries them on clean systems.
fn packages(options: &[&str]) -> Outcome {
    let (build, options) = match options {
        ["quick", options @ ..] => (Build::Quick, options),
        [] => (Build::Release, &["obs"] as &[_]),
        options => (Build::Release, options),
    };
    if !matches!(options, [] | ["systemd" | "obs"]) {
        return Err(format!("packages does not know {:?}: it takes quick, then systemd or obs", options.join(" ")));
    }
    dist::packages(build, &run::target().join("packages/deb"))?;
    rig(&[&["packages"], options].concat())
}

/// Virtual machines, Windows and newer releases are prepared and driven by a program of their own.
fn rig(words: &[&str]) -> Outcome {
    let mut rigs = run::command("cargo run --quiet -p shm2-rigs --");
    rigs.args(words);
    run::run_command(rigs, &words.join(" "))
}
