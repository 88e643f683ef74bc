//! Waiting where no other process can wake: polling, at growing intervals.
//!
//! The first looks follow each other without a pause, the next ones yield the processor, and the later ones are
//! separated by pauses that grow with the time waited so far. So a frame is seen late by a small part of the time
//! between frames, and a region without frames costs about 20 looks a second.

use super::{Event, ProcessEvent, Wake};
use crate::sync::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SPINS: u32 = 200;
const YIELDS: u32 = 20;
const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_millis(5);
/// Longest pause after seconds without news.
const LONGEST_IDLE: Duration = Duration::from_millis(50);
/// A pause is at most the time waited so far divided by `PART`; above `LONGEST`, divided by `IDLE_PART`.
const PART: u32 = 16;
const IDLE_PART: u32 = 128;

fn pause(waited: Duration) -> Duration {
    let longest = (waited / IDLE_PART).clamp(LONGEST, LONGEST_IDLE);
    (waited / PART).clamp(SHORTEST, longest)
}

/// The state of one waiter.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    /// Nanoseconds that the calls before waited without news. The next call continues with the pauses of that time.
    waited_ns: AtomicU64,
}

impl Poll {
    /// Returns when `news` is true, the event's value differs from `seen`, or the time is over.
    pub(crate) fn wait(&self, event: &Event, seen: u32, timeout: Option<Duration>, news: &dyn Fn() -> bool) -> Wake {
        // Relaxed: one thread waits at a time.
        let before = Duration::from_nanos(self.waited_ns.swap(0, Ordering::Relaxed));
        let start = Instant::now();
        for look in if before.is_zero() { 0.. } else { SPINS + YIELDS.. } {
            if news() || event.value() != seen {
                return Wake::Signal;
            }
            if look < SPINS {
                std::hint::spin_loop();
                continue;
            }
            let waited = start.elapsed();
            let left = timeout.map_or(LONGEST_IDLE, |t| t.saturating_sub(waited));
            if left.is_zero() {
                self.waited_ns.store((before + waited).as_nanos() as u64, Ordering::Relaxed);
                return Wake::Timeout;
            }
            if look < SPINS + YIELDS {
                std::thread::yield_now();
            } else {
                event.nap(seen, pause(before + waited).min(left));
            }
        }
        Wake::Signal
    }
}
