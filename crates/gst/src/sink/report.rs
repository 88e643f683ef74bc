//! What the sink tells of itself: statistics, messages, notifications.

use super::imp::{CAT, Shm2Sink};
use crate::lock;
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::SendError;
use shm2::producer::ProducerStats;

/// Counts over all regions since the start: with `shm-size=0` one may replace another.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Past {
    published: u64,
    dropped_oldest: u64,
    dropped_newest: u64,
    dropped_too_large: u64,
    wakes: u64,
}

impl Past {
    pub(super) fn add(&mut self, stats: &ProducerStats) {
        self.published += stats.published;
        self.dropped_oldest += stats.dropped_oldest;
        self.dropped_newest += stats.dropped_newest;
        self.dropped_too_large += stats.dropped_too_large;
        self.wakes += stats.wakes;
    }
}

impl Shm2Sink {
    pub(super) fn stats(&self) -> gst::Structure {
        let now = lock(&self.open).as_ref().map(|open| open.handle.stats()).unwrap_or_default();
        let counters = *lock(&self.counters);
        let mut stats = counters.past;
        stats.add(&now);
        gst::Structure::builder("application/x-shm2-sink-stats")
            .field("published", stats.published)
            .field("zero-copied", counters.zero_copied)
            .field("copied", counters.copied)
            .field("metas-left-behind", counters.metas_left_behind)
            .field("events-left-behind", counters.events_left_behind)
            .field("dropped-oldest", stats.dropped_oldest)
            .field("dropped-newest", stats.dropped_newest)
            .field("dropped-too-large", stats.dropped_too_large)
            .field("wakes", stats.wakes)
            .field("num-clients", counters.clients)
            .field("frames-ready", now.ready)
            .field("frames-held", now.held)
            .field("arena-bytes", now.arena_bytes)
            .field("arena-free-bytes", now.free_bytes)
            .build()
    }

    /// Once a second while frames flow. On a thread of GStreamer's own, so that a handler may do what it likes.
    pub(super) fn notify_stats(&self) {
        if lock(&self.counters).stats.is_due() {
            self.tell_stats();
        }
    }

    pub(super) fn tell_stats(&self) {
        self.obj().call_async(|sink| sink.notify("stats"));
        let dropped = lock(&self.open).as_ref().map_or(0, |open| open.handle.stats().dropped_oldest);
        if std::mem::replace(&mut lock(&self.counters).dropped_oldest, dropped) < dropped {
            self.tell_drops();
        }
    }

    /// A frame found no room: told once to whoever watches the bus, and each time to the log.
    pub(super) fn dropped(&self, error: &SendError) {
        gst::debug!(CAT, imp = self, "{error}");
        self.tell_drops();
        if !std::mem::replace(&mut lock(&self.counters).told_of_drops, true) {
            let hint = match error {
                SendError::Cleared { .. } => "the region goes on; what upstream keeps and sends again is lost for good",
                _ => "consumers hold, or have not read, all that is there; stats counts how many frames follow",
            };
            gst::element_imp_warning!(self, gst::ResourceError::NoSpaceLeft, ("{error}"), ["{hint}"]);
        }
    }

    /// An element message with the drops so far, at most once a second.
    fn tell_drops(&self) {
        if !lock(&self.counters).drops.is_due() {
            return;
        }
        let mut stats = lock(&self.counters).past;
        stats.add(&lock(&self.open).as_ref().map(|open| open.handle.stats()).unwrap_or_default());
        let details = gst::Structure::builder("shm2-dropped")
            .field("shm-path", &lock(&self.settings).shm_path)
            .field("dropped-oldest", stats.dropped_oldest)
            .field("dropped-newest", stats.dropped_newest)
            .field("dropped-too-large", stats.dropped_too_large)
            .build();
        // Nobody may listen; that is no failure.
        let _ = self.obj().post_message(gst::message::Element::builder(details).src(&*self.obj()).build());
    }
}
