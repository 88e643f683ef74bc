//! What a command writes: lines to standard output, and files.

use super::Failure;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Prints a line.
///
/// # Errors
/// When it cannot be written; [`is_closed_pipe`] says whether the reader has what it wanted.
pub fn print(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// Whether the reader of the output has closed its end, as `head` does.
pub fn is_closed_pipe(failure: &Failure) -> bool {
    failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a file that appears at its path complete, or not at all. A device or pipe at the path is written to.
///
/// # Errors
/// Those of `write`, and when the file cannot be made or moved to its path. The path is as it was.
pub fn replace(path: &Path, write: impl FnOnce(File) -> Result<(), Failure>) -> Result<(), Failure> {
    // A link stays, and leads to the new file.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return write(File::options().write(true).open(path)?);
    }
    let name = path.file_name().ok_or("the path has no file name")?;
    let partial = path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
    let result = write(File::create_new(&partial)?).and_then(|()| Ok(fs::rename(&partial, path)?));
    if result.is_err() {
        let _ = fs::remove_file(&partial);
    }
    result
}
