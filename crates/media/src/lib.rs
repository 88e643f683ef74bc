//! What the bytes of a frame mean: a typed description of a stream from its caps, without GStreamer.
//!
//! A region of shm2 carries the caps of its stream as the text that GStreamer prints, and for single frames a meta blob
//! with the layout of the frame. [`Media::from_caps`] turns the text into a description, and [`Media::for_frame`]
//! applies the blob of a frame to it:
//!
//! ```
//! use shm2_media::Media;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let caps = "video/x-raw, format=(string)I420, width=(int)3, height=(int)3, framerate=(fraction)30/1, \
//!             interlace-mode=(string)progressive, colorimetry=(string)bt709";
//! let media = Media::from_caps(caps)?;
//!
//! // A frame as a consumer takes it: its bytes and its meta blob, here an empty one.
//! let (bytes, meta) = (vec![16; 32], &[]);
//! let Media::Video(video) = media.for_frame(meta, bytes.len() as u64)? else { panic!("raw video") };
//! for plane in video.planes() {
//!     for row in 0..plane.rows {
//!         let range = plane.row(row).expect("not tiled, and inside the picture");
//!         assert_eq!(bytes[range].len() as u64, plane.row_bytes);
//!     }
//! }
//! assert_eq!((video.frame_rate.to_string(), video.colorimetry.name()), ("30/1".into(), Some("bt709")));
//! # Ok(())
//! # }
//! ```
//!
//! # What there is
//! * [`Video`]: [`VideoFormat`] with the place of each component, size, rate, interlacing, [`Colorimetry`], and
//!   [`Plane`]s with offset, stride, rows and bytes of picture in a row.
//! * [`Audio`]: [`AudioFormat`], rate, channels, interleaved or planar with the place of each channel.
//! * [`Encoded`]: the codec's name, profile, level, stream format, and what the caps say of size and rate.
//! * [`Media::Text`] and [`Media::Other`] with the media type.
//! * [`Caps`], [`Structure`] and [`Value`]: all fields, for what has no type of its own here.
//!
//! # Guarantees
//! * Planes and sizes are those of GStreamer's `GstVideoInfo` and `GstAudioInfo`, for every raw format of GStreamer
//!   1.22 to 1.28. A test of the plugin's crate compares them with the GStreamer it runs on.
//! * Text and blob may come from a peer that is not trusted. No input panics, overflows, recurses deeply or takes more
//!   memory than a small multiple of its own length. A plane of a frame that passed [`Media::for_frame`] is inside that
//!   frame, and its rows do not overlap.
//! * Errors name the value that is wrong, and what to do.
//!
//! # What it does not do
//! It reads no pixel and no sample, and converts nothing, except with the feature `picture`: `Video::to_rgb`. The views
//! of stereoscopic video are not described. Memory of devices (`memory:DMABuf` with `format=DMA_DRM`) has no bytes to describe.

#![forbid(unsafe_code)]

mod audio;
mod caps;
mod encoded;
mod error;
mod fields;
mod items;
mod limits;
#[cfg(feature = "picture")]
mod picture;
mod rectangle;
mod short;
mod video;

pub use audio::{Audio, AudioFormat, AudioLayout, SampleKind};
pub use caps::{Caps, Fraction, Structure, Value};
pub use encoded::Encoded;
pub use error::{CapsError, LayoutError, MediaError, PictureError};
pub use limits::{MAX_CAPS_BYTES, MAX_CHANNELS, MAX_DEPTH, MAX_VALUES};
#[cfg(feature = "picture")]
pub use picture::{RgbPicture, Samples};
pub use rectangle::Rectangle;
pub use video::{
    ByteOrder, ColorMatrix, ColorModel, ColorPrimaries, ColorRange, Colorimetry, Component, InterlaceMode, Plane,
    Tiles, TransferFunction, Video, VideoFormat,
};

use std::sync::Arc;

/// Description of a stream, or of one frame of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Media {
    /// Raw video, `video/x-raw`.
    Video(Video),
    /// Raw audio, `audio/x-raw`.
    Audio(Audio),
    /// Any other media type of video, images and audio.
    Encoded(Encoded),
    /// Text and subtitles.
    Text(Other),
    /// Any other media type.
    Other(Other),
}

