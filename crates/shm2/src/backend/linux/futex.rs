//! Sleeping on words, and waking the threads that sleep.
//!
//! A consumer sleeps on two words at once (`futex_waitv`, Linux 5.16): the region's wake word, and an [`Event`] of its
//! own process, which is signalled when the wait is cancelled or the region file changes. On older kernels the consumer
//! sleeps on the wake word alone and looks every 50 ms.
//!
//! # Safety
//! A futex call takes an address as a name; the kernel answers a bad one with an error. `wait_any` never reads the word
//! itself, so a snapshot consumer may pass the address of a page whose file was truncated.

#![expect(unsafe_code, reason = "a futex word may be in a page that is gone")]

use crate::backend::{ProcessEvent, Wake};
use crate::sync::{AtomicU32, Ordering};
use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::{ClockId, clock_gettime};
use std::ptr::NonNull;
use std::time::Duration;

/// Longest sleep on the wake word alone.
const SLICE: Duration = Duration::from_millis(50);

/// A private futex word.
#[derive(Debug, Default)]
pub(crate) struct Event {
    word: AtomicU32,
}

impl ProcessEvent for Event {
    fn value(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    fn signal(&self) {
        self.word.fetch_add(1, Ordering::Release);
        let _ = futex::wake(&self.word, Flags::PRIVATE, i32::MAX as u32);
    }

    fn nap(&self, seen: u32, time: Duration) {
        self.wait(seen, Some(time));
    }

    fn wait(&self, seen: u32, timeout: Option<Duration>) -> Wake {
        outcome(futex::wait(&self.word, Flags::PRIVATE, seen, timespec(timeout).as_ref()).map(|()| 0))
    }
}

/// Sleeps until the shared word differs from `expected` or `event` from `seen`.
pub(super) fn wait_any(
    word: NonNull<AtomicU32>,
    expected: u32,
    event: &Event,
    seen: u32,
    timeout: Option<Duration>,
) -> Wake {
    let waiters = [
        waiter(word.as_ptr(), expected, WaitFlags::SIZE_U32),
        waiter(std::ptr::from_ref(&event.word).cast_mut(), seen, WaitFlags::SIZE_U32 | WaitFlags::PRIVATE),
    ];
    match futex::waitv(&waiters, WaitvFlags::empty(), deadline(timeout).as_ref(), ClockId::Monotonic) {
        Err(Errno::NOSYS | Errno::PERM) => wait_one(word, expected, timeout),
        other => outcome(other),
    }
}

/// Sleeps until one of the first 64 shared words differs from its expected value. Without `futex_waitv` it sleeps on
/// the first word alone.
pub(super) fn wait_shared(words: &[(&AtomicU32, u32)], timeout: Duration) -> Wake {
    let waiters: Vec<_> = words
        .iter()
        .take(64)
        .map(|(word, expected)| waiter(std::ptr::from_ref(*word).cast_mut(), *expected, WaitFlags::SIZE_U32))
        .collect();
    match (futex::waitv(&waiters, WaitvFlags::empty(), deadline(Some(timeout)).as_ref(), ClockId::Monotonic), words) {
        (Err(Errno::NOSYS | Errno::PERM), [(word, expected), ..]) => wait_word(word, *expected, timeout),
        (Err(Errno::INVAL), []) => Wake::Timeout,
        (other, _) => outcome(other),
    }
}

fn wait_word(word: &AtomicU32, expected: u32, timeout: Duration) -> Wake {
    outcome(futex::wait(word, Flags::empty(), expected, timespec(Some(timeout)).as_ref()).map(|()| 0))
}

/// Wakes all threads, of every process, that sleep on a shared word.
pub(super) fn wake_shared(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::empty(), i32::MAX as u32);
}

fn wait_one(word: NonNull<AtomicU32>, expected: u32, timeout: Option<Duration>) -> Wake {
    let slice = timeout.map_or(SLICE, |t| t.min(SLICE));
    // SAFETY: the reference is passed to the kernel as an address, and no code here reads the word.
    let word = unsafe { word.as_ref() };
    match wait_word(word, expected, slice) {
        Wake::Timeout if slice == SLICE => Wake::Signal,
        other => other,
    }
}

fn waiter(word: *mut AtomicU32, expected: u32, flags: WaitFlags) -> Wait {
    let mut wait = Wait::new();
    wait.val = u64::from(expected);
    wait.uaddr = WaitPtr::new(word.cast());
    wait.flags = flags;
    wait
}

fn outcome(result: Result<usize, Errno>) -> Wake {
    match result {
        Err(Errno::TIMEDOUT) => Wake::Timeout,
        Err(Errno::FAULT) => Wake::Fault,
        _ => Wake::Signal,
    }
}

fn timespec(timeout: Option<Duration>) -> Option<Timespec> {
    timeout.and_then(|t| Timespec::try_from(t).ok())
}

fn deadline(timeout: Option<Duration>) -> Option<Timespec> {
    let t = timespec(timeout)?;
    let now = clock_gettime(ClockId::Monotonic);
    let nanoseconds = now.tv_nsec + t.tv_nsec;
    Some(Timespec {
        tv_sec: now.tv_sec.saturating_add(t.tv_sec).saturating_add(nanoseconds / 1_000_000_000),
        tv_nsec: nanoseconds % 1_000_000_000,
    })
}
