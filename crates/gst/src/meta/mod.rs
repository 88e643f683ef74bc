//! Metas of a frame as a list of [items](crate::items).
//!
//! | kind | meta | module |
//! |---|---|---|
//! | 1 | layout of video | `video` |
//! | 2 | crop rectangle: x, y, width, height u32 | `regions` |
//! | 3 | region of interest | `regions` |
//! | 4 | reference timestamp | `text` |
//! | 5 | custom meta | `text` |
//! | 6 | samples of audio | `audio` |
//! | 7 | clipping of audio | `audio` |
//! | 8 | closed captions | `broadcast` |
//! | 9 | time code | `broadcast` |
//! | 10 | active format | `broadcast` |
//! | 11 | bars | `broadcast` |
//! | 12 | any other that GStreamer can serialize (1.24 and later) | `serialized` |

mod audio;
mod broadcast;
mod regions;
mod serialized;
pub(crate) mod text;
mod video;

use crate::caps::Media;
use crate::items::{Reader, item};
use gst::prelude::*;
use gst_audio::{AudioClippingMeta, AudioMeta};
use gst_video::{
    VideoAFDMeta, VideoBarMeta, VideoCaptionMeta, VideoCropMeta, VideoMeta, VideoRegionOfInterestMeta,
    VideoTimeCodeMeta,
};

const VIDEO: u16 = 1;
const CROP: u16 = 2;
const REGION: u16 = 3;
const REFERENCE: u16 = 4;
const CUSTOM: u16 = 5;
const AUDIO: u16 = 6;
const CLIPPING: u16 = 7;
const CAPTION: u16 = 8;
const TIME_CODE: u16 = 9;
const ACTIVE_FORMAT: u16 = 10;
const BARS: u16 = 11;
const SERIALIZED: u16 = 12;

/// A buffer's metas, encoded.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Metas that have no form in a region.
    pub(crate) dropped: u64,
}

/// Encodes a buffer's metas, without local ones and without a video layout that equals that of the caps.
pub(crate) fn encode(buffer: &gst::BufferRef, media: &Media) -> Encoded {
    let mut encoded = Encoded::default();
    for meta in buffer.iter_meta::<gst::Meta>() {
        if meta.downcast_ref::<VideoMeta>().is_some_and(|layout| follows_from_caps(layout, media)) || is_local(&meta) {
            continue;
        }
        match own_form(&meta, media).or_else(|| serialized::bytes(&meta).map(|bytes| (SERIALIZED, bytes))) {
            Some((kind, bytes)) => item(&mut encoded.bytes, kind, &bytes),
            None => encoded.dropped += 1,
        }
    }
    encoded
}

fn follows_from_caps(layout: &VideoMeta, media: &Media) -> bool {
    media.video.as_ref().is_some_and(|video| video::follows(layout, video))
}

/// Kind and bytes of a meta of kinds 1 to 11.
fn own_form(meta: &gst::MetaRef<gst::Meta>, media: &Media) -> Option<(u16, Vec<u8>)> {
    macro_rules! forms {
        ($($meta:ty => $kind:expr, $bytes:expr;)*) => {
            $(if let Some(meta) = meta.downcast_ref::<$meta>() {
                return Some(($kind, $bytes(meta)));
            })*
        };
    }
    forms! {
        VideoMeta => VIDEO, video::bytes;
        VideoCropMeta => CROP, regions::crop;
        VideoRegionOfInterestMeta => REGION, regions::region;
        gst::ReferenceTimestampMeta => REFERENCE, text::reference;
        VideoTimeCodeMeta => TIME_CODE, broadcast::time_code;
        VideoAFDMeta => ACTIVE_FORMAT, broadcast::active_format;
        VideoBarMeta => BARS, broadcast::bars;
    }
    if let Some(meta) = meta.downcast_ref::<AudioMeta>() {
        return media.audio.is_some().then(|| (AUDIO, audio::bytes(meta)));
    }
    if let Some(meta) = meta.downcast_ref::<AudioClippingMeta>() {
        return audio::clipping(meta).map(|bytes| (CLIPPING, bytes));
    }
    if let Some(meta) = meta.downcast_ref::<VideoCaptionMeta>() {
        return Some((CAPTION, broadcast::caption(meta)));
    }
    meta.try_as_custom_meta().map(|meta| (CUSTOM, meta.structure().to_string().into_bytes()))
}

/// Metas that are valid in the producer's process only.
fn is_local(meta: &gst::MetaRef<gst::Meta>) -> bool {
    meta.api() == gst::ParentBufferMeta::meta_api()
}

