//! Keeps locks and mappings out of forked children. A child that inherited the producer's descriptor would keep the
//! liveness lock after the producer's death.
//!
//! Descriptors are close-on-exec. In a child that does not exec, a fork handler replaces each region descriptor by one
//! of `/dev/null`: this ends the child's share of the locks, and the numbers stay valid for the values that own them.
//! Mappings are marked `MADV_DONTFORK`, so the child does not have them, and destructors in the child ask
//! [`is_same_process`] first.
//!
//! A descriptor is opened and registered, or closed and unregistered, in one *section*, and so is a mapping with its
//! mark. A fork waits until no other thread is in a section, and no thread enters one during a fork. So no child has a
//! descriptor that is open and not registered.
//!
//! # Waiting
//! A section has system calls only: no lock is taken in it, and no code of the caller runs. The thread that forks may
//! be in a section itself (a signal handler forks), which does not count. All waits are bounded: a fork waits for
//! [`FORK_LIMIT`], for example if opening a file blocks, and a section for [`SECTION_LIMIT`], for example if a fork
//! handler of the program waits for a thread that opens a region. Afterwards they continue, and that one child may keep
//! a descriptor. In the child only the calling thread exists, so the handler resets the count there.
//!
//! # Safety
//! The handlers make only system calls that are async-signal-safe, on numbers kept in atomics, and change atomics and a
//! thread-local number without a destructor.

#![expect(unsafe_code, reason = "pthread_atfork and dup3")]

use std::cell::Cell;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Descriptors that can be registered at a time.
const MAX_DESCRIPTORS: usize = 1024;
static DESCRIPTORS: [AtomicI32; MAX_DESCRIPTORS] = [const { AtomicI32::new(-1) }; MAX_DESCRIPTORS];
static NULL: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: OnceLock<()> = OnceLock::new();
/// One more in each forked child than in its parent.
static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// Longest wait of a fork for sections of other threads.
const FORK_LIMIT: Duration = Duration::from_millis(500);
/// Longest wait of a section for forks.
const SECTION_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two looks while waiting: a section takes microseconds, a fork up to milliseconds.
const LOOK_EVERY: Duration = Duration::from_micros(50);
/// Sections that threads are in, plus [`A_FORK`] for each fork under way.
static SECTIONS: AtomicUsize = AtomicUsize::new(0);
const A_FORK: usize = 1 << (usize::BITS / 2);

thread_local! {
    /// Sections that this thread is in.
    static OWN_SECTIONS: Cell<usize> = const { Cell::new(0) };
}

/// No fork happens while it exists, see the head of this file. It ends when dropped.
#[derive(Debug)]
pub(super) struct Section(PhantomData<*const ()>);

impl Section {
    /// Waits for forks of other threads.
    pub(super) fn enter() -> Self {
        INSTALLED.get_or_init(install);
        let is_inner = OWN_SECTIONS.get() > 0;
        OWN_SECTIONS.set(OWN_SECTIONS.get() + 1);
        // SYNC: fork-section. A fork counts itself in the same word.
        let enter = || {
            let next = |sections| (sections < A_FORK).then_some(sections + 1);
            SECTIONS.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next).is_ok()
        };
        if is_inner || !is_so_within(SECTION_LIMIT, enter) {
            SECTIONS.fetch_add(1, Ordering::AcqRel);
        }
        Self(PhantomData)
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        OWN_SECTIONS.set(OWN_SECTIONS.get() - 1);
        // SYNC: fork-section. The next fork sees what was registered and closed.
        SECTIONS.fetch_sub(1, Ordering::Release);
    }
}

fn is_so_within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    if is_so() {
        return true;
    }
    let begun = Instant::now();
    while begun.elapsed() < limit {
        std::thread::sleep(LOOK_EVERY);
        if is_so() {
            return true;
        }
    }
    false
}

/// Number of forks between the process that loaded this library and this one.
pub(super) fn depth() -> usize {
    DEPTH.load(Ordering::Relaxed)
}

/// The same, for a caller that may be the first to ask: forks count from then on.
pub(super) fn counted_depth() -> usize {
    INSTALLED.get_or_init(install);
    depth()
}

/// Whether a value that was made at depth `made_at` belongs to this process, not to a parent.
pub(super) fn is_same_process(made_at: usize) -> bool {
    made_at == depth()
}

/// Registration of a descriptor. When it is dropped, the descriptor is replaced by one of `/dev/null`, which ends this
/// process's share of the locks; its owner closes the number afterwards. At most 1024 are registered at a time; further
/// ones are only close-on-exec.
#[derive(Debug)]
pub(super) struct Guard(Option<(usize, RawFd)>);

/// Registers a region's descriptor, so that forked children do not keep it. It was opened in `section`, which ends
/// here.
pub(super) fn keep_from_children(fd: &impl AsRawFd, section: Section) -> Guard {
    let raw = fd.as_raw_fd();
    // Relaxed: a slot is a single word, and a fork comes before or after the section.
    let free = |slot: &AtomicI32| slot.compare_exchange(-1, raw, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    let guard = Guard(DESCRIPTORS.iter().position(free).map(|index| (index, raw)));
    drop(section);
    guard
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((index, raw)) = self.0 {
            let _section = Section::enter();
            replace(raw);
            DESCRIPTORS[index].store(-1, Ordering::Relaxed);
        }
    }
}

fn install() {
    if let Ok(null) = std::fs::File::open("/dev/null") {
        NULL.store(null.into_raw_fd(), Ordering::Relaxed);
        // SAFETY: all are `extern "C"` functions without arguments.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
    }
}

extern "C" fn before_fork() {
    SECTIONS.fetch_add(A_FORK, Ordering::AcqRel);
    let own = OWN_SECTIONS.get();
    // SYNC: fork-section.
    is_so_within(FORK_LIMIT, || SECTIONS.load(Ordering::Acquire) % A_FORK <= own);
}

extern "C" fn after_fork() {
    // Below one fork, the handlers were installed during this very fork.
    let next = |sections: usize| sections.checked_sub(A_FORK);
    let _ = SECTIONS.fetch_update(Ordering::Release, Ordering::Relaxed, next);
}

extern "C" fn in_child() {
    SECTIONS.store(OWN_SECTIONS.get(), Ordering::Relaxed);
    DEPTH.fetch_add(1, Ordering::Relaxed);
    super::sigbus::forget_all();
    for slot in &DESCRIPTORS {
        let fd = slot.load(Ordering::Relaxed);
        if fd >= 0 {
            replace(fd);
        }
    }
}

/// Makes the number of a registered descriptor lead to `/dev/null`.
fn replace(fd: RawFd) {
    let null = NULL.load(Ordering::Relaxed);
    // SAFETY: both are plain numbers. A guard is dropped before the owner of its descriptor, so `fd` is still a
    // region's. Without `/dev/null` the call fails and changes nothing.
    unsafe { libc::dup3(null, fd, libc::O_CLOEXEC) };
}
