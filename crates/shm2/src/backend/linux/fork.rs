//! Keeps locks and mappings out of forked children. A child that inherited the producer's descriptor would keep the
//! liveness lock after the producer's death.
//!
//! Descriptors are close-on-exec. In a child that does not exec, a fork handler replaces each region descriptor by one
//! of `/dev/null`: this ends the child's share of the locks, and the numbers stay valid for the values that own them.
//! Mappings are marked `MADV_DONTFORK`, so the child does not have them, and destructors in the child ask
//! [`is_same_process`] first.
//!
//! # Safety
//! The handler calls only `dup3`, which is async-signal-safe, on numbers kept in atomics, and changes atomics.

#![expect(unsafe_code, reason = "pthread_atfork and dup3")]

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// Descriptors that can be registered at a time.
const MAX_DESCRIPTORS: usize = 1024;
static DESCRIPTORS: [AtomicI32; MAX_DESCRIPTORS] = [const { AtomicI32::new(-1) }; MAX_DESCRIPTORS];
static NULL: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: OnceLock<()> = OnceLock::new();
/// One more in each forked child than in its parent.
static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// Number of forks between the process that loaded this library and this one.
pub(super) fn depth() -> usize {
    DEPTH.load(Ordering::Relaxed)
}

/// Whether a value that was made at depth `made_at` belongs to this process, not to a parent.
pub(super) fn is_same_process(made_at: usize) -> bool {
    made_at == depth()
}

/// Registration of a descriptor, ended when dropped. At most 1024 are registered at a time; further ones are only
/// close-on-exec.
#[derive(Debug)]
pub(super) struct Guard(Option<usize>);

/// Registers a region's descriptor, so that forked children do not keep it.
pub(super) fn keep_from_children(fd: &impl AsRawFd) -> Guard {
    INSTALLED.get_or_init(install);
    let raw = fd.as_raw_fd();
    // Relaxed: a slot is a single word, and the child sees the memory as it was at the fork.
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
        // SAFETY: `in_child` is an `extern "C"` function without arguments.
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
            // SAFETY: both are plain numbers. The guard of a descriptor is dropped before it, so `fd` is still a
            // region's.
            unsafe { libc::dup3(null, fd, libc::O_CLOEXEC) };
        }
    }
}
