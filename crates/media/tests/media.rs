//! Descriptions of streams and frames, and the sentences of their errors. The comparison with GStreamer is in the
//! plugin's crate.

use shm2_media::{AudioLayout, Encoded, InterlaceMode, LayoutError, Media, MediaError, Rectangle, Video};

const I420: &str = "video/x-raw, format=I420, width=3, height=3";

fn media(text: &str) -> Media {
    Media::from_caps(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn video(media: Media) -> Video {
    let Media::Video(video) = media else { panic!("{media:?}") };
    video
}

fn encoded(text: &str) -> Encoded {
    let Media::Encoded(encoded) = media(text) else { panic!("{text}") };
    encoded
}

fn error(text: &str) -> String {
    Media::from_caps(text).expect_err(text).to_string()
}

fn item(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 2], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn layout(size: (u32, u32), places: &[(u64, i32)], format: &str) -> Vec<u8> {
    let mut bytes = words(&[0, size.0, size.1, places.len() as u32]);
    places.iter().for_each(|(offset, _)| bytes.extend(offset.to_le_bytes()));
    places.iter().for_each(|(_, stride)| bytes.extend(stride.to_le_bytes()));
    bytes.extend(format.as_bytes());
    item(1, &bytes)
}

#[test]
fn defaults_are_those_of_gstreamer() {
    let video = video(media(I420));
    assert_eq!((video.frame_rate.to_string(), video.has_variable_rate()), ("0/1".into(), true));
    assert_eq!(
        (video.interlace_mode, video.pixel_aspect_ratio.to_string()),
        (InterlaceMode::Progressive, "1/1".into())
    );
    assert_eq!((video.colorimetry.name(), video.crop, video.max_frame_rate), (Some("bt601"), None, None));
    assert_eq!((video.size(), video.min_size(), video.stored_size()), (32, 30, (3, 3)));
}

#[test]
fn a_padded_layout_and_a_crop_are_applied() {
    let places = [(16, 64), (1000, 32), (2000, 32)];
    let crop = item(2, &words(&[1, 2, 3, 4]));
    let meta = [item(40, b"unknown"), layout((8, 6), &places, "I420"), crop].concat();
    let frame = video(media(I420).for_frame(&meta, 2068).unwrap());
    let [y, u, v] = frame.planes() else { panic!("{frame:?}") };
    assert_eq!((y.offset, y.stride, y.rows, y.row_bytes), (16, 64, 6, 8));
    assert_eq!((u.offset, u.rows, v.row(2), v.row(3)), (1000, 3, Some(2064..2068), None));
    assert_eq!((frame.stored_size(), frame.visible()), ((8, 6), Rectangle { x: 1, y: 2, width: 3, height: 4 }));
    // One byte less, and the last row is not inside the frame.
    let error = media(I420).for_frame(&meta, 2067).unwrap_err();
    assert_eq!(error, LayoutError::Outside { end: 2068, bytes: 2067 });
    assert!(error.to_string().contains("ends at byte 2068, the frame has 2067 bytes"));
}

#[test]
fn a_crop_outside_the_picture_is_left_out() {
    for crop in [[0, 0, 4, 1], [0, 0, 1, 4], [u32::MAX, 0, 2, 1], [3, 3, 1, 1]] {
        let frame = video(media(I420).for_frame(&item(2, &words(&crop)), 32).unwrap());
        assert_eq!(frame.crop, None, "{crop:?}");
    }
}

#[test]
fn layouts_that_contradict_the_caps_are_refused() {
    let good = [(0, 4), (12, 4), (20, 4)];
    let frame = |meta: &[u8]| media(I420).for_frame(meta, 32).map(drop).map_err(|e| e.to_string());
    assert_eq!(frame(&layout((3, 3), &good, "I420")), Ok(()));
    for (meta, expected) in [
        (layout((3, 3), &good, "YV12"), "the layout is for YV12, the caps say I420"),
        (layout((2, 3), &good, "I420"), "the layout has 2x3 pixels, less than the 3x3"),
        (layout((3, 3), &good[..2], "I420"), "the layout has 2 planes, the caps have 3"),
        (layout((3, 3), &[(0, 4), (12, 1), (20, 4)], "I420"), "plane 1 has a stride of 1 bytes for rows of 2"),
        (layout((3, 3), &[(0, -4), (12, 4), (20, 4)], "I420"), "plane 0 has a stride of -4"),
        (layout((3, 3), &[(u64::MAX, 4), (12, 4), (20, 4)], "I420"), "reaches outside"),
        (layout((u32::MAX, u32::MAX), &[(0, i32::MAX); 3], "I420"), "its rows overlap"),
        (layout((3, u32::MAX), &[(0, i32::MAX); 3], "I420"), "the frame has 32 bytes"),
        (layout((3, 3), &[(0, 4); 5], "I420"), "the item of kind 1 has 80 bytes"),
        (item(1, b"short"), "the item of kind 1 has 5 bytes, which is no flags"),
        (item(2, b"short"), "the item of kind 2 has 5 bytes, which is no rectangle"),
        (vec![1, 0, 0], "3 bytes are left where 8 are announced"),
        (item(1, b"")[..4].to_vec(), "4 bytes are left where 8"),
        ([&item(9, b"")[..4], &words(&[u32::MAX])].concat(), "0 bytes are left where 4294967295"),
    ] {
        let text = frame(&meta).expect_err(expected);
        let expected = expected.replace("reaches outside", "ends at byte 18446744073709551615");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn frames_of_older_releases_have_their_own_layout() {
    let stream = media("video/x-raw, format=UYVP, width=17, height=2");
    let rows = |bytes| video(stream.for_frame(&[], bytes).unwrap()).planes()[0];
    assert_eq!((rows(96).stride, rows(96).row_bytes), (48, 45), "since 1.28");
    assert_eq!((rows(88).stride, rows(88).row_bytes), (44, 44), "the last two pixels are cut off");
    assert_eq!(stream.for_frame(&[], 87), Err(LayoutError::Outside { end: 93, bytes: 87 }));
}

#[test]
fn tiles_have_the_layout_of_the_caps_only() {
    let stream = media("video/x-raw, format=NV12_4L4, width=17, height=33");
    let [luma, chroma] = video(stream.clone()).planes().to_vec()[..] else { panic!("{stream:?}") };
    let tiles = luma.tiles.expect("tiles");
    assert_eq!((tiles.columns, tiles.rows, tiles.bytes, luma.stride, luma.row(0)), (5, 9, 16, 80, None));
    assert_eq!((chroma.offset, chroma.tiles.unwrap().rows), (720, 5));
    assert!(stream.for_frame(&layout((17, 33), &[(0, 9 << 16 | 5), (720, 5 << 16 | 5)], "NV12_4L4"), 1120).is_ok());
    let error = stream.for_frame(&layout((17, 33), &[(0, 9 << 16 | 6), (720, 5 << 16 | 5)], "NV12_4L4"), 5000);
    assert_eq!(error, Err(LayoutError::Tiles { format: "NV12_4L4" }));
}

#[test]
fn raw_caps_that_lack_something_say_what() {
    for (text, expected) in [
        ("", "the caps name no media type"),
        ("ANY", "the caps name no media type"),
        ("video/x-raw", "video/x-raw needs the field format as one text, found nothing: add it"),
        ("video/x-raw, format={ I420, NV12 }", "found { I420, NV12 }"),
        ("video/x-raw, format=XYZ", "video/x-raw has the format \"XYZ\", which has no layout here"),
        ("video/x-raw, format=DMA_DRM, width=1, height=1", "\"DMA_DRM\""),
        ("video/x-raw, format=I420, width=0, height=1", "width as one whole number from 1 to 2147483647, found 0"),
        ("video/x-raw, format=I420, width=2147483648, height=1", "found 2147483648"),
        ("video/x-raw, format=RGBA, width=2147483647, height=2147483647", "has 4 GiB or more"),
        ("video/x-raw, format=GRAY8, width=1, height=2147483647", "has 4 GiB or more"),
        ("audio/x-raw, format=S16LE, rate=[ 1, max ], channels=2", "found [ 1, 2147483647 ]"),
        ("audio/x-raw, format=S16LE, rate=48000, channels=2, layout=odd", "found odd"),
    ] {
        assert!(error(text).contains(expected), "{text}: {}", error(text));
    }
    assert!(matches!(Media::from_caps("x"), Ok(Media::Other(_))));
    assert!(matches!(Media::from_caps("a/b, ="), Err(MediaError::Caps(_))));
}

#[test]
fn planes_of_audio_are_inside_the_frame_and_apart() {
    let caps = "audio/x-raw, format=S16LE, rate=48000, channels=2, channel-mask=(bitmask)0x3, layout=non-interleaved";
    let stream = media(caps);
    let meta = |samples: u64, offsets: &[u64]| {
        item(6, &[samples].iter().chain(offsets).flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>())
    };
    let Media::Audio(frame) = stream.for_frame(&meta(10, &[100, 40]), 120).unwrap() else { panic!("{stream:?}") };
    assert_eq!((frame.channel_mask, frame.layout, frame.samples(120)), (Some(3), AudioLayout::Planar, 10));
    assert_eq!(
        (frame.channel(0, 120), frame.channel(1, 120), frame.channel(2, 120)),
        (Some(100..120), Some(40..60), None)
    );
    let Media::Audio(plain) = stream.for_frame(&[], 120).unwrap() else { panic!("{stream:?}") };
    assert_eq!((plain.samples(120), plain.channel(1, 120)), (30, Some(60..120)));
    for (meta, expected) in [
        (meta(10, &[101, 40]), "ends at byte 121, the frame has 120"),
        (meta(10, &[40, 59]), "planes of 20 bytes each overlap: offsets [40, 59]"),
        (meta(10, &[0]), "the layout has 1 planes, the caps have 2"),
        (meta(u64::MAX, &[0, 1]), "ends at byte 18446744073709551615"),
        (meta(31, &[]), "ends at byte 124"),
        (item(6, &[0; 9]), "the item of kind 6 has 9 bytes"),
    ] {
        let text = stream.for_frame(&meta, 120).expect_err(expected).to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn codecs_have_names_for_people() {
    for (caps, codec) in [
        ("video/x-h264", "H.264"),
        ("video/x-h265", "H.265"),
        ("video/x-av1", "AV1"),
        ("video/x-vp8", "VP8"),
        ("video/x-vp9", "VP9"),
        ("image/jpeg", "JPEG"),
        ("video/mpeg, mpegversion=4, systemstream=false", "MPEG-4"),
        ("video/mpeg, mpegversion=2, systemstream=true", "MPEG-PS"),
        ("audio/mpeg, mpegversion=1, layer=3", "MP3"),
        ("audio/mpeg, mpegversion=4, stream-format=raw", "AAC"),
        ("audio/x-opus", "Opus"),
        ("audio/x-flac", "FLAC"),
        ("audio/x-vorbis", "Vorbis"),
        ("video/x-brand-new", "brand-new"),
    ] {
        assert_eq!(encoded(caps).codec, codec, "{caps}");
    }
}

#[test]
fn encoded_media_have_what_the_caps_say() {
    let caps = "video/x-h265, stream-format=hvc1, alignment=au, profile=main-10, level=(string)4.1, width=1920, \
                height=1080, framerate=25/1, codec_data=(buffer)01ff";
    let video = encoded(caps);
    let texts = [&video.profile, &video.level, &video.stream_format, &video.alignment].map(Option::as_deref);
    assert_eq!(texts, [Some("main-10"), Some("4.1"), Some("hvc1"), Some("au")]);
    assert_eq!((video.width, video.height, video.frame_rate.unwrap().to_f64()), (Some(1920), Some(1080), 25.0));
    assert!(video.caps().structures()[0].value("codec_data").is_some());
    let audio = encoded("audio/x-opus, rate=48000, channels=2, channel-mapping-family=0");
    assert_eq!((audio.rate, audio.channels, audio.width), (Some(48_000), Some(2), None));
}

#[test]
fn text_and_other_media_have_their_type() {
    for (caps, is_text) in [
        ("text/x-raw, format=utf8", true),
        ("closedcaption/x-cea-608, format=raw", true),
        ("application/x-ssa", true),
        ("application/x-rtp, media=video", false),
        ("meta/x-klv", false),
    ] {
        let media = media(caps);
        assert_eq!(matches!(media, Media::Text(_)), is_text, "{caps}");
        assert_eq!(media.media_type(), caps.split(',').next().unwrap());
        assert!(media.structure().unwrap().fields().len() <= 1);
        assert_eq!(media.for_frame(b"anything", 0).as_ref(), Ok(&media));
    }
}

#[test]
fn a_stream_is_described_in_a_few_words() {
    let cases = [
        ("video/x-raw, format=RGB, width=4, height=3, framerate=0/1, interlace-mode=mixed", "RGB 4x3 interlaced"),
        ("audio/x-raw, format=S16LE, rate=48000, channels=2, layout=interleaved", "S16LE 48000 Hz 2 ch"),
        ("audio/x-raw, format=F32LE, rate=8000, channels=1, layout=non-interleaved", "F32LE 8000 Hz 1 ch planar"),
        ("video/x-h264, width=1280, height=720, framerate=30/1", "H.264 1280x720 30/s"),
        ("audio/x-opus, rate=48000, channels=2", "Opus 48000 Hz 2 ch"),
        ("text/x-raw, format=utf8", "text/x-raw"),
        ("application/x-rtp, media=video", "application/x-rtp"),
    ];
    for (caps, words) in cases {
        assert_eq!(media(caps).to_string(), words, "{caps}");
    }
}
