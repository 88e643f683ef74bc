//! Pictures in the memory of a buffer: of a frame, and without one.

use crate::format::{Encoding, Format, i420};
use shm2::Frame;
use shm2_media::{
    ByteOrder, ColorMatrix, ColorModel, ColorRange, Colorimetry, Component, Media, RgbPicture, Video, VideoFormat,
};
use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix, rgb_to_yuv444};

/// A format, and how its pictures lie in a buffer.
pub struct Target {
    pub format: Format,
    /// `None` for JPEG.
    layout: Option<Video>,
    pub stride: u32,
}

impl Target {
    pub fn new(format: Format) -> Self {
        Self { format, layout: format.layout(), stride: format.buffer().1 }
    }

    /// Copies a frame of the stream `media` into `to`, converted if the formats differ, and returns the bytes of the
    /// picture.
    ///
    /// # Errors
    /// A sentence for a frame that is no picture of this format.
    pub fn fill(&self, frame: &Frame, media: &Media, to: &mut [u8]) -> Result<u32, String> {
        let own = media.for_frame(frame.meta(), frame.len() as u64).map_err(|error| error.to_string())?;
        let filled = match (&own, &self.layout) {
            (Media::Video(video), Some(layout)) if self.is_alike(video) => copy(frame, video, layout, to),
            (Media::Video(video), Some(layout)) => return self.convert(frame, video, layout, to),
            (Media::Encoded(_), None) => to
                .get_mut(..frame.len())
                .filter(|_| !frame.is_empty())
                .is_some_and(|to| frame.read_at(0, to))
                .then_some(frame.len()),
            _ => None,
        };
        let bytes = filled.and_then(|bytes| u32::try_from(bytes).ok());
        bytes.ok_or_else(|| format!("frame {} of {} bytes does not fit its format", frame.sequence(), frame.len()))
    }

    /// Draws a dark picture into `to`, and returns its bytes. `None` if `to` is too small.
    pub fn blank(&self, to: &mut [u8]) -> Option<u32> {
        let Some(layout) = &self.layout else { return blank_jpeg(&self.format, to) };
        let size = usize::try_from(layout.size()).ok()?;
        let to = to.get_mut(..size)?;
        to.fill(0);
        paint(layout, to, |number, _, _| dark(layout.format.model(), number));
        u32::try_from(size).ok()
    }

    /// Whether pictures of the stream are copied as they are.
    fn is_alike(&self, video: &Video) -> bool {
        let (own, colors) = (&self.format, &video.colorimetry);
        let is_known = own.colors != Colorimetry::default() && video.format.model() == ColorModel::Yuv;
        own.encoding == Encoding::Raw(video.format)
            && (own.width, own.height) == (video.width, video.height)
            && (!is_known || (own.colors.range, own.colors.matrix) == (colors.range, colors.matrix))
    }

    /// By way of RGB into another format, size, range or matrix.
    fn convert(&self, frame: &Frame, from: &Video, layout: &Video, to: &mut [u8]) -> Result<u32, String> {
        let bytes = frame.to_vec();
        let size = usize::try_from(layout.size()).unwrap_or(usize::MAX);
        let too_small = format!("the buffers of PipeWire have {} bytes, a picture needs {size}", to.len());
        let to = to.get_mut(..size).ok_or(too_small)?;
        let colors = Colors::of(&self.format.colors);
        if let Some(bytes) = convert_packed(&bytes, from, layout, colors, to) {
            return Ok(bytes);
        }
        let rgb = from.to_rgb(&bytes).map_err(|error| error.to_string())?;
        let rgb = scaled(rgb, layout.width, layout.height);
        let width = layout.width as usize;
        if layout.format.model() == ColorModel::Rgb {
            paint(layout, to, |number, x, y| match number {
                3 => 255,
                _ => rgb.bytes.get(3 * (y * width + x) + number).copied().unwrap_or_default(),
            });
        } else {
            let planes = colors.planes(&rgb)?;
            paint(layout, to, |number, x, y| {
                planes.get(number).map_or(255, |plane| plane.get(y * width + x).copied().unwrap_or_default())
            });
        }
        u32::try_from(size).map_err(|_| format!("a picture of {size} bytes is too large"))
    }
}

