//! Waiting where nothing wakes: look, ever less often.
//!
//! At first without a pause, then giving way, then with pauses that grow with the time that was waited in vain. So a
//! frame is seen late by a small part of the time between frames, and a region that is quiet for seconds costs some 20
//! looks a second.

use super::{Event, ProcessEvent, Wake};
use crate::sync::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SPINS: u32 = 200;
const YIELDS: u32 = 20;
const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_millis(5);
/// After some seconds in which nothing came.
const QUIET: Duration = Duration::from_millis(50);
/// A pause is at most this part of the time waited, and beyond `LONGEST` this one.
const PART: u32 = 16;
const QUIET_PART: u32 = 128;

fn pause(waited: Duration) -> Duration {
    let longest = (waited / QUIET_PART).clamp(LONGEST, QUIET);
    (waited / PART).clamp(SHORTEST, longest)
}

/// One who waits.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    /// Nanoseconds waited in vain before the present call, which goes on from there.
    waited_ns: AtomicU64,
}

impl Poll {
    /// Until there is news, the event's value differs from `seen`, or the time is over.
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
            let left = timeout.map_or(QUIET, |t| t.saturating_sub(waited));
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
