//! What the source sends in place of frames while none comes: one item for each duration of the last frame.

/// Durations of a frame that can be a rate, in nanoseconds.
const DURATIONS: std::ops::RangeInclusive<u64> = 1_000_000..=10_000_000_000;
/// An attached producer is late by less than this, or than two durations, without being silent.
const PATIENCE: u64 = 100_000_000;
/// Time that is filled afterwards, when the source could not run; older slots are left out.
const MOST_BEHIND: u64 = 1_000_000_000;

/// The last frame that went downstream.
#[derive(Debug)]
pub(super) struct Last {
    /// When it arrived, on the monotonic clock.
    pub(super) arrived_ns: u64,
    /// When it was due, on the monotonic clock.
    pub(super) due_ns: Option<u64>,
    pub(super) pts: Option<i64>,
    pub(super) duration: Option<u64>,
    /// The frame itself, to be repeated. It holds the memory of the frame.
    pub(super) held: Option<gst::Buffer>,
}

/// A frame that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// When it would have been due, on the monotonic clock.
    pub(super) due_ns: Option<u64>,
    /// Its time on the producer's timeline.
    pub(super) pts: Option<i64>,
    pub(super) duration: u64,
}

#[derive(Debug, Default)]
pub(super) struct Fill {
    last: Option<Last>,
    duration: u64,
    /// Slots after the last frame that were filled or left out.
    passed: u64,
    /// Time of the last slot that was filled, if frames are independent of each other.
    covered_pts: Option<i64>,
}

impl Fill {
    /// A frame goes downstream.
    pub(super) fn record(&mut self, last: Last) {
        let interval = self.last.as_ref().map(|before| last.arrived_ns.saturating_sub(before.arrived_ns));
        let interval = interval.filter(|_| self.passed == 0);
        let known = last.duration.or(interval).filter(|duration| DURATIONS.contains(duration));
        self.duration = known.unwrap_or(self.duration);
        self.passed = 0;
        self.last = Some(last);
    }

    /// A gap of the producer's goes downstream.
    pub(super) fn record_gap(&mut self, arrived_ns: u64, due_ns: Option<u64>, pts: Option<i64>, duration: u64) {
        let rest = duration.saturating_sub(self.duration);
        if let Some(last) = &mut self.last {
            last.arrived_ns = arrived_ns.saturating_add(rest);
            last.due_ns = due_ns.map(|due| due.saturating_add(rest));
            last.pts = pts.map(|pts| pts.saturating_add_unsigned(rest));
            self.passed = 0;
        }
    }

    /// Nothing is filled, and no memory is held.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Times of filled slots are not comparable with those that follow.
    pub(super) fn begin_segment(&mut self) {
        self.covered_pts = None;
    }

    /// Frames up to this time come too late.
    pub(super) fn cover(&mut self, pts: Option<i64>) {
        self.covered_pts = pts.or(self.covered_pts);
    }

    /// When the next slot is to be filled.
    pub(super) fn deadline(&self, is_attached: bool) -> Option<u64> {
        let last = self.last.as_ref().filter(|_| self.duration > 0)?;
        let slot = last.arrived_ns.saturating_add(self.duration.saturating_mul(self.passed + 1));
        // A frame of a producer that is alive may be late.
        let patience = if is_attached && self.passed == 0 { PATIENCE.max(2 * self.duration) } else { 0 };
        Some(slot.saturating_add(patience))
    }

    /// The slot to fill at `now`.
    pub(super) fn take(&mut self, is_attached: bool, now: u64) -> Option<Slot> {
        self.deadline(is_attached).filter(|deadline| *deadline <= now)?;
        let last = self.last.as_ref()?;
        let late = now.saturating_sub(last.arrived_ns).saturating_sub(MOST_BEHIND.max(4 * self.duration));
        self.passed = (self.passed + 1).max(late / self.duration);
        let after = self.duration.saturating_mul(self.passed);
        let due_ns = last.due_ns.map(|due| due.saturating_add(after));
        let pts = last.pts.map(|pts| pts.saturating_add_unsigned(after));
        Some(Slot { due_ns, pts, duration: self.duration })
    }