/// Range and matrix of luma and colour differences.
#[derive(Clone, Copy)]
struct Colors(YuvRange, YuvStandardMatrix);

impl Colors {
    fn of(colors: &Colorimetry) -> Self {
        let range = if colors.range == ColorRange::Full { YuvRange::Full } else { YuvRange::Limited };
        let matrix = match colors.matrix {
            ColorMatrix::Bt709 => YuvStandardMatrix::Bt709,
            ColorMatrix::Bt2020 => YuvStandardMatrix::Bt2020,
            ColorMatrix::Smpte240m => YuvStandardMatrix::Smpte240,
            ColorMatrix::Fcc => YuvStandardMatrix::Fcc,
            _ => YuvStandardMatrix::Bt601,
        };
        Self(range, matrix)
    }

    /// Luma and colour differences, a byte for each pixel.
    fn planes(self, picture: &RgbPicture) -> Result<[Vec<u8>; 3], String> {
        let &RgbPicture { width, height, ref bytes } = picture;
        let mut planes = [0; 3].map(|_| vec![0; bytes.len() / 3]);
        let [y, u, v] = planes.each_mut().map(|plane| BufferStoreMut::Borrowed(plane));
        let mut image = YuvPlanarImageMut {
            y_plane: y,
            y_stride: width,
            u_plane: u,
            u_stride: width,
            v_plane: v,
            v_stride: width,
            width,
            height,
        };
        let (mode, stride) = (YuvConversionMode::Balanced, width.saturating_mul(3));
        let converted = rgb_to_yuv444(&mut image, bytes, stride, self.0, self.1, mode);
        converted.map(|()| planes).map_err(|error| error.to_string())
    }
}

/// One copy, by rows only if the frame has its own layout.
fn copy(frame: &Frame, from: &Video, layout: &Video, to: &mut [u8]) -> Option<usize> {
    let size = usize::try_from(layout.size()).ok()?;
    let to = to.get_mut(..size)?;
    if from.planes() == layout.planes() {
        // The padding of the last row may be left out.
        let bytes = size.min(frame.len());
        return frame.read_at(0, &mut to[..bytes]).then_some(size);
    }
    for (from, plane) in from.planes().iter().zip(layout.planes()) {
        for row in 0..plane.rows {
            let (from, range) = (from.row(row)?, plane.row(row)?);
            if from.len() != range.len() || !frame.read_at(from.start, to.get_mut(range)?) {
                return None;
            }
        }
    }
    Some(size)
}

/// The quick way from red, green and blue of 8 bits, such as those of a screen, to I420. `None` for others.
fn convert_packed(bytes: &[u8], from: &Video, layout: &Video, colors: Colors, to: &mut [u8]) -> Option<u32> {
    let converter = match from.format.name() {
        "RGB" => yuv::rgb_to_yuv420,
        "BGR" => yuv::bgr_to_yuv420,
        "RGBA" | "RGBx" => yuv::rgba_to_yuv420,
        "BGRA" | "BGRx" => yuv::bgra_to_yuv420,
        _ => return None,
    };
    let ([source], [y, u, v]) = (from.planes(), layout.planes()) else { return None };
    if layout.format != i420() || (from.width, from.height) != (layout.width, layout.height) {
        return None;
    }
    let at = |offset: u64| usize::try_from(offset).ok();
    let (luma, rest) = to.split_at_mut_checked(at(u.offset)?)?;
    let (blue, red) = rest.split_at_mut_checked(at(v.offset.checked_sub(u.offset)?)?)?;
    let [y_stride, u_stride, v_stride] = [y, u, v].map(|plane| u32::try_from(plane.stride).unwrap_or(u32::MAX));
    let mut image = YuvPlanarImageMut {
        y_plane: BufferStoreMut::Borrowed(luma),
        y_stride,
        u_plane: BufferStoreMut::Borrowed(blue),
        u_stride,
        v_plane: BufferStoreMut::Borrowed(red),
        v_stride,
        width: layout.width,
        height: layout.height,
    };
    let (Colors(range, matrix), mode) = (colors, YuvConversionMode::Balanced);
    let (bytes, stride) = (bytes.get(at(source.offset)?..)?, u32::try_from(source.stride).ok()?);
    converter(&mut image, bytes, stride, range, matrix, mode).ok()?;
    u32::try_from(layout.size()).ok()
}

