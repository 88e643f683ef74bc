//! Metas that travel with a frame, as a list of items: kind (u16), zero (u16), length (u32), then that many bytes; all
//! little-endian. Items of an unknown kind are passed over.
//!
//! | kind | meta | module |
//! |---|---|---|
//! | 1 | layout of video | `video` |
//! | 2 | crop rectangle: x, y, width, height u32 | `regions` |
//! | 3 | region of interest | `regions` |
//! | 4 | reference timestamp | `text` |
//! | 5 | custom meta | `text` |

mod regions;
mod text;
mod video;

use gst::prelude::*;
use gst_video::{VideoCropMeta, VideoInfo, VideoMeta, VideoRegionOfInterestMeta};

const VIDEO: u16 = 1;
const CROP: u16 = 2;
const REGION: u16 = 3;
const REFERENCE: u16 = 4;
const CUSTOM: u16 = 5;

/// What a buffer's metas become.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Metas that cannot travel.
    pub(crate) left_behind: u64,
}

/// The blob for a buffer; a layout of video that says no more than the caps, which `video` describes, stays out of it.
pub(crate) fn encode(buffer: &gst::BufferRef, video: Option<&VideoInfo>) -> Encoded {
    let mut encoded = Encoded::default();
    for meta in buffer.iter_meta::<gst::Meta>() {
        let blob = &mut encoded.bytes;
        if let Some(meta) = meta.downcast_ref::<VideoMeta>() {
            if !video.is_some_and(|video| video::follows(meta, video)) {
                item(blob, VIDEO, &video::bytes(meta));
            }
        } else if let Some(meta) = meta.downcast_ref::<VideoCropMeta>() {
            item(blob, CROP, &regions::crop(meta));
        } else if let Some(meta) = meta.downcast_ref::<VideoRegionOfInterestMeta>() {
            item(blob, REGION, &regions::region(meta));
        } else if let Some(meta) = meta.downcast_ref::<gst::ReferenceTimestampMeta>() {
            item(blob, REFERENCE, &text::reference(meta));
        } else if let Some(meta) = meta.try_as_custom_meta() {
            item(blob, CUSTOM, meta.structure().to_string().as_bytes());
        } else if !is_local(&meta) {
            encoded.left_behind += 1;
        }
    }
    encoded
}

/// Metas that mean something in the sender's process only.
fn is_local(meta: &gst::MetaRef<gst::Meta>) -> bool {
    meta.api() == gst::ParentBufferMeta::meta_api()
}

/// Adds to the buffer what the blob holds; `video` is what its caps say. `None` when the blob is damaged, or describes
/// bytes that the buffer does not have: no element checks that again.
pub(crate) fn decode(blob: &[u8], buffer: &mut gst::BufferRef, video: Option<&VideoInfo>) -> Option<()> {
    let mut reader = Reader(blob);
    while !reader.0.is_empty() {
        let (kind, bytes) = reader.item()?;
        match kind {
            VIDEO => video::add(buffer, bytes, video?)?,
            CROP => regions::add_crop(buffer, bytes, video)?,
            REGION => regions::add_region(buffer, bytes, video)?,
            REFERENCE => text::add_reference(buffer, bytes)?,
            CUSTOM => text::add_custom(buffer, bytes)?,
            _ => {}
        }
    }
    Some(())
}

fn item(blob: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    blob.extend(kind.to_le_bytes());
    blob.extend([0; 2]);
    blob.extend((bytes.len() as u32).to_le_bytes());
    blob.extend(bytes);
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

    /// A length (u32), then that many bytes.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
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
    use gst_video::{VideoFormat, VideoFrameFlags};

    const SIZE: usize = 64 * 48 * 2;

    fn with_meta(format: VideoFormat, offsets: &[usize], strides: &[i32]) -> Vec<u8> {
        let mut buffer = gst::Buffer::with_size(1 << 20).unwrap();
        let flags = VideoFrameFlags::INTERLACED;
        VideoMeta::add_full(buffer.get_mut().unwrap(), flags, format, 60, 48, offsets, strides).unwrap();
        encode(&buffer, None).bytes
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
        assert!(encode(&buffer, Some(&caps)).bytes.is_empty());
        let wider = VideoInfo::builder(VideoFormat::I420, 324, 240).build().unwrap();
        assert!(!encode(&buffer, Some(&wider)).bytes.is_empty() && !encode(&buffer, None).bytes.is_empty());
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
