//! Times of another host, on this host's clock.
//!
//! Each message has the sender's monotonic and real-time clocks, read together. The sender's monotonic time plus the
//! difference of its clocks is real time, and real time less the difference of this host's clocks is this host's monotonic
//! time. As long as both real-time clocks agree (NTP, PTP), the result is right within their error. The shift is kept
//! while it is right within [`STEP`], so that differences between frames stay exactly as they were.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Deviation of the clocks from which the shift is measured anew.
const STEP: i128 = 2_000_000;
/// A message that seems to have been sent so long ago, or so much in the future, shows that the hosts' clocks do not
/// agree. The age of the frame in it says nothing: a still picture may be hours old.
const PLAUSIBLE: std::ops::RangeInclusive<i128> = -500_000_000..=60_000_000_000;

/// A host's clocks, read together, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pair {
    /// `CLOCK_MONOTONIC`.
    pub monotonic: u64,
    /// `CLOCK_REALTIME`.
    pub realtime: u64,
}

impl Pair {
    /// This host's clocks now.
    pub fn now() -> Self {
        let before = shm2::monotonic_ns();
        let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The middle of both readings is closer to the time at which the other clock was read.
        let monotonic = before + (shm2::monotonic_ns() - before) / 2;
        Self { monotonic, realtime: u64::try_from(realtime.as_nanos()).unwrap_or(u64::MAX) }
    }

    fn difference(self) -> i128 {
        i128::from(self.realtime) - i128::from(self.monotonic)
    }
}

/// From the clock of one sender to this host's.
#[derive(Debug, Default)]
pub struct Mapping {
    shift: Option<Shift>,
}

#[derive(Debug, Clone, Copy)]
struct Shift {
    ns: i128,
    is_by_arrival: bool,
}

/// What an observation has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Nothing: times continue.
    Same,
    /// The first shift, or a new one after a clock was set.
    Set,
    /// The hosts' real-time clocks differ by at least this, in either direction, so that times are by arrival.
    Disagree(Duration),
}

impl Mapping {
    /// Observes the clocks in a message, which the sender read when it sent it, and those of its arrival.
    pub fn observe(&mut self, sender: Pair, here: Pair) -> Observed {
        let wall = sender.difference() - here.difference();
        let age = i128::from(here.realtime) - i128::from(sender.realtime);
        let agrees = PLAUSIBLE.contains(&age);
        match self.shift {
            Some(shift) if shift.is_by_arrival && !agrees => return Observed::Same,
            Some(shift) if !shift.is_by_arrival && (shift.ns - wall).abs() < STEP => return Observed::Same,
            _ => {}
        }
        if agrees {
            self.shift = Some(Shift { ns: wall, is_by_arrival: false });
            return Observed::Set;
        }
        self.shift = Some(Shift { ns: i128::from(here.monotonic) - i128::from(sender.monotonic), is_by_arrival: true });
        Observed::Disagree(Duration::from_nanos(u64::try_from(age.unsigned_abs()).unwrap_or(u64::MAX)))
    }

    /// A time of the sender on this host's clock; `None` if it is before this clock's zero.
    pub fn to_local(&self, time: u64) -> Option<u64> {
        u64::try_from(i128::from(time) + self.shift?.ns).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn times_keep_their_differences_while_the_clocks_agree() {
        let mut mapping = Mapping::default();
        let pair = |monotonic: u64, realtime: u64| Pair { monotonic, realtime };
        let (sender, here) = (pair(100 * SECOND, 5000 * SECOND), pair(700 * SECOND, 5000 * SECOND + 30_000_000));
        assert_eq!(mapping.observe(sender, here), Observed::Set);
        let first = mapping.to_local(100 * SECOND).unwrap();
        assert_eq!(first, 700 * SECOND - 30_000_000);
        // A reading that is off by less than a step changes nothing.
        let later = pair(101 * SECOND, 5001 * SECOND + 1_000_000);
        let then = pair(701 * SECOND, 5001 * SECOND + 30_000_000);
        assert_eq!(mapping.observe(later, then), Observed::Same);
        assert_eq!(mapping.to_local(101 * SECOND).unwrap() - first, SECOND);
        // A clock that was set by a second shifts the times by a second.
        let set = pair(102 * SECOND, 5001 * SECOND);
        assert_eq!(mapping.observe(set, pair(702 * SECOND, 5002 * SECOND)), Observed::Set);
        assert_eq!(mapping.to_local(102 * SECOND), Some(701 * SECOND));
    }

    #[test]
    fn without_common_time_the_first_frame_has_its_time_of_arrival() {
        let mut mapping = Mapping::default();
        let here = Pair { monotonic: 50 * SECOND, realtime: 1_000_000 * SECOND };
        let sender = Pair { monotonic: 10 * SECOND, realtime: 2_000_000 * SECOND };
        let observed = mapping.observe(sender, here);
        assert_eq!(observed, Observed::Disagree(Duration::from_secs(1_000_000)));
        assert_eq!(mapping.to_local(10 * SECOND), Some(50 * SECOND));
        let (sender, here) = (
            Pair { monotonic: 11 * SECOND, realtime: 2_000_001 * SECOND },
            Pair { monotonic: 52 * SECOND, realtime: 1_000_002 * SECOND },
        );
        assert_eq!(mapping.observe(sender, here), Observed::Same);
        assert_eq!(mapping.to_local(11 * SECOND), Some(51 * SECOND));
        assert_eq!(Mapping::default().to_local(1), None);
    }
}
