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
//! | 13 | custom meta with fields of bytes | `text` |

mod audio;
mod broadcast;
mod regions;
mod serialized;
pub(crate) mod text;
mod video;

use crate::caps::Media;
use crate::items::{ITEM_HEAD, Reader, item};
use crate::layout::Layout;
use gst::prelude::*;
use gst_audio::{AudioClippingMeta, AudioLayout, AudioMeta};
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
const CUSTOM_BYTES: u16 = 13;

/// Most bytes of all metas of a frame.
const MAX_BYTES: usize = shm2::layout::MAX_META as usize;

/// Metas of one process: they name its objects, its memory or its peers.
const LOCAL: &[&str] = &[
    "GstParentBufferMetaAPI",
    "GstNetAddressMetaAPI",
    "GstNetControlMessageMetaAPI",
    "GstGLSyncMetaAPI",
    "GstVideoGLTextureUploadMetaAPI",
];

/// A buffer's metas, encoded.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Length of the items at the start without which the frame cannot be read.
    pub(crate) layout_bytes: usize,
    /// Items behind these.
    pub(crate) others: u64,
    /// Metas that cannot travel, or not as a whole.
    pub(crate) dropped: u64,
    /// What to warn of: a name and a sentence each.
    pub(crate) warnings: Vec<Warning>,
    /// The frame as it is to be published, if it is not the buffer.
    pub(crate) packed: Option<gst::Buffer>,
}

/// A warning about something of a name, which is given once for each name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Warning {
    /// For something that has more bytes than a region can carry.
    pub(crate) fn too_large(name: &str, bytes: usize) -> Self {
        let text = format!(
            "{name} is dropped: with its {bytes} bytes it passes the limit of {MAX_BYTES} bytes for all metas of a \
             frame, for an event, and for all sticky events"
        );
        Self { name: name.into(), text }
    }
}

/// The form of a meta in a region.
struct Form {
    kind: u16,
    bytes: Vec<u8>,
    /// Nothing of the meta stays behind.
    is_whole: bool,
}

impl Form {
    fn whole(kind: u16, bytes: Vec<u8>) -> Self {
        Self { kind, bytes, is_whole: true }
    }
}

impl Encoded {
    fn add(&mut self, form: &Form, name: &str) {
        let length = ITEM_HEAD + form.bytes.len();
        if self.bytes.len() + length > MAX_BYTES {
            self.warnings.push(Warning::too_large(name, form.bytes.len()));
            self.dropped += 1;
            return;
        }
        item(&mut self.bytes, form.kind, &form.bytes);
        self.others += 1;
        self.dropped += u64::from(!form.is_whole);
    }

    /// Drops all metas but the layout.
    pub(crate) fn drop_others(&mut self) {
        let bytes = self.bytes.len() - self.layout_bytes;
        let text = format!("metas of {bytes} bytes are dropped: the arena cannot hold them; give a larger shm-size");
        self.warnings.push(Warning { name: "metas".into(), text });
        self.bytes.truncate(self.layout_bytes);
        self.dropped += std::mem::take(&mut self.others);
    }

    fn drop_layout(&mut self, name: &str, text: String) {
        let text = format!("a layout is dropped: {text}");
        self.warnings.push(Warning { name: name.into(), text });
        self.dropped += 1;
    }
}

/// Encodes a buffer's metas, without local ones and without a video layout that equals that of the caps. Every consumer
/// accepts the result. `Err` with the reason if the frame cannot be read without a layout that contradicts the caps.
pub(crate) fn encode(buffer: &gst::BufferRef, media: &Media) -> Result<Encoded, String> {
    let mut encoded = Encoded::default();
    if is_described_by_caps(buffer, media) {
        return Ok(encoded);
    }
    encode_video(buffer, media, &mut encoded)?;
    encode_audio(buffer, media, &mut encoded)?;
    encoded.layout_bytes = encoded.bytes.len();
    let picture = if encoded.packed.is_some() { own_picture(media) } else { picture(buffer, media) };
    for meta in buffer.iter_meta::<gst::Meta>().filter(|meta| !is_local(meta) && !is_layout(meta)) {
        match form(&meta, media, picture) {
            Some(form) => encoded.add(&form, &name(&meta)),
            None => encoded.dropped += 1,
        }
    }
    Ok(encoded)
}

