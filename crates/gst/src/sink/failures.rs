//! Whether an end of stream follows a failure of the sink: upstream answers a failure with an end of stream, which is
//! no orderly end for consumers.

use gst::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Failures of the current stream. Written by the streaming thread and by queries.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// An item could not be published, and none was published after it.
    has_failed: AtomicBool,
    /// Caps were refused, and none were accepted after them. Frames from before may still be on their way.
    has_refused_caps: AtomicBool,
}

impl Failures {
    /// The stream begins anew.
    pub(super) fn clear(&self) {
        self.published();
        self.caps_judged(true);
    }

    /// A frame failed, or the region.
    pub(super) fn failed(&self) {
        self.has_failed.store(true, Ordering::Release);
    }

    /// A frame was published.
    pub(super) fn published(&self) {
        self.has_failed.store(false, Ordering::Release);
    }

    /// Caps were accepted or refused.
    pub(super) fn caps_judged(&self, are_accepted: bool) {
        self.has_refused_caps.store(!are_accepted, Ordering::Release);
    }

    /// Whether an end of stream that arrives now follows a failure of this sink, whose pad this is.
    pub(super) fn explain_end(&self, pad: &gst::Pad) -> bool {
        self.has_failed.load(Ordering::Acquire)
            || self.has_refused_caps.load(Ordering::Acquire)
            || has_no_common_caps(pad)
    }
}

/// Whether upstream can produce no caps that this sink accepts: then negotiation failed.
fn has_no_common_caps(pad: &gst::Pad) -> bool {
    let offered = pad.peer_query_caps(None);
    !offered.is_any() && pad.query_caps(Some(&offered)).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_explains_the_end_until_the_stream_continues() {
        gst::init().unwrap();
        let (failures, pad) = (Failures::default(), gst::Pad::new(gst::PadDirection::Sink));
        assert!(!failures.explain_end(&pad));
        failures.failed();
        assert!(failures.explain_end(&pad));
        failures.published();
        assert!(!failures.explain_end(&pad));
        failures.caps_judged(false);
        failures.published();
        assert!(failures.explain_end(&pad), "the frame was older than the caps");
        failures.caps_judged(true);
        assert!(!failures.explain_end(&pad));
        failures.failed();
        failures.caps_judged(false);
        failures.clear();
        assert!(!failures.explain_end(&pad));
    }
}
