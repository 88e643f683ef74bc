//! Times between pipelines: a buffer's running time becomes an absolute time of the system's monotonic clock, which all
//! processes of one machine share, and back.

use gst::glib::object::ObjectExt;
use gst::prelude::*;

/// A time as GStreamer takes it; the one value that stands for "none" there is none here, too.
pub(crate) fn clock_time(nanoseconds: u64) -> Option<gst::ClockTime> {
    (nanoseconds != u64::MAX).then(|| gst::ClockTime::from_nseconds(nanoseconds))
}

/// A pipeline's clock and whether it is the system's monotonic clock itself, which is found out once.
#[derive(Debug, Default)]
pub(crate) struct Known(Option<(gst::Clock, bool)>);

impl Known {
    /// See [`offset_from_monotonic`].
    pub(crate) fn offset(&mut self, clock: &gst::Clock) -> i64 {
        if self.0.as_ref().is_none_or(|(known, _)| known != clock) {
            self.0 = Some((clock.clone(), is_monotonic(clock)));
        }
        if self.0.as_ref().is_some_and(|(_, monotonic)| *monotonic) { 0 } else { offset_from_monotonic(clock) }
    }
}

/// What a pipeline's clock shows, less what the system's monotonic clock shows, in nanoseconds.
fn offset_from_monotonic(clock: &gst::Clock) -> i64 {
    // The reading that was disturbed least.
    let read = || {
        let before = shm2::monotonic_ns();
        let theirs = clock.time().nseconds();
        let took = shm2::monotonic_ns() - before;
        (took, theirs.wrapping_sub(before + took / 2) as i64)
    };
    [read(), read(), read()].into_iter().min_by_key(|(took, _)| *took).map_or(0, |(_, offset)| offset)
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
    fn a_time_comes_back_through_another_pipeline() {
        let there = to_monotonic(5_000, 1_000_000, 300);
        assert_eq!(there, 1_004_700);
        assert_eq!(to_running(there, 900_000, 0), 104_700);
        assert_eq!(to_running(10, 900_000, 0), 0);
    }
}
