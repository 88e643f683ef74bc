//! Item kind 1, the layout of video: flags u32, width u32, height u32, number of planes n u32, n offsets u64, n strides
//! i32, format name.

use crate::items::Reader;
use crate::layout::{Layout, same_rows};
use gst_video::{VideoFormat, VideoFrame, VideoFrameFlags, VideoFrameRef, VideoInfo, VideoMeta};

const PLANES: usize = 4;

/// How a buffer's layout goes into the region.
#[derive(Debug)]
pub(super) enum Form {
    /// The layout is that of the caps.
    Nothing,
    Item(Vec<u8>),
    /// No consumer could check the layout: the frame is published as this copy in the layout of the caps.
    Packed(gst::Buffer, Vec<u8>),
    /// The meta contradicts the caps or the buffer's size; the layout of the caps fits the buffer.
    Dropped(String),
    /// The same, and the layout of the caps does not fit either.
    Refused(String),
}

/// The form of the buffer's layout. Every consumer accepts what this returns.
pub(super) fn form(meta: &VideoMeta, buffer: &gst::BufferRef, caps: &VideoInfo) -> Form {
    if follows(meta, caps) {
        return Form::Nothing;
    }
    let layout = Layout::of_meta(meta);
    let has_same_rows = meta.format() == caps.format() || same_rows(caps, meta.format());
    if has_same_rows && layout.covers(caps) {
        let flags = meta.video_frame_flags();
        if layout.end(caps).is_some_and(|end| end.visible <= buffer.size()) {
            return Form::Item(bytes(&layout, flags, caps.format()));
        }
        if let Some(packed) = packed(&layout, meta, buffer, caps) {
            let own = Layout::of_caps(caps);
            return Form::Packed(packed, bytes(&own, flags, caps.format()));
        }
    }
    let (format, width, height) = (meta.format(), meta.width(), meta.height());
    let (own, bytes) = (caps.format(), buffer.size());
    let (own_width, own_height) = (caps.width(), caps.height());
    let text = format!(
        "GstVideoMeta ({format}, {width}x{height}, offsets {:?}, strides {:?}) does not fit the caps ({own}, \
         {own_width}x{own_height}) or the frame's {bytes} bytes",
        layout.offsets, layout.strides
    );
    if caps.size() <= bytes { Form::Dropped(text) } else { Form::Refused(text) }
}

/// Whether the meta describes the layout that follows from the caps, and no more.
pub(super) fn follows(meta: &VideoMeta, caps: &VideoInfo) -> bool {
    let planes = caps.format_info().n_planes() as usize;
    meta.format() == caps.format()
        && meta.video_frame_flags().is_empty()
        && (meta.width(), meta.height()) == (caps.width(), caps.height())
        && meta.offset() == &caps.offset()[..planes]
        && meta.stride() == &caps.stride()[..planes]
}

fn packed(layout: &Layout, meta: &VideoMeta, buffer: &gst::BufferRef, caps: &VideoInfo) -> Option<gst::Buffer> {
    if !caps.format_info().is_tiled() {
        let bytes = buffer.map_readable().ok()?;
        return layout.pack(&bytes, caps).map(gst::Buffer::from_mut_slice);
    }
    // A plane of tiles is inside the buffer if it has at least as many tiles as in the layout of the caps.
    let is_inside = meta.format() == caps.format() && tiles_end(layout, caps)? <= buffer.size();
    let copy = gst::Buffer::from_mut_slice(vec![0; caps.size()]);
    let mut copy = VideoFrame::from_buffer_writable(copy, caps).ok().filter(|_| is_inside)?;
    VideoFrameRef::from_buffer_ref_readable(buffer, caps).ok()?.copy(&mut copy.as_mut_video_frame_ref()).ok()?;
    Some(copy.into_buffer())
}

/// Where planes of tiles end; `None` if one has fewer tiles than in the layout of the caps.
fn tiles_end(layout: &Layout, caps: &VideoInfo) -> Option<usize> {
    let tiles = |stride: i32| ((stride & 0xffff) as usize, (stride >> 16) as usize);
    let own = Layout::of_caps(caps);
    let ends = own.offsets.iter().skip(1).chain([&caps.size()]).copied().collect::<Vec<_>>();
    let mut end = 0;
    for (plane, (own_end, own_offset)) in ends.iter().zip(&own.offsets).enumerate() {
        let ((x, y), (own_x, own_y)) = (tiles(*layout.strides.get(plane)?), tiles(*own.strides.get(plane)?));
        if x < own_x || y < own_y || own_x == 0 || own_y == 0 {
            return None;
        }
        let tiles = x.checked_mul(y)?.checked_mul(own_end.checked_sub(*own_offset)?)?;
        let bytes = tiles.div_ceil(own_x * own_y);
        end = end.max(bytes.checked_add(*layout.offsets.get(plane)?)?);
    }
    Some(end)
}

pub(super) fn bytes(layout: &Layout, flags: VideoFrameFlags, format: VideoFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [flags.bits(), layout.width, layout.height, layout.offsets.len() as u32] {
        bytes.extend(word.to_le_bytes());
    }
    layout.offsets.iter().for_each(|o| bytes.extend((*o as u64).to_le_bytes()));
    layout.strides.iter().for_each(|s| bytes.extend(s.to_le_bytes()));
    bytes.extend(format.to_str().as_bytes());
    bytes
}

/// Adds the meta; `None` unless it agrees with the caps and every row is inside the buffer. Of the last row only the
/// picture counts: see [`repacked`](super::repacked).
pub(super) fn add(buffer: &mut gst::BufferRef, bytes: &[u8], caps: &VideoInfo) -> Option<()> {
    let mut reader = Reader(bytes);
    let flags = VideoFrameFlags::from_bits_truncate(reader.u32()?);
    let (width, height) = (reader.u32()?, reader.u32()?);
    let planes = Some(reader.u32()? as usize).filter(|n| (1..=PLANES).contains(n))?;
    let offsets = (0..planes).map(|_| reader.u64().map(|o| o as usize)).collect::<Option<Vec<_>>>()?;
    let strides = (0..planes).map(|_| reader.u32().map(|s| s as i32)).collect::<Option<Vec<_>>>()?;
    let format = VideoFormat::from_string(crate::caps::plain_text(reader.0)?);
    let layout = Layout { width, height, offsets, strides };
    if format != caps.format() || !layout.covers(caps) || layout.end(caps)?.visible > buffer.size() {
        return None;
    }
    VideoMeta::add_full(buffer, flags, format, width, height, &layout.offsets, &layout.strides).ok().map(drop)
}
