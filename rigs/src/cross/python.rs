//! The Python package on Python for aarch64.

use super::emulation::{Emulation, TRIPLE, timed};
use std::fs;
use std::path::Path;
use xtask::Outcome;
use xtask::run::{root, target};

const PACKAGE: &str = "bindings/python/python/shm2";
const BUILD: &str = "cargo build --manifest-path bindings/python/Cargo.toml";
/// Seconds after which all processes of the tests end.
const TIME_LIMIT: &str = "600";
/// Files of tests, and why they cannot run under QEMU or with Debian's packages.
const SKIPPED: &[(&str, &str)] =
    &[("test_fork.py", "QEMU ignores MADV_DONTFORK, and a fork beside other threads may hang in it")];

/// Builds the extension, puts the package together as a wheel has it, and runs its tests.
pub fn python(emulation: &Emulation) -> Outcome {
    let built = std::path::absolute(target().join("cross/python-build")).map_err(|e| e.to_string())?;
    let mut build = emulation.cargo(BUILD);
    // The stable ABI needs no interpreter to build.
    build.env("PYO3_NO_PYTHON", "1").env("PYO3_BUILD_EXTENSION_MODULE", "1").env("CARGO_TARGET_DIR", &built);
    timed(build, BUILD)?;
    let packages = std::path::absolute(target().join("cross/python")).map_err(|e| e.to_string())?;
    assemble(&built.join(TRIPLE).join("debug/lib_shm2.so"), &packages.join("shm2"))?;
    let mut tests = emulation.enter_alone("timeout");
    tests.args(["--signal=KILL", TIME_LIMIT]).arg(emulation.root.join("usr/bin/python3"));
    tests.current_dir(root().join("bindings/python")).args(["-B", "-m", "pytest", "-p", "no:cacheprovider"]);
    tests.args(["-v", "--timeout=60"]);
    for (name, why) in SKIPPED {
        super::skip(&format!("{name} on Python for aarch64: {why}"));
        tests.args(["--deselect", &format!("tests/{name}")]);
    }
    tests.env("PYTHONPATH", &packages);
    timed(tests, "pytest (Python for aarch64)")
}

fn assemble(extension: &Path, package: &Path) -> Outcome {
    let failed = |e: std::io::Error| format!("{}: {e}", package.display());
    // Of the last run; there may be none.
    let _ = fs::remove_dir_all(package);
    fs::create_dir_all(package).map_err(failed)?;
    for entry in fs::read_dir(root().join(PACKAGE)).map_err(failed)?.flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), package.join(entry.file_name())).map_err(failed)?;
        }
    }
    fs::copy(extension, package.join("_shm2.abi3.so")).map(|_| ()).map_err(|e| format!("{}: {e}", extension.display()))
}
