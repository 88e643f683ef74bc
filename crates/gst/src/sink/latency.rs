//! Latency of the sink's own upstream path, which each frame carries. That of the pipeline is the largest of all its
//! branches: with a source that reads what this sink causes it would grow with each round.

use crate::feedback;
use gst::prelude::*;
use gst_base::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Time after which an upstream that could not answer is asked again, in nanoseconds.
const PAUSE: u64 = 100_000_000;

#[derive(Debug, Default)]
pub(super) struct UpstreamLatency {
    ns: AtomicU64,
    is_known: AtomicBool,
    asked_ns: AtomicU64,
}

impl UpstreamLatency {
    /// Asks upstream. When it cannot answer yet, a frame causes another query later.
    pub(super) fn update(&self, sink: &gst_base::BaseSink, shm_path: &str) {
        self.asked_ns.store(shm2::monotonic_ns(), Ordering::Relaxed);
        let queried = feedback::asking(shm_path, || query(sink));
        if let Some(latency) = queried {
            self.ns.store(latency.nseconds(), Ordering::Relaxed);
        }
        self.is_known.store(queried.is_some(), Ordering::Relaxed);
    }

    /// Latency in nanoseconds, queried if it is not known.
    pub(super) fn current(&self, sink: &gst_base::BaseSink, shm_path: impl FnOnce() -> String) -> u64 {
        let is_due = || shm2::monotonic_ns().saturating_sub(self.asked_ns.load(Ordering::Relaxed)) >= PAUSE;
        if !self.is_known.load(Ordering::Relaxed) && is_due() {
            self.update(sink, &shm_path());
        }
        self.ns.load(Ordering::Relaxed)
    }

    /// The latency may have changed, as it does with the caps.
    pub(super) fn expire(&self) {
        self.asked_ns.store(0, Ordering::Relaxed);
        self.is_known.store(false, Ordering::Relaxed);
    }
}

/// Latency of a live upstream and this sink's own; 0 if upstream is not live, `None` if it cannot answer.
fn query(sink: &gst_base::BaseSink) -> Option<gst::ClockTime> {
    let mut query = gst::query::Latency::new();
    if !sink.static_pad("sink")?.peer_query(&mut query) {
        return None;
    }
    let (is_live, min, _) = query.result();
    let own = sink.render_delay().saturating_add(sink.processing_deadline());
    Some(if is_live { min.saturating_add(own) } else { gst::ClockTime::ZERO })
}
