//! Unix sockets at paths: an abandoned socket is replaced; a path is removed only if this process still owns it.

use mio::net::UnixListener;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A path that a socket was bound to. It is removed on drop, unless another process has replaced it.
#[derive(Debug)]
pub struct OwnPath {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl OwnPath {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // It may have been removed in between.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Listens at a path. An abandoned socket at that path is replaced.
///
/// # Errors
/// When another kind of file is at the path, or another process listens there.
pub fn bind(path: &Path) -> io::Result<(UnixListener, OwnPath)> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is a file that is not a socket"));
            }
            let connected = std::os::unix::net::UnixStream::connect(path);
            if !connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    Ok((listener, OwnPath { path: path.into(), identity: identity(path) }))
}
