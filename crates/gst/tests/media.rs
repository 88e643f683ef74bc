//! The descriptions of shm2-media, which knows no GStreamer, against `GstVideoInfo` and `GstAudioInfo` of the running
//! GStreamer: every raw format, at odd sizes, interlaced, with padded rows and with crop rectangles.

use gst_audio::{AudioInfo, AudioLayout};
use gst_video::{VideoColorimetry, VideoFormat, VideoFormatInfo, VideoInfo, VideoInterlaceMode, VideoPackFlags};
use shm2_media::{Audio, ByteOrder, Media, Plane, Rectangle, SampleKind, Value, Video};
use shm2_testing::{Rng, seed, skip};

const SIZES: [(u32, u32); 8] = [(1, 1), (2, 2), (3, 5), (17, 33), (49, 130), (320, 240), (641, 479), (1920, 1080)];

/// Sizes that are tried besides; `SHM2_SEED` repeats them.
const RANDOM_SIZES: usize = 24;

const MODES: [VideoInterlaceMode; 5] = [
    VideoInterlaceMode::Progressive,
    VideoInterlaceMode::Interleaved,
    VideoInterlaceMode::Mixed,
    VideoInterlaceMode::Fields,
    VideoInterlaceMode::Alternate,
];

/// Formats that both this crate and the running GStreamer know.
fn formats() -> Vec<VideoFormat> {
    gst::init().unwrap();
    let is_known = |format: &VideoFormat| shm2_media::VideoFormat::from_name(format.to_str()).is_some();
    VideoFormat::iter_raw().filter(is_known).collect()
}

/// Prints formats that only one side knows. Of the releases that shm2-media is made for it knows all.
fn print_skipped<'a>(own: impl Iterator<Item = &'a str>, theirs: &[&str]) {
    let own: Vec<_> = own.collect();
    let missing: Vec<_> = own.iter().filter(|name| !theirs.contains(name)).copied().collect();
    let newer: Vec<_> = theirs.iter().filter(|name| !own.contains(name)).copied().collect();
    if !missing.is_empty() {
        skip(&format!("{}: {} does not know them", missing.join(", "), gst::version_string()));
    }
    if !newer.is_empty() {
        assert!(gst::version() >= (1, 29, 0, 0), "shm2-media does not know {newer:?}");
        skip(&format!("{}: newer than shm2-media", newer.join(", ")));
    }
}

fn info(format: VideoFormat, (width, height): (u32, u32), mode: VideoInterlaceMode) -> VideoInfo {
    let info = VideoInfo::builder(format, width, height).interlace_mode(mode).fps(gst::Fraction::new(30, 1));
    info.build().unwrap_or_else(|e| panic!("{format} {width}x{height} {mode:?}: {e}"))
}

fn media(caps: &gst::Caps) -> Media {
    Media::from_caps(caps.to_string()).unwrap_or_else(|e| panic!("{caps}: {e}"))
}

fn video(info: &VideoInfo) -> Video {
    match media(&info.to_caps().unwrap()) {
        Media::Video(video) => video,
        other => panic!("{other:?}"),
    }
}

/// GStreamer's stride of a plane: of tiles it is the numbers of columns and rows.
fn gst_stride(plane: &Plane) -> i32 {
    plane.tiles.map_or(plane.stride as i32, |tiles| ((tiles.rows << 16) | tiles.columns) as i32)
}

/// The description of a frame without a layout item. The layout of UYVP depends on the release where the width is odd.
fn frame(info: &VideoInfo) -> Video {
    let (stream, bytes) = (video(info), info.size() as u64);
    let Ok(Media::Video(frame)) = Media::Video(stream.clone()).for_frame(&[], bytes) else { panic!("{info:?}") };
    let depends = info.name() == "UYVP" && info.width() % 2 == 1;
    assert!(frame == stream || depends, "{info:?}");
    frame
}

