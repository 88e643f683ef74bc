//! System packages.

use crate::Outcome;
use crate::run::{command, is_root, run_command, succeeds};

/// What building and testing takes on Debian 12 or Ubuntu 24.04 and later.
const PACKAGES: &[&str] = &[
    "gcc",
    "g++",
    "libc6-dev",
    "binutils",
    "pkg-config",
    "valgrind",
    "libgstreamer1.0-dev",
    "libgstreamer-plugins-base1.0-dev",
    "libgstrtspserver-1.0-dev",
    "gstreamer1.0-tools",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-base-apps",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-ugly",
    "gstreamer1.0-libav",
    "python3-gst-1.0",
    "gir1.2-gst-plugins-base-1.0",
    "strace",
    "dbus-daemon",
    "iproute2",
    "bindfs",
    "bubblewrap",
    "ffmpeg",
];

/// Another task, or the system's updates, may be installing packages: then this one waits.
const LOCK: [&str; 2] = ["-o", "DPkg::Lock::Timeout=300"];

/// Installs what is missing.
pub fn setup() -> Outcome {
    if !succeeds("dpkg-query --version") {
        return without_packages();
    }
    ensure(PACKAGES)
}

/// Installs those of the packages that are missing. Without dpkg they are taken to be there.
pub fn ensure(packages: &[&str]) -> Outcome {
    let is_missing = |package: &&str| succeeds("dpkg-query --version") && !is_installed(package);
    let missing: Vec<_> = packages.iter().copied().filter(is_missing).collect();
    if missing.is_empty() {
        println!("setup: all system packages are there");
        return Ok(());
    }
    install(&missing)
}

/// Installs a browser for the test of the page of `shm2 serve`, where the system has one as a package.
pub fn browser() {
    if !succeeds("chromium --version") && install(&["chromium"]).is_err() {
        println!("skipped: the page of shm2 serve in a browser: chromium cannot be installed here");
    }
}

/// Installs system packages.
pub fn install(packages: &[&str]) -> Outcome {
    println!("setup: installing {}", packages.join(" "));
    // Another task may be at it, or there may be no network: what is needed may be on the lists already.
    if let Err(error) = apt(&["update", "-q"]) {
        println!("setup: the lists of packages stay as they are: {error}");
    }
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

fn is_installed(package: &str) -> bool {
    let output = command("dpkg-query -W -f=${Status}").arg(package).output();
    output.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).ends_with("ok installed"))
}

fn apt(arguments: &[&str]) -> Outcome {
    let mut apt = if is_root() { command("env") } else { command("sudo env") };
    apt.arg("DEBIAN_FRONTEND=noninteractive").arg("apt-get").args(LOCK).args(arguments);
    run_command(apt, &format!("apt-get {}", arguments.join(" ")))
}

/// Other systems: say what is needed if it is not there.
fn without_packages() -> Outcome {
    if succeeds("pkg-config --atleast-version=1.22 gstreamer-1.0 gstreamer-video-1.0 gstreamer-rtsp-server-1.0") {
        println!("setup: no dpkg here; GStreamer's development files are there");
        return Ok(());
    }
    Err(format!(
        "no dpkg here: install GStreamer 1.22 or newer and gst-rtsp-server with their development files; on Debian that is {}",
        PACKAGES.join(" ")
    ))
}
