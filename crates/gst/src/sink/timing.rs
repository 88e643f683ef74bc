//! Times of a buffer on the producer's timeline.

use crate::clock::Timebase;
use shm2::FrameInfo;

/// A buffer's times, in nanoseconds of this pipeline's running time and of the system's monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timing {
    pts: Option<u64>,
    dts: Option<i64>,
    /// When the frame is due, on the monotonic clock.
    time: Option<u64>,
    duration: Option<u64>,
}

/// Times of a buffer or an event as upstream gave them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamTimes {
    pub(super) pts: Option<gst::ClockTime>,
    pub(super) dts: Option<gst::ClockTime>,
    pub(super) duration: Option<gst::ClockTime>,
}

impl Timing {
    /// Running times in `segment`, and the due time if the pipeline has a clock. Times are kept as they are in a
    /// segment of another format.
    pub(super) fn new(segment: &gst::Segment, times: StreamTimes, timebase: Option<Timebase>) -> Self {
        let Some(segment) = segment.downcast_ref::<gst::ClockTime>() else {
            let raw = |time: Option<gst::ClockTime>| time.map(|t| t.nseconds());
            let dts = raw(times.dts).map(saturating_signed);
            return Self { pts: raw(times.pts), dts, time: None, duration: raw(times.duration) };
        };
        let running = |time: Option<gst::ClockTime>| Some(nanoseconds(segment.to_running_time_full(time?)?));
        let (pts, dts) = (running(times.pts).map(|pts| pts.max(0)), running(times.dts));
        let time = timebase.zip(pts.or(dts)).map(|(timebase, due)| timebase.to_monotonic(due));
        // At twice the rate a buffer lasts half as long.
        let rate = segment.rate().abs();
        let scaled = |d: gst::ClockTime| if rate == 1.0 { d.nseconds() } else { (d.nseconds() as f64 / rate) as u64 };
        Self { pts: pts.map(i64::unsigned_abs), dts, time, duration: times.duration.map(scaled) }
    }

    /// Running time at which the buffer is due.
    pub(super) fn running(&self) -> Option<u64> {
        self.pts.or(self.dts.map(|dts| dts.max(0).unsigned_abs()))
    }

    /// Whether the buffer has a place on the monotonic clock.
    pub(super) fn is_absolute(&self) -> bool {
        self.time.is_some()
    }

    /// Moves the due time only.
    pub(super) fn due_later_by(self, shift_ns: i64) -> Self {
        Self { time: self.time.map(|time| time.saturating_add_signed(shift_ns)), ..self }
    }

    /// A frame's description with these times only.
    pub(super) fn frame_info(&self) -> FrameInfo {
        let mut info = FrameInfo::new();
        (info.pts, info.dts, info.time, info.duration) = (self.pts, self.dts, self.time, self.duration);
        info
    }
}

fn saturating_signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

fn nanoseconds(time: gst::Signed<gst::ClockTime>) -> i64 {
    match time {
        gst::Signed::Positive(time) => saturating_signed(time.nseconds()),
        gst::Signed::Negative(time) => -saturating_signed(time.nseconds()),
    }
}

impl From<&gst::BufferRef> for StreamTimes {
    fn from(buffer: &gst::BufferRef) -> Self {
        Self { pts: buffer.pts(), dts: buffer.dts(), duration: buffer.duration() }
    }
}

impl From<&gst::event::Gap> for StreamTimes {
    fn from(gap: &gst::event::Gap) -> Self {
        let (pts, duration) = gap.get();
        Self { pts: Some(pts), dts: None, duration }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(pts: u64, dts: u64, duration: u64) -> StreamTimes {
        let time = |ns| Some(gst::ClockTime::from_nseconds(ns));
        StreamTimes { pts: time(pts), dts: time(dts), duration: time(duration) }
    }

    #[test]
    fn times_are_running_times_of_the_segment() {
        gst::init().unwrap();
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(gst::ClockTime::from_nseconds(1000));
        let timebase = Some(Timebase { base_ns: 50_000, offset_ns: 0 });
        let timing = Timing::new(segment.upcast_ref(), times(1300, 900, 40), timebase);
        let expected = Timing { pts: Some(300), dts: Some(-100), time: Some(50_300), duration: Some(40) };
        assert_eq!(timing, expected);
        segment.set_rate(2.0);
        let timing = Timing::new(segment.upcast_ref(), times(1300, 1100, 40), None);
        assert_eq!(timing, Timing { pts: Some(150), dts: Some(50), time: None, duration: Some(20) });
    }

    #[test]
    fn times_in_a_segment_of_bytes_stay_as_they_are() {
        gst::init().unwrap();
        let segment = gst::FormattedSegment::<gst::format::Bytes>::new();
        let timing =
            Timing::new(segment.upcast_ref(), times(1300, 900, 40), Some(Timebase { base_ns: 50_000, offset_ns: 0 }));
        assert_eq!(timing, Timing { pts: Some(1300), dts: Some(900), time: None, duration: Some(40) });
    }
}
