//! Any text and any blob: no panic, and what is accepted is inside the frame.

use proptest::collection::vec;
use proptest::prelude::*;
use shm2_media::{AudioFormat, Caps, Media, VideoFormat};

/// Pieces of caps text, so that the texts pass the first characters.
const PIECES: [&str; 40] = [
    "video/x-raw",
    "audio/x-raw",
    "video/x-h264",
    ", ",
    ";",
    "(",
    ")",
    "{",
    "}",
    "<",
    ">",
    "[",
    "]",
    "=",
    "\"",
    "\\",
    "\\303",
    "NULL",
    "(int)",
    "(string)",
    "(fraction)",
    "(structure)",
    "(bitmask)",
    "(guint64)",
    "format=I420",
    ", width=3",
    ", height=5",
    ", framerate=30/1",
    ", rate=8000",
    ", channels=2",
    ", layout=non-interleaved",
    "max",
    "0x",
    "-",
    "2147483647",
    "1/0",
    "interlace-mode=alternate",
    "\u{e9}",
    "x=",
    " ",
];

fn caps_like() -> impl Strategy<Value = String> {
    vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|pieces| pieces.concat())
}

fn raw_video() -> impl Strategy<Value = String> {
    let size = prop_oneof![1..300_u32, 1..70_000_u32, any::<u32>()];
    let mode = prop::sample::select(&["progressive", "interleaved", "mixed", "fields", "alternate"][..]);
    (0..VideoFormat::all().len(), size.clone(), size, mode).prop_map(|(format, width, height, mode)| {
        let format = VideoFormat::all().nth(format).expect("a format");
        format!("video/x-raw, format={format}, width={width}, height={height}, interlace-mode={mode}")
    })
}

fn raw_audio() -> impl Strategy<Value = String> {
    let layout = prop::sample::select(&["interleaved", "non-interleaved"][..]);
    let channels = prop_oneof![1..9_u32, any::<u32>()];
    (0..AudioFormat::all().len(), channels, layout).prop_map(|(format, channels, layout)| {
        let format = AudioFormat::all().nth(format).expect("a format");
        format!("audio/x-raw, format={format}, rate=48000, channels={channels}, layout={layout}")
    })
}

/// A word that is small, near a limit, or any.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, 0..1_000_000_u64, (u64::MAX - 9)..=u64::MAX, any::<u64>()]
}

fn item(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 2], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

fn video_item(format: String) -> impl Strategy<Value = Vec<u8>> {
    (word(), word(), vec((word(), word()), 0..6)).prop_map(move |(width, height, places)| {
        let words = [0, width as u32, height as u32, places.len() as u32];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        places.iter().for_each(|(offset, _)| bytes.extend(offset.to_le_bytes()));
        places.iter().for_each(|(_, stride)| bytes.extend((*stride as u32).to_le_bytes()));
        bytes.extend(format.as_bytes());
        item(1, &bytes)
    })
}

/// Reads everything that a description offers, and checks that it is inside the frame.
fn check(media: &Media, bytes: u64) {
    match media {
        Media::Video(video) => {
            assert!(!video.planes().is_empty() && video.min_size() <= bytes);
            for plane in video.planes() {
                assert!(plane.end() <= bytes, "{plane:?}");
                for row in [0, 1, plane.rows / 2, plane.rows - 1] {
                    assert!(plane.row(row).is_none_or(|range| range.end as u64 <= bytes), "{plane:?}");
                }
                assert_eq!(plane.row(plane.rows), None);
            }
            let (visible, stored) = (video.visible(), video.stored_size());
            assert!(visible.x as u64 + visible.width as u64 <= stored.0.into(), "{visible:?}");
            assert!(visible.y as u64 + visible.height as u64 <= stored.1.into(), "{visible:?}");
        }
        Media::Audio(audio) => {
            for channel in [0, 1, audio.channels - 1] {
                assert!(audio.channel(channel, bytes).is_none_or(|range| range.end as u64 <= bytes), "{audio:?}");
            }
            assert_eq!(audio.channel(audio.channels, bytes), None);
        }
        _ => {}
    }
    assert!(!format!("{media:?}").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_text_is_caps_or_an_error(text in any::<String>()) {
        let _ = Caps::parse(&text);
        let _ = Media::from_caps(format!("video/x-raw, {text}"));
    }

    #[test]
    fn any_bytes_are_caps_or_an_error(bytes in vec(any::<u8>(), 0..100)) {
        let _ = Media::from_caps(bytes);
    }

    #[test]
    fn text_like_caps_is_caps_or_a_short_error(text in caps_like()) {
        match Media::from_caps(&text) {
            Ok(media) => media.for_frame(&[], 1000).iter().for_each(|frame| check(frame, 1000)),
            Err(error) => prop_assert!(error.to_string().len() < 500, "{}", error),
        }
    }

    #[test]
    fn planes_follow_each_other_and_fill_the_frame(text in raw_video()) {
        if let Ok(Media::Video(video)) = Media::from_caps(&text) {
            let mut end = 0;
            for plane in video.planes() {
                prop_assert!(plane.offset >= end, "{}: {:?}", text, video.planes());
                prop_assert!(plane.tiles.is_some() || plane.row_bytes <= plane.stride.max(1024), "{}", text);
                end = plane.end();
            }
            prop_assert!(end <= video.size(), "{}", text);
            check(&Media::Video(video.clone()), video.size());
        }
    }

    #[test]
    fn any_blob_is_a_layout_inside_the_frame_or_an_error(
        text in prop_oneof![raw_video(), raw_audio()],
        blob in vec(any::<u8>(), 0..200),
        bytes in word(),
    ) {
        if let Ok(media) = Media::from_caps(&text) {
            media.for_frame(&blob, bytes).iter().for_each(|frame| check(frame, bytes));
        }
    }

    #[test]
    fn a_layout_that_is_nearly_right_is_inside_the_frame_or_refused(
        (text, items) in raw_video().prop_flat_map(|text| {
            let format = text["video/x-raw, format=".len()..].split(',').next().unwrap_or_default().to_owned();
            (Just(text), (video_item(format), vec(word(), 4).prop_map(|crop| {
                item(2, &crop.iter().flat_map(|word| (*word as u32).to_le_bytes()).collect::<Vec<_>>())
            })))
        }),
        bytes in word(),
    ) {
        if let Ok(media) = Media::from_caps(&text) {
            media.for_frame(&[items.0, items.1].concat(), bytes).iter().for_each(|frame| check(frame, bytes));
        }
    }

    #[test]
    fn planes_of_audio_are_inside_the_frame_or_refused(text in raw_audio(), words in vec(word(), 1..9), bytes in word()) {
        if let Ok(media) = Media::from_caps(&text) {
            let meta = item(6, &words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
            media.for_frame(&meta, bytes).iter().for_each(|frame| check(frame, bytes));
        }
    }
}
