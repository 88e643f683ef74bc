//! What the page shows of a region.

use crate::picture::can_show;
use crate::rates::{Rates, Sample};
use crate::show::{RegionJson, media, words};
use serde::Serialize;
use shm2_media::Media;

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
            pictures: can_show(media.as_ref()),
            launch: launch(&sample.region.uri(), media.as_ref()),
            media: words(&sample.region),
        }
    }
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
            ("video/x-raw, format=I420, width=64, height=48, framerate=30/1", "I420 64x48 30/s", " videoconvert"),
            (
                "audio/x-raw, format=S16LE, rate=48000, channels=2, layout=interleaved",
                "S16LE 48000 Hz 2 ch",
                " audioresample",
            ),
            ("video/x-h264, stream-format=byte-stream", "H.264", " decodebin ! videoconvert"),
            ("audio/mpeg, mpegversion=4", "AAC", " decodebin ! audioconvert"),
            ("application/x-rtp", "application/x-rtp", " fakesink silent=false"),
        ] {
            let media = Media::from_caps(caps).unwrap();
            assert_eq!(media.to_string(), expected);
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
