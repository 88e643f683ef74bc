//! The element tests on newer versions of GStreamer: the programs that were built here run in trees of newer Debian
//! releases.

use crate::commands::{absolute, rig_file};
use crate::debian::{FORKY, Release, TRIXIE, tree};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use xtask::Outcome;
use xtask::run::{BUILD, command, root, run, run_command, target, test_threads};

/// Tests that compile something: the trees have no compiler.
const EXCLUDED: &[&str] = &["examples"];

/// Runs the element tests in each release that can be had, or in that of this name only.
pub fn newer(only: Option<&str>) -> Outcome {
    let releases: Vec<_> = [&TRIXIE, &FORKY].into_iter().filter(|it| only.is_none_or(|only| only == it.name)).collect();
    if releases.is_empty() {
        return Err(format!("{:?} is no release: {} or {}", only.unwrap_or_default(), TRIXIE.name, FORKY.name));
    }
    let tests = build()?;
    let mut trees = Vec::new();
    for release in releases {
        match tree(release)? {
            Ok(tree) => trees.push((release, tree)),
            Err(why) => println!("skipped: GStreamer {} (Debian {}): {why}", release.gstreamer, release.name),
        }
    }
    let places = [absolute(&root())?, absolute(&target())?];
    // Beside each other: most tests wait most of the time.
    std::thread::scope(|scope| {
        let (tests, places) = (&tests, &places);
        let run = |tree| scope.spawn(move || run_in(tree, places, tests));
        let running: Vec<_> = trees.iter().map(|(release, tree)| (release, run(tree))).collect();
        running.into_iter().map(|(release, thread)| report(release, thread.join())).fold(Ok(()), Outcome::and)
    })
}

/// Prints what the tests in the tree of `release` printed.
fn report(release: &Release, ended: std::thread::Result<std::io::Result<Output>>) -> Outcome {
    let name = format!("element tests with GStreamer {} (Debian {})", release.gstreamer, release.name);
    println!("\n==> {name}");
    let output = ended.map_err(|_| format!("{name}: panicked"))?.map_err(|e| format!("cannot run {name}: {e}"))?;
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(format!("{name} failed: {}", output.status)) }
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

/// Measures the elements beside `unixfdsink` in the newest release: runs `elements` of `benches/` with these options.
pub fn bench(options: &[&str]) -> Outcome {
    let tree = match tree(&FORKY)? {
        Ok(tree) => tree,
        Err(why) => {
            println!("skipped: unixfdsink: {why}");
            return Ok(());
        }
    };
    let (root, target) = (absolute(&root())?, absolute(&target())?);
    let mut enter = command("unshare --mount --fork --kill-child sh");
    enter.arg(rig_file("newer/enter-tree.sh")).arg(tree).arg(root).arg(&target);
    enter.arg(target.join("release/elements")).args(options);
    enter.env("GST_PLUGIN_PATH", target.join("release")).env("GST_REGISTRY", "/tmp/registry.bin");
    run_command(enter, &format!("elements {} (Debian {})", options.join(" "), FORKY.name))
}

/// Runs the tests with the tree as root directory. The mounts are in a namespace of their own and end with it.
///
/// `places` are the workspace and its build directory.
fn run_in(tree: &Path, places: &[PathBuf], tests: &[PathBuf]) -> std::io::Result<Output> {
    let mut enter = command("unshare --mount --fork --kill-child sh");
    enter.arg(rig_file("newer/enter-tree.sh")).arg(tree).args(places);
    enter.arg("sh").arg(places[0].join("rigs/newer/run-tests.sh")).args(tests);
    enter.env("RUST_TEST_THREADS", test_threads()).output()
}
