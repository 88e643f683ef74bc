//! What the page shows of a region.

use crate::rates::{Rates, Sample};
use crate::show::{RegionJson, caps};
use serde::Serialize;
use shm2::Overview;
use shm2_media::{Fraction, Media};

/// A region in the events. `state` is as in `shm2 list --json`.
#[derive(Serialize)]
pub struct Card {
    state: RegionJson,
    /// Changes a second.
    rates: Rates,
    /// The stream in some words.
    media: Option<String>,
    /// Whether there are pictures of it.
    pictures: bool,
    /// A command that shows the stream.
    launch: String,
}

impl From<&Sample> for Card {
    fn from(sample: &Sample) -> Self {
        let media = media(&sample.region);
        Self {
            state: RegionJson::from(&sample.region),
            rates: sample.rates,
            pictures: matches!(media, Some(Media::Video(_))),
            launch: launch(&sample.region.uri(), media.as_ref()),
            media: media.map(|media| words(&media)).or_else(|| caps(&sample.region)),
        }
    }
}

/// Whether the region has raw video.
pub fn has_pictures(region: &Overview) -> bool {
    matches!(media(region), Some(Media::Video(_)))
}

fn media(region: &Overview) -> Option<Media> {
    Media::from_caps(region.caps.as_deref()?).ok()
}

fn words(media: &Media) -> String {
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

/// A pipeline that shows or plays the stream.
fn launch(uri: &str, media: Option<&Media>) -> String {
    let rest = match media {
        Some(Media::Video(_)) => "is-live=true ! queue ! videoconvert ! autovideosink",
        Some(Media::Audio(_)) => "is-live=true ! queue ! audioconvert ! audioresample ! autoaudiosink",
        Some(Media::Encoded(encoded)) if encoded.media_type.starts_with("audio/") => {
            "is-live=true ! queue ! decodebin ! audioconvert ! audioresample ! autoaudiosink"
        }
        Some(Media::Encoded(_)) => "is-live=true ! queue ! decodebin ! videoconvert ! autovideosink",
        _ => "is-live=true ! fakesink silent=false",
    };
    let verbose = if rest.ends_with("silent=false") { " -v" } else { "" };
    format!("gst-launch-1.0{verbose} shm2src shm-path={} {rest}", plain(uri))
}

/// The same name without characters that a shell or `gst-launch-1.0` would take for something else.
fn plain(uri: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "/:._~%+-".contains(*c);
    let escaped = |c: char| if is_plain(&c) { c.to_string() } else { format!("%{:02X}", c as u32) };
    uri.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_and_the_command_fit_the_stream() {
        for (caps, expected, element) in [
            ("video/x-raw, format=I420, width=64, height=48, framerate=30/1", "I420 64x48, 30 fps", " videoconvert"),
            (
                "audio/x-raw, format=S16LE, rate=48000, channels=2, layout=interleaved",
                "S16LE 48000 Hz, 2 channels",
                " audioresample",
            ),
            ("video/x-h264, stream-format=byte-stream", "video/x-h264", " decodebin ! videoconvert"),
            ("audio/mpeg, mpegversion=4", "audio/mpeg", " decodebin ! audioconvert"),
            ("application/x-rtp", "application/x-rtp", " fakesink silent=false"),
            (
                "video/x-raw, format=RGB, width=2, height=2, framerate=30000/1001",
                "RGB 2x2, 29.97 fps",
                " autovideosink",
            ),
            ("video/x-raw, format=RGB, width=2, height=2, framerate=0/1", "RGB 2x2, variable rate", " autovideosink"),
        ] {
            let media = Media::from_caps(caps).unwrap();
            assert_eq!(words(&media), expected);
            let line = launch("shm:///dev/shm/a", Some(&media));
            assert!(line.contains(" shm-path=shm:///dev/shm/a is-live=true") && line.contains(element), "{line}");
        }
    }

    #[test]
    fn a_name_in_the_command_needs_no_quotes() {
        let name = plain("shm:///dev/shm/a$(x);'b'&c%20d!");
        assert_eq!(name, "shm:///dev/shm/a%24%28x%29%3B%27b%27%26c%20d%21");
        assert_eq!(name.parse::<shm2::Spec>().unwrap().path().to_str(), Some("/dev/shm/a$(x);'b'&c d!"));
    }
}
