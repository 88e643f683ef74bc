//! The folders that a command is given.

use crate::Failure;
use shm2::Overview;
use shm2::discovery::all_below;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Checks that the folders can be read.
///
/// # Errors
/// Names the first that cannot.
pub fn check(folders: &[PathBuf]) -> Result<(), Failure> {
    for folder in folders {
        let error = match fs::read_dir(folder) {
            Ok(_) => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => "it is no folder".into(),
            Err(error) => error.to_string(),
        };
        let remedy = "name a folder with regions that you may read, such as /dev/shm";
        return Err(format!("cannot look into {}: {error}; {remedy}", folder.display()).into());
    }
    Ok(())
}

/// The regions with a live producer in the folders and those in them, each once, sorted by path.
pub fn regions(folders: &[PathBuf]) -> Vec<Overview> {
    let mut regions: Vec<_> = folders.iter().flat_map(all_below).collect();
    if folders.len() > 1 {
        let mut seen = HashSet::new();
        regions.retain(|region| seen.insert(fs::canonicalize(&region.path).unwrap_or_else(|_| region.path.clone())));
        regions.sort_by(|a, b| a.path.cmp(&b.path));
    }
    regions
}

/// Files and folders in a folder that this user may not read, sorted: nobody can tell whether regions are there.
pub fn unreadable(folder: &Path) -> Vec<OsString> {
    let is_denied = |error: io::Error| error.kind() == ErrorKind::PermissionDenied;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let denied = entries.filter(|entry| match entry.file_type() {
        Ok(kind) if kind.is_file() => File::open(entry.path()).is_err_and(is_denied),
        Ok(kind) if kind.is_dir() => fs::read_dir(entry.path()).is_err_and(is_denied),
        _ => false,
    });
    let mut names: Vec<_> = denied.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}
