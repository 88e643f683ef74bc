//! Layouts of raw video through both elements: what downstream gets of rows that are padded, of parts of larger
//! pictures, and of metas that contradict the caps.

mod common;

use common::pair::{Downstream, Pair, picture};
use common::{Pipeline, have, record};
use gst::prelude::*;
use gst_audio::{AudioFormat, AudioInfo, AudioLayout, AudioMeta};
use gst_video::{VideoFormat, VideoFrameFlags, VideoInfo, VideoMeta};
use shm2_testing::{Rng, TempPath, TempRegion};

const BOTH: [Downstream; 2] = [Downstream::KnowsLayouts, Downstream::KnowsNone];

fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    VideoInfo::builder(format, width, height).fps(gst::Fraction::new(30, 1)).build().unwrap()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Rng::with_seed(7).fill(&mut noise);
    noise
}

/// A buffer of `bytes` bytes with a video meta.
fn with_meta(bytes: usize, info: &VideoInfo, offsets: &[usize], strides: &[i32]) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(noise(bytes));
    let (format, width, height) = (info.format(), info.width(), info.height());
    let flags = VideoFrameFlags::empty();
    VideoMeta::add_full(buffer.get_mut().unwrap(), flags, format, width, height, offsets, strides).unwrap();
    buffer
}

/// A buffer whose rows have 64 bytes of padding each, and its planes 128.
fn padded(info: &VideoInfo) -> gst::Buffer {
    let (mut at, mut offsets, mut strides) = (0, Vec::new(), Vec::new());
    let ends = [info.offset(), &[info.size()]].concat();
    for (plane, stride) in info.stride().iter().enumerate() {
        let lines = (ends[plane + 1] - ends[plane]).div_ceil(*stride as usize);
        offsets.push(at);
        strides.push(stride + 64);
        at += lines * (*stride as usize + 64) + 128;
    }
    with_meta(at, info, &offsets, &strides)
}

/// Whether the buffer's bytes are in the layout that follows from the caps.
fn is_packed(buffer: &gst::BufferRef, info: &VideoInfo) -> bool {
    let follows = buffer.meta::<VideoMeta>().is_none_or(|m| m.offset() == info.offset() && m.stride() == info.stride());
    follows && buffer.size() == info.size()
}

#[test]
fn padded_rows_go_only_to_those_who_know_the_video_meta() {
    let formats = [
        VideoFormat::I420,
        VideoFormat::Nv12,
        VideoFormat::Rgb,
        VideoFormat::Yuy2,
        VideoFormat::Gray8,
        VideoFormat::I42010le,
        VideoFormat::V210,
        VideoFormat::Rgb8p,
        VideoFormat::Iyu1,
    ];
    for downstream in BOTH {
        let mut pair = Pair::new("", downstream);
        for (number, format) in (1..).zip(formats) {
            let info = info(format, 37, 22);
            let sent = padded(&info);
            let received = pair.pass(&info.to_caps().unwrap(), sent.clone()).unwrap();
            assert_eq!(picture(&received, &info), picture(&sent, &info), "{format} {downstream:?}");
            let knows_none = downstream == Downstream::KnowsNone;
            assert_eq!(is_packed(&received, &info), knows_none, "{format} {downstream:?}");
            let counts = (pair.src_stat("repacked"), pair.src_stat("zero-copied"));
            assert_eq!(counts, if knows_none { (number, 0) } else { (0, number) }, "{format}");
        }
        assert_eq!(pair.sink_stat("metas-dropped"), 0);
    }
}

#[test]
fn a_layout_that_follows_from_the_caps_is_not_copied() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    let info = info(VideoFormat::Nv12, 64, 48);
    for flags in [VideoFrameFlags::empty(), VideoFrameFlags::TFF] {
        let mut buffer = gst::Buffer::from_mut_slice(noise(info.size()));
        VideoMeta::add(buffer.get_mut().unwrap(), flags, info.format(), 64, 48).unwrap();
        pair.pass(&info.to_caps().unwrap(), buffer).unwrap();
    }
    assert_eq!((pair.src_stat("repacked"), pair.src_stat("zero-copied")), (0, 2));
}

