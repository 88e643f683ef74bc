//! Objects that a forked child inherited.
//!
//! The crate `shm2` keeps its mappings out of forked children, so a view of a frame that a child inherited would point to
//! no memory. A fork handler maps zero pages at the addresses of all memory that is exported to views: a child reads
//! zeros there, and each method of an object that was made before the fork raises `ForkedError`.
//!
//! # Safety
//! The handler makes one system call that is async-signal-safe, on numbers kept in atomics. Only leased frames and
//! reservations are registered. Their pages belong to mappings that are marked `MADV_DONTFORK`, so nothing is mapped
//! there in a new child. A range is registered while its mapping exists.

#![expect(unsafe_code, reason = "pthread_atfork and mmap")]

use crate::error::Class;
use pyo3::PyResult;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Ranges that can be registered at a time: 64 consumers that hold 64 frames each.
const MAX_RANGES: usize = 4096;

struct Slot {
    /// First address; 0 for a free slot, 1 while it is being filled.
    start: AtomicUsize,
    bytes: AtomicUsize,
    is_writable: AtomicBool,
}

static SLOTS: [Slot; MAX_RANGES] =
    [const { Slot { start: AtomicUsize::new(0), bytes: AtomicUsize::new(0), is_writable: AtomicBool::new(false) } };
        MAX_RANGES];
/// Slots from this index on have never been used.
static USED: AtomicUsize = AtomicUsize::new(0);
static PAGE: AtomicUsize = AtomicUsize::new(4096);
/// One more in each forked child than in its parent.
static DEPTH: AtomicUsize = AtomicUsize::new(0);
static INSTALLED: OnceLock<()> = OnceLock::new();

/// The process in which an object was made.
#[derive(Debug, Clone, Copy)]
pub struct Origin(usize);

impl Origin {
    /// This process.
    pub fn here() -> Self {
        INSTALLED.get_or_init(install);
        Self(DEPTH.load(Ordering::Relaxed))
    }

    /// False in a forked child.
    pub fn is_here(self) -> bool {
        self.0 == DEPTH.load(Ordering::Relaxed)
    }

    /// Fails in a forked child. `what` names the object.
    pub fn check(self, what: &str) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        let remedy = "make a new one in the child, or start workers by \"forkserver\" or \"spawn\"";
        Err(Class::Forked
            .error(format!("this {what} was made before os.fork() and is not usable in the child: {remedy}")))
    }
}

/// A range that a forked child replaces by zero pages, until this is dropped.
#[derive(Debug)]
pub struct Guard(usize);

impl Guard {
    /// Registers `bytes` from `start` on; `None` when too many are registered.
    ///
    /// The range must be inside a mapping that forked children do not inherit, and that exists as long as this value.
    pub fn new(start: *const u8, bytes: usize, is_writable: bool) -> Option<Self> {
        let free = |slot: &Slot| slot.start.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let index = SLOTS.iter().position(free)?;
        SLOTS[index].bytes.store(bytes, Ordering::Relaxed);
        SLOTS[index].is_writable.store(is_writable, Ordering::Relaxed);
        SLOTS[index].start.store(start as usize, Ordering::Release);
        USED.fetch_max(index + 1, Ordering::Release);
        Some(Self(index))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SLOTS[self.0].start.store(0, Ordering::Release);
    }
}

fn install() {
    // SAFETY: reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    PAGE.store(usize::try_from(page).unwrap_or(4096), Ordering::Relaxed);
    // SAFETY: an `extern "C"` function without arguments.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

extern "C" fn in_child() {
    DEPTH.fetch_add(1, Ordering::Relaxed);
    for slot in &SLOTS[..USED.load(Ordering::Acquire)] {
        let start = slot.start.load(Ordering::Acquire);
        if start > 1 {
            map_zeros(start, slot.bytes.load(Ordering::Relaxed), slot.is_writable.load(Ordering::Relaxed));
        }
    }
}

/// Maps private zero pages over all pages that have bytes of the range.
fn map_zeros(start: usize, bytes: usize, is_writable: bool) {
    let page = PAGE.load(Ordering::Relaxed);
    let first = start & !(page - 1);
    let length = (start + bytes).next_multiple_of(page) - first;
    let access = if is_writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: the pages are of a mapping that this child did not inherit, so nothing else is there; see the head of this
    // file. Failure leaves them unmapped.
    unsafe { libc::mmap(first as *mut _, length.max(page), access, flags, -1, 0) };
}