    /// The last frame again at another time; `None` if it is not held.
    pub(super) fn repeat(&self, time: Option<gst::ClockTime>, duration: u64) -> Option<gst::Buffer> {
        let mut again = self.last.as_ref()?.held.as_ref()?.copy();
        let buffer = again.get_mut()?;
        buffer.unset_flags(gst::BufferFlags::DISCONT);
        buffer.set_pts(time);
        buffer.set_dts(gst::ClockTime::NONE);
        buffer.set_duration(crate::clock::clock_time(duration));
        buffer.set_offset(gst::ffi::GST_BUFFER_OFFSET_NONE);
        buffer.set_offset_end(gst::ffi::GST_BUFFER_OFFSET_NONE);
        Some(again)
    }

    /// Whether the slot of a frame of this time was filled: the frame comes too late.
    pub(super) fn covers(&self, pts: Option<i64>) -> bool {
        pts.zip(self.covered_pts).is_some_and(|(pts, covered)| pts <= covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn last(arrived_ms: u64, duration_ms: Option<u64>) -> Last {
        let (arrived_ns, duration) = (arrived_ms * MS, duration_ms.map(|ms| ms * MS));
        Last {
            arrived_ns,
            due_ns: Some(arrived_ns - 5 * MS),
            pts: Some((arrived_ns - 50 * MS) as i64),
            duration,
            held: None,
        }
    }

    fn fill(fill: &mut Fill, is_attached: bool, until_ms: u64) -> Vec<u64> {
        let slots = std::iter::from_fn(|| fill.take(is_attached, until_ms * MS));
        slots.map(|slot| slot.due_ns.unwrap() / MS).collect()
    }

    #[test]
    fn slots_follow_the_last_frame_in_its_rate() {
        let mut state = Fill::default();
        assert!(fill(&mut state, false, 1_000).is_empty() && state.deadline(false).is_none());
        state.record(last(1_000, Some(40)));
        assert_eq!(state.deadline(false), Some(1_040 * MS));
        // An attached producer may be late; then no slot is left out.
        assert_eq!(state.deadline(true), Some(1_140 * MS));
        assert!(fill(&mut state, true, 1_139).is_empty());
        assert_eq!(fill(&mut state, true, 1_165), [1_035, 1_075, 1_115, 1_155]);
        assert_eq!(fill(&mut state, false, 1_200), [1_195]);
        // After a pause of the source the oldest slots are left out.
        assert_eq!(fill(&mut state, false, 61_000)[..2], [59_995, 60_035]);
        state.record(last(70_000, Some(40)));
        state.record_gap(70_040 * MS, Some(70_035 * MS), Some(69_990 * MS as i64), 200 * MS);
        assert_eq!(fill(&mut state, false, 70_240), [70_235]);
    }

    #[test]
    fn a_frame_without_a_duration_lasts_as_long_as_the_interval_between_two() {
        let mut state = Fill::default();
        state.record(last(1_000, None));
        assert_eq!(state.deadline(false), None);
        state.record(last(1_020, None));
        assert_eq!(fill(&mut state, false, 1_060), [1_035, 1_055]);
        state.record(last(9_000, None));
        assert_eq!(state.deadline(false), Some(9_020 * MS), "a silence is no rate");
    }

    #[test]
    fn a_filled_slot_covers_earlier_frames() {
        gst::init().unwrap();
        let mut state = Fill::default();
        state.record(Last { held: Some(gst::Buffer::from_slice([7; 3])), ..last(1_000, Some(40)) });
        let again = state.repeat(Some(gst::ClockTime::from_nseconds(90)), 40).unwrap();
        assert_eq!((again.pts().map(gst::ClockTime::nseconds), again.size()), (Some(90), 3));
        state.cover(Some(90));
        assert_eq!([89, 90, 91].map(|pts| state.covers(Some(pts))), [true, true, false]);
        state.begin_segment();
        assert!(!state.covers(Some(1)));
    }
}
