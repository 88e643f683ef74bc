//! A raw video frame as RGB with 8 bits, for pictures that people look at.
//!
//! The components are brought to 8 bits and to the size of the picture, each value for all pixels it stands for; the
//! crate `yuv` converts the colours.

use crate::error::PictureError;
use crate::video::{ByteOrder, ColorMatrix, ColorModel, ColorRange, Component, Video};
use yuv::{
    BufferStoreMut, YuvConversionMode, YuvGrayImage, YuvPlanarImage, YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
    rgb_to_yuv444, yuv400_to_rgb, yuv444_to_rgb,
};

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

impl RgbPicture {
    /// The picture as Y, Cb and Cr, a byte for each pixel: BT.601, limited range.
    ///
    /// # Errors
    /// When the bytes are not those of a picture of this size.
    ///
    /// ```
    /// use shm2_media::RgbPicture;
    ///
    /// let white = RgbPicture { width: 2, height: 1, bytes: vec![255; 6] };
    /// assert_eq!(white.to_yuv444()?, [vec![235; 2], vec![128; 2], vec![128; 2]]);
    /// # Ok::<_, shm2_media::PictureError>(())
    /// ```
    pub fn to_yuv444(&self) -> Result<[Vec<u8>; 3], PictureError> {
        let &Self { width, height, ref bytes } = self;
        let mut planes = [0; 3].map(|_| vec![0; bytes.len() / 3]);
        let [y, u, v] = &mut planes;
        let mut image = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(y),
            y_stride: width,
            u_plane: BufferStoreMut::Borrowed(u),
            u_stride: width,
            v_plane: BufferStoreMut::Borrowed(v),
            v_stride: width,
            width,
            height,
        };
        let (range, matrix, mode) = (YuvRange::Limited, YuvStandardMatrix::Bt601, YuvConversionMode::Balanced);
        let converted = rgb_to_yuv444(&mut image, bytes, width.saturating_mul(3), range, matrix, mode);
        converted.map(|()| planes).map_err(|error| PictureError::Conversion { error: error.to_string() })
    }
}

