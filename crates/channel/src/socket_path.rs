//! Listening at a path in the file system: a dead socket at the path is replaced by exactly one of several servers, and
//! the path is removed only by its own server.
//!
//! A server locks a file beside the path, `.NAME.lock`, while it looks at the path, binds and begins to listen, and
//! while it removes its own socket. The file is removed with the lock. A server that is killed in between leaves it;
//! the next one uses it. A lock counts only while its file is still at that name, so a removed file locks nothing.

use crate::sys::connect_to;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{remove_file, symlink_metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for another server that holds the lock, and the pause between two tries.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The path of a listening socket of this process. It is removed on drop, unless another file is there by then.
#[derive(Debug)]
pub struct OwnPath {
    path: PathBuf,
    /// The socket's file (`O_PATH`). While it is open, no other file gets the same inode number.
    file: OwnedFd,
}

impl OwnPath {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_there(&self) -> bool {
        let ours = fstat(&self.file).map(|stat| (stat.st_dev, stat.st_ino));
        symlink_metadata(&self.path).is_ok_and(|file| ours == Ok((file.dev(), file.ino())))
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        // Without the lock another server could replace the socket between the check and the removal. A dead socket
        // that stays is replaced by the next server.
        if !self.is_there() {
            return;
        }
        if let Ok(_lock) = Lock::take(&self.path) {
            if self.is_there() {
                let _ = remove_file(&self.path);
            }
        }
    }
}

/// Makes a listening socket with `listen`, which binds it to the given path and listens. The path must not exist, or be
/// a socket at which no process listens any more: such a socket is replaced.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when another process listens there or replaces the socket at this moment;
/// [`io::ErrorKind::AlreadyExists`] when another kind of file is there; the error of `listen`, or of the directory.
///
/// ```
/// use shm2_channel::socket_path::listen;
/// use std::os::unix::net::UnixListener;
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("shm2-doc-listen-{}", std::process::id()));
/// let (listener, own) = listen(&path, |path| UnixListener::bind(path))?;
/// let second = listen(&path, |path| UnixListener::bind(path));
/// assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
/// drop((own, listener));
/// assert!(!path.exists());
/// # Ok(())
/// # }
/// ```
pub fn listen<L>(path: &Path, listen: impl FnOnce(&Path) -> io::Result<L>) -> io::Result<(L, OwnPath)> {
    // Looked at first: a path that is in use is reported as such in a directory without write permission, too.
    is_free(path)?;
    let _lock = Lock::take(path)?;
    if !is_free(path)? {
        remove_file(path)?;
    }
    let listener = listen(path)?;
    let file = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let own = OwnPath { path: path.into(), file };
    // Only a program that takes no lock could have replaced it.
    if own.is_there() { Ok((listener, own)) } else { Err(in_use("another process replaced the socket")) }
}

/// True when nothing is at the path, false when a dead socket is there. An error for everything else.
fn is_free(path: &Path) -> io::Result<bool> {
    match symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is a file that is not a socket"));
        }
        Ok(_) => {}
    }
    // A listener of another type, or with a full queue, refuses with another error. The call does not wait.
    match connect_to(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        _ => Err(in_use("another process listens there")),
    }
}

fn in_use(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, why)
}

/// The lock of a path. It ends when dropped.
struct Lock {
    path: PathBuf,
    /// `None` on a file system without locks.
    _file: Option<OwnedFd>,
}

impl Lock {
    fn take(path: &Path) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(".lock");
        let path = path.with_file_name(name);
        let begun = Instant::now();
        while begun.elapsed() < LOCK_TIMEOUT {
            if let Some(lock) = Self::try_take(&path)? {
                return Ok(lock);
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Err(in_use("another process is about to listen there"))
    }

    /// `None` when another process holds it, or has just removed its file.
    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        // Another user can open a file that is left, too; in a sticky directory only without `O_CREAT`. A link in its
        // place is not followed, and a pipe does not keep this thread waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let file = match open(path, flags, mode) {
            Err(Errno::NOENT) => open(path, flags | OFlags::CREATE, mode)?,
            opened => opened?,
        };
        let ours = fstat(&file)?;
        if !FileType::from_raw_mode(ours.st_mode).is_file() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{path:?} is not a file for a lock")));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
            Err(_) => return Ok(Some(Self { path: path.into(), _file: None })),
        }
        let is_current =
            symlink_metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.st_dev, ours.st_ino));
        Ok(is_current.then(|| Self { path: path.into(), _file: Some(file) }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed before it is unlocked: the next holder of this file's lock finds that it is not at its name.
        let _ = remove_file(&self.path);
    }
}
