//! Buffer flags in a region: those that describe the content, without those that describe one process's memory.
//!
//! A flag that this version of the bindings has no name for is content, too: those of interlaced video, for example, are
//! defined by a library of GStreamer, and applications may define more.
//!
//! # Safety
//! Reading the flags of a borrowed buffer is reading a plain number of a valid struct.

#![expect(unsafe_code, reason = "the bindings drop the flags that they have no name for")]

use gst::BufferFlags;

/// Bits of `LIVE` and `TAG_MEMORY`, and the lowest bits, which belong to every mini object.
const LOCAL: u32 = BufferFlags::LIVE.bits() | BufferFlags::TAG_MEMORY.bits() | 0xf;

/// A buffer's flags for the region. The numbers are part of GStreamer's stable interface.
pub(crate) fn to_wire(buffer: &gst::BufferRef) -> u32 {
    // SAFETY: the reference keeps the buffer valid.
    let flags = unsafe { (*buffer.as_ptr()).mini_object.flags };
    flags & !LOCAL
}

/// Flags from the region; bits that this GStreamer does not know are kept, it ignores them.
pub(crate) fn from_wire(wire: u32) -> BufferFlags {
    BufferFlags::from_bits_retain(wire & !LOCAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_flags_are_published_and_local_ones_are_not() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let top_field_first = BufferFlags::from_bits_retain(1 << 21);
        let content = BufferFlags::DELTA_UNIT | BufferFlags::DISCONT | top_field_first;
        buffer.get_mut().unwrap().set_flags(content | BufferFlags::TAG_MEMORY | BufferFlags::LIVE);
        assert_eq!(from_wire(to_wire(&buffer)), content);
        assert_eq!(from_wire(u32::MAX).bits(), !0x401f);
    }
}
