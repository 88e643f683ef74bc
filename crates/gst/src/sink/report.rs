//! What the sink tells of itself: statistics, messages, notifications.

use super::imp::{CAT, Shm2Sink};
use crate::lock;
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::SendError;

impl Shm2Sink {
    pub(super) fn stats(&self) -> gst::Structure {
        let stats = lock(&self.open).as_ref().map(|open| open.handle.stats()).unwrap_or_default();
        let counters = *lock(&self.counters);
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
            .field("frames-ready", stats.ready)
            .field("frames-held", stats.held)
            .field("arena-bytes", stats.arena_bytes)
            .field("arena-free-bytes", stats.free_bytes)
            .build()
    }

    /// Once a second while frames flow. On a thread of GStreamer's own, so that a handler may do what it likes.
    pub(super) fn notify_stats(&self) {
        if !lock(&self.counters).stats.is_due() {
            return;
        }
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
            let hint = "consumers hold the whole region; raise shm-size (see the stats property for how many follow)";
            gst::element_imp_warning!(self, gst::ResourceError::NoSpaceLeft, ("{error}"), ["{hint}"]);
        }
    }

    /// An element message with the drops so far, at most once a second.
    fn tell_drops(&self) {
        if !lock(&self.counters).drops.is_due() {
            return;
        }
        let stats = lock(&self.open).as_ref().map(|open| open.handle.stats()).unwrap_or_default();
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
