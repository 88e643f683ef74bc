//! The platform for Miri, which supports neither shared files nor their locks: regions on the heap of one process. What
//! the contract promises between processes holds between the values of this process.
//!
//! # Safety
//! A region's memory is one allocation, freed with its last user. Every address that is returned is inside it.

#![expect(unsafe_code, reason = "an allocation with several users")]

use super::{
    AwaitProducer, ChangeWatch, ConsumerRegion, Forward, Identity, Keep, MappedBytes, Platform, ProcessEvent,
    ProducerRegion, Wake,
};
use crate::error::{AttachError, CreateError};
use crate::layout;
use crate::mapped::Memory;
use crate::name::Spec;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct File {
    base: NonNull<u8>,
    bytes: usize,
    number: u64,
    locks: Mutex<Locks>,
}

#[derive(Debug, Default)]
struct Locks {
    producer: bool,
    snapshots: usize,
    pages: u64,
}

// SAFETY: an address and a length; all access goes through `crate::mapped`, which uses atomics and copies.
unsafe impl Send for File {}
// SAFETY: as above.
unsafe impl Sync for File {}

static FILES: Mutex<Option<HashMap<PathBuf, Arc<File>>>> = Mutex::new(None);
static SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
static NUMBER: AtomicU64 = AtomicU64::new(1);

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_files<R>(f: impl FnOnce(&mut HashMap<PathBuf, Arc<File>>) -> R) -> R {
    f(guard(&FILES).get_or_insert_default())
}

fn layout_of(bytes: usize) -> Layout {
    // A region's size, rounded up to the alignment, does not overflow, so the fallback is never used.
    Layout::from_size_align(bytes, 4096).unwrap_or(Layout::new::<u64>())
}

impl File {
    fn new(bytes: u64) -> Arc<Self> {
        // SAFETY: the size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout_of(bytes as usize)) });
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = base.unwrap_or_else(|| std::process::abort());
        Arc::new(Self { base, bytes: bytes as usize, number, locks: Mutex::default() })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.base.as_ptr(), layout_of(self.bytes)) };
    }
}

/// A view of a region.
#[derive(Debug)]
pub(crate) struct Mapping {
    file: Arc<File>,
    offset: usize,
    bytes: usize,
}

impl MappedBytes for Mapping {
    fn is_broken(&self) -> bool {
        false
    }

    fn base(&self) -> NonNull<u8> {
        // SAFETY: every mapping is inside its file.
        unsafe { self.file.base.add(self.offset) }
    }

    fn len(&self) -> usize {
        self.bytes
    }
}

/// A region that this process produces.
pub(crate) struct OwnedRegion {
    file: Arc<File>,
    path: PathBuf,
    keep: bool,
}

impl OwnedRegion {
    fn create<T>(
        spec: &Spec,
        bytes: u64,
        keep: bool,
        begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self, T), CreateError> {
        let path = spec.path();
        let old = with_files(|files| files.get(path).cloned());
        if old.as_ref().is_some_and(|file| guard(&file.locks).producer) {
            return Err(CreateError::Busy { path: path.into() });
        }
        let file = old.filter(|_| keep).unwrap_or_else(|| File::new(bytes));
        guard(&file.locks).producer = true;
        let mapping = Mapping { bytes: file.bytes, offset: 0, file: file.clone() };
        let begun = begin(mapping, &|_| {})?;
        with_files(|files| files.insert(path.into(), file.clone()));
        Ok((Self { file, path: path.into(), keep }, begun))
    }
}

impl ProducerRegion for OwnedRegion {
    fn path(&self) -> &Path {
        &self.path
    }

    fn try_lock_page(&self, index: usize) -> bool {
        let mut locks = guard(&self.file.locks);
        let free = locks.pages & (1 << index) == 0;
        locks.pages |= 1 << index;
        free
    }

    fn unlock_page(&self, index: usize) {
        guard(&self.file.locks).pages &= !(1 << index);
    }

    fn has_snapshots(&self) -> bool {
        guard(&self.file.locks).snapshots > 0
    }

    fn notify_watchers(&self) {
        wake_all();
    }

    fn remove_name(&self) -> bool {
        with_files(|files| {
            if !self.keep && files.get(&self.path).is_some_and(|file| Arc::ptr_eq(file, &self.file)) {
                files.remove(&self.path);
            }
        });
        !self.keep
    }

    fn end_generation(&self) {
        guard(&self.file.locks).producer = false;
    }

    fn wake(&self, _word: &AtomicU32, _pages: u64) {
        wake_all();
    }

    fn wait_for_space(&self, words: &[(&AtomicU32, u32)], timeout: Duration) {
        sleep(Some(timeout), || words.iter().all(|(word, expected)| word.load(Ordering::Relaxed) == *expected));
    }

    fn watch(&self, _event: &Arc<Event>) -> Option<Watch> {
        None
    }
}

/// A region opened by a consumer.
#[derive(Debug)]
pub(crate) struct OpenRegion {
    file: Arc<File>,
    path: PathBuf,
    shows_presence: AtomicU64,
}

impl OpenRegion {
    fn open(spec: &Spec) -> Result<Self, AttachError> {
        let path = spec.path();
        let file = with_files(|files| files.get(path).cloned());
        let file = file.ok_or_else(|| AttachError::NotFound { path: path.into() })?;
        Ok(Self { file, path: path.into(), shows_presence: AtomicU64::new(0) })
    }
}

impl ConsumerRegion for OpenRegion {
    fn path(&self) -> &Path {
        &self.path
    }

