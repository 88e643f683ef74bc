//! The plugin for OBS of `plugins/obs`: its build, and its tests in OBS on a screen in memory.

use crate::Outcome;
use crate::run::{BUILD, command, program, root, run, run_command, succeeds, target};
use crate::setup;
use std::path::Path;

/// What the tests use: OBS, a screen, its rendering by the processor, and the modules of Python that drive it.
const PACKAGES: &[&str] = &[
    "obs-studio",
    "libobs-dev",
    "cmake",
    "pkg-config",
    "gcc",
    "libc6-dev",
    "xvfb",
    "libgl1-mesa-dri",
    "libgl1",
    "libegl1",
    "xkb-data",
    "python3",
    "python3-numpy",
    "python3-pil",
    "python3-websocket",
    "gstreamer1.0-tools",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
];

/// Builds the plugin and tests it; `options` are those of rigs/obs/check.py, such as `long`.
pub fn obs(options: &[&str]) -> Outcome {
    if !succeeds("dpkg-query --version") && !succeeds("obs --version") {
        println!("skipped: the plugin for OBS: there is no OBS, and no dpkg to install it with");
        return Ok(());
    }
    setup::ensure(PACKAGES)?;
    run(BUILD)?;
    let place = std::path::absolute(target().join("obs")).map_err(|e| format!("target/obs: {e}"))?;
    build(&place)?;
    test(&place, options)
}

/// Builds libshm2 where pkg-config finds it, and the plugin with it.
pub fn build(place: &Path) -> Outcome {
    let (prefix, built) = (place.join("prefix"), place.join("build"));
    let mut lay_out = command("sh plugins/obs/prefix.sh");
    lay_out.arg(target().join("debug")).arg(&prefix);
    run_command(lay_out, "plugins/obs/prefix.sh")?;
    let mut configure = command("cmake -S plugins/obs -DCMAKE_C_FLAGS=-Werror -B");
    configure.arg(&built).env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    run_command(configure, "cmake -S plugins/obs")?;
    let mut make = command("cmake --build");
    make.arg(&built);
    run_command(make, "cmake --build")
}

fn test(place: &Path, options: &[&str]) -> Outcome {
    let built = std::path::absolute(target().join("debug")).map_err(|e| format!("target/debug: {e}"))?;
    // The system's Python has the modules of its packages; another one may be first in PATH.
    let python = Path::new("/usr/bin/python3");
    let mut tests = program(if python.exists() { python } else { Path::new("python3") });
    tests.arg(root().join("rigs/obs/check.py")).arg(place.join("build/obs-shm2.so")).arg(place).args(options);
    tests.env("PYTHONDONTWRITEBYTECODE", "1").env("SHM2_LIBRARY", place.join("prefix/lib/libshm2.so.0"));
    tests.env("SHM2_TOOL", built.join("shm2")).env("GST_PLUGIN_PATH", &built);
    tests.env("GST_REGISTRY", place.join("registry.bin"));
    run_command(tests, "rigs/obs/check.py")
}
