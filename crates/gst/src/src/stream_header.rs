//! Buffers that begin a stream of bytes, for a consumer that attaches in its middle. A muxer names them in its caps,
//! as `streamheader`.

use std::collections::VecDeque;

/// Encodings of which decoders take the headers from the caps. Some do not have them in the stream at all.
const ELEMENTARY: &[&str] = &[
    "audio/x-celt",
    "audio/x-opus",
    "audio/x-speex",
    "audio/x-vorbis",
    "subtitle/x-kate",
    "video/x-av1",
    "video/x-daala",
    "video/x-dirac",
    "video/x-theora",
    "video/x-vp8",
    "video/x-vp9",
];

/// Buffers for downstream in front of the next frame.
#[derive(Debug, Default)]
pub(super) struct StreamHeader {
    /// The attach whose first buffer was given out.
    begun: Option<u64>,
    waiting: VecDeque<gst::Buffer>,
}

impl StreamHeader {
    /// The buffers that wait are void.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// A buffer that is to be given out before the next frame.
    pub(super) fn waiting(&mut self) -> Option<gst::Buffer> {
        self.waiting.pop_front()
    }

    /// The buffer to give out for a frame of this attach: the frame's own, or that of the first header; the others
    /// wait.
    pub(super) fn precede(&mut self, attach: u64, caps: Option<&gst::Caps>, mut buffer: gst::Buffer) -> gst::Buffer {
        if self.begun.replace(attach) == Some(attach) {
            return buffer;
        }
        let mut headers = caps.map_or_else(Vec::new, |caps| headers(caps));
        if headers.first().is_none_or(|first| is_begin(&buffer, first, caps)) {
            return buffer;
        }
        for header in headers.iter_mut().filter_map(|header| header.get_mut()) {
            // The base class sets 0 where there is none.
            header.set_pts(buffer.pts());
            header.set_dts(buffer.dts());
        }
        let is_discontinuous = buffer.flags().contains(gst::BufferFlags::DISCONT);
        if let (Some(first), Some(buffer)) = (headers.first_mut().and_then(|b| b.get_mut()), buffer.get_mut())
            && is_discontinuous
        {
            first.set_flags(gst::BufferFlags::DISCONT);
            // Demultiplexers forget what came before.
            buffer.unset_flags(gst::BufferFlags::DISCONT);
        }
        self.waiting.extend(headers);
        self.waiting.push_back(buffer.clone());
        self.waiting.pop_front().unwrap_or(buffer)
    }
}

/// Whether the stream's first buffer is this one. Fragments of MP4 have the flag of a header, too.
fn is_begin(buffer: &gst::BufferRef, first: &gst::BufferRef, caps: Option<&gst::Caps>) -> bool {
    let has_fragments = caps.and_then(|caps| caps.structure(0)).is_some_and(|s| s.name() == "video/quicktime");
    let is_equal = || match (buffer.map_readable(), first.map_readable()) {
        (Ok(buffer), Ok(first)) => buffer.starts_with(&first),
        _ => false,
    };
    buffer.flags().contains(gst::BufferFlags::HEADER) && (!has_fragments || is_equal())
}

/// The headers that the caps name, with their flag.
fn headers(caps: &gst::CapsRef) -> Vec<gst::Buffer> {
    let Some(structure) = caps.structure(0).filter(|s| !ELEMENTARY.contains(&s.name().as_str())) else {
        return Vec::new();
    };
    let Ok(array) = structure.get::<gst::ArrayRef>("streamheader") else { return Vec::new() };
    let buffers = array.iter().filter_map(|value| value.get::<gst::Buffer>().ok());
    let headers = buffers.map(|mut header| {
        // A copy: the caps have a reference, too.
        header.make_mut().set_flags(gst::BufferFlags::HEADER);
        header
    });
    headers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACH: u64 = 1;

    fn caps(name: &str) -> gst::Caps {
        format!("{name}, streamheader=(buffer)< 01, 0203 >").parse().unwrap()
    }

    fn frame(byte: u8, flags: gst::BufferFlags) -> gst::Buffer {
        let mut frame = gst::Buffer::from_slice([byte]);
        frame.get_mut().unwrap().set_flags(flags);
        frame
    }

    /// Bytes and flags of what is given out for a frame.
    fn given(header: &mut StreamHeader, attach: u64, caps: &gst::Caps, frame: gst::Buffer) -> Vec<(Vec<u8>, bool)> {
        let first = header.precede(attach, Some(caps), frame);
        let all = std::iter::once(first).chain(std::iter::from_fn(|| header.waiting()));
        let is_header = |buffer: &gst::Buffer| buffer.flags().contains(gst::BufferFlags::HEADER);
        all.map(|buffer| (buffer.map_readable().unwrap().to_vec(), is_header(&buffer))).collect()
    }

    #[test]
    fn the_headers_precede_the_first_frame_of_each_attach() {
        gst::init().unwrap();
        let (mut header, caps) = (StreamHeader::default(), caps("video/webm"));
        let with_headers = vec![(vec![1], true), (vec![2, 3], true), (vec![7], false)];
        let none = gst::BufferFlags::empty();
        assert_eq!(given(&mut header, ATTACH, &caps, frame(7, none)), with_headers);
        assert_eq!(given(&mut header, ATTACH, &caps, frame(8, none)), [(vec![8], false)]);
        assert_eq!(given(&mut header, ATTACH + 1, &caps, frame(7, none)), with_headers);
    }

    #[test]
    fn a_stream_that_begins_with_its_header_or_has_none_is_left_as_it_is() {
        gst::init().unwrap();
        let (head, none) = (gst::BufferFlags::HEADER, gst::BufferFlags::empty());
        let new = StreamHeader::default;
        assert_eq!(given(&mut new(), ATTACH, &caps("video/webm"), frame(1, head)), [(vec![1], true)]);
        assert_eq!(given(&mut new(), ATTACH, &caps("audio/x-opus"), frame(7, none)), [(vec![7], false)]);
        let plain: gst::Caps = "video/webm".parse().unwrap();
        assert_eq!(given(&mut new(), ATTACH, &plain, frame(7, none)), [(vec![7], false)]);
        let fragments = caps("video/quicktime");
        assert_eq!(given(&mut new(), ATTACH, &fragments, frame(7, head)).len(), 3);
        assert_eq!(given(&mut new(), ATTACH, &fragments, frame(1, head)).len(), 1);
    }

    #[test]
    fn a_discontinuity_moves_to_the_first_header() {
        gst::init().unwrap();
        let discontinuity = gst::BufferFlags::DISCONT;
        let mut header = StreamHeader::default();
        let first = header.precede(ATTACH, Some(&caps("video/webm")), frame(7, discontinuity));
        assert!(first.flags().contains(discontinuity));
        let rest: Vec<_> = std::iter::from_fn(|| header.waiting()).collect();
        assert!(rest.iter().all(|buffer| !buffer.flags().contains(discontinuity)) && rest.len() == 2);
    }
}
