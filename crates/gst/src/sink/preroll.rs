//! Waiting for PLAYING with an event, as the base class waits with a buffer.
//!
//! # Safety
//! `gst_base_sink_do_preroll` needs the preroll lock of the sink, which the base class holds over each serialized event
//! that it passes to the element, and borrows the event. The lock and its condition are public fields of the base class
//! and exist as long as the sink.

#![expect(unsafe_code, reason = "the bindings do not have these")]

use super::Shm2Sink;
use gst::glib::translate::{ToGlibPtr, try_from_glib};
use gst_base::ffi;

/// Completes the change to PAUSED and waits for PLAYING; returns at once in PLAYING. Called while the base class passes
/// `event` to the element.
pub(super) fn preroll(sink: &Shm2Sink, event: &gst::EventRef) -> Result<gst::FlowSuccess, gst::FlowError> {
    let sink: *mut ffi::GstBaseSink = gst::glib::object::Cast::upcast_ref::<gst_base::BaseSink>(sink).to_glib_none().0;
    // SAFETY: both pointers are valid for the call, which does not keep them; the caller is in the base class's call
    // with an event, so the lock is held; see the head of this file.
    unsafe { try_from_glib(ffi::gst_base_sink_do_preroll(sink, event.as_ptr().cast_mut().cast())) }
}

/// Calls `change` with the preroll lock, and wakes what waits in `wait_preroll`. A thread that was cancelled before
/// `change` has given up the lock by waiting, so it does not miss this. Called without the lock.
pub(super) fn wake(sink: &Shm2Sink, change: impl FnOnce()) {
    let sink: *mut ffi::GstBaseSink = gst::glib::object::Cast::upcast_ref::<gst_base::BaseSink>(sink).to_glib_none().0;
    // SAFETY: the sink exists during the call; see the head of this file. `change` does not panic: it changes a number.
    unsafe {
        gst::glib::ffi::g_mutex_lock(&raw mut (*sink).preroll_lock);
        change();
        gst::glib::ffi::g_cond_broadcast(&raw mut (*sink).preroll_cond);
        gst::glib::ffi::g_mutex_unlock(&raw mut (*sink).preroll_lock);
    }
}
