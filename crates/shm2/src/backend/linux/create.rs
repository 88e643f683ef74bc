//! Creating a region: the file is built without a name and then put at its path in one step, so no other process sees
//! an unfinished one.
//!
//! * A dead producer's file at the path is removed first ([`takeover`](super::takeover)), so that its memory is free
//!   again
//!   before the new region's is reserved.
//! * If nothing is at the path, the finished file is linked there. Of several producers the first succeeds, and the
//!   others
//!   get `EEXIST`.
//! * A live producer's file at the path is an error.

use super::file_system::FileSystem;
use super::fork::keep_from_children;
use super::lock::{self, Byte, Kind};
use super::mapping::Mapping;
use super::producer_region::OwnedRegion;
use super::region_file::{create_error, directory, identity_of, locked};
use super::reserve::{no_space, refuse_over_limit, refuse_too_large, reserve, reserved_ranges};
use super::takeover::{adopt, clear_name};
use crate::backend::random_nonzero;
use crate::error::CreateError;
use crate::kill_points::point;
use crate::mapped::Memory;
use crate::name::Spec;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fstat, linkat, open, unlink};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

pub(super) fn create_region<T>(
    spec: &Spec,
    bytes: u64,
    perms: u32,
    keep: bool,
    begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
) -> Result<(OwnedRegion, T), CreateError> {
    let path = spec.path();
    if keep && let Some((region, bytes)) = adopt(path, bytes)? {
        let mapping = region.map(bytes)?;
        let begun = begin(mapping, &|memory| region.clear_dead(memory))?;
        region.announce_generation();
        return Ok((region, begun));
    }
    refuse_over_limit(path, bytes)?;
    clear_name(path)?;
    let mut draft = Draft::new(path, bytes, perms)?;
    draft.region.keep = keep;
    point!("create.reserved");
    let mapping = draft.region.map(bytes)?;
    let begun = begin(mapping, &|_| {})?;
    point!("create.filled");
    Ok((draft.install()?, begun))
}

/// A file that is not at its path yet. It has no name where the file system supports that, else a temporary one.
struct Draft {
    region: OwnedRegion,
    temporary: Option<Temporary>,
}

impl Draft {
    /// Makes the file, locks its liveness byte, reserves its memory, sets its permissions.
    fn new(path: &Path, bytes: u64, perms: u32) -> Result<Self, CreateError> {
        FileSystem::at(directory(path)).map_or(Ok(()), |found| found.check_create(path))?;
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
        reserve(fd, bytes, reserved_ranges(bytes)).map_err(|e| no_space(e, path, bytes))?;
        fchmod(fd, Mode::from_raw_mode(perms)).map_err(|e| create_error("set the permissions of", path, e))?;
        Ok(draft)
    }

    /// Puts the file at its path.
    fn install(self) -> Result<OwnedRegion, CreateError> {
        let path = self.region.path.clone();
        loop {
            match link(&self.region.fd, &path, self.temporary.as_ref()) {
                Ok(()) => break,
                // Another producer was faster. It may have died already.
                Err(Errno::EXIST) => clear_name(&path)?,
                Err(e) => return Err(create_error("name", &path, e)),
            }
        }
        point!("create.linked");
        Ok(self.region)
    }
}

/// A name that is removed when dropped. The file stays under its other names.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = unlink(&self.0);
    }
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

fn link(fd: &OwnedFd, to: &Path, temporary: Option<&Temporary>) -> Result<(), Errno> {
    match temporary {
        Some(Temporary(from)) => linkat(CWD, from, CWD, to, AtFlags::empty()),
        None => {
            let from = format!("/proc/self/fd/{}", fd.as_raw_fd());
            linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW)
        }
    }
}

/// A hidden name in the directory of the path, so that linking stays on one file system.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    directory(path).join(format!(".{name}.shm2-{:016x}", random_nonzero()))
}
