//! Trees of Debian releases: all files of a small system, in a folder that a program can enter.

use crate::commands::quietly;
use std::path::{Path, PathBuf};
use xtask::run::{command, is_root, succeeds, target};
use xtask::setup;

pub const MIRROR: &str = "http://deb.debian.org/debian";

const PACKAGES: &str = "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-base-apps \
    gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav";

/// A release and the tree that is made of it.
pub struct Release {
    pub name: &'static str,
    /// Version of GStreamer in the release.
    pub gstreamer: &'static str,
    /// Debootstrap's script for the release; an older debootstrap does not know newer releases by name.
    script: &'static str,
}

pub const BOOKWORM: Release = Release { name: "bookworm", gstreamer: "1.22", script: "bookworm" };
pub const TRIXIE: Release = Release { name: "trixie", gstreamer: "1.26", script: "trixie" };
pub const FORKY: Release = Release { name: "forky", gstreamer: "1.28", script: "sid" };

/// The tree of a release with GStreamer, made once. An error is the reason why a test is skipped.
pub fn tree(release: &Release) -> Result<PathBuf, String> {
    let tree = target().join("trees").join(release.name);
    make(release, &tree, |path| {
        let install = format!("chroot {path} apt-get install -q -y --no-install-recommends {PACKAGES}");
        if quietly(command(&install)) { Ok(()) } else { Err(format!("{install:?} failed")) }
    })
}

/// The tree of a release with nothing but what each system has, made once.
pub fn bare_tree(release: &Release) -> Result<PathBuf, String> {
    let tree = target().join("trees").join(format!("{}-bare", release.name));
    make(release, &tree, |_| Ok(()))?;
    crate::commands::absolute(&tree)
}

/// Makes a tree unless it is complete.
fn make(release: &Release, tree: &Path, fill: impl Fn(&str) -> Result<(), String>) -> Result<PathBuf, String> {
    let Release { name, script, .. } = release;
    if tree.join("etc/shm2-complete").exists() {
        return Ok(tree.into());
    }
    if !is_root() {
        return Err("a tree can be made and entered by root only".into());
    }
    if !succeeds("debootstrap --version") && setup::install(&["debootstrap"]).is_err() {
        return Err("no debootstrap, and it cannot be installed".into());
    }
    // An earlier attempt may have failed.
    let _ = std::fs::remove_dir_all(tree);
    std::fs::create_dir_all(tree).map_err(|e| format!("{}: {e}", tree.display()))?;
    let path = tree.display();
    let script = format!("/usr/share/debootstrap/scripts/{script}");
    println!("\n==> a tree of Debian {name} in {path} (some minutes)");
    if !quietly(command(&format!("debootstrap --variant=minbase {name} {path} {MIRROR} {script}"))) {
        return Err(format!("debootstrap failed; see {path}/debootstrap/debootstrap.log"));
    }
    fill(&path.to_string())?;
    std::fs::write(tree.join("etc/shm2-complete"), "").map_err(|e| format!("{path}: {e}"))?;
    Ok(tree.into())
}
