//! GStreamer elements for shm2: `shm2sink` publishes buffers of any kind into a shared-memory region, `shm2src` reads
//! them in any number of other processes. Neither side copies where upstream can use the region's memory.
//!
//! ```text
//! gst-launch-1.0 videotestsrc is-live=true ! shm2sink shm-path=shm:///dev/shm/camera
//! gst-launch-1.0 shm2src shm-path=shm:///dev/shm/camera ! queue ! videoconvert ! autovideosink
//! ```
//!
//! The elements are in `sink` and `src`: there, `imp` is GObject glue, and the other modules are plain types that tests
//! make without an element. `allocator` and `pool` offer the region's memory upstream; `meta`, `flags` and `events`
//! encode metas, flags and events; `clock` maps times between pipelines.

// The Rust interface is one registration function, which a macro defines.
#![expect(missing_docs, reason = "the elements are documented in their modules")]
#![deny(clippy::unwrap_used)]

mod allocator;
mod caps;
mod clock;
mod device;
mod events;
mod feedback;
mod flags;
#[cfg(fuzzing)]
pub mod fuzz;
mod items;
mod layout;
mod meta;
mod plain;
mod pool;
mod rate_limit;
mod sink;
mod src;
mod stats;
mod uri;

use gst::glib;
use gst::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Path of both elements when none is set.
pub(crate) const DEFAULT_PATH: &str =
    if cfg!(windows) { "winshm://Local/gst-shm2-default" } else { "/dev/shm/gst-shm2-default" };

/// Locks a mutex whose content is valid whenever it is unlocked, also after a panic of another thread.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a property may be set in the element's state; logs a warning if it may not.
pub(crate) fn is_mutable_now(
    element: &impl IsA<gst::Element>,
    property: &glib::ParamSpec,
    category: &gst::DebugCategory,
) -> bool {
    let needs_stop = property.flags().contains(gst::PARAM_FLAG_MUTABLE_READY);
    let is_mutable = !needs_stop || element.current_state() <= gst::State::Ready;
    if !is_mutable {
        let name = property.name();
        gst::warning!(category, obj = element.as_ref(), "{name} can only be changed while stopped; its value is kept");
    }
    is_mutable
}

/// Template of an always present pad for caps of any kind.
pub(crate) fn any_pad(name: &str, direction: gst::PadDirection) -> Vec<gst::PadTemplate> {
    let template = gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &gst::Caps::new_any());
    template.into_iter().collect()
}

/// Posts an element message, if there is one.
pub(crate) fn post_element_message(element: &gst::Element, details: Option<gst::Structure>) {
    if let Some(details) = details {
        // An element without a bus has no listener, which is no failure.
        let _ = element.post_message(gst::message::Element::builder(details).src(element).build());
    }
}

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    sink::register(plugin)?;
    src::register(plugin)?;
    device::register(plugin)
}

gst::plugin_define!(
    shm2,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    "shm2",
    env!("BUILD_REL_DATE")
);