fn compare(info: &VideoInfo) {
    let (video, format) = (frame(info), info.format_info());
    let name = format!("{} {}x{} {:?}", info.name(), info.width(), info.height(), info.interlace_mode());
    assert_eq!(video.planes().len(), info.n_planes() as usize, "{name}");
    // An alignment of nothing tells the sizes of the planes.
    let sizes = info.clone().align_full(&mut gst_video::VideoAlignment::new(0, 0, 0, 0, &[0; 4])).unwrap();
    for (index, plane) in video.planes().iter().enumerate() {
        let name = format!("{name}, plane {index}");
        assert_eq!(plane.offset, info.offset()[index] as u64, "{name}: offset");
        assert_eq!(gst_stride(plane), info.stride()[index], "{name}: stride");
        if format.has_palette() && index == 1 {
            assert_eq!((plane.rows, plane.row_bytes), (1, 1024), "{name}");
            continue;
        }
        assert_eq!(plane.size(), sizes[index] as u64, "{name}: size");
        let component = format.component(index as u32)[0] as u8;
        assert_eq!(plane.rows, format.scale_height(component, info.field_height()), "{name}: rows");
        assert!(plane.row_bytes >= u64::from(smallest_row(info, &format, index)), "{name}: {plane:?}");
        assert!(plane.tiles.is_some() || plane.row_bytes <= plane.stride, "{name}: {plane:?}");
        compare_tiles(plane, &format, index, &name);
    }
    // GStreamer 1.22.0 counts twice as many bytes for the second plane as its tiles have.
    let is_too_large = format.has_subtiles() && gst::version() < (1, 24, 0, 0);
    assert!(video.size() == info.size() as u64 || is_too_large, "{name}: {} and {}", video.size(), info.size());
    assert!(video.min_size() <= info.size() as u64, "{name}");
}

fn compare_tiles(plane: &Plane, format: &VideoFormatInfo, index: usize, name: &str) {
    assert_eq!(plane.tiles.is_some(), format.is_tiled(), "{name}");
    if let Some(tiles) = plane.tiles {
        let theirs = format.tile_info(index as u32);
        assert_eq!((tiles.height, tiles.bytes), (theirs.height(), theirs.size()), "{name}: {tiles:?}");
    }
}

/// Bytes from the first value of a row to behind the last one, as GStreamer's fields say.
fn smallest_row(info: &VideoInfo, format: &VideoFormatInfo, plane: usize) -> u32 {
    let own = (0..format.n_components() as usize).filter(|c| format.plane()[*c] as usize == plane);
    own.map(|c| format.scale_width(c as u8, info.width()) * format.pixel_stride()[c].unsigned_abs()).max().unwrap()
}

#[test]
fn planes_of_every_raw_video_format_are_those_of_gstreamer() {
    let formats = formats();
    let theirs: Vec<_> = VideoFormat::iter_raw().map(|format| format.to_str().as_str()).collect();
    print_skipped(shm2_media::VideoFormat::all().map(|format| format.name()), &theirs);
    let mut rng = Rng::with_seed(seed());
    let sizes: Vec<_> = (0..RANDOM_SIZES).map(|_| (rng.u32(1..3000), rng.u32(1..3000))).chain(SIZES).collect();
    for format in &formats {
        for size in sizes.iter().copied() {
            MODES.iter().for_each(|mode| compare(&info(*format, size, *mode)));
        }
    }
    println!("{} video formats at {} sizes in {} modes are equal", formats.len(), sizes.len(), MODES.len());
    assert!(formats.len() >= 111, "{formats:?}");
}

#[test]
fn components_of_every_raw_video_format_are_those_of_gstreamer() {
    for format in formats() {
        let theirs = VideoFormatInfo::from_format(format);
        let own = shm2_media::VideoFormat::from_name(format.to_str()).unwrap();
        let flags = (own.has_alpha(), own.has_palette(), own.is_tiled(), own.plane_count());
        let their_alpha = theirs.has_alpha() || theirs.n_components() == 4;
        assert_eq!(flags, (their_alpha, theirs.has_palette(), theirs.is_tiled(), theirs.n_planes() as usize), "{own}");
        let model = (theirs.is_yuv(), theirs.is_rgb(), theirs.is_gray());
        let expected = match own.model() {
            shm2_media::ColorModel::Yuv => (true, false, false),
            shm2_media::ColorModel::Rgb => (false, true, false),
            shm2_media::ColorModel::Gray => (false, false, true),
        };
        assert_eq!(expected, model, "{own}");
        assert!(!theirs.is_le() || own.byte_order() == Some(ByteOrder::Little), "{own}");
        for (index, component) in own.components().iter().enumerate() {
            let place = (u32::from(component.plane), u32::from(component.bits));
            assert_eq!(place, (theirs.plane()[index], theirs.depth()[index]), "{own}, component {index}");
            let shifts = (u32::from(component.width_shift), u32::from(component.height_shift));
            assert_eq!(shifts, (theirs.w_sub()[index], theirs.h_sub()[index]), "{own}, component {index}");
            assert_eq!(i32::from(component.step), theirs.pixel_stride()[index], "{own}, component {index}");
        }
    }
}

