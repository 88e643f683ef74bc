//! The element tests on newer versions of GStreamer: the programs that were built here run in trees of newer Debian
//! releases.

use crate::commands::{absolute, rig_file};
use crate::debian::{FORKY, Release, TRIXIE, tree};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use xtask::Outcome;
use xtask::run::{BUILD, command, root, run, run_command, target, test_threads};

/// Tests that compile something: the trees have no compiler.
const EXCLUDED: &[&str] = &["examples"];

/// Runs the element tests in each release that can be had.
pub fn newer() -> Outcome {
    let tests = build()?;
    for release in [&TRIXIE, &FORKY] {
        match tree(release) {
            Ok(tree) => run_in(&tree, release, &tests)?,
            Err(why) => println!("skipped: GStreamer {} (Debian {}): {why}", release.gstreamer, release.name),
        }
    }
    Ok(())
}

/// The test programs of the elements, and the plugin.
///
/// The whole workspace is built, as for the tests on this machine: a part of it would have dependencies with other
/// features, which takes some minutes more.
fn build() -> Result<Vec<PathBuf>, String> {
    run(BUILD)?;
    let line = "cargo test --workspace --no-run --message-format json-render-diagnostics";
    println!("\n==> {line}");
    let output = command(line).stderr(Stdio::inherit()).output().map_err(|e| format!("cannot run {line:?}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{line:?} failed"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let paths: Vec<_> = text.lines().filter_map(element_test).map(PathBuf::from).collect();
    if paths.is_empty() { Err(format!("{line:?} names no test of the elements")) } else { Ok(paths) }
}

/// The path in one of cargo's messages, when the message reports a test program of the elements that is to run.
fn element_test(message: &str) -> Option<&str> {
    let is_element_test = message.contains("#gst-plugin-shm2@") && message.contains(r#""test":true},"features""#);
    let path = message.split_once(r#""executable":""#)?.1.split('"').next()?;
    let is_excluded = EXCLUDED.iter().any(|name| path.contains(&format!("/{name}-")));
    (is_element_test && !is_excluded).then_some(path)
}

/// Runs the tests with the tree as root directory. The mounts are in a namespace of their own and end with it.
fn run_in(tree: &Path, release: &Release, tests: &[PathBuf]) -> Outcome {
    let mut enter = command("unshare --mount --fork --kill-child sh");
    enter.arg(rig_file("newer/enter-tree.sh")).arg(tree).arg(absolute(&root())?).arg(absolute(&target())?).args(tests);
    enter.env("RUST_TEST_THREADS", test_threads());
    let Release { name, gstreamer, .. } = release;
    run_command(enter, &format!("element tests with GStreamer {gstreamer} (Debian {name})"))
}
