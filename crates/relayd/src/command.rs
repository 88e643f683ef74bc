//! What the command lines of the daemons have in common: options beside the settings, the file of the settings, and how a
//! program ends.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code when a setting is wrong, which only a person can mend: a service manager need not start the daemon again.
pub const WRONG_SETTINGS: u8 = 78;
/// Most bytes of a file of settings or secrets. Some devices never end.
const LONGEST: u64 = 1 << 20;

/// Options beside the settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// File with the same settings (TOML); the command line overrides it. It is read again at SIGHUP
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check all settings and exit
    #[arg(long)]
    pub check: bool,
    /// Print the state of the running daemon as JSON and exit
    #[arg(long, hide = cfg!(not(unix)))]
    pub status: bool,
    /// Print the manual page and exit
    #[arg(long, hide = true)]
    pub man: bool,
}

/// Why a file of settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is not a configuration.
    #[error("{path:?}: {error}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: toml::de::Error,
    },
}

impl Common {
    /// The settings in the file; none without one.
    ///
    /// # Errors
    /// When it cannot be read, or has unknown settings.
    pub fn file<T: serde::de::DeserializeOwned + Default>(&self) -> Result<T, FileError> {
        self.config.as_deref().map_or_else(|| Ok(T::default()), settings)
    }
}

/// The settings in a file.
///
/// # Errors
/// When it cannot be read, or has unknown settings.
pub fn settings<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = File::open(path).and_then(|file| read_text(&file));
    let text = text.map_err(|source| FileError::Read { path: path.into(), source })?;
    toml::from_str(&text).map_err(|error| FileError::Syntax { path: path.into(), error })
}

/// The text of a file of settings or secrets.
pub(crate) fn read_text(file: &File) -> io::Result<String> {
    let mut text = String::new();
    if file.take(LONGEST + 1).read_to_string(&mut text)? as u64 > LONGEST {
        return Err(io::Error::other(format!(
            "it has more than {LONGEST} bytes, and cannot be the file that is meant"
        )));
    }
    Ok(text)
}

/// Path of the socket that answers `--status`: the one given, or one in the folder that a service manager has made.
pub fn control_path(given: Option<&Path>) -> Option<PathBuf> {
    let runtime = || std::env::var_os("RUNTIME_DIRECTORY").map(|dir| PathBuf::from(dir).join("control"));
    given.map(Path::to_owned).or_else(runtime)
}

/// Prints the manual page.
///
/// # Errors
/// When it cannot be written.
pub fn print_manual(command: clap::Command) -> io::Result<()> {
    clap_mangen::Man::new(command).render(&mut io::stdout())
}

/// Prints that all settings are good, and on the other stream what is wrong with them although they are used.
///
/// # Errors
/// When it cannot be written.
pub fn print_checked(program: &str, warnings: &[String]) -> io::Result<()> {
    for warning in warnings {
        writeln!(io::stderr(), "{program}: {warning}")?;
    }
    writeln!(io::stdout(), "all settings are good")
}

/// Prints why a program failed; its exit code. `S` is its error of settings.
pub fn end<S: Error + 'static>(program: &str, outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    // A closed pipe must not cause another failure.
    let _ = writeln!(io::stderr(), "{program}: {error}");
    if error.is::<S>() { ExitCode::from(WRONG_SETTINGS) } else { ExitCode::FAILURE }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_never_ends_is_refused() {
        let error = settings::<toml::Table>(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
        assert!(settings::<toml::Table>(Path::new("/dev/null")).unwrap().is_empty());
    }
}
