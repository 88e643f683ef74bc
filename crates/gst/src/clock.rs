//! Times between pipelines: a buffer's running time becomes an absolute time of the system's monotonic clock, which all
//! processes of one machine share, and back.

use gst::glib::object::ObjectExt;
use gst::prelude::*;
use std::collections::VecDeque;

/// A time as GStreamer takes it; the one value that stands for "none" there is none here, too.
pub(crate) fn clock_time(nanoseconds: u64) -> Option<gst::ClockTime> {
    (nanoseconds != u64::MAX).then(|| gst::ClockTime::from_nseconds(nanoseconds))
}

/// A pipeline's clock, and what is known of it against the system's monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Known(Option<(gst::Clock, Option<Drift>)>);

impl Known {
    /// What a pipeline's clock shows now, less what the system's monotonic clock shows, in nanoseconds. For the system's
    /// clock itself that is 0. Others, such as those of sound cards, show steps and run at their own rate: for them a line
    /// through the readings of the last seconds tells.
    pub(crate) fn offset(&mut self, clock: &gst::Clock) -> i64 {
        if self.0.as_ref().is_none_or(|(known, _)| known != clock) {
            self.0 = Some((clock.clone(), (!is_monotonic(clock)).then(Drift::default)));
        }
        let drift = self.0.as_mut().and_then(|(_, drift)| drift.as_mut());
        drift.map_or(0, |drift| drift.read(|| clock.time().nseconds()))
    }
}

/// Readings of another clock: time of the monotonic clock, and how far the other is ahead of it.
#[derive(Debug, Default)]
struct Drift {
    /// The first reading, to which the others are relative.
    origin: (u64, i64),
    readings: VecDeque<(f64, f64)>,
}

/// Time between two readings, and how many are looked at: five seconds of them.
const READ_EVERY: f64 = 5e7;
const READINGS: usize = 100;
/// Below this span the clocks count as equally fast.
const LEAST_SPAN: f64 = 1e9;
/// A reading so far from the line in nanoseconds is one of a clock that was set.
const JUMP: f64 = 1e8;

impl Drift {
    fn read(&mut self, theirs: impl Fn() -> u64) -> i64 {
        let (now, offset) = reading(theirs);
        let relative = |origin: (u64, i64)| (now.wrapping_sub(origin.0) as f64, offset.wrapping_sub(origin.1) as f64);
        let (x, y) = relative(self.origin);
        if self.readings.is_empty() || (y - self.line(x)).abs() > JUMP {
            self.origin = (now, offset);
            self.readings.clear();
        }
        let (x, y) = relative(self.origin);
        if self.readings.back().is_none_or(|last| x - last.0 >= READ_EVERY) {
            self.readings.push_back((x, y));
            if self.readings.len() > READINGS {
                self.readings.pop_front();
            }
        }
        self.origin.1.wrapping_add(self.line(x) as i64)
    }

    /// The line of least squares at `x`.
    fn line(&self, x: f64) -> f64 {
        let count = self.readings.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| self.readings.iter().map(of).sum::<f64>() / count;
        let (mx, my) = (mean(|r| r.0), mean(|r| r.1));
        let span = self.readings.back().map_or(0.0, |last| last.0) - self.readings.front().map_or(0.0, |first| first.0);
        if span < LEAST_SPAN {
            return my;
        }
        let (sxy, sxx) = self
            .readings
            .iter()
            .fold((0.0, 0.0), |(sxy, sxx), (x, y)| (sxy + (x - mx) * (y - my), sxx + (x - mx) * (x - mx)));
        my + sxy / sxx * (x - mx)
    }
}

/// The monotonic time and the other clock's lead of the reading that was disturbed least.
fn reading(theirs: impl Fn() -> u64) -> (u64, i64) {
    let read = || {
        let before = shm2::monotonic_ns();
        let theirs = theirs();
        let took = shm2::monotonic_ns() - before;
        let middle = before + took / 2;
        (took, middle, theirs.wrapping_sub(middle) as i64)
    };
    let best = [read(), read(), read()].into_iter().min_by_key(|(took, ..)| *took);
    best.map_or((0, 0), |(_, now, offset)| (now, offset))
}

fn is_monotonic(clock: &gst::Clock) -> bool {
    // Only the plain system clock: network and audio clocks are derived from it and run at their own rate.
    clock.type_() == gst::SystemClock::static_type()
        && clock.find_property("clock-type").is_some()
        && clock.property::<gst::ClockType>("clock-type") == gst::ClockType::Monotonic
}

/// Absolute monotonic time of a running time.
pub(crate) fn to_monotonic(running: u64, base: u64, offset: i64) -> u64 {
    base.saturating_add(running).saturating_add_signed(offset.saturating_neg())
}

/// Running time of an absolute monotonic time; what was before the pipeline began is its beginning.
pub(crate) fn to_running(monotonic: u64, base: u64, offset: i64) -> u64 {
    monotonic.saturating_add_signed(offset).saturating_sub(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_and_drifts_is_followed_by_its_line() {
        let start = shm2::monotonic_ns();
        // A sound card: 300 ppm fast, in steps of 5 ms.
        let exact = |now: u64| (now - start) as f64 * 1.0003 + 7e12;
        let mut drift = Drift::default();
        let mut worst: f64 = 0.0;
        for round in 0..150 {
            let offset = drift.read(|| exact(shm2::monotonic_ns()) as u64 / 5_000_000 * 5_000_000);
            let now = shm2::monotonic_ns();
            if round > 100 {
                // The steps are behind by half of one in the mean.
                worst = worst.max((now as f64 + offset as f64 - (exact(now) - 2.5e6)).abs());
            }
            std::thread::sleep(std::time::Duration::from_millis(17));
        }
        assert!(worst < 1.5e6, "{worst} ns off");
    }

    #[test]
    fn a_clock_that_is_set_is_followed_at_once() {
        let mut drift = Drift::default();
        for ahead in [5_000_000_000u64, 90_000_000_000, 1_000_000_000] {
            let offset = drift.read(|| shm2::monotonic_ns() + ahead);
            assert!(offset.abs_diff(ahead as i64) < 5_000_000, "{offset}");
        }
    }

    #[test]
    fn a_time_comes_back_through_another_pipeline() {
        let there = to_monotonic(5_000, 1_000_000, 300);
        assert_eq!(there, 1_004_700);
        assert_eq!(to_running(there, 900_000, 0), 104_700);
        assert_eq!(to_running(10, 900_000, 0), 0);
    }
}
