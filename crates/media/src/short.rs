//! A description in a few words, for lists.

use crate::caps::Fraction;
use crate::{Audio, AudioLayout, Encoded, InterlaceMode, Media, Video};
use std::fmt;

/// In a few words: `NV12 1920x1080 60/s`, `S16LE 48000 Hz 2 ch`, `H.264 1280x720 30/s`, or the media type.
///
/// ```
/// use shm2_media::Media;
///
/// let caps = "video/x-raw, format=NV12, width=1920, height=1080, framerate=60000/1001";
/// assert_eq!(Media::from_caps(caps)?.to_string(), "NV12 1920x1080 59.94/s");
/// # Ok::<_, shm2_media::MediaError>(())
/// ```
impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Video(video) => of_video(video),
            Self::Audio(audio) => of_audio(audio),
            Self::Encoded(encoded) => of_encoded(encoded),
            Self::Text(other) | Self::Other(other) => vec![other.media_type.clone()],
        };
        f.write_str(&words.join(" "))
    }
}

fn of_video(video: &Video) -> Vec<String> {
    let mut words = vec![video.format.name().into(), format!("{}x{}", video.width, video.height)];
    words.extend(rate(video.frame_rate));
    if video.interlace_mode != InterlaceMode::Progressive {
        words.push("interlaced".into());
    }
    words
}

fn of_audio(audio: &Audio) -> Vec<String> {
    let mut words = vec![audio.format.name().into(), format!("{} Hz", audio.rate), format!("{} ch", audio.channels)];
    if audio.layout != AudioLayout::Interleaved {
        words.push("planar".into());
    }
    words
}

fn of_encoded(encoded: &Encoded) -> Vec<String> {
    let size = encoded.width.zip(encoded.height).map(|(width, height)| format!("{width}x{height}"));
    let hertz = encoded.rate.map(|rate| format!("{rate} Hz"));
    let channels = encoded.channels.map(|channels| format!("{channels} ch"));
    let rate = encoded.frame_rate.and_then(rate);
    [Some(encoded.codec.clone()), size, rate, hertz, channels].into_iter().flatten().collect()
}

/// Frames a second with at most two decimals; `None` for a variable rate.
fn rate(rate: Fraction) -> Option<String> {
    let value = (rate.to_f64() * 100.0).round() / 100.0;
    (rate.numerator() > 0).then(|| format!("{value}/s"))
}
