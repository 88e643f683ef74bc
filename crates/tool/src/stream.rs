//! What a region carries, in some words.

use shm2::Overview;
use shm2_media::{Fraction, Media};

/// Whether the region has raw video.
pub fn has_pictures(region: &Overview) -> bool {
    matches!(media(region), Some(Media::Video(_)))
}

/// What the caps describe; `None` without caps, and when they cannot be parsed.
pub fn media(region: &Overview) -> Option<Media> {
    Media::from_caps(region.caps.as_deref()?).ok()
}

/// The stream in some words: `I420 1280x720, 30 fps`.
pub fn words(media: &Media) -> String {
    match media {
        Media::Video(video) => {
            let (area, rate) = (video.visible(), video.frame_rate);
            let rate = if video.has_variable_rate() { "variable rate".into() } else { frames_a_second(rate) };
            format!("{} {}x{}, {rate}", video.format.name(), area.width, area.height)
        }
        Media::Audio(audio) => {
            let plural = if audio.channels == 1 { "" } else { "s" };
            format!("{} {} Hz, {} channel{plural}", audio.format.name(), audio.rate, audio.channels)
        }
        other => other.media_type().into(),
    }
}

fn frames_a_second(rate: Fraction) -> String {
    let text = format!("{:.2}", f64::from(rate.numerator()) / f64::from(rate.denominator().max(1)));
    format!("{} fps", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_stream_has_two_digits_at_most() {
        for (rate, expected) in
            [("25/1", "25 fps"), ("30000/1001", "29.97 fps"), ("15/2", "7.5 fps"), ("0/1", "variable rate")]
        {
            let media = Media::from_caps(format!("video/x-raw, format=RGB, width=2, height=2, framerate={rate}"));
            assert_eq!(words(&media.unwrap()), format!("RGB 2x2, {expected}"));
        }
    }
}
