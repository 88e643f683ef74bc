//! The `sh` blocks of the readme of each published crate run as a user would type them. Examples in Rust are doc tests of
//! their crates, and the one in C is compiled by the tests of `shm2-capi`.

#![cfg(target_os = "linux")]

use shm2_testing::{ChildGuard, TempPath, skip};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where cargo puts programs: two folders above this test.
fn programs() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf()
}

fn blocks(name: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("crates").join(name).join("README.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

/// Runs a block in a folder of its own; `timeout` also ends what it leaves behind.
fn run(block: &str) -> String {
    let folder = TempPath::new("readme");
    std::fs::create_dir(&folder).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::join_paths([programs()].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut shell = Command::new("timeout");
    shell.args(["--kill-after=2", "50", "bash", "-e", "-c", block]).current_dir(&folder).env("PATH", paths);
    shell.env("GST_PLUGIN_PATH", programs()).env("GST_REGISTRY", folder.join("registry.bin"));
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ChildGuard::spawn(&mut shell).unwrap().output();
    let [text, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{block}\n{}\n{text}\n{errors}", output.status);
    text
}

/// Whether these programs of the workspace are built; a run of this package alone does not build them.
fn are_built(names: &[&str]) -> bool {
    let missing: Vec<_> = names.iter().filter(|name| !programs().join(name).exists()).collect();
    if !missing.is_empty() {
        skip(&format!("a readme: {missing:?} are not built: cargo build --workspace --bins --lib"));
    }
    missing.is_empty()
}

fn has_gstreamer() -> bool {
    let found = Command::new("gst-launch-1.0").arg("--version").stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        skip("a readme: gst-launch-1.0 is not installed");
    }
    found
}

#[test]
fn the_readme_of_the_test_programs_runs() {
    if are_built(&["shm2_producer", "shm2_consumer"]) {
        let text = run(&blocks("cli")[0]);
        assert!(text.contains("200"), "{text}");
    }
}

#[test]
fn the_readme_of_the_tool_runs() {
    if are_built(&["shm2_producer", "shm2"]) {
        let text = run(&blocks("tool")[0]);
        assert!(text.contains("shm2-doc-tool"), "{text}");
    }
}

#[test]
fn the_readme_of_the_plugin_runs() {
    if are_built(&["libgstshm2.so"]) && has_gstreamer() {
        run(&blocks("gst")[0]);
    }
}

#[test]
fn the_readme_of_the_relay_runs() {
    if are_built(&["libgstshm2.so", "shm2_relayd"]) && has_gstreamer() {
        run(&blocks("relayd")[0]);
    }
}
