//! Waiting where no other process can wake: polling, at the intervals of [`Cadence`].
//!
//! In a regular stream one pause lasts until shortly before the next item, and some looks at short intervals follow.
//! Otherwise the first looks follow each other without a pause, the next ones yield the processor, and the later ones
//! are separated by pauses that grow with the time waited so far. A region without items costs about 20 looks a second.

use super::cadence::{Cadence, LONGEST_IDLE, Published};
use super::{Event, ProcessEvent, Wake, monotonic_ns};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SPINS: u32 = 200;
const YIELDS: u32 = 20;

/// The state of one waiter.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    /// Locked by one thread at a time: one waits.
    cadence: Mutex<Cadence>,
}

impl Poll {
    /// Returns when `news` is true, the event's value differs from `seen`, or the time is over. `last` is the last item
    /// that the caller took.
    pub(crate) fn wait(
        &self,
        event: &Event,
        seen: u32,
        timeout: Option<Duration>,
        last: Option<Published>,
        news: &dyn Fn() -> bool,
    ) -> Wake {
        let mut cadence = self.cadence.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        for look in if cadence.begin(monotonic_ns(), last) { 0.. } else { SPINS + YIELDS.. } {
            if news() {
                cadence.news(monotonic_ns());
                return Wake::Signal;
            }
            if event.value() != seen {
                return Wake::Signal;
            }
            if look < SPINS {
                std::hint::spin_loop();
                continue;
            }
            let left = timeout.map_or(LONGEST_IDLE, |t| t.saturating_sub(start.elapsed()));
            if left.is_zero() {
                return Wake::Timeout;
            }
            if look < SPINS + YIELDS {
                std::thread::yield_now();
            } else {
                event.nap(seen, cadence.pause(monotonic_ns()).min(left));
            }
        }
        Wake::Signal
    }
}
