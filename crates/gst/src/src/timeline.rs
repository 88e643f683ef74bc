//! Times of frames on the consumer's timeline.

use crate::clock::{Timebase, clock_time};
use shm2::FrameInfo;

/// A shift of a producer's base time, in nanoseconds, that exceeds any drift of clocks: the producer was paused.
const PAUSE: u64 = 20_000_000;
/// Added to the times of a stream whose first decoding time is negative, which no buffer can have; its segment begins as
/// much later. 1,000 hours, as encoders of GStreamer do.
const SHIFT: i64 = 1_000 * 3600 * 1_000_000_000;

/// A frame's times for its buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) pts: Option<i64>,
    pub(super) dts: Option<i64>,
    /// The frame was due before this pipeline's running time began.
    pub(super) is_before_start: bool,
}

impl Times {
    /// `live-only`: running times of this pipeline. `time` is when the frame is due, on this process's monotonic clock;
    /// for a frame without an absolute time it is when the frame was published.
    pub(super) fn live(info: &FrameInfo, time: Option<u64>, timebase: Timebase) -> Self {
        let Some(time) = time else { return Self::default() };
        // The due time is that of the presentation time, or of the decoding time if there is no other. Frames are
        // published in the order of their decoding times.
        let reference = if info.time.is_some() { pts(info).or(info.dts) } else { info.dts.or(pts(info)) };
        let Some(reference) = reference else {
            let is_before_start = timebase.is_before_start(time);
            return Self { pts: Some(timebase.to_running(time).max(0)), dts: None, is_before_start };
        };
        let running = |own: i64| timebase.to_running(time.saturating_add_signed(own.saturating_sub(reference)));
        // Only a frame that is decoded before it is due can have a negative decoding time.
        let is_reordered = |dts: i64| pts(info).is_some_and(|pts| pts != dts);
        let dts = info.dts.map(|dts| if is_reordered(dts) { running(dts) } else { running(dts).max(0) });
        let pts = pts(info).map(running).map(|pts| pts.max(0));
        Self { pts, dts, is_before_start: timebase.is_before_start(time) }
    }

    /// Not `live-only`: the producer's times.
    pub(super) fn verbatim(info: &FrameInfo) -> Self {
        Self { pts: pts(info), dts: info.dts, is_before_start: false }
    }
}

fn pts(info: &FrameInfo) -> Option<i64> {
    info.pts.map(|pts| i64::try_from(pts).unwrap_or(i64::MAX))
}

/// Segments of a source that keeps the producer's times.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Attach for which the segment was made: each producer has its own.
    attach: Option<u64>,
    /// Running time 0 of the producer's pipeline on its monotonic clock, by the newest frame.
    producer_base: Option<u64>,
    /// Added to every time, in nanoseconds.
    shift: i64,
    /// The producer's first time in the present segment, and the running time that it has here.
    origin: Option<(i64, gst::ClockTime)>,
}

impl Timeline {
    /// The segment that begins with this frame, if the producer changed or resumed after a pause. The producer's first
    /// time becomes this pipeline's `running_time`: a sink that syncs would else wait for as long as the producer has
    /// run.
    pub(super) fn new_segment(
        &mut self,
        info: &FrameInfo,
        attach: u64,
        running_time: gst::ClockTime,
    ) -> Option<gst::FormattedSegment<gst::ClockTime>> {
        let own = pts(info).or(info.dts);
        let producer_base = info.time.zip(own).map(|(time, own)| time.wrapping_sub(own as u64));
        let before = self.producer_base;
        // An item without times says nothing of a pause.
        self.producer_base = producer_base.or(before);
        let was_paused = producer_base.zip(before).is_some_and(|(now, before)| now.abs_diff(before) > PAUSE);
        let begins = was_paused || self.attach != Some(attach);
        let is_negative = info.dts.is_some_and(|dts| dts < 0);
        // The first item may have had no decoding time; the running times stay those of the segment before.
        let (first, running_time) = match self.origin {
            Some(origin) if !begins && is_negative && self.shift == 0 => origin,
            _ => (own.filter(|_| begins)?.max(0), running_time),
        };
        self.origin = Some((first, running_time));
        self.shift = if is_negative { SHIFT } else { 0 };
        let start = self.clock_time(first)?;
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(start);
        segment.set_time(gst::ClockTime::from_nseconds(first.unsigned_abs()));
        segment.set_base(running_time);
        Some(segment)
    }

    /// The segment for times of this pipeline from the first frame on whose decoding time is negative: its running times
    /// are those of the segment before.
    pub(super) fn shifted_segment(&mut self, times: &Times) -> Option<gst::FormattedSegment<gst::ClockTime>> {
        if self.shift != 0 || times.dts.is_none_or(|dts| dts >= 0) {
            return None;
        }
        self.shift = SHIFT;
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(self.clock_time(0)?);
        segment.set_time(gst::ClockTime::ZERO);
        Some(segment)
    }