/// The first pixel, as GStreamer unpacks it: alpha, then the three others.
fn unpacked(format: &VideoFormatInfo, planes: &[Vec<u8>]) -> [u16; 4] {
    let wide = VideoFormatInfo::from_format(format.unpack_format()).bits() == 16;
    let (mut pixel, strides) = ([0; 8], vec![planes[0].len() as i32; planes.len()]);
    let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
    format.unpack(VideoPackFlags::empty(), &mut pixel, &planes, &strides, 0, 0, 1);
    std::array::from_fn(|i| if wide { u16::from_ne_bytes([pixel[2 * i], pixel[2 * i + 1]]) } else { pixel[i].into() })
}

#[test]
fn bits_of_every_component_are_where_gstreamer_reads_them() {
    let mut count = 0;
    for format in formats() {
        let theirs = VideoFormatInfo::from_format(format);
        let own = shm2_media::VideoFormat::from_name(format.to_str()).unwrap();
        let is_packed = own.components().iter().any(|component| component.step == 0);
        // GStreamer swaps the chroma of VYUY in the last pixel of an odd row, which is the only one here.
        if is_packed || own.is_tiled() || own.has_palette() || own.name() == "VYUY" {
            continue;
        }
        let empty = vec![vec![0; 64]; own.plane_count()];
        let before = unpacked(&theirs, &empty);
        for (index, component) in own.components().iter().enumerate() {
            let word = ((1_u64 << component.bits) - 1) << component.shift;
            let word = word.to_le_bytes();
            let length = usize::from(component.bits + component.shift).div_ceil(8);
            // Big-endian words are as long as the whole element where all components share it.
            let length = if own.name() == "r210" { 4 } else { length };
            let mut planes = empty.clone();
            for (byte, bits) in word[..length].iter().enumerate() {
                let byte = if own.byte_order() == Some(ByteOrder::Big) { length - 1 - byte } else { byte };
                planes[usize::from(component.plane)][usize::from(component.offset) + byte] = *bits;
            }
            let after = unpacked(&theirs, &planes);
            let changed: Vec<_> = (0..4).filter(|i| before[*i] != after[*i]).collect();
            assert_eq!(changed, [(index + 1) % 4], "{own}, component {index}: {before:x?} became {after:x?}");
            count += 1;
        }
    }
    println!("{count} components are where GStreamer reads them");
}

fn video_item(info: &VideoInfo, size: (u32, u32)) -> Vec<u8> {
    let words = [0, size.0, size.1, info.n_planes()];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    info.offset().iter().for_each(|offset| bytes.extend((*offset as u64).to_le_bytes()));
    info.stride().iter().for_each(|stride| bytes.extend(stride.to_le_bytes()));
    bytes.extend(info.name().as_bytes());
    item(1, &bytes)
}

fn item(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 2], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

#[test]
fn padded_rows_and_crops_of_every_format_are_read_from_the_items_of_a_frame() {
    for format in formats().into_iter().filter(|format| !VideoFormatInfo::from_format(*format).is_tiled()) {
        for size in SIZES {
            let own = info(format, size, VideoInterlaceMode::Progressive);
            let mut padded = own.clone();
            let mut padding = gst_video::VideoAlignment::new(16, 8, 32, 64, &[63; 4]);
            if own.format_info().has_palette() || padded.align(&mut padding).is_err() {
                continue;
            }
            let crop = [size.0 / 2, size.1 / 3, size.0 - size.0 / 2, size.1 - size.1 / 3];
            let crop_bytes: Vec<u8> = crop.into_iter().flat_map(u32::to_le_bytes).collect();
            let meta = [video_item(&padded, size), item(2, &crop_bytes)].concat();
            let name = format!("{format} {size:?}");
            let frame = Media::Video(video(&own)).for_frame(&meta, padded.size() as u64);
            let Media::Video(frame) = frame.unwrap_or_else(|e| panic!("{name}: {e}")) else { panic!("{name}") };
            for (index, plane) in frame.planes().iter().enumerate() {
                assert_eq!(plane.offset, padded.offset()[index] as u64, "{name}, plane {index}");
                assert_eq!(gst_stride(plane), padded.stride()[index], "{name}, plane {index}");
                assert_eq!(plane.rows, video(&own).planes()[index].rows, "{name}, plane {index}");
            }
            let [x, y, width, height] = crop;
            assert_eq!(frame.visible(), Rectangle { x, y, width, height }, "{name}");
        }
    }
}

