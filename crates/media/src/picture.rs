//! A raw video frame as RGB with 8 bits, for pictures that people look at.
//!
//! The components are brought to 8 bits and to the size of the picture, each value for all pixels it stands for; the
//! crate `yuv` converts the colours.

use crate::error::PictureError;
use crate::video::{ByteOrder, ColorMatrix, ColorModel, ColorRange, Component, Video};
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix, yuv444_to_rgb};

/// Rows of red, green and blue, a byte each, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbPicture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `3 * width * height` bytes, from the top left.
    pub bytes: Vec<u8>,
}

impl Video {
    /// The visible part of a frame as RGB. Alpha is left out; transfer functions and primaries are not converted.
    ///
    /// # Errors
    /// For tiles, palettes and formats that pack several pixels into words, and when the frame is too short.
    ///
    /// ```
    /// use shm2_media::Media;
    ///
    /// let Media::Video(video) = Media::from_caps("video/x-raw, format=BGRx, width=1, height=1")? else { panic!() };
    /// assert_eq!(video.to_rgb(&[3, 2, 1, 0])?.bytes, [1, 2, 3]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_rgb(&self, frame: &[u8]) -> Result<RgbPicture, PictureError> {
        let format = self.format;
        let is_packed = format.components().iter().any(|component| component.step == 0);
        if is_packed || format.is_tiled() || format.has_palette() {
            return Err(PictureError::Format { format: format.name() });
        }
        let (needed, found) = (self.min_size(), frame.len() as u64);
        if needed > found {
            return Err(PictureError::Short { needed, found });
        }
        let planes: Vec<_> = format.components().iter().take(3).map(|c| self.component(frame, c)).collect();
        let area = self.visible();
        let bytes = match (format.model(), &planes[..]) {
            (ColorModel::Yuv, [y, u, v]) => self.converted([y, u, v], area.width, area.height)?,
            (ColorModel::Rgb, [r, g, b]) => r.iter().zip(g).zip(b).flat_map(|((r, g), b)| [*r, *g, *b]).collect(),
            (_, [gray, ..]) => gray.iter().flat_map(|gray| [*gray; 3]).collect(),
            _ => return Err(PictureError::Format { format: format.name() }),
        };
        Ok(RgbPicture { width: area.width, height: area.height, bytes })
    }

    /// A component of all visible pixels, 8 bits each. Bytes outside the frame are 0.
    fn component(&self, frame: &[u8], component: &Component) -> Vec<u8> {
        let area = self.visible();
        let plane = self.planes().get(usize::from(component.plane));
        let mut values = Vec::with_capacity(area.width as usize * area.height as usize);
        for y in area.y..area.y + area.height {
            let row = plane.and_then(|plane| frame.get(plane.row(y >> component.height_shift)?)).unwrap_or_default();
            values.extend((area.x..area.x + area.width).map(|x| self.value(row, component, x)));
        }
        values
    }

    fn value(&self, row: &[u8], component: &Component, x: u32) -> u8 {
        let &Component { step, offset, bits, shift, width_shift, .. } = component;
        let at = usize::from(offset) + (x >> width_shift) as usize * usize::from(step);
        let length = usize::from(bits + shift).div_ceil(8);
        let word = row.get(at..at + length).unwrap_or_default().iter();
        let join = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        let word = match self.format.byte_order() {
            Some(ByteOrder::Big) => word.fold(0, join),
            _ => word.rev().fold(0, join),
        };
        let largest = (1_u64 << bits) - 1;
        let value = word >> shift & largest;
        if bits >= 8 { (value >> (bits - 8)) as u8 } else { (value * 255 / largest) as u8 }
    }

    fn converted(&self, [y, u, v]: [&Vec<u8>; 3], width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
        let range = if self.colorimetry.range == ColorRange::Full { YuvRange::Full } else { YuvRange::Limited };
        let matrix = match self.colorimetry.matrix {
            ColorMatrix::Bt709 => YuvStandardMatrix::Bt709,
            ColorMatrix::Bt2020 => YuvStandardMatrix::Bt2020,
            ColorMatrix::Smpte240m => YuvStandardMatrix::Smpte240,
            ColorMatrix::Fcc => YuvStandardMatrix::Fcc,
            _ => YuvStandardMatrix::Bt601,
        };
        let image = YuvPlanarImage {
            y_plane: y,
            y_stride: width,
            u_plane: u,
            u_stride: width,
            v_plane: v,
            v_stride: width,
            width,
            height,
        };
        let mut rgb = vec![0; 3 * y.len()];
        let converted = yuv444_to_rgb(&image, &mut rgb, 3 * width, range, matrix);
        converted.map(|()| rgb).map_err(|error| PictureError::Conversion { error: error.to_string() })
    }
}
