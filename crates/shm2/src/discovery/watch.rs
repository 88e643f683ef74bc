//! The live regions of several folders and the folders in them, followed without looks while nothing changes.
//!
//! The system reports a file that appears, changes its times, is closed by a process that could write, or goes. A
//! producer changes the times of its region when it begins and when its caps change, and its death closes the file. A
//! full look every [`LOOK_EVERY`] finds what is not reported: changes by other kernels, and folders without a watch.

use super::listing::{Listing, ListingChange};
use super::overview::Overview;
use crate::backend::{self, ChangeWatch, Changed, ChangedNames, Event, ProcessEvent};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Interval between full looks when all folders are watched.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Interval between full looks when a folder cannot be watched.
const UNWATCHED_LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time after which a changed file is looked at once more: a process that ends closes a file before it unlocks it.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The shortest time between two looks, which bounds their cost.
const PAUSE: Duration = Duration::from_millis(10);
/// Levels of folders below those that the caller named.
const DEPTH: usize = 4;
/// Folders followed at once.
const FOLDERS: usize = 256;

/// Follows the regions that have a live producer in folders and the folders in them, at most four levels down.
///
/// ```
/// # let name = format!("shm:///dev/shm/shm2-doc-watch-{}", std::process::id());
/// use shm2::{Producer, discovery::{ListingChange, Watch}};
/// use std::time::Duration;
///
/// let mut watch = Watch::new(["/dev/shm"]);
/// let producer = Producer::create(&name)?;
/// let is_ours = |change: &ListingChange| matches!(change, ListingChange::Appeared(new) if new.path == producer.path());
/// while !watch.wait(Some(Duration::from_secs(10))).iter().any(is_ours) {}
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    folders: BTreeMap<PathBuf, Folder>,
    signals: Arc<Signals>,
    /// Looks once, so nothing is to be reported.
    is_once: bool,
    /// Times of the last look and of the next full one.
    last_look: Option<Instant>,
    next_full: Option<Instant>,
}

/// All regions with a live producer in a folder and the folders in it, at most four levels down, sorted by path.
///
/// ```
/// # let name = format!("shm:///dev/shm/shm2-doc-below-{}", std::process::id());
/// use shm2::{Producer, discovery};
///
/// let producer = Producer::create(&name)?;
/// assert!(discovery::all_below("/dev/shm").iter().any(|region| region.path == producer.path()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn all_below(folder: impl Into<PathBuf>) -> Vec<Overview> {
    let mut watch = Watch::new([folder]);
    watch.is_once = true;
    let changes = watch.wait(Some(Duration::ZERO)).into_iter();
    changes.filter_map(ListingChange::into_overview).collect()
}

#[derive(Debug, Default)]
struct Signals {
    event: Arc<Event>,
    is_ended: AtomicBool,
}

/// Ends a [`Watch`] from another thread.
#[derive(Debug, Clone)]
pub struct WatchEnd(Arc<Signals>);

impl WatchEnd {
    /// From now on [`Watch::wait`] returns at once.
    pub fn end(&self) {
        self.0.is_ended.store(true, Ordering::Release);
        self.0.event.signal();
    }

    /// Whether [`end`](Self::end) was called.
    pub fn is_set(&self) -> bool {
        self.0.is_ended.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Folder {
    listing: Listing,
    /// Levels below a folder that the caller named.
    depth: usize,
    watch: Option<backend::Watch>,
    /// Watches on its live regions.
    files: HashMap<OsString, backend::Watch>,
    changed: Arc<ChangedNames>,
    /// Files to be looked at once more, and when.
    again: HashMap<OsString, Instant>,
}

impl Watch {
    /// Nothing is read before the first [`wait`](Self::wait), which reports every live region at once.
    pub fn new<P: Into<PathBuf>>(folders: impl IntoIterator<Item = P>) -> Self {
        let roots = folders.into_iter().map(Into::into);
        let folders = roots.map(|root: PathBuf| (root.clone(), Folder::new(root, 0))).collect();
        Self { folders, signals: Arc::default(), is_once: false, last_look: None, next_full: None }
    }

    /// Ends a [`wait`](Self::wait) from another thread.
    pub fn ender(&self) -> WatchEnd {
        WatchEnd(self.signals.clone())
    }

    /// Waits until something changes, and returns what has changed, sorted by path; nothing when `timeout` has passed, and
    /// after [`WatchEnd::end`]. Without a timeout it waits for ever.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Vec<ListingChange> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let seen = self.signals.event.value();
            if self.signals.is_ended.load(Ordering::Acquire) {
                return Vec::new();
            }
            let mut changes = self.look();
            if !changes.is_empty() {
                changes.sort_by(|a, b| a.path().cmp(b.path()));
                return changes;
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return changes;
            }
            let next = [deadline, self.next_look()].into_iter().flatten().min();
            self.signals.event.wait(seen, next.map(|next| next.saturating_duration_since(now)));
        }
    }

