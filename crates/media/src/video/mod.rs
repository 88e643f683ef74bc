//! Raw video.

mod colorimetry;
mod entry;
mod format;
mod layout;
mod table;

pub use colorimetry::{ColorMatrix, ColorPrimaries, ColorRange, Colorimetry, TransferFunction};
pub use entry::{ByteOrder, ColorModel, Component};
pub use format::VideoFormat;
pub use layout::{InterlaceMode, Plane, Tiles};

use crate::caps::{Caps, Fraction, Structure};
use crate::error::{LayoutError, MediaError, clipped};
use crate::fields::Fields;
use crate::items::{self, VideoItem};
use crate::rectangle::Rectangle;
use layout::Layout;
use std::sync::Arc;

/// Raw video: `video/x-raw`.
///
/// ```
/// use shm2_media::{Media, VideoFormat};
///
/// let media = Media::from_caps("video/x-raw, format=NV12, width=320, height=180, framerate=30/1")?;
/// let Media::Video(video) = media else { panic!("raw video") };
/// assert_eq!((video.format.name(), video.width, video.height, video.size()), ("NV12", 320, 180, 86_400));
/// let [luma, chroma] = video.planes() else { panic!("two planes") };
/// assert_eq!((luma.offset, luma.stride, luma.rows), (0, 320, 180));
/// assert_eq!((chroma.offset, chroma.rows, chroma.element_bytes), (57_600, 90, 2));
/// assert_eq!(chroma.row(1), Some(57_920..58_240));
/// # Ok::<_, shm2_media::MediaError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Video {
    /// Format of the pixels.
    pub format: VideoFormat,
    /// Width of the picture in pixels, at least 1.
    pub width: u32,
    /// Height of the picture in pixels, at least 1. With [`InterlaceMode::Alternate`] that of both fields together.
    pub height: u32,
    /// Pictures per second; 0/1 for a variable or unknown rate.
    pub frame_rate: Fraction,
    /// The highest rate, where the rate is variable and the caps say it.
    pub max_frame_rate: Option<Fraction>,
    /// Interlacing.
    pub interlace_mode: InterlaceMode,
    /// Meaning of the numbers as colours.
    pub colorimetry: Colorimetry,
    /// Width of a pixel, divided by its height.
    pub pixel_aspect_ratio: Fraction,
    /// The part of the stored picture that is to be shown, if the frame says so.
    pub crop: Option<Rectangle>,
    layout: Layout,
    caps: Arc<Caps>,
}

impl Video {
    pub(crate) fn from_structure(structure: &Structure, caps: Arc<Caps>) -> Result<Self, MediaError> {
        let fields = Fields(structure);
        let name = fields.text("format")?;
        let unknown = || MediaError::UnknownFormat { media_type: clipped(structure.name()), format: clipped(name) };
        let format = VideoFormat::from_name(name).ok_or_else(unknown)?;
        let (width, height) = (fields.positive("width")?, fields.positive("height")?);
        let interlace_mode = structure.text("interlace-mode").and_then(InterlaceMode::from_name).unwrap_or_default();
        let rate = structure.fraction("framerate").filter(|rate| rate.numerator() >= 0);
        let aspect = structure.fraction("pixel-aspect-ratio").filter(|aspect| aspect.numerator() > 0);
        Ok(Self {
            format,
            width,
            height,
            frame_rate: rate.unwrap_or(Fraction::whole(0)),
            max_frame_rate: structure.fraction("max-framerate"),
            interlace_mode,
            colorimetry: Colorimetry::of_stream(structure.text("colorimetry"), format, height),
            pixel_aspect_ratio: aspect.unwrap_or(Fraction::whole(1)),
            crop: None,
            layout: Layout::of_caps(format, width, height, interlace_mode)?,
            caps,
        })
    }

    /// The planes, 1 to 4 of them, in the order of their numbers.
    pub fn planes(&self) -> &[Plane] {
        &self.layout.planes
    }

    /// Width and height of the stored picture: that of the caps, or larger if the frame's layout says so.
    pub fn stored_size(&self) -> (u32, u32) {
        (self.layout.width, self.layout.height)
    }

    /// The part of the stored picture that is to be shown: the crop rectangle, or else the picture of the caps.
    pub fn visible(&self) -> Rectangle {
        self.crop.unwrap_or(Rectangle { x: 0, y: 0, width: self.width, height: self.height })
    }

    /// Bytes of a frame: of the layout of the caps with all padding, or up to the end of a frame's own layout.
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// Bytes that a frame has at least: the padding of the last row is left out.
    pub fn min_size(&self) -> u64 {
        self.layout.end()
    }

    /// Whether the frame rate is variable or unknown.
    pub fn has_variable_rate(&self) -> bool {
        self.frame_rate.numerator() == 0
    }

    /// The parsed caps.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// This stream's description for one frame, with the layout and the crop rectangle of its meta blob.
    pub(crate) fn with_items(&self, meta: &[u8], bytes: u64) -> Result<Self, LayoutError> {
        let found = items::video(meta)?;
        let mut own = self.clone();
        if let Some(VideoItem { size, places, format }) = found.layout {
            if format != self.format.name() {
                let layout = String::from_utf8_lossy(format.as_bytes());
                return Err(LayoutError::Format { layout: clipped(&layout), caps: self.format.name() });
            }
            own.layout = self.layout.of_item(self.format, self.interlace_mode, size, &places)?;
        } else if let Some(older) = self.layout.of_older_release(self.format).filter(|older| older.size == bytes) {
            own.layout = older;
        }
        if own.min_size() > bytes {
            return Err(LayoutError::Outside { end: own.min_size(), bytes });
        }
        let (width, height) = own.stored_size();
        own.crop = found.crop.filter(|crop| crop.is_inside(width, height));
        Ok(own)
    }
}
