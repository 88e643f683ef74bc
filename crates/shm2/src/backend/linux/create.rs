//! Making a region: built without a name, then put at its path in one step, so that nobody ever sees half of one.
//!
//! * Nothing at the path: the finished file is linked there; whoever comes second gets `EEXIST`.
//! * A dead producer's file at the path: its *takeover* byte is locked, the path is seen to lead to that very file
//!   still, and the new file is renamed over it while the lock is held. A second taker either finds the byte locked or
//!   finds that the path leads elsewhere by now.
//! * A live producer's file: refused.
//!
//! The same lock guards the removal of the name at close.

use super::fork::{Guard, keep_from_children};
use super::lock::{self, Byte, Kind};
use super::mapping::Mapping;
use super::open::{Identity, identity_at, not_a_file, stir};
use super::room;
use crate::error::CreateError;
use crate::layout;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fstat, linkat, open, rename, statat, unlink};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A region that this process produces. The name is given up by [`OwnedRegion::remove_name`] or at drop.
pub(crate) struct OwnedRegion {
    fd: OwnedFd,
    _guard: Guard,
    path: PathBuf,
    identity: Identity,
}

impl OwnedRegion {
    /// Makes the region; `fill` writes its header before anybody can see it, and keeps the mapping.
    pub(crate) fn create<T>(
        path: &Path,
        bytes: u64,
        perms: u32,
        fill: impl FnOnce(Mapping) -> T,
    ) -> Result<(Self, T), CreateError> {
        refuse_early(path)?;
        let (fd, temporary) = build(path, bytes, perms)?;
        let installed = Self::adopt(fd, path).and_then(|region| {
            let filled = fill(region.map(bytes)?);
            install(&region.fd, path, temporary.as_deref())?;
            Ok((region, filled))
        });
        if let (Err(_), Some(temporary)) = (&installed, &temporary) {
            let _ = unlink(temporary);
        }
        installed
    }

    fn adopt(fd: OwnedFd, path: &Path) -> Result<Self, CreateError> {
        let error = |what, source| CreateError::System { what, path: path.into(), source };
        let guard = keep_from_children(&fd);
        if !lock::try_lock(&fd, Byte::Liveness, Kind::Write).map_err(|e| error("lock", e))? {
            return Err(CreateError::Busy { path: path.into() });
        }
        let stat = fstat(&fd).map_err(|e| error("look at", e.into()))?;
        Ok(Self { fd, _guard: guard, path: path.into(), identity: Identity::of(&stat) })
    }