/// Values of one component of a picture, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    /// Values in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bits of a value, at most 16.
    pub bits: u8,
    /// `width * height` values.
    pub values: Vec<u16>,
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
        self.check(frame)?;
        let format = self.format;
        let planes: Vec<_> = format.components().iter().take(3).map(|c| self.component(frame, c)).collect();
        let area = self.visible();
        let bytes = match (format.model(), &planes[..]) {
            (ColorModel::Yuv, [y, u, v]) => self.converted([y, u, v], area.width, area.height)?,
            (ColorModel::Rgb, [r, g, b]) => r.iter().zip(g).zip(b).flat_map(|((r, g), b)| [*r, *g, *b]).collect(),
            (_, [gray, ..]) => self.converted_gray(gray, area.width, area.height)?,
            _ => return Err(PictureError::Format { format: format.name() }),
        };
        Ok(RgbPicture { width: area.width, height: area.height, bytes })
    }

    /// The values of one component of the visible part, at the component's own resolution: a component that stands for
    /// several pixels has fewer values than the picture has pixels.
    ///
    /// # Errors
    /// As [`to_rgb`](Self::to_rgb); for a component that the format does not have as well.
    pub fn samples(&self, frame: &[u8], component: usize) -> Result<Samples, PictureError> {
        self.check(frame)?;
        let format = self.format;
        let component = format.components().get(component).ok_or(PictureError::Format { format: format.name() })?;
        let area = self.visible();
        let shrunk = |start: u32, length: u32, shift: u8| start >> shift..(start + length).div_ceil(1 << shift);
        let columns = shrunk(area.x, area.width, component.width_shift);
        let rows = shrunk(area.y, area.height, component.height_shift);
        let (width, height) = (columns.len() as u32, rows.len() as u32);
        let mut values = Vec::with_capacity(columns.len() * rows.len());
        for row in rows.map(|row| self.row(frame, component, row)) {
            values.extend(columns.clone().map(|column| self.value(row, component, column)));
        }
        Ok(Samples { width, height, bits: component.bits, values })
    }

    /// Checks that the values have bytes of their own, and that the frame has all of them.
    fn check(&self, frame: &[u8]) -> Result<(), PictureError> {
        let format = self.format;
        let is_packed = format.components().iter().any(|component| component.step == 0);
        if is_packed || format.is_tiled() || format.has_palette() {
            return Err(PictureError::Format { format: format.name() });
        }
        let (needed, found) = (self.min_size(), frame.len() as u64);
        if needed > found { Err(PictureError::Short { needed, found }) } else { Ok(()) }
    }

    /// The bytes of a row of a component's plane; none outside the frame.
    fn row<'a>(&self, frame: &'a [u8], component: &Component, row: u32) -> &'a [u8] {
        let plane = self.planes().get(usize::from(component.plane));
        plane.and_then(|plane| frame.get(plane.row(row)?)).unwrap_or_default()
    }

    /// A component of all visible pixels, 8 bits each.
    fn component(&self, frame: &[u8], component: &Component) -> Vec<u8> {
        let area = self.visible();
        let (bits, largest) = (component.bits, (1_u32 << component.bits) - 1);
        let is_rgb = self.format.model() == ColorModel::Rgb;
        // To the nearest. The ends of a limited range are shifted: 64 of 10 bits is 16 of 8.
        let to_eight_bits = |value: u16| match u32::from(value) {
            value if is_rgb || bits < 8 => ((value * 255 + largest / 2) / largest) as u8,
            value => ((value + (1 << (bits - 8) >> 1)) >> (bits - 8)).min(255) as u8,
        };
        let mut values = Vec::with_capacity(area.width as usize * area.height as usize);
        for y in area.y..area.y + area.height {
            let row = self.row(frame, component, y >> component.height_shift);
            let columns = (area.x..area.x + area.width).map(|x| x >> component.width_shift);
            values.extend(columns.map(|column| to_eight_bits(self.value(row, component, column))));
        }
        values
    }

    /// The value in a column of a component's row; 0 outside of it.
    fn value(&self, row: &[u8], component: &Component, column: u32) -> u16 {
        let &Component { step, offset, bits, shift, .. } = component;
        let at = usize::from(offset) + column as usize * usize::from(step);
        let bytes = row.get(at..at + self.word_bytes(component)).unwrap_or_default().iter();
        let join = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        let word = match self.format.byte_order() {
            Some(ByteOrder::Big) => bytes.fold(0, join),
            _ => bytes.rev().fold(0, join),
        };
        (word >> shift & ((1 << bits) - 1)) as u16
    }

    /// Bytes of the word that a component is a part of: with its first byte begin all components of that word.
    fn word_bytes(&self, part: &Component) -> usize {
        let place = |component: &Component| (component.plane, component.offset);
        let parts = self.format.components().iter().filter(|component| place(component) == place(part));
        parts.map(|component| usize::from(component.bits + component.shift).div_ceil(8)).max().unwrap_or(0)
    }

    fn converted(&self, [y, u, v]: [&Vec<u8>; 3], width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
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
        let converted = yuv444_to_rgb(&image, &mut rgb, 3 * width, self.range(), self.matrix());
        converted.map(|()| rgb).map_err(|error| PictureError::Conversion { error: error.to_string() })
    }

    fn converted_gray(&self, gray: &[u8], width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
        let image = YuvGrayImage { y_plane: gray, y_stride: width, width, height };
        let mut rgb = vec![0; 3 * gray.len()];
        let converted = yuv400_to_rgb(&image, &mut rgb, 3 * width, self.range(), self.matrix());
        converted.map(|()| rgb).map_err(|error| PictureError::Conversion { error: error.to_string() })
    }

    fn range(&self) -> YuvRange {
        if self.colorimetry.range == ColorRange::Full { YuvRange::Full } else { YuvRange::Limited }
    }

    fn matrix(&self) -> YuvStandardMatrix {
        match self.colorimetry.matrix {
            ColorMatrix::Bt709 => YuvStandardMatrix::Bt709,
            ColorMatrix::Bt2020 => YuvStandardMatrix::Bt2020,
            ColorMatrix::Smpte240m => YuvStandardMatrix::Smpte240,
            ColorMatrix::Fcc => YuvStandardMatrix::Fcc,
            _ => YuvStandardMatrix::Bt601,
        }
    }
}
