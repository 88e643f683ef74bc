//! Other targets than this machine's: aarch64 under QEMU, musl, and those that are only compiled for.

mod emulation;
mod musl;
mod plugin;
mod python;
mod suite;
mod targets;

use emulation::Emulation;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use xtask::Outcome;
use xtask::run::{command, is_root};

/// The parts; without a name, the quick ones.
pub fn cross(part: Option<&str>) -> Outcome {
    let begin = Instant::now();
    match part {
        None => aarch64(|it| suite::few_tests(it).and_then(|()| plugin::exchange(it)))
            .and_then(|()| targets::check())
            .and_then(|()| musl::musl(false)),
        Some("all") => aarch64(|it| {
            suite::tests(it)?;
            plugin::exchange(it)?;
            python::python(it)
        })
        .and_then(|()| targets::check())
        .and_then(|()| musl::musl(true)),
        Some("tests") => aarch64(suite::tests),
        Some("plugin") => aarch64(plugin::exchange),
        Some("python") => aarch64(python::python),
        Some("musl") => musl::musl(true),
        Some("targets") => targets::check(),
        Some(other) => Err(format!("{other:?} is no part: tests, plugin, python, musl, targets or all")),
    }?;
    let (ran, skipped) = (RAN.load(Ordering::Relaxed), SKIPPED.load(Ordering::Relaxed));
    println!("cross: {ran} steps succeeded, {skipped} skipped, {} s", begin.elapsed().as_secs());
    Ok(())
}

/// Steps that ran, and those that cannot run here.
static RAN: AtomicUsize = AtomicUsize::new(0);
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Prints and counts a step that cannot run here.
fn skip(why: &str) {
    SKIPPED.fetch_add(1, Ordering::Relaxed);
    println!("skipped: {why}");
}

/// Runs a part for aarch64, where that is possible.
fn aarch64(part: impl FnOnce(&Emulation) -> Outcome) -> Outcome {
    match emulation::prepare() {
        Ok(emulation) => part(&emulation),
        Err(why) => {
            skip(&format!("aarch64 under QEMU: {why}"));
            Ok(())
        }
    }
}

/// A namespace in which the program after it may change its root directory.
fn namespace() -> Command {
    let user = if is_root() { "" } else { "--user --map-root-user" };
    command(&format!("unshare {user} --mount --fork --kill-child"))
}
