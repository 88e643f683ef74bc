//! Lints: formatting, clippy, documentation, and what no compiler checks: imports, pages, shell files, spelling.

mod imports;
mod pages;
mod versions;

use crate::Outcome;
use crate::run::{self, command, root, run, run_command, succeeds, succeeds_as, target};
use crate::{narrow, setup};
use std::path::PathBuf;

/// Runs all lints.
pub fn lint() -> Outcome {
    setup::setup()?;
    run("cargo fmt --all --check")?;
    run("cargo clippy --workspace --all-targets -- -D warnings")?;
    run("cargo clippy --workspace --features shm2-tool/gst --all-targets -- -D warnings")?;
    // The tests of kill points are built only with their feature.
    run("cargo clippy -p shm2-e2e --features kill-points --all-targets -- -D warnings")?;
    // Workspaces of their own, with lock files of their own.
    for manifest in ["benches/Cargo.toml", "examples/dbus/Cargo.toml", "models/Cargo.toml"] {
        run(&format!("cargo fmt --manifest-path {manifest} --check"))?;
        run(&format!("cargo clippy --manifest-path {manifest} --all-targets -- -D warnings"))?;
    }
    narrow::check()?;
    let mut doc = command("cargo doc --workspace --no-deps --quiet");
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run_command(doc, "cargo doc --workspace --no-deps")?;
    tree()
}

/// The lints that need no build.
pub fn tree() -> Outcome {
    if !succeeds("git rev-parse HEAD") {
        return Err("the files are listed by git, and this is no git repository: lint a clone".into());
    }
    println!("\n==> imports, pages, shell files, spelling");
    locks()?;
    versions::check()?;
    atomics()?;
    imports::check(&tracked("*.rs")?)?;
    pages::check(&tracked("*.md")?, &tracked("*.rs")?)?;
    shell()?;
    spelling()
}

/// Files under version control, relative to the root.
fn tracked(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let listed = command(&format!("git ls-files -- {pattern}")).output();
    let listed = listed.map_err(|e| format!("cannot run git: {e}"))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(text.lines().map(PathBuf::from).filter(|file| root().join(file).exists()).collect())
}

/// The text of a tracked file.
fn read(file: &PathBuf) -> Result<String, String> {
    std::fs::read_to_string(root().join(file)).map_err(|e| format!("{}: {e}", file.display()))
}

/// An error that lists every finding.
fn report(what: &str, findings: &[String]) -> Outcome {
    if findings.is_empty() { Ok(()) } else { Err(format!("{what}:\n  {}", findings.join("\n  "))) }
}

/// Each workspace's lock file must say what its manifests need.
fn locks() -> Outcome {
    let is_current = |manifest: &str| {
        succeeds(&format!("cargo metadata --quiet --locked --format-version 1 --manifest-path {manifest}"))
    };
    let manifests = [
        "Cargo.toml",
        "benches/Cargo.toml",
        "bridges/zenoh/Cargo.toml",
        "bridges/camera/Cargo.toml",
        "examples/dbus/Cargo.toml",
        "fuzz/Cargo.toml",
        "models/Cargo.toml",
    ];
    let stale: Vec<_> = manifests.into_iter().filter(|manifest| !is_current(manifest)).map(str::to_owned).collect();
    report("lock files that are out of date", &stale)
}

/// Words shared between processes go through `crate::sync`, so that the loom models run the product's code.
fn atomics() -> Outcome {
    let mut findings = Vec::new();
    for file in tracked("crates/shm2/src/*.rs")?.iter().filter(|file| !file.ends_with("src/sync.rs")) {
        let text = read(file)?;
        let is_shared = |line: &&str| {
            line.contains("std::sync::atomic") && (line.contains("AtomicU32") || line.contains("AtomicU64"))
        };
        findings.extend(text.lines().filter(is_shared).map(|line| format!("{}: {line}", file.display())));
    }
    report("atomics must come from crate::sync", &findings)
}

/// Every shell file: by its name, or by its first line.
fn shell() -> Outcome {
    let mut files = Vec::new();
    for file in tracked(".")? {
        let is_named = file.extension().is_some_and(|extension| extension == "sh") || file.ends_with("PKGBUILD");
        let is_shell =
            |text: String| text.lines().next().is_some_and(|line| line.starts_with("#!") && line.contains("sh"));
        if is_named || (file.extension().is_none() && read(&file).is_ok_and(is_shell)) {
            files.push(file);
        }
    }
    if !succeeds("shellcheck --version") && setup::install(&["shellcheck"]).is_err() {
        println!("skipped: shellcheck cannot be installed here");
        return Ok(());
    }
    let mut check = command("shellcheck");
    check.args(files);
    run_command(check, "shellcheck (every shell file)")
}

/// Spelling of code and pages; `_typos.toml` has the exceptions.
fn spelling() -> Outcome {
    let place = target().join("typos");
    let program = place.join("bin/typos");
    if !program.exists() {
        let has_pip = || succeeds("python3 -m pip --version");
        if !has_pip() {
            // May fail: then the next look says so.
            let _ = setup::install(&["python3-pip"]);
        }
        let mut install = command("python3 -m pip install --quiet --target");
        install.arg(&place).arg("typos");
        if !has_pip() || !succeeds_as(install) {
            println!("skipped: spelling: the Python package typos cannot be installed here");
            return Ok(());
        }
    }
    let mut typos = run::program(&program);
    typos.args(["--format", "brief"]);
    run_command(typos, "typos")
}
