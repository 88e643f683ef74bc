//! Where a frame's times stand on the consumer's timeline.

use crate::clock;
use shm2::FrameInfo;

/// A frame's times for its buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) pts: Option<u64>,
    pub(super) dts: Option<u64>,
    /// It was due before this pipeline's running time began.
    pub(super) is_before_start: bool,
}

/// `live-only`: the frame's absolute time, already on this program's monotonic clock, on the consumer's running time.
pub(super) fn live(info: &FrameInfo, time: Option<u64>, base: u64, offset: i64) -> Times {
    let Some(time) = time else { return Times::default() };
    // The absolute time belongs to the presentation time, or to the decoding time where there is no other.
    let running = |own: u64, reference: u64| {
        let absolute =
            if own >= reference { time.saturating_add(own - reference) } else { time.saturating_sub(reference - own) };
        clock::to_running(absolute, base, offset)
    };
    let reference = info.pts.or(info.dts);
    let map = |own: Option<u64>| own.zip(reference).map(|(own, reference)| running(own, reference));
    let is_before_start = time.saturating_add_signed(offset) < base;
    Times { pts: map(info.pts), dts: map(info.dts), is_before_start }
}

/// Not `live-only`: the producer's times as they are.
pub(super) fn verbatim(info: &FrameInfo) -> Times {
    Times { pts: info.pts, dts: info.dts, is_before_start: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_times_follow_the_absolute_time() {
        let mut info = FrameInfo::new().with_pts(3_600_000_000_100);
        info.dts = Some(3_600_000_000_060);
        assert_eq!(
            live(&info, Some(2_000), 500, 0),
            Times { pts: Some(1_500), dts: Some(1_460), is_before_start: false }
        );
        assert_eq!(
            live(&info, Some(2_000), 500, 70),
            Times { pts: Some(1_570), dts: Some(1_530), is_before_start: false }
        );
        assert_eq!(live(&info, None, 500, 0), Times::default());
        assert!(live(&info, Some(499), 500, 0).is_before_start);
    }
}
