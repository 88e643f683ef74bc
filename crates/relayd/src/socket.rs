//! Unix sockets at paths: taken over only from the dead, removed only if still ours.

use mio::net::UnixListener;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A path that a socket was bound to. Dropped, it goes, unless somebody else has it by now.
#[derive(Debug)]
pub struct OwnPath {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl OwnPath {
    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Gone at this moment: either way there is nothing to do.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Listens at a path, which may be a socket at which nobody listens any more.
///
/// # Errors
/// When something else stands there, or somebody listens.
pub fn bind(path: &Path) -> io::Result<(UnixListener, OwnPath)> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket stands there"));
            }
            let connected = std::os::unix::net::UnixStream::connect(path);
            if !connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there"));
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    Ok((listener, OwnPath { path: path.into(), identity: identity(path) }))
}
