//! `shm2src`: reads the buffers that a `shm2sink`, or any other shm2 producer, publishes.
//!
//! ```text
//! gst-launch-1.0 shm2src shm-path=/dev/shm/cam ! queue ! videoconvert ! autovideosink
//! ```
//!
//! Element messages: `shm2-attached`, with `shm-path`, `generation` and `access` (`lease` or `snapshot`), and
//! `shm2-detached`, with `shm-path`; another `shm2-attached` reports the next producer. `shm2-silence` and
//! `shm2-silence-ended`, with `shm-path` and `duration`, when `silence-timeout` is set.
//!
//! Since: 0.1.0

mod base_class;
mod fill;
mod followed;
mod frame_buffer;
mod growth;
mod idle;
mod imp;
mod keyframe;
mod log;
mod report;
mod settings;
mod stream;
mod stream_header;
mod streaming;
mod timeline;
mod waits;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element.
    pub struct Shm2Src(ObjectSubclass<imp::Shm2Src>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object,
        @implements gst::URIHandler;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "shm2src", gst::Rank::PRIMARY, Shm2Src::static_type())
}