    fn identity(&self) -> Identity {
        Identity::new(0, self.file.number)
    }

    fn bytes(&self) -> u64 {
        self.file.bytes as u64
    }

    fn backed_bytes(&self) -> u64 {
        self.file.bytes as u64
    }

    fn producer_lives(&self) -> bool {
        guard(&self.file.locks).producer
    }

    fn try_claim(&self, index: usize) -> io::Result<bool> {
        let mut locks = guard(&self.file.locks);
        let free = locks.pages & (1 << index) == 0;
        locks.pages |= 1 << index;
        Ok(free)
    }

    fn unclaim(&self, index: usize) {
        guard(&self.file.locks).pages &= !(1 << index);
    }

    fn show_presence(&self) -> io::Result<bool> {
        guard(&self.file.locks).snapshots += 1;
        self.shows_presence.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    fn notify_watchers(&self) {
        wake_all();
    }

    fn map(&self, offset: u64, bytes: usize, _writable: bool) -> Result<Mapping, AttachError> {
        assert!(offset as usize + bytes <= self.file.bytes);
        Ok(Mapping { file: self.file.clone(), offset: offset as usize, bytes })
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn wait(
        &self,
        word: NonNull<AtomicU32>,
        expected: u32,
        (event, seen): (&Event, u32),
        timeout: Option<Duration>,
    ) -> Wake {
        // SAFETY: the caller's mapping keeps the word alive.
        let word = unsafe { word.as_ref() };
        sleep(timeout, || word.load(Ordering::Relaxed) == expected && event.value() == seen)
    }

    fn wake_producer(&self, _space: &AtomicU32) {
        wake_all();
    }

    fn watch(&self, _event: &Arc<Event>) -> Option<Watch> {
        None
    }

    fn read_exact(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset as usize + buffer.len() > self.file.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: inside the allocation, as checked above.
        unsafe {
            let from = self.file.base.add(offset as usize).as_ptr();
            std::ptr::copy_nonoverlapping(from, buffer.as_mut_ptr(), buffer.len());
        }
        Ok(())
    }
}

impl Drop for OpenRegion {
    fn drop(&mut self) {
        guard(&self.file.locks).snapshots -= self.shows_presence.load(Ordering::Relaxed) as usize;
    }
}

/// A word for which threads wait on the common condition variable.
#[derive(Debug, Default)]
pub(crate) struct Event {
    word: AtomicU32,
    forward: Forward,
}

impl ProcessEvent for Event {
    fn forward(&self) -> &Forward {
        &self.forward
    }

    fn value(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    fn signal(&self) {
        self.word.fetch_add(1, Ordering::Release);
        wake_all();
        self.forward.notify();
    }

    fn nap(&self, seen: u32, time: Duration) {
        self.wait(seen, Some(time));
    }

    fn wait(&self, seen: u32, timeout: Option<Duration>) -> Wake {
        sleep(timeout, || self.value() == seen)
    }
}

fn wake_all() {
    drop(guard(&SLEEPERS.0));
    SLEEPERS.1.notify_all();
}

/// All threads sleep on one condition variable, and look every few milliseconds as well.
fn sleep(timeout: Option<Duration>, still: impl Fn() -> bool) -> Wake {
    let guard = guard(&SLEEPERS.0);
    if !still() {
        return Wake::Signal;
    }
    let slice = Duration::from_millis(5);
    let time = timeout.map_or(slice, |t| t.min(slice));
    drop(SLEEPERS.1.wait_timeout(guard, time));
    if timeout == Some(time) { Wake::Timeout } else { Wake::Signal }
}

/// Never made: peers look at intervals.
#[derive(Debug)]
pub(crate) struct Watch;

impl ChangeWatch for Watch {
    fn is_alive(&self) -> bool {
        false
    }
}

/// Looks every few milliseconds.
#[derive(Default)]
pub(crate) struct ProducerWatch;

impl AwaitProducer for ProducerWatch {
    fn arm(&mut self, _spec: &Spec, _event: &Arc<Event>) -> bool {
        false
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(5)
    }

    fn wait(&self, event: &Event, seen: u32, timeout: Option<Duration>) {
        event.wait(seen, Some(timeout.unwrap_or(Duration::MAX).min(self.interval())));
    }
}

/// This platform.
pub(crate) struct Heap;

impl Platform for Heap {
    type Mapping = Mapping;
    type Event = Event;
    type Watch = Watch;
    type ProducerWatch = ProducerWatch;
    type OwnedRegion = OwnedRegion;
    type OpenRegion = OpenRegion;

    fn create_region<T>(
        spec: &Spec,
        bytes: u64,
        _perms: u32,
        keep: Keep,
        begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(OwnedRegion, T), CreateError> {
        OwnedRegion::create(spec, bytes, keep.is_set(), begin)
    }

    fn open_region(spec: &Spec, _writable: bool) -> Result<OpenRegion, AttachError> {
        OpenRegion::open(spec)
    }

    fn monotonic_ns() -> u64 {
        static START: Mutex<Option<Instant>> = Mutex::new(None);
        guard(&START).get_or_insert_with(Instant::now).elapsed().as_nanos() as u64 + layout::GRANULE
    }

    fn clock_name() -> u64 {
        1
    }

    fn realtime_ns() -> u64 {
        Self::monotonic_ns()
    }

    fn random_nonzero() -> u64 {
        NUMBER.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).max(1)
    }

    fn process_id() -> u32 {
        1
    }
}
