//! The plugin for OBS of `plugins/obs`: its build, and its tests in OBS on a screen in memory.

use crate::Outcome;
use crate::run::{BUILD, command, program, root, run, run_command, succeeds, target};
use crate::setup;
use std::path::Path;

/// What the build takes, beside libshm2.
const BUILDING: &[&str] = &["libobs-dev", "cmake", "pkg-config", "gcc", "libc6-dev"];
/// What the tests use: OBS, a screen, its rendering by the processor, and the modules of Python that drive it.
const PACKAGES: &[&str] = &[
    "obs-studio",
    "xvfb",
    "xdotool",
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
    setup::ensure(&[BUILDING, PACKAGES].concat())?;
    run(BUILD)?;
    let place = std::path::absolute(target().join("obs")).map_err(|e| format!("target/obs: {e}"))?;
    build(&target().join("debug"), &place, &["-DCMAKE_C_FLAGS=-Werror"])?;
    test(&place, options)?;
    // `cargo xtask test` runs it only where OBS is installed already.
    run("cargo test --workspace --test pages shell::obs")
}

/// Builds the plugin with the libshm2 in `built`, as pkg-config finds it in a folder of `place`.
fn build(built: &Path, place: &Path, options: &[&str]) -> Outcome {
    let (prefix, build) = (place.join("prefix"), place.join("build"));
    let mut lay_out = command("sh plugins/obs/prefix.sh");
    lay_out.arg(built).arg(&prefix);
    run_command(lay_out, "plugins/obs/prefix.sh")?;
    let mut configure = command("cmake -S plugins/obs -B");
    configure.arg(&build).args(options).env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    run_command(configure, "cmake -S plugins/obs")?;
    let mut make = command("cmake --build");
    make.arg(&build);
    run_command(make, "cmake --build")
}

/// Installs the plugin into a folder, as the package for Debian has it, with the libshm2 in `built`. False where OBS
/// cannot be had: then it says why.
pub fn stage(built: &Path, into: &Path) -> Result<bool, String> {
    if let Err(why) = setup::ensure(BUILDING) {
        println!("skipped: the package obs-shm2: {} cannot be installed: {why}", BUILDING.join(" "));
        return Ok(false);
    }
    let place = std::path::absolute(built.join("obs")).map_err(|e| format!("{}: {e}", built.display()))?;
    // Packed programs look for libraries in the folders of the system alone.
    let options = [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_SKIP_INSTALL_RPATH=ON",
        "-DCMAKE_INSTALL_LIBDIR=lib",
        "-DCMAKE_C_FLAGS=-O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wformat -Werror=format-security",
        "-DCMAKE_MODULE_LINKER_FLAGS=-Wl,-z,relro,-z,now",
    ];
    build(built, &place, &options)?;
    let mut install = command("cmake --install");
    install.arg(place.join("build")).arg("--prefix").arg(into);
    run_command(install, "cmake --install").map(|()| true)
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