/// Whether the buffer has no meta but one layout, which is that of the caps.
fn is_described_by_caps(buffer: &gst::BufferRef, media: &Media) -> bool {
    let mut metas = buffer.iter_meta::<gst::Meta>();
    let Some(first) = metas.next() else { return true };
    let follows = |meta: &gst::MetaRef<VideoMeta>| media.video.as_ref().is_some_and(|caps| video::follows(meta, caps));
    first.downcast_ref::<VideoMeta>().is_some_and(follows) && metas.next().is_none()
}

fn encode_video(buffer: &gst::BufferRef, media: &Media, encoded: &mut Encoded) -> Result<(), String> {
    // Elements use the one with the lowest number.
    let Some(layout) = buffer.iter_meta::<VideoMeta>().min_by_key(|meta| meta.id()) else { return Ok(()) };
    let all = buffer.iter_meta::<VideoMeta>().count() as u64;
    let Some(video) = &media.video else {
        encoded.dropped += all;
        return Ok(());
    };
    encoded.dropped += all - 1;
    match video::form(&layout, buffer, video) {
        video::Form::Nothing => {}
        video::Form::Item(bytes) => item(&mut encoded.bytes, VIDEO, &bytes),
        video::Form::Packed(packed, bytes) => {
            encoded.packed = Some(packed);
            item(&mut encoded.bytes, VIDEO, &bytes);
        }
        video::Form::Dropped(reason) => encoded.drop_layout("GstVideoMeta", reason),
        video::Form::Refused(reason) => return Err(reason),
    }
    Ok(())
}

fn encode_audio(buffer: &gst::BufferRef, media: &Media, encoded: &mut Encoded) -> Result<(), String> {
    let mut layouts = buffer.iter_meta::<AudioMeta>();
    let Some(layout) = layouts.next() else { return Ok(()) };
    encoded.dropped += layouts.count() as u64;
    let Some(audio) = &media.audio else {
        encoded.dropped += 1;
        return Ok(());
    };
    match audio::form(&layout, buffer.size(), audio) {
        Ok(bytes) => item(&mut encoded.bytes, AUDIO, &bytes),
        // Interleaved samples can be read without it.
        Err(reason) if audio.layout() == AudioLayout::Interleaved => encoded.drop_layout("GstAudioMeta", reason),
        Err(reason) => return Err(reason),
    }
    Ok(())
}

/// The form of a meta that is no layout; `None` if no consumer could read it back.
fn form(meta: &gst::MetaRef<gst::Meta>, media: &Media, picture: Option<Picture>) -> Option<Form> {
    if let Some(meta) = meta.try_as_custom_meta() {
        return text::custom(meta.structure()).map(|(kind, bytes)| Form::whole(kind, bytes));
    }
    let Some(form) = own_form(meta) else {
        return serialized::bytes(meta).map(|bytes| Form::whole(SERIALIZED, bytes));
    };
    form.filter(|form| form.kind == REFERENCE || is_read_back(form, media, picture))
}

/// The form of a meta of kinds 2 to 11; `None` for other metas.
fn own_form(meta: &gst::MetaRef<gst::Meta>) -> Option<Option<Form>> {
    macro_rules! forms {
        ($($meta:ty => $kind:expr, $bytes:expr;)*) => {
            $(if let Some(meta) = meta.downcast_ref::<$meta>() {
                return Some(Some(Form::whole($kind, $bytes(meta))));
            })*
        };
    }
    forms! {
        VideoCropMeta => CROP, regions::crop;
        VideoTimeCodeMeta => TIME_CODE, broadcast::time_code;
        VideoAFDMeta => ACTIVE_FORMAT, broadcast::active_format;
        VideoBarMeta => BARS, broadcast::bars;
        VideoCaptionMeta => CAPTION, broadcast::caption;
    }
    if let Some(meta) = meta.downcast_ref::<VideoRegionOfInterestMeta>() {
        let (bytes, is_whole) = regions::region(meta);
        return Some(Some(Form { kind: REGION, bytes, is_whole }));
    }
    if let Some(meta) = meta.downcast_ref::<gst::ReferenceTimestampMeta>() {
        return Some(text::reference(meta).map(|bytes| Form::whole(REFERENCE, bytes)));
    }
    if let Some(meta) = meta.downcast_ref::<AudioClippingMeta>() {
        return Some(audio::clipping(meta).map(|bytes| Form::whole(CLIPPING, bytes)));
    }
    None
}

