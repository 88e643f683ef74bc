//! Metas that travel with a frame, as a list of items: kind (u16), zero (u16), length (u32), then that many bytes; all
//! little-endian. Items of an unknown kind are passed over.
//!
//! Kind 1, video: flags u32, width u32, height u32, number of planes n u32, n offsets u64, n strides i32, format name.

use gst_video::{VideoFormat, VideoFormatFlags, VideoFrameFlags, VideoInfo, VideoMeta};

const KIND_VIDEO: u16 = 1;
const PLANES: usize = 4;

/// The blob for a buffer; empty when it has no meta that says more than its caps, which `video` describes.
pub(crate) fn encode(buffer: &gst::BufferRef, video: Option<&VideoInfo>) -> Vec<u8> {
    let mut blob = Vec::new();
    if let Some(meta) = buffer.meta::<VideoMeta>().filter(|meta| !video.is_some_and(|video| follows(meta, video))) {
        item(&mut blob, KIND_VIDEO, &video_bytes(&meta));
    }
    blob
}

/// Adds to the buffer what the blob holds; `video` is what its caps say. `None` when the blob is damaged, or describes
/// bytes that the buffer does not have: no element checks that again.
pub(crate) fn decode(blob: &[u8], buffer: &mut gst::BufferRef, video: Option<&VideoInfo>) -> Option<()> {
    let mut reader = Reader(blob);
    while !reader.0.is_empty() {
        let (kind, bytes) = reader.item()?;
        if kind == KIND_VIDEO {
            add_video(buffer, bytes, video?)?;
        }
    }
    Some(())
}

/// Whether the meta describes just the layout that everybody derives from the caps.
fn follows(meta: &VideoMeta, video: &VideoInfo) -> bool {
    let planes = meta.n_planes() as usize;
    let layout = |video: &VideoInfo| {
        video.offset().get(..planes) == Some(meta.offset()) && video.stride().get(..planes) == Some(meta.stride())
    };
    (meta.format(), meta.width(), meta.height()) == (video.format(), video.width(), video.height())
        && meta.video_frame_flags().is_empty()
        && layout(video)
}

fn item(blob: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    blob.extend(kind.to_le_bytes());
    blob.extend([0; 2]);
    blob.extend((bytes.len() as u32).to_le_bytes());
    blob.extend(bytes);
}

fn video_bytes(meta: &VideoMeta) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [meta.video_frame_flags().bits(), meta.width(), meta.height(), meta.n_planes()] {
        bytes.extend(word.to_le_bytes());
    }
    meta.offset().iter().for_each(|o| bytes.extend((*o as u64).to_le_bytes()));
    meta.stride().iter().for_each(|s| bytes.extend(s.to_le_bytes()));
    bytes.extend(meta.format().to_str().as_bytes());
    bytes
}

