//! A region file, as a consumer sees it.

use super::file_system::FileSystem;
use super::fork::{Guard, Section, keep_from_children};
use super::futex::{Event, wait_any, wake_shared};
use super::lock::{self, Byte, Kind};
use super::mapping::Mapping;
use super::region_file::{directory, identity_of, not_a_file, not_a_file_at, notify_watchers};
use super::watch::{Watch, watch_region};
use crate::backend::{ConsumerRegion, Identity, Wake};
use crate::error::AttachError;
use crate::sync::AtomicU32;
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// A region file that a consumer has opened.
#[derive(Debug)]
pub(crate) struct OpenRegion {
    // Dropped before the descriptor: the number must be unregistered before another file can get it.
    _guard: Guard,
    fd: OwnedFd,
    path: PathBuf,
    bytes: u64,
    identity: Identity,
}

impl OpenRegion {
    /// Opens the file at `path`. Only a regular file is opened.
    pub(super) fn open(path: &Path, writable: bool, follows_links: bool) -> Result<Self, AttachError> {
        let refused = |what| AttachError::NotAFile { path: path.into(), what };
        if let Some(what) = not_a_file_at(path, follows_links) {
            return Err(refused(what));
        }
        let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
        let link = if follows_links { OFlags::empty() } else { OFlags::NOFOLLOW };
        // A pipe or a device that took the file's place meanwhile does not keep this thread waiting.
        let flags = access | link | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let section = Section::enter();
        let fd = open(path, flags, Mode::empty()).map_err(|e| match wait_fails(path) {
            Err(error) if e == Errno::NOENT => error,
            _ => open_error(path, e),
        })?;
        let stat = fstat(&fd).map_err(|e| system("look at", path, e))?;
        if let Some(what) = not_a_file(&stat) {
            return Err(refused(what));
        }
        FileSystem::of(&fd).map_or(Ok(()), |found| found.check_attach(path))?;
        let guard = keep_from_children(&fd, section);
        let (bytes, identity) = (stat.st_size as u64, identity_of(&stat));
        Ok(Self { _guard: guard, fd, path: path.into(), bytes, identity })
    }
}

impl ConsumerRegion for OpenRegion {
    fn path(&self) -> &Path {
        &self.path
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn backed_bytes(&self) -> u64 {
        fstat(&self.fd).map_or(0, |stat| stat.st_blocks as u64 * 512)
    }

    fn producer_lives(&self) -> bool {
        lock::is_locked(&self.fd, Byte::Liveness, Kind::Read).unwrap_or(true)
    }

    fn try_claim(&self, index: usize) -> io::Result<bool> {
        lock::try_lock(&self.fd, Byte::Page(index), Kind::Write)
    }

    fn unclaim(&self, index: usize) {
        lock::unlock(&self.fd, Byte::Page(index));
    }

    fn show_presence(&self) -> io::Result<bool> {
        lock::try_lock(&self.fd, Byte::Presence, Kind::Read)
    }

    fn show_keyframe_request(&self, is_requested: bool) -> bool {
        if is_requested {
            return lock::try_lock(&self.fd, Byte::Keyframe, Kind::Read).unwrap_or(false);
        }
        lock::unlock(&self.fd, Byte::Keyframe);
        true
    }

    fn notify_watchers(&self) {
        notify_watchers(&self.fd, &self.path);
    }

    fn map(&self, offset: u64, bytes: usize, writable: bool) -> Result<Mapping, AttachError> {
        Mapping::new(&self.fd, offset, bytes, writable).map_err(|source| AttachError::System {
            what: "map",
            path: self.path.clone(),
            source,
        })
    }

    fn is_whole(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| stat.st_size as u64 >= self.bytes)
    }

    fn read_exact(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match rustix::io::pread(&self.fd, &mut *buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buffer = &mut buffer[n..];
                    offset += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn wait(
        &self,
        word: NonNull<AtomicU32>,
        expected: u32,
        (event, seen): (&Event, u32),
        timeout: Option<Duration>,
    ) -> Wake {
        wait_any(word, expected, event, seen, timeout)
    }

    fn wake_producer(&self, space: &AtomicU32) {
        wake_shared(space);
    }

    fn watch(&self, event: &Arc<Event>) -> Option<Watch> {
        watch_region(&self.fd, &self.path, event)
    }
}

/// An error if no producer can make a file at `path`. A symbolic link there leads elsewhere.
fn wait_fails(path: &Path) -> Result<(), AttachError> {
    let found = FileSystem::at(directory(path)).filter(|_| !path.is_symlink());
    found.map_or(Ok(()), |found| found.check_attach(path))
}

fn open_error(path: &Path, errno: Errno) -> AttachError {
    let path = PathBuf::from(path);
    match errno {
        Errno::NOENT | Errno::NOTDIR => AttachError::NotFound { path },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => AttachError::Denied { path },
        Errno::ISDIR => AttachError::NotAFile { path, what: "a directory" },
        Errno::NXIO => AttachError::NotAFile { path, what: "a socket" },
        e => system("open", &path, e),
    }
}

fn system(what: &'static str, path: &Path, errno: Errno) -> AttachError {
    AttachError::System { what, path: path.into(), source: errno.into() }
}
