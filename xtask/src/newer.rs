//! The element tests on newer versions of GStreamer: what was built here runs in trees of newer Debian releases.

use crate::Outcome;
use crate::run::{BUILD, command, root, run, run_command, succeeds, target, test_threads};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIRROR: &str = "http://deb.debian.org/debian";

/// Name of a release, the version of GStreamer in it, and the steps that debootstrap takes for it: older ones do not know
/// newer releases by name.
const RELEASES: &[(&str, &str, &str)] = &[("trixie", "1.26", "trixie"), ("forky", "1.28", "sid")];

const PACKAGES: &str = "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-base-apps \
    gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav";

/// Tests that compile something, which takes much more in the tree.
const NOT_THERE: &[&str] = &["examples"];

/// Runs the element tests in each release that can be had.
pub fn newer() -> Outcome {
    let tests = build()?;
    for (name, version, script) in RELEASES {
        match tree(name, script) {
            Ok(tree) => run_in(&tree, name, version, &tests)?,
            Err(why) => println!("skipped: GStreamer {version} (Debian {name}): {why}"),
        }
    }
    Ok(())
}

/// The test programs of the elements, and the plugin.
///
/// All of the workspace is built, as for the tests here: a part of it would have dependencies with other features, which takes
/// some minutes.
fn build() -> Result<Vec<PathBuf>, String> {
    run(BUILD)?;
    let line = "cargo test --workspace --no-run --message-format json-render-diagnostics";
    println!("\n==> {line}");
    let output = command(line).stderr(Stdio::inherit()).output().map_err(|e| format!("cannot run {line:?}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{line:?} failed"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let paths: Vec<_> = text.lines().filter_map(program_of_elements).map(PathBuf::from).collect();
    if paths.is_empty() { Err(format!("{line:?} names no test of the elements")) } else { Ok(paths) }
}

/// The test program that a line of cargo's messages tells of, if it is one of the elements' that is wanted.
fn program_of_elements(message: &str) -> Option<&str> {
    let is_wanted = message.contains("#gst-plugin-shm2@") && message.contains(r#""test":true},"features""#);
    let path = message.split_once(r#""executable":""#)?.1.split('"').next()?;
    (is_wanted && !NOT_THERE.iter().any(|not| path.contains(&format!("/{not}-")))).then_some(path)
}

/// A tree of the release, made once. Errors are reasons to go without.
pub fn tree(name: &str, script: &str) -> Result<PathBuf, String> {
    let tree = target().join("trees").join(name);
    if tree.join("etc/shm2-complete").exists() {
        return Ok(tree);
    }
    if !command("id -u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0") {
        return Err("a tree can be made and entered by root only".into());
    }
    if !succeeds("debootstrap --version") && !succeeds("apt-get install -q -y --no-install-recommends debootstrap") {
        return Err("no debootstrap, and it cannot be installed".into());
    }
    // What an earlier attempt left.
    let _ = std::fs::remove_dir_all(&tree);
    std::fs::create_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))?;
    let path = tree.display();
    let script = format!("/usr/share/debootstrap/scripts/{script}");
    println!("\n==> a tree of Debian {name} in {path} (some minutes)");
    if !quietly(command(&format!("debootstrap --variant=minbase {name} {path} {MIRROR} {script}"))) {
        return Err(format!("debootstrap failed; see {path}/debootstrap/debootstrap.log"));
    }
    let install = format!("chroot {path} apt-get install -q -y --no-install-recommends {PACKAGES}");
    if !quietly(command(&install)) {
        return Err(format!("{install:?} failed"));
    }
    std::fs::write(tree.join("etc/shm2-complete"), "").map_err(|e| format!("{path}: {e}"))?;
    Ok(tree)
}

pub fn quietly(mut command: Command) -> bool {
    command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    command.env_remove("TMPDIR").status().is_ok_and(|status| status.success())
}

/// Runs the tests with the tree as root. The mounts are in a namespace of their own and end with it.
fn run_in(tree: &Path, name: &str, version: &str, tests: &[PathBuf]) -> Outcome {
    let (root, target) = (absolute(&root())?, absolute(&target())?);
    let script = r#"set -e
        tree=$1 root=$2 target=$3; shift 3
        mount --rbind /dev "$tree/dev"; mount -t proc proc "$tree/proc"; mount -t tmpfs tmpfs "$tree/tmp"
        for place in "$root" "$target"; do mkdir -p "$tree$place"; mount --bind "$place" "$tree$place"; done
        exec chroot "$tree" env HOME=/tmp TMPDIR=/tmp PATH=/usr/bin:/bin G_DEBUG=fatal-criticals SHM2_SKIPPED=/tmp/skipped \
            sh -c 'gst-inspect-1.0 --version | head -1; for test; do
                echo "${test##*/}"; "$test" --quiet || { echo "failed: $test"; exit 1; }; done
                cat /tmp/skipped 2>/dev/null || true' tests "$@""#;
    let mut tests_there = command("unshare --mount --fork --kill-child sh -c");
    tests_there.env("RUST_TEST_THREADS", test_threads());
    tests_there.arg(script).arg("in-tree").arg(tree).arg(root).arg(target).args(tests);
    run_command(tests_there, &format!("element tests with GStreamer {version} (Debian {name})"))
}

pub fn absolute(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))
}
