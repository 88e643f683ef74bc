//! The packages of crates.io: that each can be published, and what is in it.

use crate::Outcome;
use crate::run::{command, root, run, succeeds, target};
use std::fs;
use std::path::Path;

/// Published crates with the folder of each, in the order in which they depend on each other.
pub const PUBLISHED: &[(&str, &str)] = &[
    ("shm2-ring", "ring"),
    ("shm2-media", "media"),
    ("shm2", "shm2"),
    ("shm2-channel", "channel"),
    ("shm2-cli", "cli"),
    ("shm2-capi", "capi"),
    ("gst-plugin-shm2", "gst"),
    ("shm2-tool", "tool"),
    ("shm2-relayd", "relayd"),
];

/// What each package must have.
const NEEDED: &[&str] =
    &["Cargo.toml", "Cargo.toml.orig", "Cargo.lock", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/"];
/// What some have besides. The second is there if the packages are made in a clone by git.
const MORE: &[&str] = &["build.rs", ".cargo_vcs_info.json", "examples/", "include/", "systemd/"];
/// The limit of crates.io is 10 MB.
const LARGEST_BYTES: u64 = 1 << 20;

/// Makes all packages and looks into each. With `verify` each is built as it would be from crates.io.
pub fn publish(verify: bool) -> Outcome {
    check_list()?;
    if verify {
        run("cargo publish --quiet --dry-run --workspace --allow-dirty")?;
    }
    let line = "cargo package --quiet --no-verify --allow-dirty".to_owned() + &packages();
    // Without a look at the registry for each package, which takes most of the time, where all is here already.
    if !succeeds(&(line.clone() + " --offline")) {
        run(&line)?;
    }
    PUBLISHED.iter().try_for_each(|(name, _)| inspect(name))
}

fn packages() -> String {
    PUBLISHED.iter().map(|(name, _)| format!(" -p {name}")).collect()
}

/// Each crate is either in the list, or says that it is not published.
fn check_list() -> Outcome {
    let folders = fs::read_dir(root().join("crates")).map_err(|e| format!("cannot read crates: {e}"))?;
    for folder in folders.flatten() {
        let manifest = folder.path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).map_err(|e| format!("cannot read {}: {e}", manifest.display()))?;
        let is_listed = PUBLISHED.iter().any(|(_, listed)| folder.file_name() == *listed);
        if is_listed == text.contains("publish = false") {
            return Err(format!(
                "{}: a crate is published and in the list of xtask/src/publish.rs, or has `publish = false`",
                manifest.display()
            ));
        }
    }
    Ok(())
}

/// Unpacks an archive and checks its files.
fn inspect(name: &str) -> Outcome {
    let folder = target().join("package");
    let full = format!("{name}-{}", version()?);
    let archive = folder.join(format!("{full}.crate"));
    let unpacked = folder.join("unpacked").join(&full);
    // Of the last run; there may be none.
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir_all(folder.join("unpacked")).map_err(|e| format!("cannot make {}: {e}", unpacked.display()))?;
    let mut tar = command("tar -xzf");
    tar.arg(&archive).arg("-C").arg(folder.join("unpacked"));
    if !tar.status().is_ok_and(|status| status.success()) {
        return Err(format!("cannot unpack {}", archive.display()));
    }
    let bytes = fs::metadata(&archive).map_err(|e| format!("cannot read {}: {e}", archive.display()))?.len();
    let files = check_files(&unpacked)?;
    println!("{full}: {files} files at the top, {} KiB", bytes.div_ceil(1024));
    match bytes > LARGEST_BYTES {
        true => Err(format!("{full} has {bytes} bytes: `include` of its manifest names too much")),
        false => Ok(()),
    }
}

/// Returns the number of entries of a package's top folder, each of which must be known.
fn check_files(unpacked: &Path) -> Result<usize, String> {
    let place = unpacked.display();
    let entries = fs::read_dir(unpacked).map_err(|e| format!("cannot read {place}: {e}"))?.flatten();
    let mut names = Vec::new();
    for entry in entries {
        let kind = entry.file_type().map_err(|e| format!("cannot read {place}: {e}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        names.push(if kind.is_dir() { name + "/" } else { name });
    }
    if let Some(missing) = NEEDED.iter().find(|needed| !names.iter().any(|name| name == *needed)) {
        return Err(format!("{place} lacks {missing}"));
    }
    let is_known = |name: &str| NEEDED.contains(&name) || MORE.contains(&name);
    if let Some(stray) = names.iter().find(|name| !is_known(name)) {
        return Err(format!("{place} has {stray}, which no package should: see `include` of its manifest"));
    }
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let is_file = fs::symlink_metadata(unpacked.join(licence)).is_ok_and(|data| data.is_file());
        let is_same = fs::read(unpacked.join(licence)).ok() == fs::read(root().join(licence)).ok();
        if !is_file || !is_same {
            return Err(format!("{place}/{licence} is not the text of the project's {licence}"));
        }
    }
    Ok(names.len())
}

/// The version of all published packages.
pub fn version() -> Result<String, String> {
    let text = fs::read_to_string(root().join("Cargo.toml")).map_err(|e| format!("cannot read Cargo.toml: {e}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    value.map(str::to_owned).ok_or_else(|| "Cargo.toml has no version".into())
}
