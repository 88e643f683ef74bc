//! From a frame to a buffer over the region's bytes; the lease ends when GStreamer frees the memory.
//!
//! # Safety
//! The bytes behind a frame stay mapped and, as long as the producer keeps to the protocol, unchanged while the frame
//! exists. The memory is read-only for GStreamer (elements that work in place copy it), and the mapping is read-only
//! for the whole process. A producer that breaks the protocol can change bytes while they are read; use
//! `access=snapshot` for producers that are not trusted.

#![expect(unsafe_code, reason = "GStreamer reads the region's bytes as a slice")]

use crate::caps::Media;
use crate::{flags, meta};
use shm2::Frame;

struct FrameBytes(Frame);

impl AsRef<[u8]> for FrameBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the frame keeps its bytes mapped, and the producer does not change them; see the head of this file.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), self.0.len()) }
    }
}

/// A buffer over the frame's bytes, with everything but its times; `None` if its metas do not fit the bytes or the
/// caps.
pub(super) fn over(frame: Frame, media: &Media) -> Option<gst::Buffer> {
    let info = frame.info();
    let metas = frame.meta().to_vec();
    let is_discontinuity = frame.is_discontinuity();
    let mut buffer = if frame.is_empty() { gst::Buffer::new() } else { gst::Buffer::from_slice(FrameBytes(frame)) };
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_flags(flags::from_wire(info.flags));
        if is_discontinuity {
            buffer.set_flags(gst::BufferFlags::DISCONT);
        }
        buffer.set_offset(info.offset.unwrap_or(gst::ffi::GST_BUFFER_OFFSET_NONE));
        buffer.set_offset_end(info.offset_end.unwrap_or(gst::ffi::GST_BUFFER_OFFSET_NONE));
        meta::decode(&metas, buffer, media)?;
    }
    Some(buffer)
}
