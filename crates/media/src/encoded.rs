//! Encoded video, images and audio.

use crate::caps::{Caps, Fraction, Structure, Value};
use crate::fields::positive;
use std::sync::Arc;

/// Encoded media: each frame of the region is one unit, such as an access unit or a packet.
///
/// ```
/// use shm2_media::Media;
///
/// let caps = "video/x-h264, stream-format=byte-stream, alignment=au, profile=high, level=(string)4.1, width=1920";
/// let Media::Encoded(encoded) = Media::from_caps(caps)? else { panic!("encoded") };
/// assert_eq!((encoded.codec.as_str(), encoded.profile.as_deref(), encoded.width), ("H.264", Some("high"), Some(1920)));
/// # Ok::<_, shm2_media::MediaError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Encoded {
    /// The media type, such as `video/x-h264`.
    pub media_type: String,
    /// The codec's name for people, such as `H.264`. For a codec that is not known the media type without `video/x-`.
    pub codec: String,
    /// Profile.
    pub profile: Option<String>,
    /// Level.
    pub level: Option<String>,
    /// How units are marked, such as `byte-stream` or `avc`.
    pub stream_format: Option<String>,
    /// What one unit is, such as `au` for a whole picture.
    pub alignment: Option<String>,
    /// Width of the picture in pixels.
    pub width: Option<u32>,
    /// Height of the picture in pixels.
    pub height: Option<u32>,
    /// Pictures per second; 0/1 for a variable rate.
    pub frame_rate: Option<Fraction>,
    /// Samples per second.
    pub rate: Option<u32>,
    /// Number of channels.
    pub channels: Option<u32>,
    /// Bytes that a decoder needs before the first unit, such as the parameter sets of H.264 in the form `avc`.
    pub codec_data: Option<Vec<u8>>,
    caps: Arc<Caps>,
}

/// Media types with the names of their codecs.
const CODECS: &[(&str, &str)] = &[
    ("video/x-h263", "H.263"),
    ("video/x-h264", "H.264"),
    ("video/x-h265", "H.265"),
    ("video/x-h266", "H.266"),
    ("video/x-av1", "AV1"),
    ("video/x-av2", "AV2"),
    ("video/x-vp6", "VP6"),
    ("video/x-vp8", "VP8"),
    ("video/x-vp9", "VP9"),
    ("video/x-theora", "Theora"),
    ("video/x-dirac", "Dirac"),
    ("video/x-prores", "ProRes"),
    ("video/x-dnxhd", "DNxHD"),
    ("video/x-ffv", "FFV1"),
    ("video/x-huffyuv", "HuffYUV"),
    ("video/x-divx", "MPEG-4"),
    ("video/x-xvid", "MPEG-4"),
    ("video/x-wmv", "WMV"),
    ("video/x-dv", "DV"),
    ("video/x-cineform", "CineForm"),
    ("video/x-bayer", "Bayer"),
    ("image/jpeg", "JPEG"),
    ("image/x-jpc", "JPEG 2000"),
    ("image/jp2", "JPEG 2000"),
    ("image/x-j2c", "JPEG 2000"),
    ("image/x-jxsc", "JPEG XS"),
    ("image/jxl", "JPEG XL"),
    ("image/png", "PNG"),
    ("image/gif", "GIF"),
    ("image/webp", "WebP"),
    ("image/tiff", "TIFF"),
    ("image/bmp", "BMP"),
    ("image/heif", "HEIF"),
    ("image/avif", "AVIF"),
    ("audio/x-opus", "Opus"),
    ("audio/x-vorbis", "Vorbis"),
    ("audio/x-flac", "FLAC"),
    ("audio/x-speex", "Speex"),
    ("audio/x-alac", "ALAC"),
    ("audio/x-ac3", "AC-3"),
    ("audio/ac3", "AC-3"),
    ("audio/x-eac3", "E-AC-3"),
    ("audio/x-dts", "DTS"),
    ("audio/x-alaw", "A-law"),
    ("audio/x-mulaw", "mu-law"),
    ("audio/x-adpcm", "ADPCM"),
    ("audio/x-sbc", "SBC"),
    ("audio/x-wavpack", "WavPack"),
    ("audio/x-wma", "WMA"),
    ("audio/AMR", "AMR"),
    ("audio/AMR-WB", "AMR-WB"),
    ("audio/G722", "G.722"),
    ("audio/G723", "G.723"),
    ("audio/G729", "G.729"),
    ("video/mpegts", "MPEG-TS"),
    ("video/x-matroska", "Matroska"),
    ("video/webm", "WebM"),
    ("video/quicktime", "QuickTime"),
    ("video/x-flv", "FLV"),
    ("video/ogg", "Ogg"),
    ("audio/ogg", "Ogg"),
];

impl Encoded {
    pub(crate) fn from_structure(structure: &Structure, caps: Arc<Caps>) -> Self {
        // GStreamer writes some levels as numbers.
        let text = |field| structure.value(field).map(ToString::to_string);
        Self {
            media_type: structure.name().into(),
            codec: codec(structure).into(),
            profile: text("profile"),
            level: text("level"),
            stream_format: text("stream-format"),
            alignment: text("alignment"),
            width: positive(structure, "width"),
            height: positive(structure, "height"),
            frame_rate: structure.fraction("framerate"),
            rate: positive(structure, "rate"),
            channels: positive(structure, "channels"),
            codec_data: structure.value("codec_data").and_then(bytes_of),
            caps,
        }
    }

    /// The parsed caps.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }
}

/// The bytes of a value that caps show in hexadecimal digits.
fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    let Value::Other { text, .. } = value else { return None };
    let pairs = text.as_bytes().chunks_exact(2);
    let is_whole = pairs.remainder().is_empty();
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect::<Option<_>>().filter(|_| is_whole)
}

fn codec(structure: &Structure) -> &str {
    let name = structure.name();
    match (name, structure.int("mpegversion"), structure.int("layer")) {
        ("video/mpeg", _, _) if structure.boolean("systemstream") == Some(true) => "MPEG-PS",
        ("video/mpeg", Some(1), _) => "MPEG-1",
        ("video/mpeg", Some(2), _) => "MPEG-2",
        ("video/mpeg", Some(4), _) => "MPEG-4",
        ("audio/mpeg", Some(1), Some(1)) => "MP1",
        ("audio/mpeg", Some(1), Some(2)) => "MP2",
        ("audio/mpeg", Some(1), _) => "MP3",
        ("audio/mpeg", Some(2 | 4), _) => "AAC",
        _ => CODECS.iter().find(|(own, _)| *own == name).map_or_else(|| short(name), |(_, codec)| codec),
    }
}

/// The media type without its class and `x-`.
fn short(media_type: &str) -> &str {
    let name = media_type.split_once('/').map_or(media_type, |(_, name)| name);
    name.strip_prefix("x-").unwrap_or(name)
}
