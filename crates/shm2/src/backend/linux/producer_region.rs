//! A region file, as its producer sees it.

use super::fork::Guard;
use super::futex::{Event, wait_shared, wake_shared};
use super::lock::{self, Byte, Kind};
use super::mapping::Mapping;
use super::naming::Naming;
use super::region_file::{identity_at, identity_of, notify_watchers};
use super::watch::{Watch, watch_region};
use crate::backend::{Identity, LostName, ProducerRegion, mapping_bytes};
use crate::error::CreateError;
use crate::layout;
use crate::mapped::Memory;
use crate::protocol;
use crate::sync::{AtomicU32, Ordering};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens, stat, unlink};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A region file whose liveness byte this process has locked. Its name stays until [`ProducerRegion::remove_name`].
pub(crate) struct OwnedRegion {
    // Dropped before the descriptor: the number must be unregistered before another file can get it.
    pub(super) _guard: Guard,
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    /// The name is never removed.
    pub(super) keep: bool,
    /// False once the name was removed at the end. Held while the name is checked, removed or given again.
    pub(super) is_named: Mutex<bool>,
}

impl OwnedRegion {
    /// Maps the whole file and fills the page tables of what a producer uses.
    pub(super) fn map(&self, bytes: u64) -> Result<Mapping, CreateError> {
        let failed = |source| CreateError::System { what: "map", path: self.path.clone(), source };
        let bytes = mapping_bytes(bytes).map_err(failed)?;
        let mapping = Mapping::new(&self.fd, 0, bytes, true).map_err(failed)?;
        mapping.populate(0, layout::PAGES_OFFSET as usize, true);
        let arena = layout::ARENA_OFFSET as usize;
        mapping.populate(arena, bytes - arena, true);
        Ok(mapping)
    }

    /// Frees the pages of consumers that hold no lock any more. Pages claimed by heartbeat stay: their lease time
    /// decides.
    pub(super) fn clear_dead(&self, memory: &Memory) {
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

    /// Links the file to its path again. Only a file that has another name, because it was moved for example, can get
    /// one.
    fn restore_name(&self) -> Option<LostName> {
        let Some(naming) = Naming::of_unnamed(&self.fd, &self.path) else { return Some(LostName::Removed) };
        match naming.give_name(&self.fd, &self.path) {
            Ok(()) => None,
            Err(Errno::EXIST) => Some(LostName::Replaced),
            Err(_) => Some(LostName::Removed),
        }
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

    fn has_page_owner(&self, index: usize) -> bool {
        lock::is_locked(&self.fd, Byte::Page(index), Kind::Read).unwrap_or(true)
    }

    fn has_snapshots(&self) -> bool {
        lock::is_locked(&self.fd, Byte::Presence, Kind::Write).unwrap_or(true)
    }

    fn has_keyframe_request(&self) -> bool {
        lock::is_locked(&self.fd, Byte::Keyframe, Kind::Write).unwrap_or(false)
    }

    fn notify_watchers(&self) {
        notify_watchers(&self.fd, &self.path);
    }

    /// Changes the file's times. The watches of consumers that wait for a producer report that too.
    fn announce(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = futimens(&self.fd, &Timestamps { last_access: now, last_modification: now });
    }

    fn remove_name(&self) -> bool {
        *self.is_named.lock().unwrap_or_else(PoisonError::into_inner) = false;
        if self.keep || !lock::try_lock(&self.fd, Byte::Takeover, Kind::Write).unwrap_or(false) {
            return false;
        }
        let gone = identity_at(&self.path) != Some(self.identity) || unlink(&self.path).is_ok();
        lock::unlock(&self.fd, Byte::Takeover);
        gone
    }

    fn check_name(&self) -> Option<LostName> {
        let is_named = self.is_named.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_named {
            return None;
        }
        match stat(&self.path) {
            Ok(found) if identity_of(&found) == self.identity => None,
            Ok(_) => Some(LostName::Replaced),
            Err(Errno::NOENT | Errno::NOTDIR) => self.restore_name(),
            // A directory may not be searched any more, for example.
            Err(_) => None,
        }
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
        watch_region(&self.fd, &self.path, event)
    }
}
