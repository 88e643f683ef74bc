//! A file that exists at a region's name before its producer does: removed, or used for another generation.
//!
//! A removal holds the *takeover* byte of the file that it removes, and so does the removal at close. While the byte is
//! locked, the path is seen to lead to that very file still. So no producer removes a name that leads to another region
//! by now.
//!
//! A missing lock shows that a producer is dead only where locks reach every process: see
//! [`file_system`](super::file_system).

use super::existing::{check_content, refuse_foreign_owner, user};
use super::file_system::FileSystem;
use super::fork::{Section, keep_from_children};
use super::lock::{self, Byte, Kind};
use super::producer_region::OwnedRegion;
use super::region_file::{create_error, identity_at, identity_of, locked, not_a_file, not_a_file_at, read_header};
use super::reserve::{no_space, refuse_over_limit, refuse_too_large, reserve, reserved_ranges, set_size};
use crate::backend::{Identity, Keep};
use crate::error::CreateError;
use crate::kill_points::point;
use crate::layout::{self, Header, STATE_LIVE};
use rustix::fs::{Mode, OFlags, Stat, fstat, ftruncate, open, stat, unlink};
use rustix::io::Errno;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Attempts, at intervals of [`RETRY_AFTER`], while another producer holds the takeover byte.
const ATTEMPTS: u32 = 100;
const RETRY_AFTER: Duration = Duration::from_millis(5);
/// Time for which a region without a lock must not change where another mount's locks are not seen. A producer renews
/// its beacon four times a second while it publishes.
const STILLNESS: Duration = Duration::from_millis(600);

/// Removes a dead producer's file from the path. An error if a live producer has the file, or if it is not a region.
/// With `keep`, also if [`adopt`] would use it: then it appeared after `adopt` found nothing.
pub(super) fn clear_name(path: &Path, keep: bool) -> Result<(), CreateError> {
    for _ in 0..ATTEMPTS {
        if try_clear(path, keep, None)? {
            return Ok(());
        }
        std::thread::sleep(RETRY_AFTER);
    }
    Err(CreateError::TakeoverBlocked { path: path.into() })
}

/// As [`clear_name`], of one certain file. False if the path does not lead to it any more.
pub(super) fn clear_file(path: &Path, file: Identity) -> Result<bool, CreateError> {
    for _ in 0..ATTEMPTS {
        if identity_at(path) != Some(file) {
            return Ok(false);
        }
        if try_clear(path, false, Some(file))? {
            return Ok(true);
        }
        std::thread::sleep(RETRY_AFTER);
    }
    Err(CreateError::TakeoverBlocked { path: path.into() })
}

/// Locks the file at the path for another generation in it. Returns its size, too: `bytes` if it was empty. `None` if
/// there is no file.
pub(super) fn adopt(path: &Path, bytes: u64, keep: Keep) -> Result<Option<(OwnedRegion, u64)>, CreateError> {
    for _ in 0..ATTEMPTS {
        let section = Section::enter();
        let Some(fd) = open_leftover(path)? else { return Ok(None) };
        if keep == Keep::Own {
            refuse_foreign_owner(&regular_file(&fd, path)?, path)?;
        }
        if let Some(region) = try_lock(fd, path, section)? {
            let bytes = prepare(&region, bytes)?;
            return Ok(Some((region, bytes)));
        }
        std::thread::sleep(RETRY_AFTER);
    }
    Err(CreateError::TakeoverBlocked { path: path.into() })
}