    fn map(&self, bytes: u64) -> Result<Mapping, CreateError> {
        let mapping = Mapping::new(&self.fd, 0, bytes as usize, true).map_err(|source| CreateError::System {
            what: "map",
            path: self.path.clone(),
            source,
        })?;
        mapping.populate(0, layout::PAGES_OFFSET as usize, true);
        let arena = layout::ARENA_OFFSET as usize;
        mapping.populate(arena, bytes as usize - arena, true);
        Ok(mapping)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock of a consumer page: true means that no consumer lives there. Give it back with `unlock_page`.
    pub(crate) fn try_lock_page(&self, index: usize) -> bool {
        lock::try_lock(&self.fd, Byte::Page(index), Kind::Write).unwrap_or(false)
    }

    pub(crate) fn unlock_page(&self, index: usize) {
        lock::unlock(&self.fd, Byte::Page(index));
    }

    /// Whether any snapshot consumer is there.
    pub(crate) fn has_snapshots(&self) -> bool {
        lock::is_locked(&self.fd, Byte::Presence, Kind::Write).unwrap_or(true)
    }

    /// Makes every watcher of the region look around.
    pub(crate) fn stir(&self) {
        stir(&self.fd);
    }

    /// Removes the path if it still leads to this region.
    pub(crate) fn remove_name(&self) {
        if !lock::try_lock(&self.fd, Byte::Takeover, Kind::Write).unwrap_or(false) {
            return;
        }
        if identity_at(&self.path) == Some(self.identity) {
            let _ = unlink(&self.path);
        }
        lock::unlock(&self.fd, Byte::Takeover);
    }
}

impl AsRawFd for OwnedRegion {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// Finds what can be found before any memory is taken.
fn refuse_early(path: &Path) -> Result<(), CreateError> {
    match statat(CWD, path, AtFlags::empty()) {
        Ok(stat) => match not_a_file(&stat) {
            Some(what) => Err(CreateError::Foreign { path: path.into(), what }),
            None => Ok(()),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(create_error("look at", path, e)),
    }
}

/// A locked-away file with its memory reserved: without a name where the file system can do that, else under a
/// temporary one, which is returned.
fn build(path: &Path, bytes: u64, perms: u32) -> Result<(OwnedFd, Option<PathBuf>), CreateError> {
    let needed = reserved_ranges(bytes).map(|(_, n)| n).sum();
    if let Some(headroom) = room::cgroup_headroom().filter(|h| *h < needed) {
        return Err(CreateError::ControlGroup { path: path.into(), needed, headroom });
    }
    let (fd, temporary) = unnamed(path)?;
    let reserved = room::reserve(&fd, bytes, reserved_ranges(bytes)).map_err(|e| match e {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => {
            CreateError::NoRoom { path: path.into(), needed, free: room::free_bytes(directory(path)) }
        }
        e => create_error("reserve memory for", path, e),
    });
    let mode = fchmod(&fd, Mode::from_raw_mode(perms)).map_err(|e| create_error("set the permissions of", path, e));
    match (reserved.and(mode), temporary) {
        (Ok(()), temporary) => Ok((fd, temporary)),
        (Err(e), temporary) => {
            if let Some(name) = temporary {
                let _ = unlink(name);
            }
            Err(e)
        }
    }
}

/// All that is ever touched: of each consumer page only its first piece.
fn reserved_ranges(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let pages = (0..layout::PAGES).map(|i| (layout::page_offset(i), layout::PAGE_USED));
    let ends = [(0, layout::PAGES_OFFSET), (layout::ARENA_OFFSET, bytes - layout::ARENA_OFFSET)];
    ends.into_iter().chain(pages)
}

fn unnamed(path: &Path) -> Result<(OwnedFd, Option<PathBuf>), CreateError> {
    let mode = Mode::RUSR | Mode::WUSR;
    match open(directory(path), OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(fd) => Ok((fd, None)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let name = temporary_name(path);
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = open(&name, flags, mode).map_err(|e| create_error("create", path, e))?;
            Ok((fd, Some(name)))
        }
        Err(e) => Err(create_error("create", path, e)),
    }
}

/// Puts the finished file at its path.
fn install(fd: &OwnedFd, path: &Path, temporary: Option<&Path>) -> Result<(), CreateError> {
    for _ in 0..100 {
        match link(fd, path, temporary) {
            Ok(()) => {
                if let Some(temporary) = temporary {
                    let _ = unlink(temporary);
                }
                return Ok(());
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(create_error("name", path, e)),
        }
        if take_over(fd, path, temporary)? {
            return Ok(());
        }
        // Another producer is in the middle of taking this name: its liveness lock decides at the next turn.
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(CreateError::Busy { path: path.into() })
}

/// Replaces a dead producer's file. False means that the world changed meanwhile: look again.
fn take_over(fd: &OwnedFd, path: &Path, temporary: Option<&Path>) -> Result<bool, CreateError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let old = match open(path, flags, Mode::empty()) {
        Ok(old) => old,
        Err(Errno::NOENT) => return Ok(false),
        Err(e) => return Err(create_error("open", path, e)),
    };
    let stat = fstat(&old).map_err(|e| create_error("look at", path, e))?;
    if let Some(what) = not_a_file(&stat) {
        return Err(CreateError::Foreign { path: path.into(), what });
    }
    let probe =
        |r: io::Result<bool>| r.map_err(|source| CreateError::System { what: "lock", path: path.into(), source });
    if probe(lock::is_locked(&old, Byte::Liveness, Kind::Read))? {
        return Err(CreateError::Busy { path: path.into() });
    }
    refuse_foreign(&old, path, stat.st_size as u64)?;
    if !probe(lock::try_lock(&old, Byte::Takeover, Kind::Write))? || identity_at(path) != Some(Identity::of(&stat)) {
        return Ok(false);
    }
    replace(fd, path, temporary)?;
    stir(&old);
    Ok(true)
}

/// An empty file is taken for a place that somebody prepared; anything else must have been a region.
fn refuse_foreign(old: &OwnedFd, path: &Path, bytes: u64) -> Result<(), CreateError> {
    let mut magic = [0u8; 8];
    let read = rustix::io::pread(old, &mut magic, 0).map_err(|e| create_error("read", path, e))?;
    if bytes == 0 || (read == 8 && u64::from_le_bytes(magic) == layout::MAGIC) {
        return Ok(());
    }
    Err(CreateError::Foreign { path: path.into(), what: "not an shm2 region" })
}

fn replace(fd: &OwnedFd, path: &Path, temporary: Option<&Path>) -> Result<(), CreateError> {
    let name = match temporary {
        Some(name) => name.to_path_buf(),
        None => {
            let name = temporary_name(path);
            link(fd, &name, None).map_err(|e| create_error("name", path, e))?;
            name
        }
    };
    rename(&name, path).map_err(|e| {
        let _ = unlink(&name);
        match e {
            Errno::PERM | Errno::ACCESS => CreateError::OthersLeftover { path: path.into() },
            e => create_error("replace", path, e),
        }
    })
}

fn link(fd: &OwnedFd, to: &Path, temporary: Option<&Path>) -> Result<(), Errno> {
    match temporary {
        Some(from) => linkat(CWD, from, CWD, to, AtFlags::empty()),
        None => {
            let from = format!("/proc/self/fd/{}", fd.as_raw_fd());
            linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW)
        }
    }
}

/// A hidden neighbour of the path, so that `rename` stays on one file system.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    directory(path).join(format!(".{name}.shm2-{:016x}", super::random_nonzero()))
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn create_error(what: &'static str, path: &Path, errno: Errno) -> CreateError {
    let path = PathBuf::from(path);
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => CreateError::Denied { path },
        Errno::NOENT | Errno::NOTDIR => CreateError::NoDirectory { path },
        Errno::ISDIR => CreateError::Foreign { path, what: "a directory" },
        Errno::LOOP => CreateError::Foreign { path, what: "a symbolic link" },
        e => CreateError::System { what, path, source: e.into() },
    }
}
