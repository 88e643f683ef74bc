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
//! | 6 | samples of audio | `audio` |

mod audio;
mod regions;
mod text;
mod video;

use crate::caps::Media;
use gst::prelude::*;
use gst_audio::AudioMeta;
use gst_video::{VideoCropMeta, VideoMeta, VideoRegionOfInterestMeta};

const VIDEO: u16 = 1;
const CROP: u16 = 2;
const REGION: u16 = 3;
const REFERENCE: u16 = 4;
const CUSTOM: u16 = 5;
const AUDIO: u16 = 6;

/// What a buffer's metas become.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Metas that cannot travel.
    pub(crate) left_behind: u64,
}

/// The blob for a buffer; a layout of video that says no more than its caps stays out of it.
pub(crate) fn encode(buffer: &gst::BufferRef, media: &Media) -> Encoded {
    let mut encoded = Encoded::default();
    for meta in buffer.iter_meta::<gst::Meta>() {
        let blob = &mut encoded.bytes;
        if let Some(meta) = meta.downcast_ref::<VideoMeta>() {
            if !media.video.as_ref().is_some_and(|video| video::follows(meta, video)) {
                item(blob, VIDEO, &video::bytes(meta));
            }
        } else if let Some(meta) = meta.downcast_ref::<VideoCropMeta>() {
            item(blob, CROP, &regions::crop(meta));
        } else if let Some(meta) = meta.downcast_ref::<VideoRegionOfInterestMeta>() {
            item(blob, REGION, &regions::region(meta));
        } else if let Some(meta) = meta.downcast_ref::<gst::ReferenceTimestampMeta>() {
            item(blob, REFERENCE, &text::reference(meta));
        } else if let Some(meta) = meta.downcast_ref::<AudioMeta>().filter(|_| media.audio.is_some()) {
            item(blob, AUDIO, &audio::bytes(meta));
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

/// Adds to the buffer what the blob holds; `media` is what its caps say. `None` when the blob is damaged, or describes
/// bytes that the buffer does not have: no element checks that again.
pub(crate) fn decode(blob: &[u8], buffer: &mut gst::BufferRef, media: &Media) -> Option<()> {
    let video = media.video.as_ref();
    let mut reader = Reader(blob);
    while !reader.0.is_empty() {
        let (kind, bytes) = reader.item()?;
        match kind {
            VIDEO => video::add(buffer, bytes, video?)?,
            CROP => regions::add_crop(buffer, bytes, video)?,
            REGION => regions::add_region(buffer, bytes, video)?,
            REFERENCE => text::add_reference(buffer, bytes)?,
            CUSTOM => text::add_custom(buffer, bytes)?,
            AUDIO => audio::add(buffer, bytes, media.audio.as_ref()?)?,
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
    use gst_video::VideoInfo;
    use gst_video::{VideoFormat, VideoFrameFlags};

    const SIZE: usize = 64 * 48 * 2;

    fn media(video: &VideoInfo) -> Media {
        Media { video: Some(video.clone()), ..Media::default() }
    }

    fn with_meta(format: VideoFormat, offsets: &[usize], strides: &[i32]) -> Vec<u8> {
        let mut buffer = gst::Buffer::with_size(1 << 20).unwrap();
        let flags = VideoFrameFlags::INTERLACED;
        VideoMeta::add_full(buffer.get_mut().unwrap(), flags, format, 60, 48, offsets, strides).unwrap();
        encode(&buffer, &Media::default()).bytes
    }

    fn decoded(blob: &[u8], size: usize, caps: &VideoInfo) -> Option<gst::Buffer> {
        let mut buffer = gst::Buffer::with_size(size).unwrap();
        decode(blob, buffer.get_mut().unwrap(), &media(caps)).map(|()| buffer)
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
        assert!(encode(&buffer, &media(&caps)).bytes.is_empty());
        let wider = VideoInfo::builder(VideoFormat::I420, 324, 240).build().unwrap();
        assert!(
            !encode(&buffer, &media(&wider)).bytes.is_empty() && !encode(&buffer, &Media::default()).bytes.is_empty()
        );
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

    #[test]
    fn samples_of_audio_travel_and_must_lie_in_the_buffer() {
        gst::init().unwrap();
        let builder = gst_audio::AudioInfo::builder(gst_audio::AudioFormat::F32le, 48_000, 2);
        let planar = builder.layout(gst_audio::AudioLayout::NonInterleaved).build().unwrap();
        let media = Media { audio: Some(planar.clone()), ..Media::default() };
        let mut buffer = gst::Buffer::with_size(8192).unwrap();
        AudioMeta::add(buffer.get_mut().unwrap(), &planar, 1000, &[0, 4096]).unwrap();
        let blob = encode(&buffer, &media).bytes;
        let decoded = |size| {
            let mut buffer = gst::Buffer::with_size(size).unwrap();
            decode(&blob, buffer.get_mut().unwrap(), &media).map(|()| buffer)
        };
        let received = decoded(8192).unwrap();
        let meta = received.meta::<AudioMeta>().unwrap();
        assert_eq!((meta.samples(), meta.offsets()), (1000, &[0, 4096][..]));
        assert!(decoded(4096 + 4000).is_some() && decoded(4096 + 3999).is_none());
        let mut buffer = gst::Buffer::with_size(8192).unwrap();
        assert!(decode(&blob, buffer.get_mut().unwrap(), &Media::default()).is_none(), "no audio by its caps");
    }
}
