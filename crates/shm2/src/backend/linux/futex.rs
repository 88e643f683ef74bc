//! Sleeping on words, and waking the threads that sleep.
//!
//! A consumer sleeps on two words at once (`futex_waitv`, Linux 5.16): the region's wake word, and an [`Event`] of its
//! own process, which is signalled when the wait is cancelled or the region file changes. Where that call cannot be had,
//! on older kernels and in sandboxes that deny it, the consumer sleeps on the wake word alone and looks every 50 ms.
//! Where no futex call can be had at all, it looks every millisecond.
//!
//! # Safety
//! A futex call takes an address as a name; the kernel answers a bad one with an error. `wait_any` never reads the word
//! itself, so a snapshot consumer may pass the address of a page whose file was truncated.

#![expect(unsafe_code, reason = "a futex word may be in a page that is gone")]

use crate::backend::{Forward, LOOK_AT_WORDS, ProcessEvent, Wake};
use crate::sync::{AtomicU32, Ordering};
use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::{ClockId, clock_gettime};
use std::ptr::NonNull;
use std::time::Duration;

/// Longest sleep on the wake word alone.
const SLICE: Duration = Duration::from_millis(50);
/// Sleep without any futex call.
const NAP: Duration = Duration::from_millis(1);

/// A private futex word.
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
        let _ = futex::wake(&self.word, Flags::PRIVATE, i32::MAX as u32);
        self.forward.notify();
    }

    fn nap(&self, seen: u32, time: Duration) {
        self.wait(seen, Some(time));
    }

    fn wait(&self, seen: u32, timeout: Option<Duration>) -> Wake {
        wait_word(&self.word, seen, Flags::PRIVATE, timeout)
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
    let result = futex::waitv(&waiters, WaitvFlags::empty(), deadline(timeout).as_ref(), ClockId::Monotonic);
    outcome(result).unwrap_or_else(|| wait_one(word, expected, timeout))
}

/// See [`Platform::wait_many`](crate::backend::Platform::wait_many). Without `futex_waitv` the sleep is short.
pub(super) fn wait_many(
    words: &[(NonNull<AtomicU32>, u32)],
    event: &Event,
    seen: u32,
    timeout: Option<Duration>,
) -> Option<usize> {
    if words.is_empty() {
        event.wait(seen, timeout);
        return None;
    }
    let own = waiter(std::ptr::from_ref(&event.word).cast_mut(), seen, WaitFlags::SIZE_U32 | WaitFlags::PRIVATE);
    let shared = words.iter().map(|(word, expected)| waiter(word.as_ptr(), *expected, WaitFlags::SIZE_U32));
    let waiters: Vec<_> = shared.chain([own]).collect();
    match futex::waitv(&waiters, WaitvFlags::empty(), deadline(timeout).as_ref(), ClockId::Monotonic) {
        Ok(index) => Some(index).filter(|index| *index < words.len()),
        Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => None,
        // Also for a word whose page is gone: the caller may not find which one it is.
        Err(_) => {
            event.wait(seen, Some(timeout.unwrap_or(LOOK_AT_WORDS).min(LOOK_AT_WORDS)));
            None
        }
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
    let [(word, expected), ..] = words else { return nap(Some(timeout)) };
    let result = futex::waitv(&waiters, WaitvFlags::empty(), deadline(Some(timeout)).as_ref(), ClockId::Monotonic);
    outcome(result).unwrap_or_else(|| wait_word(word, *expected, Flags::empty(), Some(timeout)))
}

fn wait_word(word: &AtomicU32, expected: u32, flags: Flags, timeout: Option<Duration>) -> Wake {
    let result = futex::wait(word, flags, expected, timespec(timeout).as_ref()).map(|()| 0);
    outcome(result).unwrap_or_else(|| nap(timeout))
}

fn nap(timeout: Option<Duration>) -> Wake {
    std::thread::sleep(timeout.map_or(NAP, |t| t.min(NAP)));
    if timeout.is_some_and(|t| t <= NAP) { Wake::Timeout } else { Wake::Signal }
}

/// Wakes all threads, of every process, that sleep on a shared word.
pub(super) fn wake_shared(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::empty(), i32::MAX as u32);
}

fn wait_one(word: NonNull<AtomicU32>, expected: u32, timeout: Option<Duration>) -> Wake {
    let slice = timeout.map_or(SLICE, |t| t.min(SLICE));
    // SAFETY: the reference is passed to the kernel as an address, and no code here reads the word.
    let word = unsafe { word.as_ref() };
    match wait_word(word, expected, Flags::empty(), Some(slice)) {
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

/// `None` if the call is not to be had here, for whatever reason: it did not sleep, and would not sleep the next time.
fn outcome(result: Result<usize, Errno>) -> Option<Wake> {
    match result {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Some(Wake::Signal),
        Err(Errno::TIMEDOUT) => Some(Wake::Timeout),
        Err(Errno::FAULT) => Some(Wake::Fault),
        Err(_) => None,
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
