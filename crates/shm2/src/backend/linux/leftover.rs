//! Files of dead producers: found in a directory, and removed under the locks that a producer takes.
//!
//! A region that is complete is removed as the next producer of its name would remove it, see
//! [`takeover`](super::takeover); a file with a temporary name as in [`draft`](super::draft).

use super::draft::{is_draft, remove_leftover};
use super::file_system::FileSystem;
use super::fork::{Section, keep_from_children};
use super::lock::{self, Byte, Kind};
use super::region_file::{identity_at, identity_of, not_a_file, not_a_file_at, read_header};
use super::takeover::{clear_file, refuse_moving};
use crate::backend::{Identity, LeftoverFile};
use crate::error::CreateError;
use crate::name::temporary::is_temporary;
use rustix::fs::{Mode, OFlags, fstat, open};
use std::path::Path;

pub(super) fn find(path: &Path) -> Option<LeftoverFile> {
    if not_a_file_at(path, false).is_some() {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let section = Section::enter();
    let fd = open(path, flags, Mode::empty()).ok()?;
    let _guard = keep_from_children(&fd, section);
    let stat = fstat(&fd).ok()?;
    // Where locks do not reach every process, a missing one says nothing.
    FileSystem::of(&fd)?.check_create(path).ok()?;
    let has_temporary_name = path.file_name().is_some_and(is_temporary);
    let is_ours = match has_temporary_name {
        true => is_draft(&fd, &stat, path),
        false => {
            let header = read_header(&fd, path).ok()?;
            not_a_file(&stat).is_none() && header.parse(stat.st_size as u64, path).is_ok() && !header.is_kept()
        }
    };
    let is_dead = is_ours && !lock::is_locked(&fd, Byte::Liveness, Kind::Read).ok()?;
    if !is_dead || refuse_moving(&fd, path).is_err() {
        return None;
    }
    let (identity, bytes) = (identity_of(&stat), stat.st_blocks as u64 * 512);
    Some(LeftoverFile { identity, bytes, is_draft: has_temporary_name })
}

pub(super) fn remove(path: &Path, identity: Identity) -> Result<bool, CreateError> {
    if !path.file_name().is_some_and(is_temporary) {
        return clear_file(path, identity);
    }
    if identity_at(path) != Some(identity) {
        return Ok(false);
    }
    match remove_leftover(path) {
        Some(()) => Ok(true),
        None if identity_at(path) != Some(identity) => Ok(false),
        None => Err(CreateError::TakeoverBlocked { path: path.into() }),
    }
}
