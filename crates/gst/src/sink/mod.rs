//! `shm2sink`: publishes buffers in a shared-memory region that it creates.
//!
//! ```text
//! gst-launch-1.0 videotestsrc is-live=true ! video/x-raw,width=1280,height=720 ! shm2sink shm-path=/dev/shm/cam
//! ```
//!
//! Element messages: `shm2-dropped`, at most once a second while frames are dropped, with `shm-path` and the totals by
//! reason. Signals: `client-connected` and `client-disconnected`, with the number of clients now.
//!
//! Since: 0.1.0

mod clients;
mod due;
mod failures;
mod imp;
mod keyframe;
mod latency;
mod log;
mod preroll;
mod publish_event;
mod publisher;
mod region;
mod region_change;
mod report;
mod settings;
mod streaming;
mod timing;
mod watcher;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element.
    pub struct Shm2Sink(ObjectSubclass<imp::Shm2Sink>) @extends gst_base::BaseSink, gst::Element, gst::Object,
        @implements gst::URIHandler;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "shm2sink", gst::Rank::NONE, Shm2Sink::static_type())
}