    /// A time of this segment as a buffer has it.
    pub(super) fn clock_time(&self, nanoseconds: i64) -> Option<gst::ClockTime> {
        clock_time(nanoseconds.saturating_add(self.shift).max(0).unsigned_abs())
    }

    /// Whether this attach has its segment.
    pub(super) fn is_of(&self, attach: u64) -> bool {
        self.attach == Some(attach)
    }

    /// The base class took the new segment.
    pub(super) fn set_attach(&mut self, attach: u64) {
        self.attach = Some(attach);
    }
}

/// When a live source resumed after a pause: it drops frames that were due before.
#[derive(Debug, Default)]
pub(super) struct Resumption {
    has_played: bool,
    time_ns: Option<u64>,
}

impl Resumption {
    /// The pipeline plays at `now_ns` of the monotonic clock. The first time is no resumption: older frames are shown.
    pub(super) fn play(&mut self, now_ns: u64) {
        if std::mem::replace(&mut self.has_played, true) {
            self.time_ns = Some(now_ns);
        }
    }

    /// Whether a frame that was due at `time` was due during the pause.
    pub(super) fn is_stale(&self, time: Option<u64>) -> bool {
        self.time_ns.zip(time).is_some_and(|(resumed, due)| due < resumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pts: u64, time: u64) -> FrameInfo {
        let mut info = FrameInfo::new().with_pts(pts);
        info.time = Some(time);
        info
    }

    #[test]
    fn live_times_follow_the_absolute_time() {
        let mut info = info(3_600_000_000_100, 2_000);
        info.dts = Some(3_600_000_000_060);
        let timebase = |offset_ns| Timebase { base_ns: 500, offset_ns };
        let times = |pts, dts| Times { pts: Some(pts), dts: Some(dts), is_before_start: false };
        assert_eq!(Times::live(&info, Some(2_000), timebase(0)), times(1_500, 1_460));
        assert_eq!(Times::live(&info, Some(2_000), timebase(70)), times(1_570, 1_530));
        assert_eq!(Times::live(&info, None, timebase(0)), Times::default());
        assert!(Times::live(&info, Some(499), timebase(0)).is_before_start);
        assert_eq!(Times::live(&info, Some(499), timebase(0)).dts, Some(-41));
        let mut plain = info;
        plain.dts = plain.pts.map(|pts| pts as i64);
        let before = Times::live(&plain, Some(400), timebase(0));
        assert_eq!((before.pts, before.dts), (Some(0), Some(0)), "a stream without reordered frames");
        assert!(Times::live(&FrameInfo::new(), Some(499), timebase(0)).is_before_start);
        assert_eq!(Times::live(&FrameInfo::new(), Some(510), timebase(0)), Times { pts: Some(10), ..Times::default() });
    }

    #[test]
    fn a_frame_without_an_absolute_time_is_decoded_when_it_was_published() {
        let mut info = FrameInfo::new().with_pts(140);
        info.dts = Some(100);
        let timebase = Timebase { base_ns: 500, offset_ns: 0 };
        let times = Times::live(&info, Some(2_000), timebase);
        assert_eq!((times.pts, times.dts), (Some(1_540), Some(1_500)));
    }

    #[test]
    fn a_segment_begins_with_each_producer_and_after_each_pause() {
        gst::init().unwrap();
        let mut timeline = Timeline::default();
        let now = gst::ClockTime::from_seconds(5);
        let segment = timeline.new_segment(&info(1_000, 51_000), 1, now).unwrap();
        assert_eq!((segment.start(), segment.base()), (Some(gst::ClockTime::from_nseconds(1_000)), Some(now)));
        assert!(timeline.new_segment(&info(2_000, 52_000), 1, now).is_some(), "the first one was not confirmed");
        timeline.set_attach(1);
        assert!(timeline.new_segment(&info(3_000, 53_000), 1, now).is_none());
        assert!(timeline.new_segment(&info(4_000, 54_000 + 2 * PAUSE), 1, now).is_some(), "a pause");
        assert!(timeline.new_segment(&info(5_000, 55_000 + 2 * PAUSE), 2, now).is_some(), "another producer");
        assert!(timeline.new_segment(&FrameInfo::new(), 3, now).is_none(), "no time");
    }

    #[test]
    fn frames_of_a_pause_are_stale() {
        let mut resumption = Resumption::default();
        resumption.play(100);
        assert!(!resumption.is_stale(Some(50)), "the first time");
        resumption.play(200);
        assert_eq!([Some(199), Some(200), None].map(|time| resumption.is_stale(time)), [true, false, false]);
    }
}
