//! Making a region: built without a name, then put at its path in one step, so that nobody ever sees half of one.
//!
//! * A dead producer's file at the path: its *takeover* byte is locked, the path is seen to lead to that very file
//!   still, and the name is removed while the lock is held. This comes first, so that its memory is free again before
//!   the new region's is reserved.
//! * Nothing at the path: the finished file is linked there; whoever comes second gets `EEXIST`.
//! * A live producer's file: refused.
//!
//! Every removal of a region's name holds that region's takeover lock, the one at close too, so nobody removes a name
//! that leads to another region by now.

use super::fork::{Guard, keep_from_children};
use super::futex::{Event, wait_shared, wake_shared};
use super::head::Head;
use super::lock::{self, Byte, Kind};
use super::mapping::Mapping;
use super::open::{identity_at, identity_of, not_a_file, notify_watchers};
use super::reserve;
use super::watch::{Watch, watch_region};
use crate::backend::{Identity, ProducerRegion, random_nonzero};
use crate::error::CreateError;
use crate::kill_points::point;
use crate::layout;
use crate::mapped::Memory;
use crate::name::Spec;
use crate::protocol;
use crate::sync::{AtomicU32, Ordering};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, fchmod, fstat, futimens, linkat, open, unlink,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A region that this process produces. The name is given up by [`OwnedRegion::remove_name`].
pub(crate) struct OwnedRegion {
    // Before the descriptor: its number must be forgotten before it can be another file's.
    _guard: Guard,
    fd: OwnedFd,
    path: PathBuf,
    identity: Identity,
    keep: bool,
}

impl OwnedRegion {
    pub(super) fn create<T>(
        spec: &Spec,
        bytes: u64,
        perms: u32,
        keep: bool,
        begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self, T), CreateError> {
        let path = spec.path();
        if keep && let Some((region, bytes)) = adopt(path, bytes)? {
            let mapping = region.map(bytes)?;
            let begun = begin(mapping, &|memory| region.clear_dead(memory))?;
            region.show_change();
            return Ok((region, begun));
        }
        clear_name(path)?;
        let mut draft = Draft::new(path, bytes, perms)?;
        draft.region.keep = keep;
        point!("create.reserved");
        let mapping = draft.region.map(bytes)?;
        let begun = begin(mapping, &|_| {})?;
        point!("create.filled");
        Ok((draft.install()?, begun))
    }

    /// Frees the pages of consumers that died; those without a lock are left to their lease time.
    fn clear_dead(&self, memory: &Memory) {
        let pages = (0..layout::PAGES).map(|index| (index, memory.page(index)));
        for (index, page) in pages.take_while(|(_, page)| protocol::is_used(&page.claimed)) {
            let claimed = page.claimed.load(Ordering::Acquire);
            let by_lock = claimed != layout::FREE && claimed & layout::BY_HEARTBEAT == 0;
            if by_lock && self.try_lock_page(index) {
                protocol::clear_page(page, claimed);
                self.unlock_page(index);
            }
        }
    }

    /// Tells those who wait at this file for a producer: its times change, which their watches see.
    fn show_change(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = futimens(&self.fd, &Timestamps { last_access: now, last_modification: now });
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
}

impl ProducerRegion for OwnedRegion {
    fn path(&self) -> &Path {
        &self.path
    }

    fn try_lock_page(&self, index: usize) -> bool {
        lock::try_lock(&self.fd, Byte::Page(index), Kind::Write).unwrap_or(false)
    }

    fn unlock_page(&self, index: usize) {
        lock::unlock(&self.fd, Byte::Page(index));
    }

    fn has_snapshots(&self) -> bool {
        lock::is_locked(&self.fd, Byte::Presence, Kind::Write).unwrap_or(true)
    }

    fn notify_watchers(&self) {
        notify_watchers(&self.fd);
    }

