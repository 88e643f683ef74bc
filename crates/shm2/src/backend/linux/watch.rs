//! Watches on files and directories. One inotify instance and one thread per process signal events when a process
//! closes a region file (a peer attached, detached or died), when a name appears in a directory (a producer started), or
//! when anything changes in a folder whose regions are followed.
//!
//! If inotify instances or watches run out, the functions return `None`, and the caller looks every 250 ms instead.

use super::futex::Event;
use super::region_file::at_a_path_of;
use crate::backend::{ChangeWatch, ChangedNames, ProcessEvent, process_id};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

struct Watcher {
    inotify: OwnedFd,
    process: u32,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    listeners: HashMap<i32, Vec<Listener>>,
}

struct Listener {
    id: u64,
    event: Arc<Event>,
    /// Kinds of changes to report. Listeners of one file share a watch, which has the kinds of all of them.
    flags: WatchFlags,
    alive: Arc<AtomicBool>,
    /// Gets the names of the files in a directory that changed, or always this one.
    changed: Changed,
}

type Changed = Option<(Arc<ChangedNames>, Option<OsString>)>;

/// One listener, removed when dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    descriptor: i32,
    id: u64,
    alive: Arc<AtomicBool>,
}

impl ChangeWatch for Watch {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }
}

/// Signals `event` each time any process closes the region file, or its links change.
pub(super) fn watch_region(fd: impl AsFd, path: &Path, event: &Arc<Event>) -> Option<Watch> {
    let flags = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE | WatchFlags::ATTRIB;
    at_a_path_of(fd, path, |path| add(path, flags, event, None))
}

/// Signals `event` when a producer begins another generation in the file at `path`: it changes the file's times.
/// Opening or closing the file does not signal.
pub(super) fn watch_restart(path: &Path, event: &Arc<Event>) -> Option<Watch> {
    add(path, WatchFlags::ATTRIB | WatchFlags::MOVE_SELF, event, None)
}

/// Signals `event` each time a name appears in the directory.
pub(super) fn watch_directory(path: &Path, event: &Arc<Event>) -> Option<Watch> {
    add(path, WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR, event, None)
}

/// Signals `event` each time a file of the directory appears, changes its times, is closed by a process that could write,
/// or goes. Opening a file for reading does not signal.
pub(super) fn watch_folder(path: &Path, event: &Arc<Event>, changed: &Arc<ChangedNames>) -> Option<Watch> {
    let files = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::ATTRIB;
    let itself = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
    add(path, files | WatchFlags::CLOSE_WRITE | itself, event, Some((changed.clone(), None)))
}

/// Signals `event` each time the region file changes its times or is closed by a process that could write, and adds the
/// file's name to `changed`. A watch on the directory does not report what happens through the descriptor of a file that
/// was made without a name and linked later.
pub(super) fn watch_listed(path: &Path, event: &Arc<Event>, changed: &Arc<ChangedNames>) -> Option<Watch> {
    let flags = WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB | WatchFlags::DONT_FOLLOW;
    add(path, flags, event, Some((changed.clone(), Some(path.file_name()?.into()))))
}

fn add(path: &Path, flags: WatchFlags, event: &Arc<Event>, changed: Changed) -> Option<Watch> {
    let watcher = watcher()?;
    let mut table = watcher.table();
    let descriptor = inotify::add_watch(&watcher.inotify, path, flags | WatchFlags::MASK_ADD).ok()?;
    table.next += 1;
    let id = table.next;
    let alive = Arc::new(AtomicBool::new(true));
    let listener = Listener { id, event: event.clone(), flags, alive: alive.clone(), changed };
    table.listeners.entry(descriptor).or_default().push(listener);
    Some(Watch { descriptor, id, alive })
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(watcher) = watcher() else { return };
        let mut table = watcher.table();
        let Some(listeners) = table.listeners.get_mut(&self.descriptor) else { return };
        listeners.retain(|listener| listener.id != self.id);
        if listeners.is_empty() {
            table.listeners.remove(&self.descriptor);
            let _ = inotify::remove_watch(&watcher.inotify, self.descriptor);
        }
    }
}

/// The watcher of this process. `None` if it cannot be made, and in a forked child, which does not have the thread.
fn watcher() -> Option<&'static Watcher> {
    static WATCHER: OnceLock<Option<Watcher>> = OnceLock::new();
    static THREAD: OnceLock<bool> = OnceLock::new();
    let watcher = WATCHER.get_or_init(make).as_ref()?;
    let spawn = || std::thread::Builder::new().name("shm2-watch".into()).spawn(|| listen(watcher)).is_ok();
    (watcher.process == process_id() && *THREAD.get_or_init(spawn)).then_some(watcher)
}

fn make() -> Option<Watcher> {
    let inotify = inotify::init(CreateFlags::CLOEXEC).ok()?;
    Some(Watcher { inotify, process: process_id(), table: Mutex::default() })
}

fn listen(watcher: &'static Watcher) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watcher.inotify, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) => watcher.signal_all(),
            Ok(event) => watcher.signal(event.wd(), event.events(), event.file_name()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return watcher.end(),
        }
    }
}

impl Watcher {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, descriptor: i32, events: inotify::ReadFlags, name: Option<&CStr>) {
        let mut table = self.table();
        let ended = events.contains(inotify::ReadFlags::IGNORED);
        let mut reported = Vec::new();
        for listener in table.listeners.get(&descriptor).into_iter().flatten() {
            listener.alive.fetch_and(!ended, Ordering::Release);
            if ended || listener.flags.bits() & events.bits() != 0 {
                reported.push(listener.report(name.filter(|_| !ended)));
            }
        }
        if ended {
            // The number may be used again for another inode.
            table.listeners.remove(&descriptor);
        }
        drop(table);
        signal(reported);
    }

    fn signal_all(&self) {
        let reported = self.table().listeners.values().flatten().map(|listener| listener.report(None)).collect();
        signal(reported);
    }

    fn end(&self) {
        let end = |listener: &Listener| listener.alive.store(false, Ordering::Release);
        self.table().listeners.values().flatten().for_each(end);
        self.signal_all();
    }
}

/// Signals events without the table's lock: a signal may run code of the program, by a waker.
fn signal(reported: Vec<Arc<Event>>) {
    reported.iter().for_each(|event| event.signal());
}

impl Listener {
    /// Notes what changed. The caller signals the event that this returns.
    fn report(&self, name: Option<&CStr>) -> Arc<Event> {
        if let Some((changed, own)) = &self.changed {
            changed.add(own.as_deref().or_else(|| Some(OsStr::from_bytes(name?.to_bytes()))));
        }
        self.event.clone()
    }
}