#[test]
fn downstream_is_asked_again_after_a_change() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    let first = info(VideoFormat::I420, 64, 48);
    let is_packed_now = |pair: &mut Pair, info: &VideoInfo| {
        let received = pair.pass(&info.to_caps().unwrap(), padded(info)).unwrap();
        is_packed(&received, info)
    };
    assert!(is_packed_now(&mut pair, &first));
    pair.src.add_propose_allocation_meta(VideoMeta::meta_api(), None);
    assert!(is_packed_now(&mut pair, &first), "nothing has told that downstream changed");
    pair.src.push_upstream_event(gst::event::Reconfigure::new());
    assert!(!is_packed_now(&mut pair, &first));
    assert!(!is_packed_now(&mut pair, &info(VideoFormat::Nv12, 32, 32)), "other caps");
}

#[test]
fn a_decoders_frames_in_a_file_are_as_without_the_pair() {
    if !have(&["x264enc", "matroskamux", "avdec_h264"]) {
        return;
    }
    for (width, height) in [(320, 180), (642, 482)] {
        let size = format!("width={width},height={height}");
        // Encoded once: the encoder's stream differs by what runs beside it.
        let source = format!("videotestsrc num-buffers=4 ! video/x-raw,format=I420,{size},framerate=30/1");
        let encoded = record(&format!("{source} ! x264enc ! matroskamux ! filesink location=FILE"));
        let source = format!("filesrc location={} ! matroskademux ! avdec_h264", encoded.text());
        let direct = record(&format!("{source} ! filesink location=FILE"));
        let (name, through) = (TempRegion::new(), TempPath::new("recording"));
        let line = format!("shm2src shm-path={} live-only=false ! filesink location={}", &*name, through.text());
        let consumer = Pipeline::playing(&line);
        let sink = "shm2sink sync=false wait-for-connection=true full-policy=block";
        Pipeline::playing(&format!("{source} ! {sink} shm-path={}", &*name)).run_to_end();
        consumer.run_to_end();
        let (direct, through) = (std::fs::read(direct.text()).unwrap(), std::fs::read(through.text()).unwrap());
        assert_eq!(direct.len(), through.len(), "{size}");
        let info = info(VideoFormat::I420, width, height);
        assert!(pixels(&direct, &info) == pixels(&through, &info), "{size}: other pixels");
    }
}

/// The pixels of recorded frames, without the bytes that pad a row: those have no meaning.
fn pixels(frames: &[u8], info: &VideoInfo) -> Vec<u8> {
    let format = info.format_info();
    let row = |frame: &[u8], plane: usize, y: u32| {
        let start = info.offset()[plane] + y as usize * info.stride()[plane] as usize;
        frame[start..start + format.scale_width(plane as u8, info.width()) as usize].to_vec()
    };
    let rows = |plane: usize| 0..format.scale_height(plane as u8, info.height());
    let frames = frames.chunks_exact(info.size());
    frames.flat_map(|frame| (0..3).flat_map(move |plane| rows(plane).flat_map(move |y| row(frame, plane, y)))).collect()
}

/// The part of a picture that begins at `x` and `y`; `line` rows of the whole picture are one row of the part.
fn part(whole: &VideoInfo, part: &VideoInfo, (x, y): (u32, u32), line: i32) -> gst::Buffer {
    let format = whole.format_info();
    let strides: Vec<_> = whole.stride().iter().map(|stride| stride * line).collect();
    let offsets: Vec<_> = (0..format.n_planes())
        .map(|plane| {
            let component = (0..format.n_components() as u8).find(|c| format.plane()[*c as usize] == plane).unwrap();
            let step = format.pixel_stride()[component as usize] as usize;
            let (column, row) = (format.scale_width(component, x) as usize, format.scale_height(component, y) as usize);
            whole.offset()[plane as usize] + column * step + row * whole.stride()[plane as usize] as usize
        })
        .collect();
    with_meta(whole.size(), part, &offsets, &strides)
}