    fn remove_name(&self) -> bool {
        if self.keep || !lock::try_lock(&self.fd, Byte::Takeover, Kind::Write).unwrap_or(false) {
            return false;
        }
        let gone = identity_at(&self.path) != Some(self.identity) || unlink(&self.path).is_ok();
        lock::unlock(&self.fd, Byte::Takeover);
        gone
    }

    fn end_generation(&self) {
        lock::unlock(&self.fd, Byte::Liveness);
    }

    fn wake(&self, word: &AtomicU32, _pages: u64) {
        wake_shared(word);
    }

    fn wait_for_space(&self, words: &[(&AtomicU32, u32)], timeout: Duration) {
        wait_shared(words, timeout);
    }

    fn watch(&self, event: &Arc<Event>) -> Option<Watch> {
        watch_region(&self.fd, event)
    }
}

/// A finished file on its way to its name: without one where the file system can do that, else under a temporary one.
struct Draft {
    region: OwnedRegion,
    temporary: Option<Temporary>,
}

impl Draft {
    /// A locked file with its memory reserved and its permissions set.
    fn new(path: &Path, bytes: u64, perms: u32) -> Result<Self, CreateError> {
        let needed = reserved_ranges(bytes).map(|(_, n)| n).sum();
        refuse_too_large(path, needed)?;
        let (fd, temporary) = unnamed(path)?;
        let guard = keep_from_children(&fd);
        let identity = fstat(&fd).map(|s| identity_of(&s)).map_err(|e| create_error("look at", path, e))?;
        let region = OwnedRegion { _guard: guard, fd, path: path.into(), identity, keep: false };
        let draft = Self { region, temporary };
        let fd = &draft.region.fd;
        if !locked(lock::try_lock(fd, Byte::Liveness, Kind::Write), path)? {
            return Err(CreateError::Busy { path: path.into() });
        }
        reserve::reserve(fd, bytes, reserved_ranges(bytes)).map_err(|e| no_space(e, path, bytes))?;
        fchmod(fd, Mode::from_raw_mode(perms)).map_err(|e| create_error("set the permissions of", path, e))?;
        Ok(draft)
    }

    /// Puts the file at its path.
    fn install(self) -> Result<OwnedRegion, CreateError> {
        let path = self.region.path.clone();
        loop {
            match link(&self.region.fd, &path, self.temporary.as_ref()) {
                Ok(()) => break,
                // Somebody else was faster, and lives, or died at once.
                Err(Errno::EXIST) => clear_name(&path)?,
                Err(e) => return Err(create_error("name", &path, e)),
            }
        }
        point!("create.linked");
        Ok(self.region)
    }
}

fn no_space(errno: Errno, path: &Path, bytes: u64) -> CreateError {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => CreateError::NoSpace {
            path: path.into(),
            needed: reserved_ranges(bytes).map(|(_, n)| n).sum(),
            free: reserve::free_bytes(directory(path)).unwrap_or_default(),
        },
        e => create_error("reserve memory for", path, e),
    }
}

/// A name that goes away with its value; the file stays under its other names.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = unlink(&self.0);
    }
}

/// A machine that runs out of memory ends processes: what cannot work is not tried.
fn refuse_too_large(path: &Path, needed: u64) -> Result<(), CreateError> {
    if let Some(free) = reserve::free_bytes(directory(path)).filter(|free| *free < needed) {
        return Err(CreateError::NoSpace { path: path.into(), needed, free });
    }
    if !reserve::is_memory(directory(path)) {
        return Ok(());
    }
    if let Some(headroom) = reserve::cgroup_headroom().filter(|h| *h < needed) {
        return Err(CreateError::ControlGroup { path: path.into(), needed, headroom });
    }
    match reserve::available_memory().filter(|available| *available < needed) {
        Some(available) => Err(CreateError::NoMemory { path: path.into(), needed, available }),
        None => Ok(()),
    }
}

