//! Any caps text with any meta blob: an error, or a description that is inside the frame. An input is the text, a zero
//! byte, the length of the frame (u32), and the blob.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shm2_media::Media;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (text, rest) = input.split_at(end);
    let Some((bytes, meta)) = rest.split_first().and_then(|(_, rest)| rest.split_first_chunk()) else { return };
    let bytes = u64::from(u32::from_le_bytes(*bytes));
    match Media::from_caps(text) {
        Ok(media) => match media.for_frame(meta, bytes) {
            Ok(frame) => check(&frame, bytes),
            Err(error) => assert!(error.to_string().len() < 1000),
        },
        Err(error) => assert!(error.to_string().len() < 1000),
    }
});

/// Planes, rows, channels and crops are inside the frame.
fn check(media: &Media, bytes: u64) {
    match media {
        Media::Video(video) => {
            let (width, height) = video.stored_size();
            let visible = video.visible();
            assert!(u64::from(visible.x) + u64::from(visible.width) <= width.into());
            assert!(u64::from(visible.y) + u64::from(visible.height) <= height.into());
            for plane in video.planes() {
                assert!(plane.end() <= bytes);
                for row in [0, plane.rows / 2, plane.rows - 1] {
                    assert!(plane.row(row).is_none_or(|range| range.end as u64 <= bytes));
                }
            }
        }
        Media::Audio(audio) => {
            for channel in [0, audio.channels / 2, audio.channels - 1] {
                assert!(audio.channel(channel, bytes).is_none_or(|range| range.end as u64 <= bytes));
            }
        }
        _ => {
            std::hint::black_box(format!("{media:?}"));
        }
    }
}