#[test]
fn the_layout_of_the_caps_is_accepted_as_an_item_of_every_format() {
    for format in formats() {
        for (size, mode) in SIZES.into_iter().flat_map(|size| MODES.map(|mode| (size, mode))) {
            let own = info(format, size, mode);
            if format.to_str() == "UYVP" && size.0 % 2 == 1 && gst::version() < (1, 28, 0, 0) {
                // Older releases cut the last pixels off.
                continue;
            }
            let stream = Media::Video(video(&own));
            let frame = stream.for_frame(&video_item(&own, size), own.size() as u64);
            let Media::Video(frame) = frame.unwrap_or_else(|e| panic!("{format} {size:?} {mode:?}: {e}")) else {
                panic!("{format}")
            };
            assert_eq!(frame.planes(), video(&own).planes(), "{format} {size:?} {mode:?}");
        }
    }
}

#[test]
fn rate_aspect_and_colorimetry_are_those_of_gstreamer() {
    gst::init().unwrap();
    let colors = ["bt601", "bt709", "smpte240m", "sRGB", "bt2020", "bt2020-10", "bt2100-pq", "bt2100-hlg", "1:4:0:0"];
    let others = ["2:3:5:1", "1:0:0:0", "0:0:0:0", "nonsense", "2:6:14:11", "1:4:16:3"];
    for format in ["I420", "RGBA", "GRAY8", "v210"] {
        for height in [480, 576, 577, 1080] {
            for color in colors.into_iter().chain(others).map(Some).chain([None]) {
                let color = color.map_or(String::new(), |color| format!(", colorimetry=(string){color}"));
                let rest = "framerate=(fraction)30000/1001, pixel-aspect-ratio=(fraction)16/11";
                let text = format!("video/x-raw, format=(string){format}, width=(int)64, height=(int){height}, {rest}");
                let caps: gst::Caps = format!("{text}{color}").parse().unwrap();
                let theirs = VideoInfo::from_caps(&caps).unwrap();
                let Media::Video(own) = media(&caps) else { panic!("{caps}") };
                assert_eq!(own.colorimetry.numbers(), numbers(&theirs.colorimetry()), "{caps}");
                assert_eq!(own.frame_rate.to_string(), "30000/1001");
                assert_eq!(own.pixel_aspect_ratio.to_string(), "16/11");
                if let Some(name) = own.colorimetry.name() {
                    assert_eq!(name, theirs.colorimetry().to_string(), "{caps}");
                }
            }
        }
    }
}

fn numbers(color: &VideoColorimetry) -> [u32; 4] {
    use gst::glib::translate::IntoGlib;
    let all = [
        color.range().into_glib(),
        color.matrix().into_glib(),
        color.transfer().into_glib(),
        color.primaries().into_glib(),
    ];
    all.map(|number| number as u32)
}

