//! Keeps locks and mappings out of forked children: a child that inherited the producer's descriptor would keep its
//! liveness lock alive after its death.
//!
//! Descriptors are close-on-exec; for children that fork without exec, a handler puts a descriptor of `/dev/null` in
//! place of each region descriptor, which gives up the child's share of the locks and keeps the numbers valid for
//! whatever still owns them. Mappings are marked `MADV_DONTFORK` where they are made, so a child's copies of our values
//! own nothing: their destructors ask [`is_same_process`] first.
//!
//! # Safety
//! The handler calls only `dup3`, which is async-signal-safe, on numbers kept in atomics, and changes atomics.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

const MOST: usize = 1024;
static DESCRIPTORS: [AtomicI32; MOST] = [const { AtomicI32::new(-1) }; MOST];
static NULL: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: OnceLock<()> = OnceLock::new();
/// Grows in every forked child.
static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// How many forks lie between the first process and this one.
pub(crate) fn depth() -> usize {
    DEPTH.load(Ordering::Relaxed)
}

/// Whether a value made at `depth` belongs to this process, not to the one that it was forked from.
pub(crate) fn is_same_process(made_at: usize) -> bool {
    made_at == depth()
}

/// Registers a descriptor until the guard is dropped. Beyond 1024 at one time the rest are only close-on-exec.
#[derive(Debug)]
pub(crate) struct Guard(Option<usize>);

pub(crate) fn keep_from_children(fd: &impl AsRawFd) -> Guard {
    INSTALLED.get_or_init(install);
    let raw = fd.as_raw_fd();
    // Relaxed: fork copies the memory as this thread or another left it; a slot is a single word.
    let free = |slot: &AtomicI32| slot.compare_exchange(-1, raw, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    Guard(DESCRIPTORS.iter().position(free))
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(index) = self.0 {
            DESCRIPTORS[index].store(-1, Ordering::Relaxed);
        }
    }
}

fn install() {
    if let Ok(null) = std::fs::File::open("/dev/null") {
        NULL.store(null.into_raw_fd(), Ordering::Relaxed);
        // SAFETY: `in_child` is an `extern "C"` function without arguments and lives for ever.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
}

extern "C" fn in_child() {
    DEPTH.fetch_add(1, Ordering::Relaxed);
    super::sigbus::forget_all();
    let null: RawFd = NULL.load(Ordering::Relaxed);
    for slot in &DESCRIPTORS {
        let fd = slot.load(Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: both are plain numbers; the guards see to it that each is a region's descriptor still.
            unsafe { libc::dup3(null, fd, libc::O_CLOEXEC) };
        }
    }
}
