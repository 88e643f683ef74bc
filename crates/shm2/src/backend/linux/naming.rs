//! Giving a region's file its name in one step, which fails if the name is taken.

use super::region_file::directory;
use rustix::fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with, unlink};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How the file gets its name.
pub(super) enum Naming {
    /// By a link to its descriptor in /proc.
    ByProc,
    /// By a link to its descriptor, which needs a privilege or Linux 6.10.
    ByDescriptor,
    /// From a temporary name.
    From(Temporary),
}

/// A name that is removed when dropped. The file stays under its other names.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = unlink(&self.0);
    }
}

impl Naming {
    /// The way by which an unnamed file can get a name; `None` if it cannot. The directory's own name in itself is tried,
    /// which exists if the directory does, so nothing is made.
    pub(super) fn of_unnamed(fd: &OwnedFd, path: &Path) -> Option<Self> {
        let itself = directory(path).join(".");
        let works = |way: &Self| way.give_name(fd, &itself) == Err(Errno::EXIST);
        [Self::ByProc, Self::ByDescriptor].into_iter().find(works)
    }

    /// Gives the file its name; `EXIST` if the name is taken.
    pub(super) fn give_name(&self, fd: &OwnedFd, to: &Path) -> Result<(), Errno> {
        match self {
            Self::ByProc => {
                let from = format!("/proc/self/fd/{}", fd.as_raw_fd());
                linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW)
            }
            Self::ByDescriptor => linkat(fd, "", CWD, to, AtFlags::EMPTY_PATH),
            Self::From(Temporary(from)) => match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(()),
                Err(Errno::EXIST) => Err(Errno::EXIST),
                // Some file systems have no such rename, and a policy may forbid it.
                Err(_) => linkat(CWD, from, CWD, to, AtFlags::empty()),
            },
        }
    }
}