/// Whether a consumer makes a meta of it.
fn is_read_back(form: &Form, media: &Media, picture: Option<Picture>) -> bool {
    let mut buffer = gst::Buffer::new();
    buffer.get_mut().is_some_and(|buffer| {
        let is_valid = decode_item(form.kind, &form.bytes, buffer, media, picture).is_some();
        is_valid && buffer.iter_meta::<gst::Meta>().next().is_some()
    })
}

fn is_local(meta: &gst::MetaRef<gst::Meta>) -> bool {
    LOCAL.contains(&meta.api().name())
}

fn is_layout(meta: &gst::MetaRef<gst::Meta>) -> bool {
    [VideoMeta::meta_api(), AudioMeta::meta_api()].contains(&meta.api())
}

fn name(meta: &gst::MetaRef<gst::Meta>) -> String {
    let custom = meta.try_as_custom_meta().map(|custom| custom.structure().name().to_string());
    custom.unwrap_or_else(|| meta.type_().name().to_owned())
}

/// Width and height in which rectangles lie.
type Picture = (u32, u32);

fn own_picture(media: &Media) -> Option<Picture> {
    media.video.as_ref().map(|video| (video.width(), video.height()))
}

/// The picture of the buffer's layout, of which the caps may describe a part.
fn picture(buffer: &gst::BufferRef, media: &Media) -> Option<Picture> {
    let (width, height) = own_picture(media)?;
    let layout = buffer.iter_meta::<VideoMeta>().min_by_key(|meta| meta.id());
    Some(layout.map_or((width, height), |layout| (width.max(layout.width()), height.max(layout.height()))))
}

/// Adds encoded metas to the buffer; `media` is the layout of its caps. `None` if the list is malformed, or describes
/// bytes that the buffer does not have: no element checks that again. See [`repacked`], too.
pub(crate) fn decode(list: &[u8], buffer: &mut gst::BufferRef, media: &Media) -> Option<()> {
    let mut reader = Reader(list);
    let mut area = own_picture(media);
    while !reader.is_empty() {
        let (kind, bytes) = reader.item()?;
        decode_item(kind, bytes, buffer, media, area)?;
        if kind == VIDEO {
            area = picture(buffer, media);
        }
    }
    Some(())
}

fn decode_item(
    kind: u16,
    bytes: &[u8],
    buffer: &mut gst::BufferRef,
    media: &Media,
    picture: Option<Picture>,
) -> Option<()> {
    match kind {
        VIDEO => video::add(buffer, bytes, media.video.as_ref()?),
        CROP => regions::add_crop(buffer, bytes, picture),
        REGION => regions::add_region(buffer, bytes, picture),
        REFERENCE => text::add_reference(buffer, bytes),
        CUSTOM => text::add_custom(buffer, bytes),
        CUSTOM_BYTES => text::add_custom_bytes(buffer, bytes),
        AUDIO => audio::add(buffer, bytes, media.audio.as_ref()?),
        CLIPPING => audio::add_clipping(buffer, bytes),
        CAPTION => broadcast::add_caption(buffer, bytes),
        TIME_CODE => broadcast::add_time_code(buffer, bytes),
        ACTIVE_FORMAT => broadcast::add_active_format(buffer, bytes),
        BARS => broadcast::add_bars(buffer, bytes),
        SERIALIZED => serialized::add(buffer, bytes),
        _ => Some(()),
    }
}

