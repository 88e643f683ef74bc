//! Waiting for elements or free slots of a ring.

use crate::{Element, Signals, StepError};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{Duration, Instant};

/// Longest sleep before the other side's count is checked without a signal: a hostile peer may send none.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Tells a ring that is full or empty for now from one that stays so, because the other side is gone.
#[derive(Debug, Default)]
pub(crate) struct PeerCheck {
    is_polling: bool,
    /// Time of the last look of a side that polls: a look is a system call.
    looked: Option<Timespec>,
}

impl PeerCheck {
    /// From now on the caller polls, and most calls of [`is_gone`](Self::is_gone) make no system call.
    pub(crate) fn poll_always(&mut self) {
        self.is_polling = true;
    }

    /// Whether the other side is gone. To be called when an operation found too few elements or slots; an operation
    /// that takes elements then looks at the ring again, because elements sent before the end stay readable.
    #[cold]
    pub(crate) fn is_gone(&mut self, signals: &Signals) -> Result<bool, StepError> {
        if self.is_polling {
            // Advances with the kernel's tick, every 1 to 10 ms, and is read without a system call on any machine.
            let tick = Some(clock_gettime(ClockId::MonotonicCoarse));
            if self.looked == tick {
                return Ok(false);
            }
            self.looked = tick;
        }
        Ok(signals.is_peer_gone()?)
    }
}

/// One side of a ring, as waiting needs it.
pub(crate) trait Side {
    /// Number of elements to read, or of free slots. Requests no signal.
    fn available(&mut self) -> Result<usize, StepError>;
    /// As [`available`](Self::available), but 0 when there are fewer than `count`; a signal is requested then.
    fn available_or_request(&mut self, count: usize) -> Result<usize, StepError>;
    /// Withdraws a request for a signal.
    fn withdraw_request(&mut self);
}

impl<T: Element> Side for shm2_ring::Receiver<'_, T> {
    fn available(&mut self) -> Result<usize, StepError> {
        Ok(self.readable()?)
    }

    fn available_or_request(&mut self, count: usize) -> Result<usize, StepError> {
        let are_there = self.peek(count)?.is_some();
        if are_there { self.available() } else { Ok(0) }
    }

    fn withdraw_request(&mut self) {
        shm2_ring::Receiver::withdraw_request(self);
    }
}

impl<T: Element> Side for shm2_ring::Sender<'_, T> {
    fn available(&mut self) -> Result<usize, StepError> {
        Ok(self.writable()?)
    }

    fn available_or_request(&mut self, count: usize) -> Result<usize, StepError> {
        let are_there = self.reserve(count)?.is_some();
        if are_there { self.available() } else { Ok(0) }
    }

    fn withdraw_request(&mut self) {
        shm2_ring::Sender::withdraw_request(self);
    }
}

/// Spinning before a sleep: the ring is checked without a pause for at most [`LONGEST`](Self::LONGEST), about the
/// processor time that a sleep and the signal that ends it cost both sides. When the other side is quicker, neither
/// side makes a system call. When it is not, the next waits sleep at once: 1, 3, 7 and so on up to 255 of them.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    /// Waits that sleep at once after the last failure.
    penalty: u8,
    /// How many of them are left.
    left: u8,
}

impl Spin {
    const LONGEST: Duration = Duration::from_micros(5);
    /// Checks of the ring between two looks at the clock.
    const CHECKS: usize = 16;

    /// Checks the ring for a short time. `None` when there are fewer than `count` still.
    fn run(&mut self, side: &mut impl Side, count: usize) -> Result<Option<usize>, StepError> {
        if self.left > 0 {
            self.left -= 1;
            return Ok(None);
        }
        // Saves the other side the system call of a signal.
        side.withdraw_request();
        let begun = Instant::now();
        loop {
            for _ in 0..Self::CHECKS {
                let there = side.available()?;
                if there >= count {
                    self.penalty = 0;
                    return Ok(Some(there));
                }
                std::hint::spin_loop();
            }
            if begun.elapsed() >= Self::LONGEST {
                self.penalty = self.penalty.saturating_mul(2).saturating_add(1);
                self.left = self.penalty;
                return Ok(None);
            }
        }
    }
}

/// Checks the ring until there are at least `count` elements or slots; returns their number. Spins first, then calls
/// `wait` between the checks. `wait` sleeps for at most the given time and returns whether the other side is gone. The
/// ring is checked once more after that: elements sent before stay readable. `before` is called before each check.
pub(crate) fn block_until(
    side: &mut impl Side,
    spin: &mut Spin,
    count: usize,
    timeout: Option<Duration>,
    mut before: impl FnMut(),
    mut wait: impl FnMut(Duration) -> Result<bool, StepError>,
) -> Result<usize, StepError> {
    before();
    let there = side.available_or_request(count)?;
    if there >= count {
        return Ok(there);
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let is_long = timeout.is_none_or(|timeout| timeout > Spin::LONGEST);
    if let Some(there) = if is_long { spin.run(side, count)? } else { None } {
        return Ok(there);
    }
    let (mut is_over, mut is_late) = (false, false);
    loop {
        before();
        let there = side.available_or_request(count)?;
        if there >= count {
            return Ok(there);
        }
        if is_over {
            return Err(StepError::PeerGone);
        }
        if is_late {
            return Err(StepError::TimedOut);
        }
        let left = deadline.map_or(CHECK_EVERY, |deadline| deadline.saturating_duration_since(Instant::now()));
        // A timeout of zero still takes the signals that have come.
        is_late = left.is_zero();
        is_over = wait(left.min(CHECK_EVERY))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring that stays empty; counts the checks.
    #[derive(Default)]
    struct Empty {
        checks: usize,
        is_filled: bool,
    }

    impl Side for Empty {
        fn available(&mut self) -> Result<usize, StepError> {
            self.checks += 1;
            Ok(usize::from(self.is_filled))
        }

        fn available_or_request(&mut self, _count: usize) -> Result<usize, StepError> {
            self.available()
        }

        fn withdraw_request(&mut self) {}
    }

    #[test]
    fn waits_after_a_check_in_vain_sleep_at_once_and_a_success_ends_that() {
        let (mut spin, mut side) = (Spin::default(), Empty::default());
        for at_once in [1, 3, 7, 15, 31, 63, 127, 255, 255] {
            side.checks = 0;
            assert!(spin.run(&mut side, 1).is_ok_and(|found| found.is_none()));
            assert!(side.checks > 0, "spins once more");
            side.checks = 0;
            for _ in 0..at_once {
                assert!(spin.run(&mut side, 1).is_ok_and(|found| found.is_none()));
            }
            assert_eq!(side.checks, 0, "the next {at_once} waits do not spin");
        }
        side.is_filled = true;
        assert!(spin.run(&mut side, 1).is_ok_and(|found| found == Some(1)));
        assert!(spin.run(&mut side, 1).is_ok_and(|found| found == Some(1)), "each wait spins after a success");
    }
}