/// All that is ever touched: of each consumer page only its first piece.
fn reserved_ranges(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let pages = (0..layout::PAGES).map(|i| (layout::page_offset(i), layout::PAGE_USED));
    let ends = [(0, layout::PAGES_OFFSET), (layout::ARENA_OFFSET, bytes - layout::ARENA_OFFSET)];
    ends.into_iter().chain(pages)
}

fn unnamed(path: &Path) -> Result<(OwnedFd, Option<Temporary>), CreateError> {
    let mode = Mode::RUSR | Mode::WUSR;
    match open(directory(path), OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(fd) => Ok((fd, None)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let name = temporary_name(path);
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = open(&name, flags, mode).map_err(|e| create_error("create", path, e))?;
            Ok((fd, Some(Temporary(name))))
        }
        Err(e) => Err(create_error("create", path, e)),
    }
}

/// Removes a dead producer's file from the path. Fails when a producer lives there or it is no region.
fn clear_name(path: &Path) -> Result<(), CreateError> {
    for _ in 0..100 {
        if is_clear(path)? {
            return Ok(());
        }
        // Another producer is in the middle of removing this name.
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(CreateError::TakeoverBlocked { path: path.into() })
}

/// False means that somebody else holds the takeover lock: look again.
fn is_clear(path: &Path) -> Result<bool, CreateError> {
    let Some(old) = open_leftover(path)? else { return Ok(true) };
    let _guard = keep_from_children(&old);
    let stat = fstat(&old).map_err(|e| create_error("look at", path, e))?;
    if let Some(what) = not_a_file(&stat) {
        return Err(CreateError::NotAFile { path: path.into(), what });
    }
    if locked(lock::is_locked(&old, Byte::Liveness, Kind::Read), path)? {
        return Err(CreateError::Busy { path: path.into() });
    }
    refuse_foreign(&old, path, stat.st_size as u64)?;
    if !locked(lock::try_lock(&old, Byte::Takeover, Kind::Write), path)? {
        return Ok(false);
    }
    point!("create.takeover-locked");
    if identity_at(path) != Some(identity_of(&stat)) {
        return Ok(false);
    }
    // In the meantime a producer may have begun a new life in this very file.
    if locked(lock::is_locked(&old, Byte::Liveness, Kind::Read), path)? {
        return Err(CreateError::Busy { path: path.into() });
    }
    unlink(path).map_err(|e| match e {
        Errno::PERM | Errno::ACCESS => CreateError::OthersLeftover { path: path.into() },
        e => create_error("remove the leftover at", path, e),
    })?;
    point!("create.cleared");
    Ok(true)
}

/// A file that is there and that nobody produces into, for a new life in it; `None` when there is none.
fn adopt(path: &Path, bytes: u64) -> Result<Option<(OwnedRegion, u64)>, CreateError> {
    for _ in 0..100 {
        let Some(fd) = open_leftover(path).map_err(kept_by_others)? else { return Ok(None) };
        if let Some(adopted) = try_adopt(fd, path, bytes)? {
            return Ok(Some(adopted));
        }
        // Another producer is in the middle of removing this name.
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(CreateError::TakeoverBlocked { path: path.into() })
}

/// `None` means that somebody else holds the takeover lock: look again.
fn try_adopt(fd: OwnedFd, path: &Path, bytes: u64) -> Result<Option<(OwnedRegion, u64)>, CreateError> {
    let guard = keep_from_children(&fd);
    let stat = fstat(&fd).map_err(|e| create_error("look at", path, e))?;
    if let Some(what) = not_a_file(&stat) {
        return Err(CreateError::NotAFile { path: path.into(), what });
    }
    let identity = identity_of(&stat);
    if !locked(lock::try_lock(&fd, Byte::Takeover, Kind::Write), path)? || identity_at(path) != Some(identity) {
        return Ok(None);
    }
    if !locked(lock::try_lock(&fd, Byte::Liveness, Kind::Write), path)? {
        return Err(CreateError::Busy { path: path.into() });
    }
    lock::unlock(&fd, Byte::Takeover);
    // Again: another producer may have made an empty file its own, and ended.
    let stat = fstat(&fd).map_err(|e| create_error("look at", path, e))?;
    let bytes = if stat.st_size == 0 { bytes } else { stat.st_size as u64 };
    layout::arena_bytes(bytes).ok_or_else(|| CreateError::FileSize { path: path.into(), bytes })?;
    Head::read(&fd, path)?.check_adoptable(bytes, path)?;
    let missing = reserved_ranges(bytes).map(|(_, n)| n).sum::<u64>().saturating_sub(stat.st_blocks as u64 * 512);
    if missing > 0 {
        refuse_too_large(path, missing)?;
    }
    // An error of `EOPNOTSUPP` and the like comes from memory that needs no reservation.
    match reserve::reserve(&fd, bytes, reserved_ranges(bytes)) {
        Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(no_space(e, path, bytes)),
        Err(e) if stat.st_size == 0 => return Err(create_error("reserve memory for", path, e)),
        _ => {}
    }
    Ok(Some((OwnedRegion { _guard: guard, fd, path: path.into(), identity, keep: true }, bytes)))
}

fn open_leftover(path: &Path) -> Result<Option<OwnedFd>, CreateError> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open(path, flags | OFlags::RDWR, Mode::empty()) {
        Ok(old) => Ok(Some(old)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::ACCESS) => match open(path, flags | OFlags::RDONLY, Mode::empty()) {
            Ok(old) if locked(lock::is_locked(&old, Byte::Liveness, Kind::Read), path)? => {
                Err(CreateError::Busy { path: path.into() })
            }
            Ok(_) => Err(CreateError::OthersLeftover { path: path.into() }),
            Err(e) => Err(create_error("open", path, e)),
        },
        Err(e) => Err(create_error("open", path, e)),
    }
}

/// What cannot be written cannot be gone on in, whoever left it.
fn kept_by_others(error: CreateError) -> CreateError {
    match error {
        CreateError::OthersLeftover { path } => CreateError::Denied { path },
        other => other,
    }
}

fn locked(result: io::Result<bool>, path: &Path) -> Result<bool, CreateError> {
    result.map_err(|source| CreateError::System { what: "lock", path: path.into(), source })
}

/// An empty file is taken for a place that somebody prepared; anything else must have been a region.
fn refuse_foreign(old: &OwnedFd, path: &Path, bytes: u64) -> Result<(), CreateError> {
    let head = Head::read(old, path)?;
    if head.is_kept() {
        return Err(CreateError::Kept { path: path.into() });
    }
    if bytes == 0 || head.is_region() {
        return Ok(());
    }
    if head.is_unfinished(bytes) {
        return Err(CreateError::Prepared { path: path.into() });
    }
    Err(CreateError::Foreign { path: path.into(), what: "not an shm2 region" })
}

fn link(fd: &OwnedFd, to: &Path, temporary: Option<&Temporary>) -> Result<(), Errno> {
    match temporary {
        Some(Temporary(from)) => linkat(CWD, from, CWD, to, AtFlags::empty()),
        None => {
            let from = format!("/proc/self/fd/{}", fd.as_raw_fd());
            linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW)
        }
    }
}

/// A hidden neighbour of the path, so that `rename` stays on one file system.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    directory(path).join(format!(".{name}.shm2-{:016x}", random_nonzero()))
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn create_error(what: &'static str, path: &Path, errno: Errno) -> CreateError {
    let path = PathBuf::from(path);
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => CreateError::Denied { path },
        Errno::NOENT | Errno::NOTDIR => CreateError::NoDirectory { path },
        Errno::ISDIR => CreateError::NotAFile { path, what: "a directory" },
        Errno::LOOP => CreateError::NotAFile { path, what: "a symbolic link" },
        e => CreateError::System { what, path, source: e.into() },
    }
}
