//! What this project depends on, and what its interface was at the last release.

use crate::Outcome;
use crate::run::{command, root, run, run_command, succeeds, target};

/// Workspaces with a lock file each. `fuzz` needs a nightly compiler for its build only.
const MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "benches/Cargo.toml",
    "bindings/python/Cargo.toml",
    "bridges/zenoh/Cargo.toml",
    "bridges/camera/Cargo.toml",
    "examples/dbus/Cargo.toml",
    "fuzz/Cargo.toml",
    "models/Cargo.toml",
];
const DENY: &str = "cargo install --locked cargo-deny --version 0.20.2";
const SEMVER: &str = "cargo install --locked cargo-semver-checks --version 0.51.0";
/// Crates whose Rust interface others use.
const INTERFACES: &[&str] = &["shm2", "shm2-ring", "shm2-channel", "shm2-media"];

/// Runs the tools that are installed, and names the others.
pub fn audit() -> Outcome {
    let has_deny = succeeds("cargo deny --version");
    match has_deny {
        true => deny()?,
        false => println!("skipped: cargo-deny is not installed; `cargo xtask audit install` installs it (minutes)"),
    }
    let ran = usize::from(has_deny) + usize::from(semver()?);
    println!("audit: {ran} of 2 tools ran, {} skipped", 2 - ran);
    Ok(())
}

/// Installs the tools that are missing, then runs them.
pub fn install() -> Outcome {
    if !succeeds("cargo deny --version") {
        run(DENY)?;
    }
    if !succeeds("cargo semver-checks --version") {
        run(SEMVER)?;
    }
    audit()
}

/// Licences, sources and duplicates; advisories where their database can be had.
fn deny() -> Outcome {
    let has_advisories = fetch_advisories();
    let advisories = if has_advisories { " advisories" } else { "" };
    for manifest in MANIFESTS {
        // Duplicates are named for what is shipped.
        let level = if *manifest == "Cargo.toml" { "warn" } else { "error" };
        let line = format!(
            "cargo deny --log-level {level} --all-features --locked --config deny.toml --manifest-path {manifest} check \
             --hide-inclusion-graph licenses bans sources{advisories}"
        );
        let mut deny = command(&line);
        deny.env("CARGO_TARGET_DIR", target());
        run_command(deny, &line)?;
    }
    Ok(())
}

/// Whether the database of advisories is there, or can be fetched.
fn fetch_advisories() -> bool {
    let fetch = command("timeout --foreground 120 cargo deny --config deny.toml fetch db").output();
    let reason = match fetch {
        Ok(output) if output.status.success() => return true,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let reason = text.lines().rev().find(|line| !line.trim().is_empty());
            reason.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned())
        }
        Err(error) => {
            println!("skipped: advisories: the program timeout cannot be run: {error}");
            return false;
        }
    };
    println!("skipped: advisories: their database cannot be fetched: {reason}");
    false
}

/// Compares the public interface with that of the last tag, if both tool and tag are there.
fn semver() -> Result<bool, String> {
    let tag = command("git describe --tags --abbrev=0 --match v*").output();
    let tag = tag.ok().filter(|output| output.status.success());
    let Some(tag) = tag.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()) else {
        println!("skipped: cargo-semver-checks: there is no tag v* to compare with; the first release makes one");
        return Ok(false);
    };
    if !succeeds("cargo semver-checks --version") {
        println!("skipped: cargo-semver-checks is not installed; `cargo xtask audit install` installs it (minutes)");
        return Ok(false);
    }
    let packages: String = INTERFACES.iter().map(|name| format!(" -p {name}")).collect();
    let line = format!("cargo semver-checks --baseline-rev {tag}{packages}");
    let mut check = command(&line);
    check.current_dir(root());
    run_command(check, &line).map(|()| true)
}