fn add_video(buffer: &mut gst::BufferRef, bytes: &[u8], caps: &VideoInfo) -> Option<()> {
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

/// Whether every line of every plane lies in `size` bytes.
fn fits(caps: &VideoInfo, width: u32, height: u32, offsets: &[usize], strides: &[i32], size: usize) -> bool {
    let format = caps.format_info();
    if format.n_planes() as usize != offsets.len() {
        return false;
    }
    let special = VideoFormatFlags::COMPLEX | VideoFormatFlags::TILED | VideoFormatFlags::PALETTE;
    if format.flags().intersects(special) {
        // No formula for these: only the layout that follows from the caps is taken.
        return offsets == caps.offset() && strides == caps.stride() && caps.size() <= size && width == caps.width();
    }
    (0..format.n_components() as usize).all(|component| {
        let c = component as u8;
        let plane = format.plane()[component] as usize;
        let row = (format.scale_width(c, width) as usize).checked_mul(format.pixel_stride()[component] as usize);
        let lines = format.scale_height(c, height) as usize;
        let stride = strides.get(plane).and_then(|s| usize::try_from(*s).ok());
        let (Some(row), Some(stride), Some(offset)) = (row, stride, offsets.get(plane)) else { return false };
        // The last line with its padding, too: there are bindings that give out whole planes.
        let end = lines.checked_mul(stride).and_then(|l| l.checked_add(*offset));
        stride >= row && end.is_some_and(|end| end <= size)
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn item(&mut self) -> Option<(u16, &'a [u8])> {
        let kind = u16::from_le_bytes(self.array()?);
        let _zero: [u8; 2] = self.array()?;
        let length = self.u32()? as usize;
        Some((kind, self.take(length)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64 * 48 * 2;

    fn with_meta(format: VideoFormat, offsets: &[usize], strides: &[i32]) -> Vec<u8> {
        let mut buffer = gst::Buffer::with_size(1 << 20).unwrap();
        let flags = VideoFrameFlags::INTERLACED;
        VideoMeta::add_full(buffer.get_mut().unwrap(), flags, format, 60, 48, offsets, strides).unwrap();
        encode(&buffer, None)
    }

    fn decoded(blob: &[u8], size: usize, caps: &VideoInfo) -> Option<gst::Buffer> {
        let mut buffer = gst::Buffer::with_size(size).unwrap();
        decode(blob, buffer.get_mut().unwrap(), Some(caps)).map(|()| buffer)
    }

    #[test]
    fn a_video_meta_travels_and_damaged_ones_do_not() {
        gst::init().unwrap();
        let caps = VideoInfo::builder(VideoFormat::Nv12, 60, 48).build().unwrap();
        let blob = with_meta(VideoFormat::Nv12, &[0, 64 * 48], &[64, 64]);
        let received = decoded(&blob, SIZE, &caps).unwrap();
        let meta = received.meta::<VideoMeta>().unwrap();
        assert_eq!((meta.format(), meta.width(), meta.height()), (VideoFormat::Nv12, 60, 48));
        assert_eq!((meta.offset(), meta.stride()), (&[0, 64 * 48][..], &[64, 64][..]));
        assert_eq!(meta.video_frame_flags(), VideoFrameFlags::INTERLACED);
        assert!((1..blob.len()).all(|end| decoded(&blob[..end], SIZE, &caps).is_none()));
        assert!(decoded(&blob, 64 * 48 + 64 * 24 - 1, &caps).is_none(), "one byte short");
        assert!(decoded(&blob, 64 * 48 + 64 * 24, &caps).is_some());
    }

    #[test]
    fn a_meta_that_says_no_more_than_the_caps_stays_at_home() {
        gst::init().unwrap();
        let caps = VideoInfo::builder(VideoFormat::I420, 320, 240).build().unwrap();
        let mut buffer = gst::Buffer::with_size(caps.size()).unwrap();
        let flags = VideoFrameFlags::empty();
        VideoMeta::add(buffer.get_mut().unwrap(), flags, VideoFormat::I420, 320, 240).unwrap();
        assert!(encode(&buffer, Some(&caps)).is_empty());
        let wider = VideoInfo::builder(VideoFormat::I420, 324, 240).build().unwrap();
        assert!(!encode(&buffer, Some(&wider)).is_empty() && !encode(&buffer, None).is_empty());
    }

    #[test]
    fn a_layout_that_reaches_outside_or_contradicts_the_caps_is_refused() {
        gst::init().unwrap();
        let caps = VideoInfo::builder(VideoFormat::Nv12, 60, 48).build().unwrap();
        for (offsets, strides) in
            [([0, 6143], [64, 64]), ([0, 3072], [64, 1_000_000]), ([0, 3072], [-64, 64]), ([0, 3072], [59, 64])]
        {
            let blob = with_meta(VideoFormat::Nv12, &offsets, &strides);
            assert!(decoded(&blob, SIZE, &caps).is_none(), "{offsets:?} {strides:?}");
        }
        let other = VideoInfo::builder(VideoFormat::Nv21, 60, 48).build().unwrap();
        let larger = VideoInfo::builder(VideoFormat::Nv12, 62, 48).build().unwrap();
        let blob = with_meta(VideoFormat::Nv12, &[0, 3072], &[64, 64]);
        assert!(decoded(&blob, SIZE, &other).is_none() && decoded(&blob, SIZE, &larger).is_none());
    }
}