/// Whether the buffer has a layout of its own, which may have to be [`repacked`].
pub(crate) fn has_layout(buffer: &gst::BufferRef) -> bool {
    buffer.meta::<VideoMeta>().is_some()
}

/// The same frame in the layout that follows from the caps, by one copy. `None` if it has that layout, or if its rows
/// are whole and downstream knows layouts. Some bindings read whole rows, so a last row whose padding is outside the
/// buffer is not for them.
pub(crate) fn repacked(
    buffer: &gst::BufferRef,
    media: &Media,
    knows_layouts: impl FnOnce() -> bool,
) -> Option<gst::Buffer> {
    let (video, meta) = (media.video.as_ref()?, buffer.meta::<VideoMeta>()?);
    let layout = Layout::of_meta(&meta);
    let has_whole_rows = || layout.end(video).is_some_and(|end| end.padded <= buffer.size());
    if layout == Layout::of_caps(video) || (has_whole_rows() && knows_layouts()) {
        return None;
    }
    let bytes = layout.pack(&buffer.map_readable().ok()?, video)?;
    let mut packed = gst::Buffer::from_mut_slice(bytes);
    let target = packed.get_mut()?;
    // Metas of the memory, such as the layout, do not come along.
    let parts = gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS | gst::BufferCopyFlags::META;
    buffer.copy_into(target, parts, ..).ok()?;
    if !meta.video_frame_flags().is_empty() {
        let (format, width, height) = (video.format(), video.width(), video.height());
        let (flags, offsets, strides) = (meta.video_frame_flags(), video.offset(), video.stride());
        VideoMeta::add_full(target, flags, format, width, height, offsets, strides).ok()?;
    }
    Some(packed)
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
        raw_layout(&buffer)
    }

    /// The item of a layout, whether it agrees with any caps or not.
    fn raw_layout(buffer: &gst::BufferRef) -> Vec<u8> {
        let meta = buffer.meta::<VideoMeta>().unwrap();
        let layout = Layout::of_meta(&meta);
        let mut list = Vec::new();
        item(&mut list, VIDEO, &video::bytes(&layout, meta.video_frame_flags(), meta.format()));
        list
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
        // Of the last row only the 60 bytes of picture count.
        assert!(decoded(&list, 64 * 48 + 64 * 23 + 59, &caps).is_none(), "one byte short");
        assert!(decoded(&list, 64 * 48 + 64 * 23 + 60, &caps).is_some());
    }

    #[test]
    fn a_meta_that_says_no_more_than_the_caps_stays_at_home() {
        gst::init().unwrap();
        let caps = VideoInfo::builder(VideoFormat::I420, 320, 240).build().unwrap();
        let mut buffer = gst::Buffer::with_size(caps.size()).unwrap();
        let flags = VideoFrameFlags::empty();
        VideoMeta::add(buffer.get_mut().unwrap(), flags, VideoFormat::I420, 320, 240).unwrap();
        assert!(encode(&buffer, &media(&caps)).unwrap().bytes.is_empty());
        let narrower = VideoInfo::builder(VideoFormat::I420, 316, 240).build().unwrap();
        assert!(!encode(&buffer, &media(&narrower)).unwrap().bytes.is_empty());
        let wider = VideoInfo::builder(VideoFormat::I420, 324, 240).build().unwrap();
        assert!(encode(&buffer, &media(&wider)).is_err_and(|reason| reason.contains("324x240")));
        let other = encode(&buffer, &Media::default()).unwrap();
        assert_eq!((other.bytes.len(), other.dropped), (0, 1));
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
        let list = encode(&buffer, &media).unwrap().bytes;
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
        let mut overlap = Vec::new();
        let words = [1000u64, 0, 3999].map(u64::to_le_bytes).concat();
        item(&mut overlap, AUDIO, &words);
        assert!(decode(&overlap, buffer.get_mut().unwrap(), &media).is_none(), "planes that overlap");
    }
}
