//! Buffer flags in a region: those that describe the content, without those that describe one process's memory.

use gst::BufferFlags;

fn local() -> BufferFlags {
    BufferFlags::LIVE | BufferFlags::TAG_MEMORY
}

/// Flags for the region. The numbers are part of GStreamer's stable interface.
pub(crate) fn to_wire(flags: BufferFlags) -> u32 {
    (flags - local()).bits()
}

/// Flags from the region; bits that this GStreamer does not know are kept, it ignores them.
pub(crate) fn from_wire(wire: u32) -> BufferFlags {
    // The lowest bits belong to every mini object, not to buffers.
    BufferFlags::from_bits_retain(wire & !0xf) - local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_flags_are_published_and_local_ones_are_not() {
        let flags = BufferFlags::DELTA_UNIT | BufferFlags::DISCONT | BufferFlags::TAG_MEMORY | BufferFlags::LIVE;
        assert_eq!(from_wire(to_wire(flags)), BufferFlags::DELTA_UNIT | BufferFlags::DISCONT);
        assert!(!from_wire(u32::MAX).contains(BufferFlags::TAG_MEMORY));
    }
}
