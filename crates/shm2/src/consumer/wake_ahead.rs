//! Waking ahead of time: a consumer of a stream with a rhythm sleeps until shortly before the next item is due, and then
//! looks without sleeping, for a bounded time. So it takes the item without the delay of a wake-up, and the producer
//! makes no system call for it.
//!
//! When to wake and for how long to look is decided by the [`Cadence`], which also limits all looking to a share of the
//! time that passes. Without a rhythm, and after a look that found nothing, the consumer sleeps as it does without this
//! setting. The sleep before the look is such a sleep, too, so an item that comes early wakes the consumer.

use super::position::Position;
use super::reader::Reader;
use crate::backend::{self, Cadence, Event, ProcessEvent, Wake};
use std::time::{Duration, Instant};

/// Looks without sleeping before the clock is read again.
const LOOKS: u32 = 8;

/// Time between two readings of the clock, and time from the end of a look to the end of the sleep before it, after which
/// the processor was another program's, in nanoseconds.
const INTERRUPTED: u64 = 1_000_000;

/// How a look ended.
struct Look {
    is_found: bool,
    was_interrupted: bool,
    end: u64,
}

/// Waits of one attachment, ahead of time.
#[derive(Debug)]
pub(super) struct WakeAhead {
    cadence: Cadence,
    has_other_clock: bool,
    counts: Counts,
}

/// What the looks of an attachment found, and cost.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    /// Looks that found an item.
    pub(super) found: u64,
    /// Looks that ended without one.
    pub(super) missed: u64,
    pub(super) looked_ns: u64,
}

/// Where and until when one call waits.
pub(super) struct Wait<'a> {
    pub(super) reader: &'a dyn Reader,
    pub(super) position: &'a Position,
    pub(super) event: &'a Event,
    /// The event's value before the caller looked.
    pub(super) seen: u32,
    pub(super) timeout: Duration,
}

impl Wait<'_> {
    /// Looks without sleeping, until there is an item to take or an end of the region to report, until the time `end` of
    /// the monotonic clock, or until the event changes.
    fn look(&self, begin: u64, end: u64) -> Look {
        let (mut last, mut longest) = (begin, 0);
        loop {
            let is_found = (0..LOOKS).any(|_| {
                std::hint::spin_loop();
                self.reader.has_news(self.position)
            });
            let now = backend::monotonic_ns();
            longest = longest.max(now.saturating_sub(last));
            last = now;
            if is_found || now >= end || self.event.value() != self.seen {
                return Look { is_found, was_interrupted: longest > INTERRUPTED, end: now };
            }
        }
    }
}

impl WakeAhead {
    /// `None` with one processor: the producer cannot publish while a consumer looks.
    pub(super) fn new(has_other_clock: bool) -> Option<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        (processors > 1).then(|| Self { cadence: Cadence::default(), has_other_clock, counts: Counts::default() })
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Waits until there may be an item, the event differs from its value, or the time is over.
    pub(super) fn wait(&mut self, wait: &Wait<'_>) -> Wake {
        let begun = Instant::now();
        if let Some(last) = wait.reader.last() {
            self.cadence.observe(last);
        }
        let wake = self.wait_ahead(wait, begun).unwrap_or_else(|| {
            let left = wait.timeout.saturating_sub(begun.elapsed());
            wait.reader.wait(wait.position, wait.event, wait.seen, Some(left))
        });
        if wake == Wake::Signal && self.has_other_clock {
            self.cadence.news(backend::monotonic_ns());
        }
        wake
    }

    /// The sleep before the look, and the look. `None` if a plain sleep is to follow.
    fn wait_ahead(&mut self, wait: &Wait<'_>, begun: Instant) -> Option<Wake> {
        let now = backend::monotonic_ns();
        let window = self.cadence.window(now, self.has_other_clock)?;
        if let Some(ahead) = window.wake.checked_sub(now).filter(|ahead| *ahead > 0) {
            let ahead = Duration::from_nanos(ahead);
            let is_whole = ahead < wait.timeout;
            let wake = wait.reader.wait(wait.position, wait.event, wait.seen, Some(ahead.min(wait.timeout)));
            let now = backend::monotonic_ns();
            self.cadence.slept(window.wake, now);
            if is_whole && now > window.end.saturating_add(INTERRUPTED) {
                self.cadence.looked(now, 0, true);
            }
            if wake != Wake::Timeout || !is_whole {
                return Some(wake);
            }
            wait.reader.withdraw_sleep();
        }
        self.look(wait, window.end, begun)
    }

    fn look(&mut self, wait: &Wait<'_>, end: u64, begun: Instant) -> Option<Wake> {
        let now = backend::monotonic_ns();
        let left = wait.timeout.saturating_sub(begun.elapsed());
        let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX).min(self.cadence.credit(now));
        let end = end.min(now.saturating_add(left));
        if now >= end {
            return None;
        }
        let look = wait.look(now, end);
        let looked = look.end.saturating_sub(now);
        self.cadence.looked(look.end, looked, look.was_interrupted);
        self.counts.looked_ns += looked;
        *(if look.is_found { &mut self.counts.found } else { &mut self.counts.missed }) += 1;
        (look.is_found || wait.event.value() != wait.seen).then_some(Wake::Signal)
    }
}
