//! A file with clients' secrets. Only its owner should be able to read it, and nobody else may change it.

use crate::command::read_text;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A secret, and what is wrong with its file although it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The secret.
    pub text: String,
    /// A line for the log.
    pub warning: Option<String>,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Its file cannot be read.
    #[error("cannot read {path:?}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is empty.
    #[error("{path:?} holds no secret: its first line is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Other users can change it.
    #[error("other users can write the credentials in {path:?}: {why}")]
    Writable {
        /// The file.
        path: PathBuf,
        /// What permits it, and the remedy.
        why: String,
    },
}

/// Reads the first line.
pub(crate) fn read(path: &Path) -> Result<Secret, SecretError> {
    let Secret { text, warning } = read_all(path)?;
    match text.lines().next() {
        None | Some("") => Err(SecretError::Empty { path: path.into() }),
        Some(first) => Ok(Secret { text: first.into(), warning }),
    }
}

/// Reads a file of secrets.
///
/// # Errors
/// When it cannot be read, or users that should not can write it.
pub fn read_all(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::File { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    // The open file is checked: its path may lead to another one meanwhile.
    let warning = check(path, &file)?;
    Ok(Secret { text: read_text(&file).map_err(failed)?, warning })
}

/// An error if other users can write the file, a warning if all of them can read it. A group that can read it is in
/// order: service managers hand secrets over in this way.
#[cfg(unix)]
fn check(path: &Path, file: &File) -> Result<Option<String>, SecretError> {
    use std::os::unix::fs::MetadataExt;
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    const OTHERS_READ: u32 = 0o004;
    let metadata = file.metadata().map_err(|source| SecretError::File { path: path.into(), source })?;
    // Pipes and devices hold no secret that could be read twice.
    if !metadata.is_file() {
        return Ok(None);
    }
    let mode = metadata.mode() & 0o7777;
    let writable = |why: String| SecretError::Writable { path: path.into(), why };
    if mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(writable(format!("its mode is {mode:04o}; run chmod 600 on it")));
    }
    let own = own_uid();
    if ![0, own].contains(&metadata.uid()) {
        return Err(writable(format!("user {} owns it; run chown {own} on it", metadata.uid())));
    }
    let is_exposed = mode & OTHERS_READ != 0;
    Ok(is_exposed
        .then(|| format!("every user can read the credentials in {path:?} (mode {mode:04o}): run chmod 600 on it")))
}

#[cfg(not(unix))]
fn check(_: &Path, _: &File) -> Result<Option<String>, SecretError> {
    Ok(None)
}

#[cfg(target_os = "linux")]
fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_secret_that_others_can_read_is_warned_of_and_one_that_they_can_write_is_refused() {
        let directory = std::env::temp_dir().join(format!("shm2-relay-unit-{}-secret", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let (file, link) = (directory.join("secret"), directory.join("link"));
        std::fs::write(&file, "a secret\nmore\n").unwrap();
        symlink(&file, &link).unwrap();
        for (mode, is_used, is_warned) in [
            (0o600, true, false),
            (0o400, true, false),
            (0o440, true, false),
            (0o644, true, true),
            (0o604, true, true),
            (0o620, false, false),
            (0o602, false, false),
            (0o666, false, false),
        ] {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            for path in [&file, &link] {
                match read(path) {
                    Ok(secret) => {
                        assert!(is_used && secret.text == "a secret", "{mode:o}");
                        assert_eq!(secret.warning.is_some(), is_warned, "{mode:o}: {:?}", secret.warning);
                        assert!(secret.warning.is_none_or(|text| text.contains("chmod 600")));
                    }
                    Err(error) => assert!(!is_used && error.to_string().contains("chmod 600"), "{mode:o}: {error}"),
                }
            }
        }
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        if own_uid() == 0 {
            std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains("user 65534 owns it; run chown 0"), "{error}");
        } else {
            println!("skipped: not root, a file of another user is not tried");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
