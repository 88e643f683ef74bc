//! Any raw media through both elements in one process: each buffer arrives as it would without them, in bytes of
//! picture or sound, flags, fields and metas. `PROPTEST_CASES` sets the number of random cases.

#![expect(unsafe_code, reason = "the bindings drop the buffer flags that they have no name for")]

mod common;

use common::pair::{Downstream, Pair, picture};
use gst_audio::{AudioFormat, AudioInfo, AudioLayout, AudioMeta};
use gst_video::{
    VideoCaptionMeta, VideoCaptionType, VideoCropMeta, VideoFormat, VideoFrameFlags, VideoInfo, VideoInterlaceMode,
    VideoMeta, VideoRegionOfInterestMeta,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shm2_testing::Rng;
use std::cell::RefCell;

const BOTH: [Downstream; 2] = [Downstream::KnowsLayouts, Downstream::KnowsNone];

/// Bits that belong to one process's memory or to every mini object, and DISCONT, which each producer's first buffer has.
const LOCAL: u32 = 0x405f;

fn formats() -> Vec<VideoFormat> {
    common::init();
    VideoFormat::iter_raw().collect()
}

fn info(format: VideoFormat, width: u32, height: u32, mode: VideoInterlaceMode) -> VideoInfo {
    let fps = gst::Fraction::new(30, 1);
    VideoInfo::builder(format, width, height).fps(fps).interlace_mode(mode).build().unwrap()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Rng::with_seed(bytes as u64).fill(&mut noise);
    noise
}

fn flags(buffer: &gst::BufferRef) -> u32 {
    // SAFETY: the reference keeps the buffer alive; flags of a buffer are a plain number.
    unsafe { (*buffer.as_ptr()).mini_object.flags & !LOCAL }
}

/// Where the planes of a picture are in a buffer, and the size of that buffer.
struct Place {
    offsets: Vec<usize>,
    strides: Vec<i32>,
    bytes: usize,
}

impl Place {
    fn of_caps(info: &VideoInfo) -> Self {
        Self { offsets: info.offset().to_vec(), strides: info.stride().to_vec(), bytes: info.size() }
    }

    /// Planes in another order, with `gap` bytes before each and `padding` bytes behind each row.
    fn new(info: &VideoInfo, gap: usize, padding: i32, first: usize) -> Self {
        let mut place = Self::of_caps(info);
        if info.format_info().is_tiled() {
            return place;
        }
        let ends = [info.offset(), &[info.size()]].concat();
        let planes = place.offsets.len();
        place.bytes = 0;
        for plane in (0..planes).map(|plane| (plane + first) % planes) {
            let own = info.stride()[plane] as usize;
            let has_palette = info.format_info().has_palette() && plane == 1;
            let stride = if has_palette { own } else { own + padding as usize };
            place.offsets[plane] = place.bytes + gap;
            place.strides[plane] = stride as i32;
            place.bytes += gap + (ends[plane + 1] - ends[plane]).div_ceil(own) * stride;
        }
        place
    }

    fn buffer(&self, info: &VideoInfo, flags: VideoFrameFlags) -> gst::Buffer {
        let mut buffer = gst::Buffer::from_mut_slice(noise(self.bytes));
        let (format, width, height) = (info.format(), info.width(), info.height());
        let target = buffer.get_mut().unwrap();
        VideoMeta::add_full(target, flags, format, width, height, &self.offsets, &self.strides).unwrap();
        buffer
    }
}

#[test]
fn every_format_of_raw_video_arrives_at_three_sizes() {
    let formats = formats();
    assert!(formats.len() >= 111, "{}", formats.len());
    for downstream in BOTH {
        let mut pair = Pair::new("shm-size=33554432", downstream);
        for format in &formats {
            for (width, height) in [(64, 48), (37, 23), (1, 1)] {
                let info = info(*format, width, height, VideoInterlaceMode::Progressive);
                let what = format!("{format} {width}x{height} {downstream:?}");
                let caps = info.to_caps().unwrap();
                let plain = gst::Buffer::from_mut_slice(noise(info.size()));
                let places = [Place::of_caps(&info), Place::new(&info, 24, 32, 0), Place::new(&info, 0, 4, 1)];
                let with_meta = places.iter().map(|place| place.buffer(&info, VideoFrameFlags::TFF));
                for sent in with_meta.chain([plain]) {
                    let received = pair.pass(&caps, sent.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(pair.received_caps(), caps, "{what}");
                    assert!(picture(&received, &info) == picture(&sent, &info), "{what}: other bytes");
                    let own = received.meta::<VideoMeta>().is_none_or(|meta| meta.offset() == info.offset());
                    assert!(
                        downstream == Downstream::KnowsLayouts || (own && received.size() == info.size()),
                        "{what}"
                    );
                }
            }
        }
        assert_eq!(pair.sink_stat("metas-dropped"), 0);
    }
}

/// A random frame of raw video.
#[derive(Debug, Clone)]
struct Video {
    format: usize,
    size: (u32, u32),
    mode: usize,
    gap: usize,
    padding: i32,
    first: usize,
    /// The buffer is of so many memories.
    memories: usize,
    flags: u32,
    frame_flags: u32,
    offset: u64,
    metas: Vec<Meta>,
}

/// A random meta.
#[derive(Debug, Clone)]
enum Meta {
    Crop(u32, u32, u32, u32),
    Region(u32, u32, u32, u32, Option<f64>),
    Reference(String, u64),
    Caption(Vec<u8>),
    Custom(String, i32, Vec<u8>),
}

fn meta() -> impl Strategy<Value = Meta> {
    let side = || 0u32..90;
    prop_oneof![
        (side(), side(), side(), side()).prop_map(|(x, y, w, h)| Meta::Crop(x, y, w, h)),
        (side(), side(), side(), side(), proptest::option::of(any::<f64>().prop_filter("finite", |n| n.is_finite())))
            .prop_map(|(x, y, w, h, score)| Meta::Region(x, y, w, h, score)),
        ("[a-z]{1,9}", 0..u64::MAX / 2).prop_map(|(name, time)| Meta::Reference(name, time)),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Meta::Caption),
        ("[ -~]{0,20}", any::<i32>(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(text, number, bytes)| Meta::Custom(text, number, bytes)),
    ]
}

impl Meta {
    fn add(&self, buffer: &mut gst::BufferRef) {
        match self {
            Self::Crop(x, y, width, height) => {
                VideoCropMeta::add(buffer, (*x, *y, *width, *height));
            }
            Self::Region(x, y, width, height, score) => {
                let mut region = VideoRegionOfInterestMeta::add(buffer, "thing", (*x, *y, *width, *height));
                let parameter = |score| gst::Structure::builder("detection").field("score", score).build();
                score.iter().for_each(|score| region.add_param(parameter(*score)));
            }
            Self::Reference(name, time) => {
                let caps = gst::Caps::builder(format!("timestamp/x-{name}")).build();
                gst::ReferenceTimestampMeta::add(buffer, &caps, gst::ClockTime::from_nseconds(*time), None);
            }
            // GStreamer takes an empty caption for a programming error.
            // GStreamer takes an empty caption for a programming error.
            Self::Caption(bytes) if bytes.is_empty() => {}
            Self::Caption(bytes) => {
                VideoCaptionMeta::add(buffer, VideoCaptionType::Cea708Cdp, bytes);
            }
            Self::Custom(text, number, bytes) => {
                const NAME: &str = "Shm2TestAnyMeta";
                if !gst::meta::CustomMeta::is_registered(NAME) {
                    gst::meta::CustomMeta::register(NAME, &[]);
                }
                let mut meta = gst::meta::CustomMeta::add(buffer, NAME).unwrap();
                let structure = meta.mut_structure();
                structure.set("text", text);
                structure.set("number", *number);
                structure.set("bytes", gst::Buffer::from_mut_slice(bytes.clone()));
            }
        }
    }
}

/// What can be said of a buffer's metas but the layout, in their order.
fn metas(buffer: &gst::BufferRef) -> Vec<String> {
    let mut all = Vec::new();
    for meta in buffer.iter_meta::<gst::Meta>() {
        if let Some(meta) = meta.downcast_ref::<VideoCropMeta>() {
            all.push(format!("crop {:?}", meta.rect()));
        } else if let Some(meta) = meta.downcast_ref::<VideoRegionOfInterestMeta>() {
            let parameters: Vec<_> = meta.params().map(|parameter| parameter.to_string()).collect();
            all.push(format!("region {} {:?} {parameters:?}", meta.roi_type(), meta.rect()));
        } else if let Some(meta) = meta.downcast_ref::<gst::ReferenceTimestampMeta>() {
            all.push(format!("reference {} {}", meta.reference(), meta.timestamp()));
        } else if let Some(meta) = meta.downcast_ref::<VideoCaptionMeta>() {
            all.push(format!("caption {:?}", meta.data()));
        } else if let Some(meta) = meta.try_as_custom_meta() {
            let structure = meta.structure();
            let bytes = structure.get::<gst::Buffer>("bytes").unwrap().map_readable().unwrap().to_vec();
            let text = structure.get::<String>("text").unwrap();
            all.push(format!("custom {text:?} {} {bytes:?}", structure.get::<i32>("number").unwrap()));
        }
    }
    all
}

fn video() -> impl Strategy<Value = Video> {
    let formats = formats().len();
    let layout = (prop_oneof![Just(0), 1usize..200], prop_oneof![Just(0), 1i32..130], 0usize..4, 1usize..4);
    let fields = (any::<u32>(), 0u32..16, 0..u64::MAX / 2);
    let metas = proptest::collection::vec(meta(), 0..6);
    (0..formats, (1u32..90, 1u32..90), 0usize..4, layout, fields, metas).prop_map(
        |(format, size, mode, (gap, padding, first, memories), (flags, frame_flags, offset), metas)| Video {
            format,
            size,
            mode,
            gap,
            padding,
            first,
            memories,
            flags,
            frame_flags,
            offset,
            metas,
        },
    )
}

impl Video {
    fn buffer(&self) -> (VideoInfo, gst::Buffer) {
        use VideoInterlaceMode::*;
        let mode = [Progressive, Interleaved, Mixed, Fields][self.mode];
        let info = info(formats()[self.format], self.size.0, self.size.1, mode);
        let place = Place::new(&info, self.gap, self.padding, self.first);
        let whole = place.buffer(&info, VideoFrameFlags::from_bits_truncate(self.frame_flags));
        let mut buffer = gst::Buffer::new();
        let target = buffer.get_mut().unwrap();
        let part = whole.size().div_ceil(self.memories);
        let map = whole.map_readable().unwrap();
        map.chunks(part).for_each(|part| target.append_memory(gst::Memory::from_mut_slice(part.to_vec())));
        drop(map);
        whole.copy_into(target, gst::BufferCopyFlags::FLAGS, ..).unwrap();
        let frame_flags = VideoFrameFlags::from_bits_truncate(self.frame_flags);
        let (format, width, height) = (info.format(), info.width(), info.height());
        VideoMeta::add_full(target, frame_flags, format, width, height, &place.offsets, &place.strides).unwrap();
        self.metas.iter().for_each(|meta| meta.add(target));
        // A frame of raw media that depends on others is not shown after a break.
        target.set_flags(gst::BufferFlags::from_bits_retain(self.flags & !LOCAL));
        target.unset_flags(gst::BufferFlags::DELTA_UNIT);
        target.set_offset(self.offset);
        (info, buffer)
    }

    fn check(&self, pair: &mut Pair, downstream: Downstream) {
        let (info, sent) = self.buffer();
        let caps = info.to_caps().unwrap();
        let dropped = pair.sink_stat("metas-dropped");
        let received = pair.pass(&caps, sent.clone()).unwrap();
        assert_eq!(pair.received_caps(), caps);
        assert!(picture(&received, &info) == picture(&sent, &info), "other bytes");
        assert_eq!((flags(&received), received.offset()), (flags(&sent), sent.offset()));
        let frame_flags = |buffer: &gst::BufferRef| {
            buffer.meta::<VideoMeta>().map_or(VideoFrameFlags::empty(), |meta| meta.video_frame_flags())
        };
        assert_eq!(frame_flags(&received), frame_flags(&sent));
        let own = received.meta::<VideoMeta>().is_none_or(|meta| meta.stride() == info.stride());
        assert!(downstream == Downstream::KnowsLayouts || own, "a layout for an element that does not know it");
        // What does not arrive is counted; what arrives is what was sent, in its order.
        let (before, after) = (metas(&sent), metas(&received));
        let mut rest = before.iter();
        assert!(after.iter().all(|meta| rest.any(|sent| sent == meta)), "{after:?} of {before:?}");
        assert_eq!((before.len() - after.len()) as u64, pair.sink_stat("metas-dropped") - dropped, "{before:?}");
        // Only rectangles may be outside the picture, and only texts that GStreamer itself does not read back.
        let must = |meta: &&String| meta.starts_with("caption") || meta.starts_with("reference");
        assert_eq!(before.iter().filter(must).count(), after.iter().filter(must).count());
    }
}

/// A random buffer of raw audio.
#[derive(Debug, Clone)]
struct Audio {
    format: usize,
    channels: u32,
    is_planar: bool,
    samples: usize,
    gap: usize,
    tail: usize,
    is_reversed: bool,
    flags: u32,
}

fn audio() -> impl Strategy<Value = Audio> {
    let shape = (0usize..30, 1u32..9, any::<bool>(), 1usize..500);
    (shape, 0usize..100, 0usize..100, any::<bool>(), any::<u32>()).prop_map(
        |((format, channels, is_planar, samples), gap, tail, is_reversed, flags)| Audio {
            format,
            channels,
            is_planar,
            samples,
            gap,
            tail,
            is_reversed,
            flags,
        },
    )
}

impl Audio {
    fn check(&self, pair: &mut Pair) {
        let formats: Vec<_> = AudioFormat::iter_raw().collect();
        let layout = if self.is_planar { AudioLayout::NonInterleaved } else { AudioLayout::Interleaved };
        let builder = AudioInfo::builder(formats[self.format % formats.len()], 48_000, self.channels).layout(layout);
        let positions = vec![gst_audio::AudioChannelPosition::None; self.channels as usize];
        let info = builder.positions(&positions).build().unwrap();
        let channels = self.channels as usize;
        let plane = self.samples * info.width() as usize / 8;
        let mut offsets: Vec<_> = (0..channels).map(|channel| channel * (plane + self.gap)).collect();
        if self.is_reversed {
            offsets.reverse();
        }
        let bytes = if self.is_planar { channels * (plane + self.gap) } else { channels * plane } + self.tail;
        let mut sent = gst::Buffer::from_mut_slice(noise(bytes));
        let target = sent.get_mut().unwrap();
        AudioMeta::add(target, &info, self.samples, if self.is_planar { &offsets } else { &[] }).unwrap();
        target.set_flags(gst::BufferFlags::from_bits_retain(self.flags & !LOCAL));
        target.unset_flags(gst::BufferFlags::DELTA_UNIT);
        let caps = info.to_caps().unwrap();
        let received = pair.pass(&caps, sent.clone()).unwrap();
        assert_eq!(pair.received_caps(), caps);
        assert_eq!(flags(&received), flags(&sent));
        assert!(*received.map_readable().unwrap() == *sent.map_readable().unwrap(), "other bytes");
        let (before, after) = (sent.meta::<AudioMeta>().unwrap(), received.meta::<AudioMeta>().unwrap());
        assert_eq!((before.samples(), before.offsets()), (after.samples(), after.offsets()));
        assert_eq!(pair.sink_stat("metas-dropped"), 0);
    }
}

/// Runs a check on random values; a pair serves until a check fails.
fn run<S: Strategy>(strategy: &S, downstream: Downstream, check: impl Fn(&S::Value, &mut Pair)) {
    common::init();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let kept = RefCell::new(None);
    let outcome = TestRunner::new(config).run(strategy, |value| {
        let mut pair = kept.take().unwrap_or_else(|| Pair::new("shm-size=33554432", downstream));
        check(&value, &mut pair);
        kept.replace(Some(pair));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{downstream:?}: {failure}"));
}

#[test]
fn random_video_arrives_as_without_the_pair() {
    for downstream in BOTH {
        run(&video(), downstream, |video, pair| video.check(pair, downstream));
    }
}

#[test]
fn random_audio_arrives_as_without_the_pair() {
    run(&audio(), Downstream::KnowsNone, |audio, pair| audio.check(pair));
}

/// A frame whose layout was made up.
#[derive(Debug, Clone)]
struct MadeUp {
    caps: (usize, u32, u32),
    meta: (usize, u32, u32),
    has_same_format: bool,
    bytes: usize,
    places: Vec<(usize, i32)>,
}

fn made_up() -> impl Strategy<Value = MadeUp> {
    let formats = formats().len();
    let shape = move || (0..formats, 1u32..40, 1u32..40);
    let places = proptest::collection::vec((0usize..3000, -100i32..200), 4);
    (shape(), shape(), any::<bool>(), 0usize..12_000, places)
        .prop_map(|(caps, meta, has_same_format, bytes, places)| MadeUp { caps, meta, has_same_format, bytes, places })
}

impl MadeUp {
    /// The buffer and its caps; `None` if the bindings refuse the meta.
    fn buffer(&self) -> Option<(gst::Caps, gst::Buffer)> {
        let formats = formats();
        let mode = VideoInterlaceMode::Progressive;
        let info = info(formats[self.caps.0], self.caps.1, self.caps.2, mode);
        let format = if self.has_same_format { info.format() } else { formats[self.meta.0] };
        let planes = gst_video::VideoFormatInfo::from_format(format).n_planes() as usize;
        let (offsets, strides): (Vec<_>, Vec<_>) = self.places.iter().take(planes).copied().unzip();
        let mut buffer = gst::Buffer::from_mut_slice(noise(self.bytes));
        let (target, flags) = (buffer.get_mut()?, VideoFrameFlags::empty());
        VideoMeta::add_full(target, flags, format, self.meta.1, self.meta.2, &offsets, &strides).ok()?;
        Some((info.to_caps().ok()?, buffer))
    }
}

#[test]
fn a_layout_that_was_made_up_ends_no_consumer() {
    common::init();
    for downstream in BOTH {
        let outcomes = RefCell::new([0u32; 2]);
        let pairs = RefCell::new(None);
        let mut config = Config { failure_persistence: None, ..Config::default() };
        config.cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200);
        let outcome = TestRunner::new(config).run(&made_up(), |frame| {
            let Some((caps, buffer)) = frame.buffer() else { return Ok(()) };
            let mut pair = pairs.take().unwrap_or_else(|| Pair::new("shm-size=8388608", downstream));
            // Fails if the source does.
            let is_taken = pair.pass(&caps, buffer).is_ok();
            outcomes.borrow_mut()[usize::from(is_taken)] += 1;
            if is_taken {
                pairs.replace(Some(pair));
            } else {
                assert!(pair.sink_messages().iter().any(|text| text.contains("GstVideoMeta")));
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{downstream:?}: {failure}"));
        println!("refused and taken: {:?}", outcomes.take());
    }
}
