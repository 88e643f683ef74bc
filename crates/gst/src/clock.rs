//! Times between pipelines: running times are converted to absolute times of the system's monotonic clock, which all
//! processes of one machine share, and back.
//!
//! # Safety
//! `clock` and `base_time` of a `GstElement` are read with its object lock held, with which GStreamer writes them.

#![expect(unsafe_code, reason = "the bindings have no call that reads both fields with one lock")]

use gst::glib::object::ObjectExt;
use gst::glib::translate::{FromGlib, FromGlibPtrNone};
use gst::prelude::*;
use std::collections::VecDeque;

/// A stream with fewer frames that have times has none: a source without times gives its first buffer the time 0.
pub(crate) const TIMED_FRAMES: u32 = 2;

/// A time as GStreamer takes it; `None` for the one value that GStreamer reserves.
pub(crate) fn clock_time(nanoseconds: u64) -> Option<gst::ClockTime> {
    (nanoseconds != u64::MAX).then(|| gst::ClockTime::from_nseconds(nanoseconds))
}

/// Places a pipeline's running time on the system's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timebase {
    /// Time of the pipeline's clock at running time 0.
    pub(crate) base_ns: u64,
    /// Lead of the pipeline's clock over the monotonic clock.
    pub(crate) offset_ns: i64,
}

impl Timebase {
    /// Absolute monotonic time of a running time.
    pub(crate) fn to_monotonic(self, running: i64) -> u64 {
        self.base_ns.saturating_add_signed(running).saturating_add_signed(self.offset_ns.saturating_neg())
    }

    /// Running time of an absolute monotonic time; negative for times before the pipeline began.
    pub(crate) fn to_running(self, monotonic: u64) -> i64 {
        let clock = monotonic.saturating_add_signed(self.offset_ns);
        clock.checked_signed_diff(self.base_ns).unwrap_or(if clock < self.base_ns { i64::MIN } else { i64::MAX })
    }

    /// Whether an absolute monotonic time is before running time 0.
    pub(crate) fn is_before_start(self, monotonic: u64) -> bool {
        monotonic.saturating_add_signed(self.offset_ns) < self.base_ns
    }
}

/// Measures a pipeline's clock against the system's monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct ClockMonitor(Option<(gst::Clock, Option<Drift>)>);

impl ClockMonitor {
    /// The element's timebase; `None` while it has no clock or no base time.
    pub(crate) fn timebase(&mut self, element: &impl IsA<gst::Element>) -> Option<Timebase> {
        let element: &gst::Element = element.as_ref();
        let (base, other) = {
            let _lock = element.object_lock();
            // SAFETY: the reference keeps the element valid, and its lock is held.
            let (clock, base) = unsafe { ((*element.as_ptr()).clock, (*element.as_ptr()).base_time) };
            let is_known = self.0.as_ref().is_some_and(|(known, _)| known.as_ptr() == clock);
            // SAFETY: the element keeps its clock valid while its lock is held; `None` is a null pointer.
            let other = (!is_known).then(|| unsafe { Option::<gst::Clock>::from_glib_none(clock) });
            // SAFETY: any number is a time or none.
            (unsafe { Option::<gst::ClockTime>::from_glib(base) }, other)
        };
        if let Some(clock) = other {
            let clock = clock?;
            let drift = (!is_monotonic(&clock)).then(Drift::default);
            self.0 = Some((clock, drift));
        }
        Some(Timebase { base_ns: base?.nseconds(), offset_ns: self.offset_ns() })
    }

    /// Time of the clock less that of the system's monotonic clock, in nanoseconds. It is 0 for the system's clock
    /// itself. Other clocks, such as those of sound cards, advance in steps and at a rate of their own: their offset is
    /// that of a line through the readings of the last seconds.
    fn offset_ns(&mut self) -> i64 {
        match &mut self.0 {
            Some((clock, Some(drift))) => drift.read(|| clock.time().nseconds()),
            _ => 0,
        }
    }
}

/// Readings of another clock: time of the monotonic clock, and the other clock's lead over it.
#[derive(Debug, Default)]
struct Drift {
    /// The first reading; the others are relative to it.
    origin: (u64, i64),
    readings: VecDeque<(f64, f64)>,
}

/// Nanoseconds between two readings, and how many are kept: those of five seconds.
const READ_INTERVAL: f64 = 5e7;
const READINGS: usize = 100;
/// Readings over fewer nanoseconds than this say nothing about the rate: the clocks count as equally fast.
const MIN_SPAN: f64 = 1e9;
/// A reading more nanoseconds than this away from the line means that the clock was set.
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
        if self.readings.back().is_none_or(|last| x - last.0 >= READ_INTERVAL) {
            self.readings.push_back((x, y));
            if self.readings.len() > READINGS {
                self.readings.pop_front();
            }
        }
        self.origin.1.wrapping_add(self.line(x) as i64)
    }

    /// Value of the least-squares line at `x`.
    fn line(&self, x: f64) -> f64 {
        let count = self.readings.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| self.readings.iter().map(of).sum::<f64>() / count;
        let (mx, my) = (mean(|r| r.0), mean(|r| r.1));
        let span = self.readings.back().map_or(0.0, |last| last.0) - self.readings.front().map_or(0.0, |first| first.0);
        if span < MIN_SPAN {
            return my;
        }
        let (sxy, sxx) = self
            .readings
            .iter()
            .fold((0.0, 0.0), |(sxy, sxx), (x, y)| (sxy + (x - mx) * (y - my), sxx + (x - mx) * (x - mx)));
        my + sxy / sxx * (x - mx)
    }
}

/// The monotonic time and the other clock's lead of the reading that took the least time.
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
        let there = Timebase { base_ns: 1_000_000, offset_ns: 300 }.to_monotonic(5_000);
        assert_eq!(there, 1_004_700);
        let here = Timebase { base_ns: 900_000, offset_ns: 0 };
        assert_eq!((here.to_running(there), here.is_before_start(there)), (104_700, false));
        assert!(here.to_running(10) < 0 && here.is_before_start(10));
    }
}
