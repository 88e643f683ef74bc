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

/// Number of elements to read: at least `count`, or 0 after the receiver requested a signal.
pub(crate) fn readable<T: Element>(ring: &mut shm2_ring::Receiver<'_, T>, count: usize) -> Result<usize, StepError> {
    let are_there = ring.peek(count)?.is_some();
    Ok(if are_there { ring.readable()? } else { 0 })
}

/// Number of free slots: at least `count`, or 0 after the sender requested a signal.
pub(crate) fn writable<T: Element>(ring: &mut shm2_ring::Sender<'_, T>, count: usize) -> Result<usize, StepError> {
    let are_there = ring.reserve(count)?.is_some();
    Ok(if are_there { ring.writable()? } else { 0 })
}

/// Calls `ready` until it returns at least `count`, and `wait` in between. `wait` sleeps for at most the given time and
/// returns whether the other side is gone. `ready` is called once more after that: elements sent before stay readable.
pub(crate) fn block_until(
    count: usize,
    timeout: Option<Duration>,
    mut ready: impl FnMut() -> Result<usize, StepError>,
    mut wait: impl FnMut(Duration) -> Result<bool, StepError>,
) -> Result<usize, StepError> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (mut is_over, mut is_late) = (false, false);
    loop {
        let there = ready()?;
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
