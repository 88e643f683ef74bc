//! What producers and consumers ask of a region file alike.

use super::fork::Section;
use crate::backend::{Identity, Stamp};
use crate::error::CreateError;
use crate::header::{FIXED, RawHeader};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, open, stat, statat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Identity of an open file: the number of its file system's device, and its inode.
pub(super) fn identity_of(stat: &Stat) -> Identity {
    Identity::new(stat.st_dev, stat.st_ino)
}

/// Identity and times of the file at `path`; a link is not followed.
pub(super) fn stamp_of(path: &Path) -> Option<Stamp> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let changed = (stat.st_ctime as i64, stat.st_ctime_nsec as u64);
    Some(Stamp { identity: identity_of(&stat), bytes: stat.st_size as u64, changed })
}

/// Identity of the file that `path` leads to now; `None` if there is none.
pub(super) fn identity_at(path: &Path) -> Option<Identity> {
    stat(path).ok().map(|s| identity_of(&s))
}

/// Opens and closes the file once more: closing any descriptor of it signals the watches on it.
pub(super) fn notify_watchers(fd: &OwnedFd, path: &Path) {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // A child that is forked in between would close it at its own end only.
    let _section = Section::enter();
    drop(at_a_path_of(fd, path, |path| open(path, flags, Mode::empty()).ok()));
}

/// Calls `f` with a path of the open file: that of its descriptor, or, without /proc, its own while that leads to it.
pub(super) fn at_a_path_of<T>(fd: impl AsFd, path: &Path, f: impl Fn(&Path) -> Option<T>) -> Option<T> {
    let by_descriptor = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    f(Path::new(&by_descriptor)).or_else(|| {
        let identity = fstat(&fd).ok().map(|stat| identity_of(&stat));
        if identity_at(path) == identity { f(path) } else { None }
    })
}

/// What the file is if it is not a regular file.
pub(super) fn not_a_file(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Symlink => Some("a symbolic link"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        _ => Some("no regular file"),
    }
}

/// As [`not_a_file`], of the file at a path that is not opened yet: opening a pipe gives its writer a reader, and
/// opening a device can have an effect. `None` also if there is no file.
pub(super) fn not_a_file_at(path: &Path, follows_links: bool) -> Option<&'static str> {
    let flags = if follows_links { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    not_a_file(&statat(CWD, path, flags).ok()?)
}

/// Reads the fixed part of a file's header. Where the file is shorter, zeros follow.
pub(in crate::backend) fn read_header(fd: &OwnedFd, path: &Path) -> Result<RawHeader, CreateError> {
    let mut bytes = [0; FIXED];
    let read = rustix::io::pread(fd, &mut bytes, 0);
    read.map_err(|e| CreateError::System { what: "read", path: path.into(), source: e.into() })?;
    Ok(RawHeader::new(bytes))
}

pub(super) fn create_error(what: &'static str, path: &Path, errno: Errno) -> CreateError {
    let path = PathBuf::from(path);
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => CreateError::Denied { path },
        Errno::NOENT | Errno::NOTDIR if !directory(&path).is_dir() => CreateError::NoDirectory { path },
        Errno::ISDIR => CreateError::NotAFile { path, what: "a directory" },
        Errno::LOOP => CreateError::NotAFile { path, what: "a symbolic link" },
        e => CreateError::System { what, path, source: e.into() },
    }
}

/// The error of a step on a file that this process has just made, or has opened for writing: its owner and mode permit
/// the step.
pub(super) fn step_error(what: &'static str, path: &Path, errno: Errno) -> CreateError {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::NOSYS => {
            CreateError::Forbidden { what, path: path.into(), source: errno.into() }
        }
        e => create_error(what, path, e),
    }
}

pub(super) fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

pub(super) fn locked(result: io::Result<bool>, path: &Path) -> Result<bool, CreateError> {
    let (what, path) = ("lock", path.to_path_buf());
    result.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => CreateError::Forbidden { what, path, source },
        _ => CreateError::System { what, path, source },
    })
}
