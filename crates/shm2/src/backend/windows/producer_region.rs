//! A named section, as its producer sees it, with the objects of its generation.

use super::generation_objects::{Objects, SNAPSHOTS};
use super::kernel_objects::{open_event, set, try_lock, unlock, wait};
use super::mutex_thread::OwnedMutex;
use super::object_names::ObjectNames;
use super::root_section::RootSection;
use super::watch::Watch;
use crate::backend::{Event, ProducerRegion};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::os::windows::io::OwnedHandle;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A snapshot consumer takes the lowest free number. The producer probes this many numbers above the highest one ever
/// seen.
const PROBED_ABOVE: usize = 8;

/// A named section whose producer mutex this process has locked.
pub(crate) struct OwnedRegion {
    pub(super) path: PathBuf,
    pub(super) names: ObjectNames,
    pub(super) generation: u64,
    pub(super) root: RootSection,
    pub(super) objects: Arc<Objects>,
    /// The producer's mutex, until the generation ends.
    pub(super) liveness: Mutex<Option<OwnedMutex>>,
    pub(super) snapshots: SnapshotsSeen,
    // The section has its name as long as this handle is open.
    pub(super) _section: OwnedHandle,
}

/// Snapshot consumers that the last probe found.
#[derive(Default)]
pub(super) struct SnapshotsSeen {
    /// A bit for each.
    present: AtomicU64,
    /// Highest number ever found, plus one.
    end: AtomicUsize,
}

impl OwnedRegion {
    /// Wakes consumers that wait for a producer.
    pub(super) fn announce(&self) {
        if let Ok(arrival) = open_event(&self.names.arrival()) {
            set(&arrival);
        }
    }

    fn wake_snapshots(&self, which: u64) {
        bits(which).for_each(|i| set(&self.objects.snapshots[i][1]));
    }
}

impl ProducerRegion for OwnedRegion {
    fn path(&self) -> &Path {
        &self.path
    }

    fn try_lock_page(&self, index: usize) -> bool {
        try_lock(&self.objects.pages[index][0])
    }

    fn unlock_page(&self, index: usize) {
        unlock(&self.objects.pages[index][0]);
    }

    fn has_snapshots(&self) -> bool {
        // Relaxed: both words are private to the producer.
        let end = (self.snapshots.end.load(Ordering::Relaxed) + PROBED_ABOVE).min(SNAPSHOTS);
        let present: u64 = self.objects.present(self.objects.snapshots[..end].iter()).map(|(i, _)| 1 << i).sum();
        let new = present & !self.snapshots.present.swap(present, Ordering::Relaxed);
        // They may have been asleep since before this probe found them.
        self.wake_snapshots(new);
        self.snapshots.end.fetch_max(64 - present.leading_zeros() as usize, Ordering::Relaxed);
        present != 0
    }

    fn notify_watchers(&self) {
        set(&self.objects.changed);
    }

    fn remove_name(&self) -> bool {
        self.root.clear_current(self.generation);
        true
    }

    fn end_generation(&self) {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn wake(&self, _word: &AtomicU32, pages: u64) {
        bits(pages).for_each(|i| set(&self.objects.pages[i][1]));
        self.wake_snapshots(self.snapshots.present.load(Ordering::Relaxed));
    }

    fn wait_for_space(&self, _words: &[(&AtomicU32, u32)], timeout: Duration) {
        wait(&[&self.objects.space], Some(timeout));
    }

    fn watch(&self, event: &Arc<Event>) -> Option<Watch> {
        Watch::of_consumers(&self.objects, event)
    }
}

/// Indices of the bits that are set.
fn bits(mask: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |i| mask >> i & 1 != 0)
}
