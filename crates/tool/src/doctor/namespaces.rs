//! Containers and snaps, whose programs see another /dev/shm.

use super::Finding;
use shm2::Overview;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const REMEDY: &str = "programs in another mount namespace see other regions: run both with --ipc=host, or mount one \
                      folder into both";
/// Most processes that are looked at.
const PROCESSES: usize = 4096;

pub(super) fn check() -> Vec<Finding> {
    container().into_iter().chain(other_places()).collect()
}

/// A container has a /dev/shm of its own.
fn container() -> Option<Finding> {
    let name = match () {
        () if Path::new("/.dockerenv").exists() => "Docker",
        () if Path::new("/run/.containerenv").exists() => "Podman",
        () if std::env::var_os("SNAP").is_some() => "a snap",
        () if Path::new("/.flatpak-info").exists() => "Flatpak",
        () => return None,
    };
    Some(Finding::note("container", format!("this is {name}"), REMEDY))
}

/// Regions in the /dev/shm of processes that have another one. Only processes that this user may look at.
fn other_places() -> Vec<Finding> {
    let place = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let mut known: BTreeSet<_> = place(Path::new("/dev/shm")).into_iter().collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let processes = processes.filter(|path| path.join("root").symlink_metadata().is_ok()).take(PROCESSES);
    let mut findings = Vec::new();
    for process in processes {
        let folder = process.join("root/dev/shm");
        if place(&folder).is_some_and(|place| known.insert(place)) {
            findings.extend(regions_in(&process, &folder));
        }
    }
    findings
}

fn regions_in(process: &Path, folder: &Path) -> Option<Finding> {
    let regions = Overview::all_in(folder);
    let (first, number) = (regions.first()?, regions.len());
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let pid = process.file_name().unwrap_or_default().to_string_lossy();
    let region: PathBuf = Path::new("/dev/shm").join(first.path.file_name().unwrap_or_default());
    let found =
        format!("process {pid} ({}) has another /dev/shm, with {number} regions: {}", name.trim(), region.display());
    Some(Finding::note("two /dev/shm", found, REMEDY))
}
