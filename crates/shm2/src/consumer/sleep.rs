//! How long a consumer sleeps at most, although its producer wakes it.
//!
//! A process that may only read the region's file can move a sleeping thread to a futex word of its own
//! (`FUTEX_REQUEUE`), and then the producer's wake-up does not reach that thread. Therefore no sleep is without a limit.
//! A sleep that ends at its limit and finds an item has lost its wake-up. Then the limit is short for some time, which
//! becomes longer with each loss, so that repeated interference costs a frame's delay ever more rarely.

use std::time::{Duration, Instant};

/// Limit of a sleep while no wake-up was lost.
///
/// Not a usual interval of frames, so that it does not end again and again beside one.
const LONG: Duration = Duration::from_millis(970);
/// Limit of a sleep after a wake-up was lost.
const SHORT: Duration = Duration::from_millis(2);
/// Age of an item that a wake-up should have announced. A younger one was published while the sleep ended by itself.
pub(super) const OVERDUE: Duration = Duration::from_millis(5);
/// Shortest sleep that shows whether a wake-up was lost.
const COUNTED: Duration = Duration::from_millis(100);
/// Time of short sleeps after the first loss, and the most that it grows to.
const FIRST_PERIOD: Duration = Duration::from_secs(5);
const LAST_PERIOD: Duration = Duration::from_secs(600);

/// The limit of the next sleep, and the wake-ups that were lost.
#[derive(Debug, Default)]
pub(super) struct SleepLimit {
    lost: u64,
    /// End of the present period of short sleeps.
    short_until: Option<Instant>,
    /// Length of the last period of short sleeps.
    period: Duration,
}

impl SleepLimit {
    /// The limit of a sleep that begins now.
    pub(super) fn next(&mut self) -> Duration {
        let Some(until) = self.short_until else { return LONG };
        if Instant::now() < until {
            return SHORT;
        }
        self.short_until = None;
        self.period /= 2;
        LONG
    }

    /// A sleep of this time ended by itself although an item was [`OVERDUE`]: the wake-up was lost.
    pub(super) fn count_lost(&mut self, slept: Duration) {
        // A short sleep ends by itself beside an ordinary wake-up too often to tell one from the other.
        if slept < COUNTED {
            return;
        }
        self.lost += 1;
        self.period = (2 * self.period).clamp(FIRST_PERIOD, LAST_PERIOD);
        self.short_until = Instant::now().checked_add(self.period);
    }

    /// Wake-ups that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_are_short_after_a_lost_wake_up_and_for_longer_after_each_further_one() {
        let mut limit = SleepLimit::default();
        assert_eq!(limit.next(), LONG);
        limit.count_lost(LONG);
        assert_eq!((limit.next(), limit.lost(), limit.period), (SHORT, 1, FIRST_PERIOD));
        limit.count_lost(SHORT);
        assert_eq!((limit.lost(), limit.period), (1, FIRST_PERIOD));
        limit.count_lost(LONG);
        assert_eq!((limit.lost(), limit.period), (2, 2 * FIRST_PERIOD));
        for _ in 0..20 {
            limit.count_lost(LONG);
        }
        assert_eq!(limit.period, LAST_PERIOD);
        limit.short_until = Some(Instant::now());
        assert_eq!((limit.next(), limit.period), (LONG, LAST_PERIOD / 2));
    }
}