#[test]
fn parts_at_the_edge_of_a_larger_picture_arrive() {
    let formats = [
        VideoFormat::Gray8,
        VideoFormat::Rgb,
        VideoFormat::Yuy2,
        VideoFormat::Nv12,
        VideoFormat::I420,
        VideoFormat::Bgrx,
        VideoFormat::Y444,
        VideoFormat::P01010le,
        VideoFormat::Gray16Le,
    ];
    for downstream in BOTH {
        let mut pair = Pair::new("", downstream);
        for format in formats {
            let whole = info(format, 64, 48);
            let parts = [
                (32, 48, (32, 0), 1),
                (32, 24, (32, 24), 1),
                (64, 24, (0, 24), 1),
                (64, 24, (0, 1), 2),
                (2, 2, (62, 46), 1),
            ];
            for (width, height, at, line) in parts {
                // The rows of one field of these have the colours of both.
                if line == 2 && whole.format_info().h_sub().contains(&1) {
                    continue;
                }
                let what = format!("{format} {width}x{height} at {at:?} {downstream:?}");
                let info = info(format, width, height);
                let sent = part(&whole, &info, at, line);
                let received = pair.pass(&info.to_caps().unwrap(), sent.clone()).unwrap();
                assert_eq!(picture(&received, &info), picture(&sent, &info), "{what}");
                // Some bindings read the padding of the last row, too.
                let meta = received.meta::<VideoMeta>();
                let end = meta.map_or(info.size(), |meta| {
                    let last = meta.n_planes() as usize - 1;
                    let lines = info.comp_height(last as u8) as usize;
                    meta.offset()[last] + lines * meta.stride()[last] as usize
                });
                assert!(end <= received.size(), "{what}");
            }
        }
        assert_eq!(pair.sink_stat("metas-dropped"), 0);
    }
}

#[test]
fn a_layout_that_no_consumer_could_check_is_copied_at_the_sink() {
    for downstream in BOTH {
        let mut pair = Pair::new("", downstream);
        let gray = info(VideoFormat::Gray8, 32, 16);
        // From the bottom to the top; the same row again and again; rows that overlap.
        for (offset, stride) in [(15 * 32, -32), (0, 0), (0, 8)] {
            let sent = with_meta(16 * 32, &gray, &[offset], &[stride]);
            let received = pair.pass(&gray.to_caps().unwrap(), sent.clone()).unwrap();
            assert_eq!(picture(&received, &gray), picture(&sent, &gray), "stride {stride}");
        }
        // One more column and one more row of tiles in each plane.
        let (tiled, larger) = (info(VideoFormat::Nv124l4, 16, 16), info(VideoFormat::Nv124l4, 24, 24));
        let sent = with_meta(larger.size(), &tiled, larger.offset(), larger.stride());
        let received = pair.pass(&tiled.to_caps().unwrap(), sent.clone()).unwrap();
        let tile = |number: usize| sent.map_readable().unwrap()[number * 16..][..16].to_vec();
        let row = [tile(0), tile(1), tile(2), tile(3)].concat();
        assert_eq!(received.map_readable().unwrap()[..64], row);
        assert_eq!(received.map_readable().unwrap()[64..80], tile(6));
        assert_eq!(pair.sink_stat("metas-dropped"), 0);
    }
}

#[test]
fn a_meta_of_another_format_or_size_is_used_dropped_or_refused_at_the_sink() {
    use VideoFormat::*;
    for downstream in BOTH {
        let mut pair = Pair::new("", downstream);
        // The same rows under another name, with padding and without.
        for (before, after) in [(Rgb, Bgr), (Rgbx, Bgrx), (Argb, Rgba), (Nv12, Nv21), (I420, Yv12)] {
            let (before, after) = (info(before, 32, 16), info(after, 32, 16));
            let plain = with_meta(before.size(), &before, before.offset(), before.stride());
            for sent in [plain, padded(&before)] {
                let received = pair.pass(&after.to_caps().unwrap(), sent.clone()).unwrap();
                assert_eq!(picture(&received, &after), picture(&sent, &after));
            }
        }
        assert_eq!(pair.sink_stat("metas-dropped"), 0);
        // The caps' own layout fits.
        let cases = [
            (info(Gray16Le, 32, 16), info(Gray8, 32, 16)),
            (info(Rgbx, 32, 16), info(Rgb, 32, 16)),
            (info(I420, 32, 16), info(Gray8, 32, 16)),
            (info(Rgb, 32, 16), info(Rgb, 16, 32)),
            (info(Nv12, 32, 16), info(Nv124l4, 32, 16)),
        ];
        for (number, (meta, caps)) in (1..).zip(&cases) {
            let sent = with_meta(meta.size(), meta, meta.offset(), meta.stride());
            let received = pair.pass(&caps.to_caps().unwrap(), sent.clone()).unwrap();
            assert_eq!(received.map_readable().unwrap()[..], sent.map_readable().unwrap()[..]);
            assert!(received.meta::<VideoMeta>().is_none());
            assert_eq!(pair.sink_stat("metas-dropped"), number);
        }
        let mut messages = pair.sink_messages();
        messages.retain(|message| !message.contains("no absolute time"));
        assert!(messages.len() == 1 && messages[0].contains("GstVideoMeta"), "{messages:?}");
        // A layout of a smaller picture than that of the caps, which does not fit either.
        let (small, caps) = (info(Rgb, 32, 16), info(Rgb, 34, 16));
        let sent = with_meta(small.size(), &small, small.offset(), small.stride());
        assert_eq!(pair.send(&caps.to_caps().unwrap(), sent), Err(gst::FlowError::Error));
        let messages = pair.sink_messages();
        assert!(messages.iter().any(|text| text.contains("GstVideoMeta") && text.contains("34x16")), "{messages:?}");
    }
}

