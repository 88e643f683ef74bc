//! One version in all that names it: manifests, the changelog, descriptions of packages.

use super::{Outcome, read, report, tracked};
use crate::publish;
use std::path::PathBuf;

/// What comes before the version in a file, and what after it. A file that is not there names none.
const PLACES: &[(&str, &str, &str)] = &[
    ("bindings/python/Cargo.toml", "\nversion = \"", "\""),
    ("bridges/camera/Cargo.toml", "\nversion = \"", "\""),
    ("bridges/zenoh/Cargo.toml", "\nversion = \"", "\""),
    ("CHANGELOG.md", "\n## [", "] - "),
    ("README.md", "\nVersion ", ","),
    ("flake.nix", "\n      version = \"", "\""),
    ("packaging/arch/PKGBUILD", "\npkgver=", "\n"),
];
/// The same, for each file with such a name.
const NAMED: &[(&str, &str, &str)] = &[("*.metainfo.xml", "<release version=\"", "\"")];

/// Finds what does not name the version of the workspace.
pub fn check() -> Outcome {
    let version = publish::version()?;
    let mut findings = Vec::new();
    for &(file, before, after) in PLACES {
        for file in tracked(file)? {
            findings.extend(other(&file, before, after, &version)?);
        }
    }
    for &(pattern, before, after) in NAMED {
        for file in tracked(pattern)? {
            findings.extend(other(&file, before, after, &version)?);
        }
    }
    findings.extend(dependencies(&version)?);
    report(&format!("versions other than {version}, that of Cargo.toml"), &findings)
}

/// The first version that a file names, if it is another one.
fn other(file: &PathBuf, before: &str, after: &str, version: &str) -> Result<Option<String>, String> {
    let text = read(file)?;
    // Changes since the release stand above it.
    let text = text.replace("\n## [Unreleased]", "");
    let found = text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(found, _)| found);
    Ok(match found {
        Some(found) if found == version => None,
        Some(found) => Some(format!("{}: {}", file.display(), found.lines().next().unwrap_or_default())),
        None => Some(format!("{}: none after {:?}", file.display(), before.trim())),
    })
}

/// Crates of the workspace that are needed in another version.
fn dependencies(version: &str) -> Result<Vec<String>, String> {
    let text = read(&PathBuf::from("Cargo.toml"))?;
    let ours = text.lines().filter(|line| line.contains("path = \"crates/") && line.contains("version = "));
    let wanted = format!("version = \"{version}\"");
    Ok(ours.filter(|line| !line.contains(&wanted)).map(|line| format!("Cargo.toml: {line}")).collect())
}
