//! Whether an end of stream follows a failure of the sink: upstream answers a failure with an end of stream, which is
//! no orderly end for consumers.

use gst::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A stream that continues for this long after caps were refused, in nanoseconds, had other caps to continue with: the
/// refusal answered a question, and frames from before it are not on their way any more.
const CONTINUED: u64 = 3_000_000_000;

/// Failures of the current stream. Written by the streaming thread and by queries.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// An item could not be published, and none was published after it.
    has_failed: AtomicBool,
    /// When caps were refused, if none were accepted after them; else 0. Frames from before may still be on their way.
    refused_caps_ns: AtomicU64,
}

impl Failures {
    /// The stream begins anew.
    pub(super) fn clear(&self) {
        self.has_failed.store(false, Ordering::Release);
        self.caps_accepted();
    }

    /// A frame failed, or the region.
    pub(super) fn failed(&self) {
        self.has_failed.store(true, Ordering::Release);
    }

    /// A frame was published at this time.
    pub(super) fn published(&self, now_ns: u64) {
        self.has_failed.store(false, Ordering::Release);
        let refused = self.refused_caps_ns.load(Ordering::Relaxed);
        if refused != 0 && now_ns.saturating_sub(refused) > CONTINUED {
            self.caps_accepted();
        }
    }

    pub(super) fn caps_accepted(&self) {
        self.refused_caps_ns.store(0, Ordering::Release);
    }

    /// Caps were refused at this time.
    pub(super) fn caps_refused(&self, now_ns: u64) {
        self.refused_caps_ns.store(now_ns.max(1), Ordering::Release);
    }

    /// Whether failures of this sink, whose pad this is, are the reason of an end of stream that arrives now.
    pub(super) fn explain(&self, pad: &gst::Pad) -> bool {
        self.has_failed.load(Ordering::Acquire)
            || self.refused_caps_ns.load(Ordering::Acquire) != 0
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
        assert!(!failures.explain(&pad));
        failures.failed();
        assert!(failures.explain(&pad));
        failures.published(1);
        assert!(!failures.explain(&pad));
        failures.caps_refused(2);
        failures.published(3);
        assert!(failures.explain(&pad), "the frame was older than the caps");
        failures.published(3 + CONTINUED);
        assert!(!failures.explain(&pad), "the stream continues with other caps");
        failures.caps_refused(2);
        failures.caps_accepted();
        assert!(!failures.explain(&pad));
        failures.failed();
        failures.caps_refused(2);
        failures.clear();
        assert!(!failures.explain(&pad));
    }
}
