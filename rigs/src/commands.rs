//! Commands and files that several rigs use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xtask::run::root;

/// A file of the folder `rigs`, such as `vm/guest-init.sh`.
pub fn rig_file(name: &str) -> PathBuf {
    root().join("rigs").join(name)
}

/// The path without links and relative parts.
pub fn absolute(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))
}

/// Runs a command without its output; true when it succeeds.
pub fn quietly(mut command: Command) -> bool {
    command.env("DEBIAN_FRONTEND", "noninteractive").env_remove("TMPDIR");
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}