/// In another size: each pixel is the nearest one.
fn scaled(picture: RgbPicture, width: u32, height: u32) -> RgbPicture {
    if (picture.width, picture.height) == (width, height) {
        return picture;
    }
    let nearest = |place: u32, from: u32, to: u32| (u64::from(place) * u64::from(from) / u64::from(to)) as usize;
    let mut bytes = Vec::with_capacity(3 * width as usize * height as usize);
    for y in 0..height {
        let row = nearest(y, picture.height, height) * picture.width as usize;
        for x in 0..width {
            let at = 3 * (row + nearest(x, picture.width, width));
            bytes.extend(picture.bytes.get(at..at + 3).unwrap_or(&[0; 3]));
        }
    }
    RgbPicture { width, height, bytes }
}

/// A dark picture: the value of a component.
fn dark(model: ColorModel, number: usize) -> u8 {
    match (model, number) {
        (_, 3) => 255,
        (ColorModel::Yuv, 1 | 2) => 128,
        _ => 32,
    }
}

/// Writes all values of a picture. `value` has 8 bits, for a component and a pixel; of a component that stands for
/// several pixels the mean of those is written.
fn paint(layout: &Video, to: &mut [u8], value: impl Fn(usize, usize, usize) -> u8) {
    let (width, height) = (layout.width as usize, layout.height as usize);
    for (number, component) in layout.format.components().iter().enumerate() {
        let Some(plane) = layout.planes().get(usize::from(component.plane)) else { continue };
        let (columns, rows) = (1 << component.width_shift, 1 << component.height_shift);
        for row in 0..plane.rows {
            let Some(to) = plane.row(row).and_then(|range| to.get_mut(range)) else { continue };
            let Some(to) = to.get_mut(usize::from(component.offset)..) else { continue };
            for (column, place) in to.chunks_mut(usize::from(component.step.max(1))).enumerate() {
                let (left, top) = (column * columns, row as usize * rows);
                let pixels = (0..rows).flat_map(|y| (0..columns).map(move |x| (left + x, top + y)));
                let pixels = pixels.map(|(x, y)| u32::from(value(number, x.min(width - 1), y.min(height - 1))));
                let count = (columns * rows) as u32;
                put(layout.format, component, (pixels.sum::<u32>() + count / 2) / count, place);
            }
        }
    }
}

/// Writes a value of 8 bits in the bits that the component has.
fn put(format: VideoFormat, component: &Component, value: u32, to: &mut [u8]) {
    let value = ((value as u16) << component.bits.saturating_sub(8)) << component.shift;
    let bytes = match format.byte_order() {
        Some(ByteOrder::Big) => value.to_be_bytes(),
        _ => value.to_le_bytes(),
    };
    let bytes = if component.bits + component.shift > 8 { &bytes[..] } else { &bytes[..1] };
    to.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

fn blank_jpeg(format: &Format, to: &mut [u8]) -> Option<u32> {
    let (width, height) = (u16::try_from(format.width).ok()?, u16::try_from(format.height).ok()?);
    let mut jpeg = Vec::new();
    let gray = vec![32; usize::from(width) * usize::from(height)];
    jpeg_encoder::Encoder::new(&mut jpeg, 50).encode(&gray, width, height, jpeg_encoder::ColorType::Luma).ok()?;
    to.get_mut(..jpeg.len())?.copy_from_slice(&jpeg);
    u32::try_from(jpeg.len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn red_has_the_values_of_each_range_and_matrix() {
        let red = RgbPicture { width: 2, height: 1, bytes: [255, 0, 0].repeat(2) };
        for (colors, expected) in [
            ("bt601", [81, 90, 240]),
            ("bt709", [63, 102, 240]),
            ("1:4:7:1", [76, 85, 255]),
            ("1:3:5:1", [54, 99, 255]),
        ] {
            let planes = Colors::of(&Colorimetry::from_caps(colors).unwrap()).planes(&red).unwrap();
            let is_near = planes.iter().zip(expected).all(|(plane, value)| plane[0].abs_diff(value) <= 1);
            assert!(is_near, "{colors}: {planes:?}");
        }
    }
}