#[test]
fn a_meta_of_a_larger_picture_is_used() {
    for downstream in BOTH {
        let mut pair = Pair::new("", downstream);
        let (large, caps) = (info(VideoFormat::I420, 64, 48), info(VideoFormat::I420, 60, 46));
        let sent = with_meta(large.size(), &large, large.offset(), large.stride());
        let received = pair.pass(&caps.to_caps().unwrap(), sent.clone()).unwrap();
        assert_eq!(picture(&received, &caps), picture(&sent, &caps), "{downstream:?}");
        assert_eq!(is_packed(&received, &caps), downstream == Downstream::KnowsNone);
    }
}

#[test]
fn a_layout_of_other_media_is_counted_and_the_frame_arrives() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    let rgb = info(VideoFormat::Rgb, 32, 16);
    for (number, caps) in (1..).zip(["image/x-test", "video/x-bayer, width=32, height=16", "audio/x-test"]) {
        let sent = with_meta(rgb.size(), &rgb, rgb.offset(), rgb.stride());
        let received = pair.pass(&caps.parse().unwrap(), sent).unwrap();
        assert!(received.meta::<VideoMeta>().is_none());
        assert_eq!(pair.sink_stat("metas-dropped"), number);
    }
}

#[test]
fn an_audio_meta_that_contradicts_the_caps_is_decided_at_the_sink() {
    let audio = |format, channels, layout| AudioInfo::builder(format, 48_000, channels).layout(layout).build().unwrap();
    let with_audio = |bytes: usize, info: &AudioInfo, samples: usize, offsets: &[usize]| {
        let mut buffer = gst::Buffer::from_mut_slice(noise(bytes));
        AudioMeta::add(buffer.get_mut().unwrap(), info, samples, offsets).unwrap();
        buffer
    };
    let mut pair = Pair::new("", Downstream::KnowsNone);
    let planar = audio(gst_audio::AUDIO_FORMAT_F32, 2, AudioLayout::NonInterleaved);
    let mixed = audio(gst_audio::AUDIO_FORMAT_F32, 2, AudioLayout::Interleaved);
    let mono = audio(gst_audio::AUDIO_FORMAT_F32, 1, AudioLayout::Interleaved);
    let integers = audio(gst_audio::AUDIO_FORMAT_S32, 2, AudioLayout::NonInterleaved);
    let doubles = audio(AudioFormat::F64le, 2, AudioLayout::Interleaved);
    // Planes apart from each other: as in the same buffer without the pair.
    let sent = with_audio(1024, &planar, 100, &[0, 512]);
    for caps in [&planar, &integers] {
        let received = pair.pass(&caps.to_caps().unwrap(), sent.clone()).unwrap();
        let meta = received.meta::<AudioMeta>().unwrap();
        assert_eq!((meta.samples(), meta.offsets()), (100, &[0, 512][..]));
    }
    assert_eq!(pair.sink_stat("metas-dropped"), 0);
    // Other channels, another layout, larger samples: the layout of interleaved caps always fits.
    for (number, caps) in (1..).zip([&mono, &mixed, &doubles]) {
        let received = pair.pass(&caps.to_caps().unwrap(), sent.clone()).unwrap();
        assert!(received.meta::<AudioMeta>().is_none());
        assert_eq!(pair.sink_stat("metas-dropped"), number);
    }
    pair.pass(&"application/x-test".parse().unwrap(), sent).unwrap();
    assert_eq!(pair.sink_stat("metas-dropped"), 4);
    // Planar audio cannot be read without its meta.
    let sent = with_audio(1024, &mixed, 100, &[]);
    assert_eq!(pair.send(&planar.to_caps().unwrap(), sent), Err(gst::FlowError::Error));
    let messages = pair.sink_messages();
    assert!(messages.iter().any(|text| text.contains("GstAudioMeta")), "{messages:?}");
}
