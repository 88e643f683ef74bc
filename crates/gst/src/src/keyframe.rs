//! When downstream needs a keyframe, and when the producer is to be asked for one.

/// Time after which a request is repeated: it was lost, or its keyframe was.
const REPEAT_NS: u64 = 500_000_000;

/// What downstream can use of a stream in which frames depend on others.
#[derive(Debug)]
pub(super) struct Keyframes {
    /// Frames that depend on others are dropped until a keyframe.
    is_needed: bool,
    /// When the producer was asked for the keyframe that is needed now.
    requested_ns: Option<u64>,
}

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Give,
    Drop,
    /// Drop it, and ask the producer for a keyframe.
    DropAndRequest,
}

impl Default for Keyframes {
    /// A consumer that attaches has no frame on which others could depend.
    fn default() -> Self {
        Self { is_needed: true, requested_ns: None }
    }
}

impl Keyframes {
    /// Frames are missing: after an attach, a miss, a skip or a pause.
    pub(super) fn need(&mut self) {
        if !std::mem::replace(&mut self.is_needed, true) {
            self.requested_ns = None;
        }
    }

    /// Decides on the next frame, which depends on the one before it if `is_delta`. Nothing is requested before such a
    /// frame comes: in a stream without them each frame is a keyframe.
    pub(super) fn take(&mut self, is_delta: bool, now_ns: u64) -> Verdict {
        self.is_needed &= is_delta;
        if !self.is_needed {
            return Verdict::Give;
        }
        let is_due = self.requested_ns.is_none_or(|requested| now_ns.saturating_sub(requested) >= REPEAT_NS);
        if is_due {
            self.requested_ns = Some(now_ns);
        }
        if is_due { Verdict::DropAndRequest } else { Verdict::Drop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_newcomer_in_the_middle_of_a_stream_asks_at_its_first_frame_and_again_later() {
        let mut keyframes = Keyframes::default();
        assert_eq!(keyframes.take(true, 0), Verdict::DropAndRequest);
        assert_eq!(keyframes.take(true, 40 * MS), Verdict::Drop);
        assert_eq!(keyframes.take(true, 520 * MS), Verdict::DropAndRequest, "no keyframe has come");
        assert_eq!(keyframes.take(false, 560 * MS), Verdict::Give);
        assert_eq!(keyframes.take(true, 600 * MS), Verdict::Give);
    }

    #[test]
    fn each_break_of_a_stream_asks_at_once() {
        let mut keyframes = Keyframes::default();
        for time in (0..10).map(|round| round * 100 * MS) {
            assert_eq!(keyframes.take(false, time), Verdict::Give);
            keyframes.need();
            assert_eq!(keyframes.take(true, time + MS), Verdict::DropAndRequest);
            keyframes.need();
            assert_eq!(keyframes.take(true, time + 2 * MS), Verdict::Drop, "one request for two breaks");
        }
    }

    #[test]
    fn a_stream_in_which_no_frame_depends_on_another_asks_for_nothing() {
        let mut keyframes = Keyframes::default();
        for time in 0..100 {
            assert_eq!(keyframes.take(false, time * MS), Verdict::Give);
            keyframes.need();
        }
    }
}