/// A stream of which only the media type and the fields are known.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Other {
    /// The media type, such as `application/x-rtp`.
    pub media_type: String,
    caps: Arc<Caps>,
}

impl Other {
    /// The parsed caps.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }
}

impl Media {
    /// Describes the stream with these caps: text, or the bytes that a region has. Of several structures the first one
    /// counts.
    ///
    /// # Errors
    /// [`MediaError`] for text that is no caps, and for raw video and audio whose caps lack a field, or have a format
    /// that is not known.
    pub fn from_caps(caps: impl AsRef<[u8]>) -> Result<Self, MediaError> {
        Caps::parse(caps)?.try_into()
    }

    /// Describes one frame: its meta blob may have a layout (kinds 1 and 6 of `docs/protocol.md`, section 24) and a
    /// crop rectangle (kind 2). Other items are skipped. A crop rectangle that is not inside the picture is left out.
    /// `bytes` is the length of the frame.
    ///
    /// ```
    /// use shm2_media::Media;
    ///
    /// let stream = Media::from_caps("video/x-raw, format=RGB, width=640, height=480")?;
    /// let error = stream.for_frame(&[], 1000).expect_err("a frame has 921600 bytes");
    /// assert!(error.to_string().contains("ends at byte 921600, the frame has 1000"));
    /// # Ok::<_, shm2_media::MediaError>(())
    /// ```
    ///
    /// # Errors
    /// [`LayoutError`] for a blob that is cut off, and for a layout that contradicts the caps or reaches outside the
    /// frame. Raw video without a layout is checked, too: it has that of the caps.
    pub fn for_frame(&self, meta: &[u8], bytes: u64) -> Result<Self, LayoutError> {
        Ok(match self {
            Self::Video(video) => Self::Video(video.with_items(meta, bytes)?),
            Self::Audio(audio) => Self::Audio(audio.with_items(meta, bytes)?),
            other => other.clone(),
        })
    }

    /// The media type, such as `video/x-raw`.
    pub fn media_type(&self) -> &str {
        self.structure().map_or("", Structure::name)
    }

    /// The parsed caps.
    pub fn caps(&self) -> &Caps {
        match self {
            Self::Video(video) => video.caps(),
            Self::Audio(audio) => audio.caps(),
            Self::Encoded(encoded) => encoded.caps(),
            Self::Text(other) | Self::Other(other) => other.caps(),
        }
    }

    /// The structure that is described, with all of its fields.
    pub fn structure(&self) -> Option<&Structure> {
        self.caps().structures().first()
    }
}

impl TryFrom<Caps> for Media {
    type Error = MediaError;

    fn try_from(caps: Caps) -> Result<Self, MediaError> {
        let caps = Arc::new(caps);
        let structure = caps.structures().first().ok_or(MediaError::NoMediaType)?;
        let other = || Other { media_type: structure.name().into(), caps: caps.clone() };
        Ok(match structure.name() {
            "video/x-raw" => Self::Video(Video::from_structure(structure, caps.clone())?),
            "audio/x-raw" => Self::Audio(Audio::from_structure(structure, caps.clone())?),
            name if is_text(name) => Self::Text(other()),
            name if ["video/", "image/", "audio/"].iter().any(|class| name.starts_with(class)) => {
                Self::Encoded(Encoded::from_structure(structure, caps.clone()))
            }
            _ => Self::Other(other()),
        })
    }
}

/// Whether a frame with these flags of a region cannot be decoded without frames before it: `GST_BUFFER_FLAG_DELTA_UNIT`.
pub fn is_delta(flags: u32) -> bool {
    flags & 0x2000 != 0
}

fn is_text(media_type: &str) -> bool {
    const SUBTITLES: [&str; 4] =
        ["application/x-ssa", "application/x-ass", "application/x-subtitle", "application/ttml+xml"];
    let starts = ["text/", "closedcaption/", "application/x-subtitle-"];
    SUBTITLES.contains(&media_type) || starts.iter().any(|start| media_type.starts_with(start))
}

/// The example of the readme runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
