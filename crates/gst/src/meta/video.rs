//! Item kind 1, the layout of video: flags u32, width u32, height u32, number of planes n u32, n offsets u64, n strides
//! i32, format name.

use crate::items::Reader;
use gst_video::{VideoFormat, VideoFormatFlags, VideoFrameFlags, VideoInfo, VideoMeta};

const PLANES: usize = 4;

/// Whether the meta describes the layout that follows from the caps.
pub(super) fn follows(meta: &VideoMeta, video: &VideoInfo) -> bool {
    let planes = meta.n_planes() as usize;
    let layout = |video: &VideoInfo| {
        video.offset().get(..planes) == Some(meta.offset()) && video.stride().get(..planes) == Some(meta.stride())
    };
    (meta.format(), meta.width(), meta.height()) == (video.format(), video.width(), video.height())
        && meta.video_frame_flags().is_empty()
        && layout(video)
}

pub(super) fn bytes(meta: &VideoMeta) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [meta.video_frame_flags().bits(), meta.width(), meta.height(), meta.n_planes()] {
        bytes.extend(word.to_le_bytes());
    }
    meta.offset().iter().for_each(|o| bytes.extend((*o as u64).to_le_bytes()));
    meta.stride().iter().for_each(|s| bytes.extend(s.to_le_bytes()));
    bytes.extend(meta.format().to_str().as_bytes());
    bytes
}

/// Adds the meta; `None` unless it agrees with the caps and is inside the buffer.
pub(super) fn add(buffer: &mut gst::BufferRef, bytes: &[u8], caps: &VideoInfo) -> Option<()> {
    let mut reader = Reader(bytes);
    let flags = VideoFrameFlags::from_bits_truncate(reader.u32()?);
    let (width, height) = (reader.u32()?, reader.u32()?);
    let planes = Some(reader.u32()? as usize).filter(|n| (1..=PLANES).contains(n))?;
    let offsets = (0..planes).map(|_| reader.u64().map(|o| o as usize)).collect::<Option<Vec<_>>>()?;
    let strides = (0..planes).map(|_| reader.u32().map(|s| s as i32)).collect::<Option<Vec<_>>>()?;
    let format = VideoFormat::from_string(crate::caps::plain_text(reader.0)?);
    let agrees = format == caps.format() && width >= caps.width() && height >= caps.height();
    if !agrees || !fits(caps, width, height, &offsets, &strides, buffer.size()) {
        return None;
    }
    VideoMeta::add_full(buffer, flags, format, width, height, &offsets, &strides).ok().map(drop)
}

/// Whether every line of every plane is inside `size` bytes.
fn fits(caps: &VideoInfo, width: u32, height: u32, offsets: &[usize], strides: &[i32], size: usize) -> bool {
    let format = caps.format_info();
    if format.n_planes() as usize != offsets.len() {
        return false;
    }
    let special = VideoFormatFlags::COMPLEX | VideoFormatFlags::TILED | VideoFormatFlags::PALETTE;
    if format.flags().intersects(special) {
        // These have no formula: only the layout that follows from the caps is accepted.
        return offsets == caps.offset() && strides == caps.stride() && caps.size() <= size && width == caps.width();
    }
    // A buffer of alternating fields has every other line.
    let is_field = caps.interlace_mode() == gst_video::VideoInterlaceMode::Alternate;
    let height = if is_field { height.div_ceil(2) } else { height };
    (0..format.n_components() as usize).all(|component| {
        let c = component as u8;
        let plane = format.plane()[component] as usize;
        let row = (format.scale_width(c, width) as usize).checked_mul(format.pixel_stride()[component] as usize);
        let lines = format.scale_height(c, height) as usize;
        let stride = strides.get(plane).and_then(|s| usize::try_from(*s).ok());
        let (Some(row), Some(stride), Some(offset)) = (row, stride, offsets.get(plane)) else { return false };
        // The last line includes its padding: some bindings return whole planes.
        let end = lines.checked_mul(stride).and_then(|l| l.checked_add(*offset));
        stride >= row && end.is_some_and(|end| end <= size)
    })
}
