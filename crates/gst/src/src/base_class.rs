//! Entries of the base class's table that are called for each buffer, without the layers that the bindings put around
//! them: with a sleep between two buffers each line of code costs a miss of the cache.
//!
//! # Safety
//! The table is that of this element's own class, so each `GstBaseSrc` that it is called with is a [`Shm2Src`].

#![expect(unsafe_code, reason = "GStreamer calls the functions of a class through C function pointers")]

use super::imp::Shm2Src;
use gst::ffi::{GstBuffer, GstFlowReturn};
use gst::glib::translate::{FromGlibPtrBorrow, IntoGlib, IntoGlibPtr};
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::ffi::{GstBaseSrc, GstBaseSrcClass};
use std::panic::{AssertUnwindSafe, catch_unwind};

type Class = <Shm2Src as ObjectSubclass>::Class;

/// Sets the entries, after the bindings have set theirs.
pub(super) fn init(class: &mut Class) {
    // SAFETY: the class's struct begins with that of its parent, which begins with that of the base class; the type's
    // parent is registered and never unloaded.
    unsafe {
        let parent = Shm2Src::type_data().as_ref().parent_class().cast::<GstBaseSrcClass>();
        let base = &mut *std::ptr::from_mut(class).cast::<GstBaseSrcClass>();
        base.get_times = (*parent).get_times;
        base.create = Some(create);
    }
}

/// Replaces the entry of the parent, which calls another entry for the same.
unsafe extern "C" fn create(src: *mut GstBaseSrc, _offset: u64, _size: u32, out: *mut GstBuffer) -> GstFlowReturn {
    // SAFETY: see the head of this file; the caller keeps its reference.
    let src = unsafe { super::Shm2Src::from_glib_borrow(src.cast()) };
    // A panic must not leave this function.
    let created = catch_unwind(AssertUnwindSafe(|| src.imp().create_buffer()));
    let created = created.unwrap_or_else(|panic| {
        gst::subclass::post_panic_error_message(src.upcast_ref(), src.upcast_ref(), Some(panic));
        Err(gst::FlowError::Error)
    });
    match created {
        Ok(buffer) => {
            // SAFETY: `out` is the place for a buffer, whatever the bindings' type says. The element does not schedule
            // in pull mode, so there is no buffer of the caller's to fill.
            unsafe { *out.cast::<*mut GstBuffer>() = buffer.into_glib_ptr() };
            gst::FlowReturn::Ok.into_glib()
        }
        Err(error) => gst::FlowReturn::from(error).into_glib(),
    }
}
