//! The oldest Rust of each published package: the `rust-version` of its Cargo.toml, checked with that compiler.

use crate::Outcome;
use crate::run::{command, root, run_command, succeeds, target};
use std::collections::BTreeMap;
use std::fs;

/// What users build: the folder, and all features of the package that have the same minimum.
///
/// The feature `gst` of shm2-tool is not among them: it takes the Rust of the GStreamer bindings.
const PACKAGES: &[(&str, &str)] = &[
    ("crates/ring", ""),
    ("crates/shm2", "shm2/async,shm2/zerocopy"),
    ("crates/channel", "shm2-channel/tokio"),
    ("crates/media", "shm2-media/picture"),
    ("crates/capi", ""),
    ("crates/cli", ""),
    ("crates/tool", ""),
    ("crates/gst", ""),
    ("crates/relayd", ""),
    ("bridges/rtsp", ""),
];
/// Compiled for Windows, too: those with code of its own for it and without libraries of C.
const WINDOWS: (&str, &[&str]) =
    ("x86_64-pc-windows-gnu", &["crates/ring", "crates/shm2", "crates/media", "crates/capi", "crates/cli"]);

/// A package, its features, and the options that name both.
struct Package {
    folder: &'static str,
    name: String,
    features: &'static str,
}

/// Compiles each package with its oldest Rust. Toolchains that are missing are installed.
pub fn check() -> Outcome {
    let mut groups: BTreeMap<String, Vec<Package>> = BTreeMap::new();
    for (folder, features) in PACKAGES {
        let (name, version) = manifest(folder)?;
        groups.entry(version).or_default().push(Package { folder, name, features });
    }
    let mut skipped = 0;
    let mut checked = Vec::new();
    for (version, packages) in &groups {
        match check_with(version, packages)? {
            true => checked.extend(packages.iter().map(|package| format!("{} {version}", package.name))),
            false => skipped += packages.len(),
        }
    }
    checked.iter().for_each(|package| println!("msrv: {package}"));
    println!("msrv: {} packages checked, {skipped} skipped", checked.len());
    Ok(())
}

/// Whether the packages were checked, at least for this system.
fn check_with(version: &str, packages: &[Package]) -> Result<bool, String> {
    if !succeeds(&format!("rustc +{version} --version"))
        && !succeeds(&format!("rustup toolchain install {version} --profile minimal"))
    {
        println!("skipped: packages with Rust {version}: rustup cannot install it");
        return Ok(false);
    }
    cargo_check(version, packages.iter(), "")?;
    let (triple, folders) = WINDOWS;
    let on_windows: Vec<_> = packages.iter().filter(|package| folders.contains(&package.folder)).collect();
    if on_windows.is_empty() {
        return Ok(true);
    }
    if !succeeds(&format!("rustup target add {triple} --toolchain {version}")) {
        println!("skipped: packages for Windows with Rust {version}: rustup cannot install its standard library");
        return Ok(true);
    }
    cargo_check(version, on_windows.into_iter(), &format!("--target {triple}")).map(|()| true)
}

fn cargo_check<'a>(version: &str, packages: impl Iterator<Item = &'a Package>, options: &str) -> Outcome {
    let mut line = format!("cargo +{version} check --locked --lib --bins {options}");
    let mut features = Vec::new();
    for package in packages {
        line += &format!(" -p {}", package.name);
        features.extend(Some(package.features).filter(|features| !features.is_empty()));
    }
    if !features.is_empty() && options.is_empty() {
        line += &format!(" --features {}", features.join(","));
    }
    let mut check = command(&line);
    // Of its own: another compiler's results would replace those of the compiler in use.
    check.env("CARGO_TARGET_DIR", target().join("msrv"));
    run_command(check, &line)
}

/// The name and the `rust-version` of a package.
fn manifest(folder: &str) -> Result<(String, String), String> {
    let path = root().join(folder).join("Cargo.toml");
    let own = read(&path)?;
    let name = value(&own, "name").ok_or_else(|| format!("{}: no name", path.display()))?;
    let version = value(&own, "rust-version").or(value(&read(&root().join("Cargo.toml"))?, "rust-version"));
    let version = version.ok_or_else(|| format!("{}: no rust-version", path.display()))?;
    Ok((name, version))
}

fn read(path: &std::path::Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The text that the first line `key = "text"` assigns.
fn value(manifest: &str, key: &str) -> Option<String> {
    let is_key = |line: &&str| line.split_once('=').is_some_and(|(left, _)| left.trim() == key);
    manifest.lines().find(is_key)?.split('"').nth(1).map(str::to_owned)
}
