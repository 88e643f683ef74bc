//! What a command writes: lines to standard output, and files.

use super::Failure;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Prints lines, as [`plain`] text.
///
/// # Errors
/// When they cannot be written; [`is_closed_pipe`] says whether the reader has what it wanted.
pub fn print(lines: &str) -> Result<(), Failure> {
    let written = writeln!(io::stdout(), "{}", plain(lines));
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot write to standard output: {error}"));
    Ok(written.map_err(named)?)
}

/// Prints a line to standard error, as [`plain`] text.
pub fn warn(line: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(line));
}

/// The text without what a terminal obeys: control characters and those that change the direction of writing become
/// U+FFFD. Names and caps are other processes' words.
pub fn plain(text: &str) -> String {
    let is_obeyed = |c: char| match c {
        '\n' | '\t' => false,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
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
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return write(File::options().write(true).open(path)?);
    }
    // A link stays, and leads to the new file.
    let path = &if path.is_symlink() { fs::canonicalize(path)? } else { path.into() };
    let name = path.file_name().ok_or("the path has no file name")?;
    let partial = path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
    let result = write(File::create_new(&partial)?).and_then(|()| Ok(fs::rename(&partial, path)?));
    if result.is_err() {
        let _ = fs::remove_file(&partial);
    }
    result
}