/// False if another producer holds the takeover byte, or has just put another file at the path, or if the file is not
/// `only`.
fn try_clear(path: &Path, keep: bool, only: Option<Identity>) -> Result<bool, CreateError> {
    let section = Section::enter();
    let Some(old) = open_leftover(path)? else { return Ok(only.is_none()) };
    let _guard = keep_from_children(&old, section);
    let stat = regular_file(&old, path)?;
    if only.is_some_and(|only| only != identity_of(&stat)) {
        return Ok(false);
    }
    let refuse_live = || match locked(lock::is_locked(&old, Byte::Liveness, Kind::Read), path)? {
        true => Err(CreateError::Busy { path: path.into() }),
        false => Ok(()),
    };
    refuse_live()?;
    refuse_foreign(&old, path, stat.st_size as u64, keep)?;
    refuse_moving(&old, path)?;
    if !locked(lock::try_lock(&old, Byte::Takeover, Kind::Write), path)? {
        return Ok(false);
    }
    point!("create.takeover-locked");
    if identity_at(path) != Some(identity_of(&stat)) {
        return Ok(false);
    }
    // In the meantime a producer may have begun another generation in this very file.
    refuse_live()?;
    unlink(path).map_err(|e| match e {
        Errno::PERM | Errno::ACCESS => CreateError::OthersLeftover { path: path.into(), owner: user(stat.st_uid) },
        e => create_error("remove the leftover at", path, e),
    })?;
    point!("create.cleared");
    Ok(true)
}

/// Locks the liveness byte while it holds the takeover byte. `None` if another producer holds the takeover byte, or has
/// just put another file at the path.
fn try_lock(fd: OwnedFd, path: &Path, section: Section) -> Result<Option<OwnedRegion>, CreateError> {
    let guard = keep_from_children(&fd, section);
    let identity = identity_of(&regular_file(&fd, path)?);
    if !locked(lock::try_lock(&fd, Byte::Takeover, Kind::Write), path)? || identity_at(path) != Some(identity) {
        return Ok(None);
    }
    if !locked(lock::try_lock(&fd, Byte::Liveness, Kind::Write), path)? {
        return Err(CreateError::Busy { path: path.into() });
    }
    lock::unlock(&fd, Byte::Takeover);
    refuse_moving(&fd, path)?;
    Ok(Some(OwnedRegion { _guard: guard, fd, path: path.into(), identity, keep: true, is_named: Mutex::new(true) }))
}

/// Checks that a generation can begin in the locked file, and reserves its memory. Returns the file's size.
fn prepare(region: &OwnedRegion, bytes: u64) -> Result<u64, CreateError> {
    let (fd, path) = (&region.fd, region.path.as_path());
    // Asked only now: another producer may have given an empty file its size, and ended, before the lock was taken.
    let stat = fstat(fd).map_err(|e| create_error("look at", path, e))?;
    let bytes = if stat.st_size == 0 { bytes } else { stat.st_size as u64 };
    layout::arena_bytes(bytes).ok_or_else(|| CreateError::FileSize { path: path.into(), bytes })?;
    check_content(fd, bytes, path)?;
    if bytes > stat.st_size as u64 {
        refuse_over_limit(path, bytes)?;
    }
    let missing = reserved_ranges(bytes).map(|(_, n)| n).sum::<u64>().saturating_sub(stat.st_blocks as u64 * 512);
    if missing > 0 {
        refuse_too_large(path, missing)?;
    }
    if bytes > stat.st_size as u64 {
        set_size(fd, path, bytes)?;
    }
    match reserve(fd, reserved_ranges(bytes)) {
        Err(e) if stat.st_size == 0 => {
            // It was empty: what was reserved is free again.
            let _ = ftruncate(fd, 0);
            Err(no_space(e, path, bytes))
        }
        Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(no_space(e, path, bytes)),
        // Other errors, EOPNOTSUPP for example, come from memory that needs no reservation.
        _ => Ok(bytes),
    }
}

