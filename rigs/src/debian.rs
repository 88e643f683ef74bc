//! Trees of Debian releases: all files of a small system, in a folder that a program can enter.

use crate::commands::{absolute, quietly, rig_file};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

/// A tree, or why it cannot be had here.
pub type Tree = Result<PathBuf, String>;

/// The tree of a release with GStreamer, made once.
pub fn tree(release: &Release) -> Result<Tree, String> {
    make(release, &target().join("trees").join(release.name), PACKAGES)
}

/// The tree of a release with nothing but what each system has, made once.
pub fn bare_tree(release: &Release) -> Result<Tree, String> {
    make(release, &target().join("trees").join(format!("{}-bare", release.name)), "")
}

/// Makes a tree unless it is complete. That this system cannot have one is no error; a failure where it can is one.
fn make(release: &Release, tree: &Path, packages: &str) -> Result<Tree, String> {
    if tree.join("etc/shm2-complete").exists() {
        return absolute(tree).map(Ok);
    }
    if !is_root() {
        return Ok(Err("a tree can be made and entered by root only".into()));
    }
    if !succeeds("debootstrap --version") && setup::install(&["debootstrap"]).is_err() {
        return Ok(Err("no debootstrap, and it cannot be installed".into()));
    }
    let folder = tree.parent().unwrap_or(tree);
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (name, tree) = (release.name, absolute(folder)?.join(tree.file_name().unwrap_or_default()));
    println!("\n==> a tree of Debian {name} in {} (some minutes; one task at a time)", tree.display());
    let status = making(release, &tree, packages).status().map_err(|e| format!("cannot run flock: {e}"))?;
    match status.code() {
        Some(0) => Ok(Ok(tree)),
        Some(4) if !is_reached(name) => Ok(Err(format!("the mirror {MIRROR} cannot be reached"))),
        Some(3) => Err(format!("what an earlier attempt left of {} cannot be removed", tree.display())),
        _ => Err(format!("make-tree.sh failed for Debian {name}, {status}; see {}.half/debootstrap", tree.display())),
    }
}

/// The lock lasts as long as the processes that make the tree, also when this one is killed.
fn making(release: &Release, tree: &Path, packages: &str) -> Command {
    let mut lock = tree.as_os_str().to_owned();
    lock.push(".lock");
    let mut make = command("flock");
    make.arg(lock).args(["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "sh"]);
    make.arg(rig_file("debian/make-tree.sh")).arg(release.name).arg(tree).arg(MIRROR);
    make.arg(format!("/usr/share/debootstrap/scripts/{}", release.script)).args(packages.split_whitespace());
    make.env("DEBIAN_FRONTEND", "noninteractive").env_remove("TMPDIR").stdin(Stdio::null()).stdout(Stdio::null());
    make
}

/// Whether the mirror has the release, by the program that debootstrap fetches with.
fn is_reached(release: &str) -> bool {
    let mut look = command("wget --quiet --timeout=20 --tries=2 -O /dev/null");
    look.arg(format!("{MIRROR}/dists/{release}/Release"));
    quietly(look)
}
