//! A named section, as a consumer sees it.

use super::generation_objects::SNAPSHOTS;
use super::kernel_objects::{is_locked, open_event, open_mutex, open_section, set, unlock};
use super::mutex_thread::OwnedMutex;
use super::object_names::ObjectNames;
use super::root_section::RootSection;
use super::watch::Watch;
use crate::backend::{ConsumerRegion, Event, Identity, Mapping, Wake};
use crate::error::AttachError;
use crate::layout;
use crate::mapped::Memory;
use crate::name::Spec;
use crate::sync::AtomicU32;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_INVALID_HANDLE};

/// Interval at which a snapshot consumer looks that has no event to be woken by.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Attempts to lock a mutex. A producer that probes a free mutex has it locked for a moment.
const ATTEMPTS: usize = 4;

/// What a consumer has in the current generation: the mutex that shows that it is alive, and the event that wakes it.
#[derive(Debug)]
struct Slot {
    _liveness: OwnedMutex,
    wake: OwnedHandle,
}

/// A named section that a consumer has opened.
#[derive(Debug)]
pub(crate) struct OpenRegion {
    path: PathBuf,
    names: ObjectNames,
    generation: u64,
    root: RootSection,
    section: OwnedHandle,
    whole: Memory,
    producer: OwnedHandle,
    space: OwnedHandle,
    changed: OwnedHandle,
    slot: Mutex<Option<Arc<Slot>>>,
}

impl OpenRegion {
    pub(super) fn open(spec: &Spec, writable: bool) -> Result<Self, AttachError> {
        let path = spec.path();
        let names = ObjectNames::of(spec);
        let root = RootSection::open(&names).map_err(|e| open_error("open the root section of", path, e))?;
        if !root.is_root() && root.magic() != 0 {
            return Err(AttachError::NotARegion { path: path.into(), magic: root.magic() });
        }
        let absent = || AttachError::NoProducer { path: path.into() };
        let (generation, bytes) = root.current().ok_or_else(absent)?;
        if !(layout::MIN_REGION..=layout::MAX_REGION).contains(&bytes) {
            let expected = layout::MIN_REGION;
            return Err(AttachError::Header { path: path.into(), field: "section size", found: bytes, expected });
        }
        // An object that is missing belonged to a producer that has just ended.
        let of_generation = |what| {
            move |error: io::Error| match open_error(what, path, error) {
                AttachError::NotFound { path } => AttachError::NoProducer { path },
                other => other,
            }
        };
        let section = open_section(&names.data(generation), writable).map_err(of_generation("open the section of"))?;
        let smaller = || AttachError::Header { path: path.into(), field: "section size", found: 0, expected: bytes };
        let length = usize::try_from(bytes).map_err(|_| smaller())?;
        // For a range beyond the section's end the system reports missing rights.
        let mapping = Mapping::of_section(&section, 0, length, false).map_err(|error| match error.raw_os_error() {
            Some(code) if code as u32 == ERROR_ACCESS_DENIED => smaller(),
            _ => of_generation("map")(error),
        })?;
        let producer = open_mutex(&names.producer()).map_err(of_generation("open the mutex of"))?;
        let event = |name: String| open_event(&name).map_err(of_generation("open an event of"));
        let (space, changed) = (event(names.space(generation))?, event(names.changed(generation))?);
        let (path, whole, slot) = (path.into(), Memory::new(mapping), Mutex::default());
        Ok(Self { path, names, generation, root, section, whole, producer, space, changed, slot })
    }

    /// Locks the mutex of a slot. False if another consumer has it.
    fn try_take(&self, [mutex, event]: [String; 2]) -> io::Result<bool> {
        for _ in 0..ATTEMPTS {
            if let Some(liveness) = OwnedMutex::try_lock(&mutex, open_mutex(&mutex)?) {
                *self.slot() = Some(Arc::new(Slot { _liveness: liveness, wake: open_event(&event)? }));
                return Ok(true);
            }
            std::thread::yield_now();
        }
        Ok(false)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Slot>>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerRegion for OpenRegion {
    fn path(&self) -> &Path {
        &self.path
    }

    fn identity(&self) -> Identity {
        Identity::new(0, self.generation)
    }

    fn bytes(&self) -> u64 {
        self.whole.bytes()
    }

    /// A section is committed as a whole.
    fn backed_bytes(&self) -> u64 {
        self.whole.bytes()
    }

    fn producer_lives(&self) -> bool {
        let is_current = self.root.current().is_some_and(|(generation, _)| generation == self.generation);
        is_current && is_locked(&self.producer)
    }

    fn try_claim(&self, index: usize) -> io::Result<bool> {
        self.try_take(self.names.page(self.generation, index))
    }

    fn unclaim(&self, _index: usize) {
        self.slot().take();
    }

    fn show_presence(&self) -> io::Result<bool> {
        for index in 0..SNAPSHOTS {
            if self.try_take(self.names.snapshot(self.generation, index))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn notify_watchers(&self) {
        set(&self.changed);
    }

    fn map(&self, offset: u64, bytes: usize, writable: bool) -> Result<Mapping, AttachError> {
        Mapping::of_section(&self.section, offset, bytes, writable).map_err(|e| open_error("map", &self.path, e))
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn read_exact(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.whole.copy_out(offset, buffer) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn wait(
        &self,
        _word: NonNull<AtomicU32>,
        _expected: u32,
        (event, seen): (&Event, u32),
        timeout: Option<Duration>,
    ) -> Wake {
        if self.root.current().is_none_or(|(generation, _)| generation != self.generation) {
            // The producer's mutex may belong to the next generation's producer.
            return Wake::Gone;
        }
        let slot = self.slot().clone();
        let slice = slot.is_none().then_some(LOOK_EVERY);
        let wakes = slot.as_ref().map(|slot| &slot.wake);
        let objects: Vec<_> = [&self.producer].into_iter().chain(wakes).collect();
        match event.wait_with(seen, &objects, [timeout, slice].into_iter().flatten().min()) {
            Ok(0) => {
                unlock(&self.producer);
                Wake::Gone
            }
            Err(Wake::Timeout) if slice.is_some() => Wake::Signal,
            Ok(_) => Wake::Signal,
            Err(wake) => wake,
        }
    }

    fn wake_producer(&self, _space: &AtomicU32) {
        set(&self.space);
    }

    /// Each wait includes the producer's mutex.
    fn watch(&self, _event: &Arc<Event>) -> Option<Watch> {
        Some(Watch::without_thread())
    }
}

impl Drop for OpenRegion {
    fn drop(&mut self) {
        let slot = self.slot().take();
        if slot.is_some() {
            drop(slot);
            set(&self.changed);
        }
    }
}

fn open_error(what: &'static str, path: &Path, error: io::Error) -> AttachError {
    let path = PathBuf::from(path);
    if error.kind() == io::ErrorKind::InvalidData {
        return AttachError::NotAFile { path, what: "a section of another program" };
    }
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_FILE_NOT_FOUND) => AttachError::NotFound { path },
        Some(ERROR_ACCESS_DENIED) => AttachError::Denied { path },
        Some(ERROR_INVALID_HANDLE) => AttachError::NotAFile { path, what: "the name of another kind of object" },
        _ => AttachError::System { what, path, source: error },
    }
}