/// Adds encoded metas to the buffer; `media` is the layout of its caps. `None` if the list is malformed, or describes
/// bytes that the buffer does not have: no element checks that again.
pub(crate) fn decode(list: &[u8], buffer: &mut gst::BufferRef, media: &Media) -> Option<()> {
    let video = media.video.as_ref();
    let mut reader = Reader(list);
    while !reader.is_empty() {
        let (kind, bytes) = reader.item()?;
        match kind {
            VIDEO => video::add(buffer, bytes, video?)?,
            CROP => regions::add_crop(buffer, bytes, video)?,
            REGION => regions::add_region(buffer, bytes, video)?,
            REFERENCE => text::add_reference(buffer, bytes)?,
            CUSTOM => text::add_custom(buffer, bytes)?,
            AUDIO => audio::add(buffer, bytes, media.audio.as_ref()?)?,
            CLIPPING => audio::add_clipping(buffer, bytes)?,
            CAPTION => broadcast::add_caption(buffer, bytes)?,
            TIME_CODE => broadcast::add_time_code(buffer, bytes)?,
            ACTIVE_FORMAT => broadcast::add_active_format(buffer, bytes)?,
            BARS => broadcast::add_bars(buffer, bytes)?,
            SERIALIZED => serialized::add(buffer, bytes)?,
            _ => {}
        }
    }
    Some(())
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

    fn decoded(list: &[u8], size: usize, caps: &VideoInfo) -> Option<gst::Buffer> {
        let mut buffer = gst::Buffer::with_size(size).unwrap();
        decode(list, buffer.get_mut().unwrap(), &media(caps)).map(|()| buffer)
    }

    #[test]
    fn a_video_meta_is_decoded_and_damaged_ones_are_refused() {
        gst::init().unwrap();
        let caps = VideoInfo::builder(VideoFormat::Nv12, 60, 48).build().unwrap();
        let list = with_meta(VideoFormat::Nv12, &[0, 64 * 48], &[64, 64]);
        let received = decoded(&list, SIZE, &caps).unwrap();
        let meta = received.meta::<VideoMeta>().unwrap();
        assert_eq!((meta.format(), meta.width(), meta.height()), (VideoFormat::Nv12, 60, 48));
        assert_eq!((meta.offset(), meta.stride()), (&[0, 64 * 48][..], &[64, 64][..]));
        assert_eq!(meta.video_frame_flags(), VideoFrameFlags::INTERLACED);
        assert!((1..list.len()).all(|end| decoded(&list[..end], SIZE, &caps).is_none()));
        assert!(decoded(&list, 64 * 48 + 64 * 24 - 1, &caps).is_none(), "one byte short");
        assert!(decoded(&list, 64 * 48 + 64 * 24, &caps).is_some());
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
            let list = with_meta(VideoFormat::Nv12, &offsets, &strides);
            assert!(decoded(&list, SIZE, &caps).is_none(), "{offsets:?} {strides:?}");
        }
        let other = VideoInfo::builder(VideoFormat::Nv21, 60, 48).build().unwrap();
        let larger = VideoInfo::builder(VideoFormat::Nv12, 62, 48).build().unwrap();
        let list = with_meta(VideoFormat::Nv12, &[0, 3072], &[64, 64]);
        assert!(decoded(&list, SIZE, &other).is_none() && decoded(&list, SIZE, &larger).is_none());
    }

    #[test]
    fn samples_of_audio_travel_and_must_lie_in_the_buffer() {
        gst::init().unwrap();
        let builder = gst_audio::AudioInfo::builder(gst_audio::AudioFormat::F32le, 48_000, 2);
        let planar = builder.layout(gst_audio::AudioLayout::NonInterleaved).build().unwrap();
        let media = Media { audio: Some(planar.clone()), ..Media::default() };
        let mut buffer = gst::Buffer::with_size(8192).unwrap();
        AudioMeta::add(buffer.get_mut().unwrap(), &planar, 1000, &[0, 4096]).unwrap();
        let list = encode(&buffer, &media).bytes;
        let decoded = |size| {
            let mut buffer = gst::Buffer::with_size(size).unwrap();
            decode(&list, buffer.get_mut().unwrap(), &media).map(|()| buffer)
        };
        let received = decoded(8192).unwrap();
        let meta = received.meta::<AudioMeta>().unwrap();
        assert_eq!((meta.samples(), meta.offsets()), (1000, &[0, 4096][..]));
        assert!(decoded(4096 + 4000).is_some() && decoded(4096 + 3999).is_none());
        let mut buffer = gst::Buffer::with_size(8192).unwrap();
        assert!(decode(&list, buffer.get_mut().unwrap(), &Media::default()).is_none(), "no audio by its caps");
    }
}
