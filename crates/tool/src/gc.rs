//! `shm2 gc`.

use super::{Failure, show};
use crate::output;
use serde::Serialize;
use shm2::discovery::{Leftover, LeftoverKind, leftovers};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    /// Folders to look into
    #[arg(default_value = "/dev/shm")]
    folders: Vec<PathBuf>,
    /// Remove the files; without it they are only listed
    #[arg(long)]
    delete: bool,
    /// Print one JSON object for each file on a line
    #[arg(long)]
    json: bool,
}

/// A file, and what became of it.
#[derive(Serialize)]
struct Found {
    path: String,
    kind: &'static str,
    bytes: u64,
    why: &'static str,
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// Lists what dead producers have left, and removes it if told so.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut found = Vec::new();
    for folder in &arguments.folders {
        found.extend(leftovers(folder).map_err(|error| unreadable(folder, &error))?);
    }
    let mut failures = 0;
    for leftover in &found {
        let line = Found::of(leftover, arguments.delete);
        failures += usize::from(line.failure.is_some());
        output::print(&if arguments.json { serde_json::to_string(&line)? } else { line.text(arguments.delete) })?;
    }
    if failures > 0 {
        return Err(format!("{failures} of {} files were not removed", found.len()).into());
    }
    if !arguments.json {
        let bytes = show::bytes(found.iter().map(|leftover| leftover.bytes).sum());
        output::print(&match (found.len(), arguments.delete) {
            (0, _) => "dead producers have left nothing".into(),
            (1, true) => format!("1 file with {bytes}"),
            (1, false) => format!("1 file with {bytes}; --delete removes it"),
            (files, true) => format!("{files} files with {bytes}"),
            (files, false) => format!("{files} files with {bytes}; --delete removes them"),
        })?;
    }
    Ok(())
}

fn unreadable(folder: &Path, error: &std::io::Error) -> String {
    format!("cannot look into {}: {error}; name a folder with regions, such as /dev/shm", folder.display())
}

impl Found {
    fn of(leftover: &Leftover, is_deleted: bool) -> Self {
        let (kind, why) = match leftover.kind {
            LeftoverKind::Region => ("region", "its producer is dead"),
            LeftoverKind::Unfinished => ("unfinished", "its producer was killed before the region was complete"),
            _ => ("other", "its producer is dead"),
        };
        let (removed, failure) = match is_deleted.then(|| leftover.remove()) {
            Some(Ok(true)) => (true, None),
            Some(Err(error)) => (false, Some(error.to_string())),
            // Another producer has removed it, or uses its name.
            Some(Ok(false)) | None => (false, None),
        };
        let path = leftover.path.to_string_lossy().into_owned();
        Self { path, kind, bytes: leftover.bytes, why, removed, failure }
    }

    fn text(&self, is_deleted: bool) -> String {
        let what = match (&self.failure, self.removed, is_deleted) {
            (Some(failure), ..) => format!("stays: {failure}"),
            (None, true, _) => format!("removed: {}", self.why),
            (None, false, true) => "gone, or in use again".into(),
            (None, false, false) => self.why.into(),
        };
        let path: String = self.path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        format!("{:>10}  {path}  {what}", show::bytes(self.bytes))
    }
}