fn audio(info: &AudioInfo) -> Audio {
    match media(&info.to_caps().unwrap()) {
        Media::Audio(audio) => audio,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_raw_audio_format_is_that_of_gstreamer() {
    gst::init().unwrap();
    let theirs: Vec<_> = gst_audio::AudioFormat::iter_raw().map(|format| format.to_str().as_str()).collect();
    print_skipped(shm2_media::AudioFormat::all().map(|format| format.name()), &theirs);
    let is_known = |format: &gst_audio::AudioFormat| shm2_media::AudioFormat::from_name(format.to_str()).is_some();
    let formats: Vec<_> = gst_audio::AudioFormat::iter_raw().filter(is_known).collect();
    for format in &formats {
        for layout in [AudioLayout::Interleaved, AudioLayout::NonInterleaved] {
            for channels in [1, 2, 3, 6, 8, 64] {
                let info = AudioInfo::builder(*format, 44_100, channels).layout(layout).build().unwrap();
                compare_audio(&info);
            }
        }
    }
    println!("{} audio formats are equal", formats.len());
}

fn compare_audio(info: &AudioInfo) {
    let (own, name) = (audio(info), format!("{info:?}"));
    assert_eq!(
        (own.format.name(), own.rate, own.channels),
        (info.format().to_str().as_str(), info.rate(), info.channels())
    );
    assert_eq!(own.bytes_per_frame(), u64::from(info.bpf()), "{name}");
    assert_eq!((own.format.bytes() * 8, own.format.bits()), (info.width(), info.depth()), "{name}");
    let kind = match own.format.kind() {
        SampleKind::Signed => (true, false),
        SampleKind::Unsigned => (false, false),
        SampleKind::Float => (false, true),
    };
    assert_eq!(kind, (info.is_signed() && info.is_integer(), info.is_float()), "{name}");
    if let Some(order) = own.format.byte_order() {
        assert_eq!(
            (order == ByteOrder::Little, order == ByteOrder::Big),
            (info.is_little_endian(), info.is_big_endian())
        );
    }
    let is_planar = info.layout() == AudioLayout::NonInterleaved;
    assert_eq!(own.layout == shm2_media::AudioLayout::Planar, is_planar, "{name}");
    compare_channels(info, &own, &name);
}

/// The planes of a buffer without offsets in its meta.
fn compare_channels(info: &AudioInfo, own: &Audio, name: &str) {
    let mut buffer = gst::Buffer::with_size(info.bpf() as usize * 10).unwrap();
    gst_audio::AudioMeta::add(buffer.get_mut().unwrap(), info, 10, &[]).unwrap();
    let meta = buffer.meta::<gst_audio::AudioMeta>().unwrap();
    for (channel, offset) in meta.offsets().iter().enumerate() {
        let range = own.channel(channel as u32, buffer.size() as u64).unwrap();
        assert_eq!(range, *offset..offset + 10 * info.width() as usize / 8, "{name}, channel {channel}");
    }
}

#[test]
fn fields_of_caps_are_read_as_gstreamer_reads_them() {
    gst::init().unwrap();
    let list = gst::List::new(["I420", "with \"quotes\" and \\"]);
    let array = gst::Array::new([1, 2, 3]);
    let tags = gst::Structure::builder("tags").field("title", "a, b; c]").build();
    let caps = gst::Caps::builder("video/x-test")
        .features(["memory:SystemMemory", "meta:Test"])
        .field("text", "line\nbreak, \u{e9} = \"x\"; [y]")
        .field("empty", "")
        .field("list", list)
        .field("array", array)
        .field("range", gst::IntRange::new(1, 10))
        .field("fractions", gst::FractionRange::new(gst::Fraction::new(0, 1), gst::Fraction::new(60, 2)))
        .field("mask", gst::Bitmask(0x3f))
        .field("big", u64::MAX)
        .field("small", i64::MIN)
        .field("real", -1.5e-30_f64)
        .field("yes", true)
        .field("tags", tags)
        .field("data", gst::Buffer::from_slice([1, 2, 255]))
        .field("last", 7)
        .build();
    let media = media(&caps);
    let own = media.structure().unwrap();
    assert_eq!(
        (own.name(), own.features()),
        ("video/x-test", &["memory:SystemMemory", "meta:Test"].map(String::from)[..])
    );
    assert_eq!(own.fields().len(), caps.structure(0).unwrap().n_fields());
    assert_eq!(own.text("text"), Some("line\nbreak, \u{e9} = \"x\"; [y]"));
    assert_eq!(own.text("empty"), Some(""));
    let texts = ["I420", "with \"quotes\" and \\"].map(|text| Value::Text(text.into()));
    assert_eq!(own.value("list"), Some(&Value::List(texts.into())));
    assert_eq!(own.value("array"), Some(&Value::Array([1, 2, 3].map(Value::Int).into())));
    assert_eq!(own.value("range"), Some(&Value::Range([1, 10].map(Value::Int).into())));
    assert_eq!(own.value("fractions").unwrap().to_string(), "[ 0/1, 30/1 ]");
    assert_eq!(own.value("mask"), Some(&Value::Bitmask(0x3f)));
    assert_eq!(own.value("big"), Some(&Value::Unsigned(u64::MAX)));
    assert_eq!((own.int("small"), own.int("last"), own.boolean("yes")), (Some(i64::MIN), Some(7), Some(true)));
    assert_eq!(own.value("real"), Some(&Value::Double(-1.5e-30)));
    assert!(
        matches!(own.value("tags"), Some(Value::Other { type_name, .. }) if type_name.to_lowercase().contains("structure")),
        "{own:?}"
    );
    assert_eq!(own.value("data").unwrap().to_string(), "0102ff");
}