/// Refuses a live region that changes although no lock is seen, on a file system that is layered over another one: its
/// producer may use that one directly.
pub(super) fn refuse_moving(fd: &OwnedFd, path: &Path) -> Result<(), CreateError> {
    let word = |offset: usize| {
        let mut bytes = [0; 8];
        // A file that ends before has no region.
        let _ = rustix::io::pread(fd, &mut bytes, offset as u64);
        u64::from_le_bytes(bytes)
    };
    let is_layered = FileSystem::of(fd).is_some_and(|found| found.is_layered());
    if !is_layered || word(offset_of!(Header, state)) as u32 != STATE_LIVE {
        return Ok(());
    }
    let signs =
        || [offset_of!(Header, head), offset_of!(Header, beacon_sequence), offset_of!(Header, heartbeat)].map(word);
    let before = signs();
    std::thread::sleep(STILLNESS);
    if signs() == before { Ok(()) } else { Err(CreateError::Busy { path: path.into() }) }
}

/// Opens what is at the path, if a region can be on its file system.
fn open_leftover(path: &Path) -> Result<Option<OwnedFd>, CreateError> {
    let Some(old) = open_existing(path)? else { return Ok(None) };
    FileSystem::of(&old).map_or(Ok(()), |found| found.check_create(path))?;
    Ok(Some(old))
}

fn open_existing(path: &Path) -> Result<Option<OwnedFd>, CreateError> {
    if let Some(what) = not_a_file_at(path, false) {
        return Err(CreateError::NotAFile { path: path.into(), what });
    }
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open(path, flags | OFlags::RDWR, Mode::empty()) {
        Ok(old) => Ok(Some(old)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::ACCESS) => match open(path, flags | OFlags::RDONLY, Mode::empty()) {
            Ok(old) if locked(lock::is_locked(&old, Byte::Liveness, Kind::Read), path)? => {
                Err(CreateError::Busy { path: path.into() })
            }
            Ok(_) => Err(others_file(path)),
            Err(Errno::ACCESS) => Err(others_file(path)),
            Err(e) => Err(create_error("open", path, e)),
        },
        Err(e) => Err(create_error("open", path, e)),
    }
}

/// The error for a file that this user may not open for writing. A file that cannot be looked at is `Denied`.
fn others_file(path: &Path) -> CreateError {
    match stat(path) {
        Ok(found) => {
            let mode = found.st_mode & 0o777;
            CreateError::OthersFile { path: path.into(), owner: user(found.st_uid), mode }
        }
        Err(e) => create_error("open", path, e),
    }
}

fn regular_file(fd: &OwnedFd, path: &Path) -> Result<Stat, CreateError> {
    let stat = fstat(fd).map_err(|e| create_error("look at", path, e))?;
    match not_a_file(&stat) {
        Some(what) => Err(CreateError::NotAFile { path: path.into(), what }),
        None => Ok(stat),
    }
}

/// Only a region that is not kept, or an empty file, which may have been prepared for a region, is removed.
fn refuse_foreign(old: &OwnedFd, path: &Path, bytes: u64, keep: bool) -> Result<(), CreateError> {
    let existing = read_header(old, path)?;
    if keep && (existing.is_kept() || existing.is_unfinished(bytes)) {
        return Err(create_error("name a new file", path, Errno::EXIST));
    }
    if existing.is_kept() {
        return Err(CreateError::Kept { path: path.into() });
    }
    if bytes == 0 || existing.is_region() {
        return Ok(());
    }
    if existing.is_unfinished(bytes) {
        return Err(CreateError::Prepared { path: path.into() });
    }
    Err(CreateError::Foreign { path: path.into(), what: "not an shm2 region" })
}

#[cfg(test)]
mod tests {
    use super::clear_name;
    use crate::error::CreateError;
    use shm2_testing::TempRegion;
    use std::fs::File;

    /// The file appeared after the producer had looked for one to use.
    #[test]
    fn a_producer_that_keeps_its_region_removes_no_prepared_file() {
        for bytes in [0, 6 << 20] {
            let name = TempRegion::new();
            File::create(name.path()).unwrap().set_len(bytes).unwrap();
            let error = clear_name(name.path(), true).unwrap_err();
            assert!(matches!(error, CreateError::System { .. }), "{error}");
            assert!(name.path().exists(), "the file of {bytes} bytes was removed");
        }
    }
}
