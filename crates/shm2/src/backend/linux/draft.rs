//! A region's file before it has its name.
//!
//! The file has no name where that is possible. Else it has a temporary one, which begins with the region's
//! ([`temporary`](crate::name::temporary)): on file systems without unnamed files, where a security policy forbids them,
//! and where an unnamed file could not get a name later (no /proc). Of a producer that is killed meanwhile such a file
//! stays; the next producer of the same name removes it.

use super::existing::check_content;
use super::file_system::FileSystem;
use super::fork::{Section, keep_from_children};
use super::lock::{self, Byte, Kind};
use super::naming::{Naming, Temporary};
use super::producer_region::OwnedRegion;
use super::region_file::{
    create_error, directory, identity_at, identity_of, locked, not_a_file, not_a_file_at, read_header, step_error,
};
use super::reserve::{no_space, refuse_too_large, reserve, reserved_ranges, set_size};
use super::takeover::clear_name;
use crate::backend::random_nonzero;
use crate::error::CreateError;
use crate::kill_points::point;
use crate::layout;
use crate::name::temporary::{is_temporary_of, temporary};
use rustix::fs::{Mode, OFlags, Stat, fchmod, fstat, open, unlink};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that is not at its path yet.
pub(super) struct Draft {
    pub(super) region: OwnedRegion,
    naming: Naming,
}

impl Draft {
    /// Makes the file, locks its liveness byte, reserves its memory, sets its permissions.
    pub(super) fn new(path: &Path, bytes: u64, perms: u32) -> Result<Self, CreateError> {
        FileSystem::at(directory(path)).map_or(Ok(()), |found| found.check_create(path))?;
        let needed = reserved_ranges(bytes).map(|(_, n)| n).sum();
        refuse_too_large(path, needed)?;
        let section = Section::enter();
        let (fd, naming) = new_file(path)?;
        let guard = keep_from_children(&fd, section);
        let identity = fstat(&fd).map(|s| identity_of(&s)).map_err(|e| create_error("look at", path, e))?;
        let region =
            OwnedRegion { _guard: guard, fd, path: path.into(), identity, keep: false, is_named: Mutex::new(true) };
        let draft = Self { region, naming };
        let fd = &draft.region.fd;
        if !locked(lock::try_lock(fd, Byte::Liveness, Kind::Write), path)? {
            return Err(CreateError::Busy { path: path.into() });
        }
        set_size(fd, path, bytes)?;
        reserve(fd, reserved_ranges(bytes)).map_err(|e| no_space(e, path, bytes))?;
        fchmod(fd, Mode::from_raw_mode(perms)).map_err(|e| step_error("set the permissions of", path, e))?;
        Ok(draft)
    }

    /// Puts the file at its path.
    pub(super) fn install(self) -> Result<OwnedRegion, CreateError> {
        let path = self.region.path.clone();
        loop {
            match self.naming.give_name(&self.region.fd, &path) {
                Ok(()) => break,
                // Another producer was faster. It may have died already.
                Err(Errno::EXIST) => clear_name(&path, self.region.keep)?,
                Err(e) => return Err(step_error("give its name to", &path, e)),
            }
        }
        point!("create.linked");
        Ok(self.region)
    }
}

fn new_file(path: &Path) -> Result<(OwnedFd, Naming), CreateError> {
    let mode = Mode::RUSR | Mode::WUSR;
    // What really fails, such as a missing directory, fails with a temporary name, too.
    let unnamed = open(directory(path), OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode).ok();
    let named = unnamed.and_then(|fd| Naming::of_unnamed(&fd, path).map(|naming| (fd, naming)));
    if let Some(named) = named {
        return Ok(named);
    }
    let name = path.file_name().ok_or_else(|| CreateError::NotAFile { path: path.into(), what: "a directory" })?;
    let name = directory(path).join(temporary(name, random_nonzero()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = open(&name, flags, mode).map_err(|e| create_error("create", path, e))?;
    Ok((fd, Naming::From(Temporary::new(name))))
}

/// Age of an empty file with a temporary name at which its producer is dead, and not about to lock it.
const LONGEST_START: Duration = Duration::from_secs(60);

/// Removes the files with temporary names that killed producers of this path have left.
pub(super) fn remove_leftovers(path: &Path) {
    let Some(name) = path.file_name() else { return };
    let files = std::fs::read_dir(directory(path)).into_iter().flatten().flatten();
    for file in files.filter(|file| is_temporary_of(&file.file_name(), name)) {
        // What cannot be removed, because it is another user's for example, stays.
        let _ = remove_leftover(&file.path());
    }
}

/// Removes a file if it is a region whose producer is dead. `None` if it stays.
pub(super) fn remove_leftover(path: &Path) -> Option<()> {
    if not_a_file_at(path, false).is_some() {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let section = Section::enter();
    let fd = open(path, flags, Mode::empty()).ok()?;
    let _guard = keep_from_children(&fd, section);
    let stat = fstat(&fd).ok()?;
    let is_leftover = is_draft(&fd, &stat, path)
        && lock::try_lock(&fd, Byte::Liveness, Kind::Write).ok()?
        && identity_at(path) == Some(identity_of(&stat));
    if is_leftover { unlink(path).ok() } else { None }
}

/// Whether a file with a temporary name is a region in the making, and old enough to be locked by now.
pub(super) fn is_draft(fd: &OwnedFd, stat: &Stat, path: &Path) -> bool {
    let modified = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (Ok(header), bytes) = (read_header(fd, path), stat.st_size as u64) else { return false };
    let is_region = match bytes {
        0 => now.saturating_sub(modified) > LONGEST_START,
        _ if layout::arena_bytes(bytes).is_none() => false,
        _ => {
            header.is_region() && !header.is_kept()
                || header.is_unfinished(bytes) && check_content(fd, bytes, path).is_ok()
        }
    };
    let suits = FileSystem::of(fd).is_some_and(|found| found.check_create(path).is_ok());
    not_a_file(stat).is_none() && is_region && suits
}