    /// Looks at what is due.
    fn look(&mut self) -> Vec<ListingChange> {
        if let Some(last) = self.last_look {
            std::thread::sleep(PAUSE.saturating_sub(last.elapsed()));
        }
        let now = Instant::now();
        let event = (!self.is_once).then(|| self.signals.event.clone());
        let is_full = self.next_full.is_none_or(|next| now >= next);
        let mut changes = Vec::new();
        let mut due: Vec<_> = self.folders.keys().map(|path| (path.clone(), is_full)).collect();
        while let Some((path, is_full)) = due.pop() {
            let Some(folder) = self.folders.get_mut(&path) else { continue };
            let has_read = folder.look(&path, is_full, now, event.as_ref(), &mut changes);
            if has_read && folder.depth > 0 && !path.is_dir() {
                self.folders.remove(&path);
                // The folder was moved or removed, and those in it with it.
                due.extend(
                    self.folders.keys().filter(|inner| inner.starts_with(&path)).map(|inner| (inner.clone(), true)),
                );
            } else if has_read {
                due.extend(self.follow_folders_of(&path).into_iter().map(|new| (new, true)));
            }
        }
        if is_full {
            let is_watched = self.folders.values().all(|folder| folder.watch.is_some());
            self.next_full = now.checked_add(if is_watched { LOOK_EVERY } else { UNWATCHED_LOOK_EVERY });
        }
        self.last_look = Some(Instant::now());
        changes
    }

    /// Follows the folders that were found in a folder; those that are new.
    fn follow_folders_of(&mut self, path: &Path) -> Vec<PathBuf> {
        let Some(folder) = self.folders.get(path).filter(|folder| folder.depth < DEPTH) else { return Vec::new() };
        let depth = folder.depth + 1;
        let found: Vec<_> = folder.listing.folders().iter().map(|name| path.join(name)).collect();
        let mut new: Vec<_> = found.into_iter().filter(|path| !self.folders.contains_key(path)).collect();
        new.truncate(FOLDERS.saturating_sub(self.folders.len()));
        self.folders.extend(new.iter().map(|path| (path.clone(), Folder::new(path.clone(), depth))));
        new
    }

    /// Time of the next look, when nothing is reported before.
    fn next_look(&self) -> Option<Instant> {
        let again = self.folders.values().flat_map(|folder| folder.again.values().copied());
        again.chain(self.next_full).min()
    }
}

impl Folder {
    fn new(path: PathBuf, depth: usize) -> Self {
        Self {
            listing: Listing::new(path),
            depth,
            watch: None,
            files: HashMap::new(),
            changed: Arc::default(),
            again: HashMap::new(),
        }
    }

    /// Looks at the files that may have changed, or at all. True if the whole folder was read.
    fn look(
        &mut self,
        path: &Path,
        is_full: bool,
        now: Instant,
        event: Option<&Arc<Event>>,
        changes: &mut Vec<ListingChange>,
    ) -> bool {
        let is_watched = self.watch.as_ref().is_some_and(backend::Watch::is_alive);
        if !is_watched {
            // Before the folder is read: a file that appears in between is found twice, not never.
            self.watch = event.and_then(|event| backend::watch_folder(path, event, &self.changed));
        }
        let Changed { mut names, is_incomplete } = self.changed.take();
        let is_folder = |name: &OsString| self.listing.folders().contains(name) || path.join(name).is_dir();
        let has_new_watch = !is_watched && self.watch.is_some();
        let reads_all = is_full || is_incomplete || has_new_watch || names.iter().any(is_folder);
        let mut found = if reads_all { self.listing.update() } else { Vec::new() };
        let due: Vec<_> = self.again.iter().filter(|(_, time)| now >= **time).map(|(name, _)| name.clone()).collect();
        self.again.retain(|_, time| now < *time);
        self.again.extend(names.iter().map(|name| (name.clone(), now + AGAIN_AFTER)));
        names.extend(due);
        found.extend(self.listing.look_at(names));
        if let Some(event) = event {
            self.watch_regions(&found, now, event);
        }
        changes.extend(found);
        reads_all
    }

    fn watch_regions(&mut self, found: &[ListingChange], now: Instant, event: &Arc<Event>) {
        for change in found {
            let Some(name) = change.path().file_name() else { continue };
            if let ListingChange::Gone(_) = change {
                self.files.remove(name);
                continue;
            }
            // Another producer may have another file.
            let watch = backend::watch_listed(change.path(), event, &self.changed);
            watch.map(|watch| self.files.insert(name.into(), watch));
            // What changed before the watch began is found by this look.
            self.again.insert(name.into(), now + AGAIN_AFTER);
        }
    }
}
