//! Targets that are only compiled for: 32-bit ones with 64-bit atomics, and those that are refused.

use super::emulation::{add_target, timed};
use xtask::Outcome;
use xtask::run::{command, target};

/// Packages that need no library of the target but C's.
const PACKAGES: &str = "-p shm2 -p shm2-ring -p shm2-channel -p shm2-media -p shm2-cli -p shm2-capi";

/// A target, and what the compiler must say about a package.
struct Refused {
    triple: &'static str,
    package: &'static str,
    reason: &'static str,
}

const ATOMICS: &str = "targets without 64-bit atomics are not supported";
const BYTE_ORDER: &str = "big-endian machines are not supported";

/// Targets whose standard library rustup has. Others, such as armv5te, are alike.
const REFUSED: &[Refused] = &[
    Refused { triple: "powerpc-unknown-linux-gnu", package: "shm2-ring", reason: ATOMICS },
    Refused { triple: "powerpc-unknown-linux-gnu", package: "shm2", reason: ATOMICS },
    Refused { triple: "s390x-unknown-linux-gnu", package: "shm2", reason: BYTE_ORDER },
    Refused { triple: "powerpc64-unknown-linux-gnu", package: "shm2", reason: BYTE_ORDER },
];

/// Compiles for armv7, and checks that the compiler refuses what cannot work, and says why.
pub fn check() -> Outcome {
    let armv7 = "armv7-unknown-linux-gnueabihf";
    match add_target(armv7) {
        Ok(()) => {
            timed(cargo(&format!("cargo check --target {armv7} {PACKAGES}")), &format!("cargo check for {armv7}"))?
        }
        Err(why) => super::skip(&format!("{armv7}: {why}")),
    }
    REFUSED.iter().try_for_each(check_refused)
}

fn check_refused(Refused { triple, package, reason }: &Refused) -> Outcome {
    if let Err(why) = add_target(triple) {
        super::skip(&format!("{package} for {triple}: {why}"));
        return Ok(());
    }
    let line = format!("cargo check --quiet --target {triple} -p {package}");
    let output = cargo(&line).output().map_err(|e| format!("{line}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.lines().find(|line| line.starts_with("error") && line.contains(reason));
    match (output.status.success(), said) {
        (false, Some(said)) => {
            super::RAN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            println!("cross: {package} for {triple}: {said}");
        }
        (true, _) => return Err(format!("{line:?} succeeds; it has to fail: {reason}")),
        (false, None) => return Err(format!("{line:?} fails, but does not say {reason:?}:\n{text}")),
    }
    Ok(())
}

/// What is compiled here is kept apart from the results for targets that are run.
fn cargo(line: &str) -> std::process::Command {
    let mut cargo = command(line);
    cargo.env("CARGO_TARGET_DIR", target().join("cross/checked"));
    cargo
}
