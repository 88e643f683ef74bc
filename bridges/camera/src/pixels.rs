//! Pictures in the memory of a buffer: of a frame, and without one.

use crate::format::Format;
use shm2::Frame;
use shm2_media::{ColorModel, Component, Media, Video, VideoFormat};

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
            (Media::Video(video), Some(layout)) if video.format == layout.format => copy(frame, video, layout, to),
            (Media::Video(video), Some(layout)) => return convert(frame, video, layout, to),
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
        let components = layout.format.components();
        components.iter().enumerate().for_each(|(number, component)| flood(layout, number, component, to));
        u32::try_from(size).ok()
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

/// By way of RGB to I420, BT.601 with limited range.
fn convert(frame: &Frame, from: &Video, layout: &Video, to: &mut [u8]) -> Result<u32, String> {
    let rgb = from.to_rgb(&frame.to_vec()).map_err(|error| error.to_string())?;
    let [luma, blue, red] = rgb.to_yuv444().map_err(|error| error.to_string())?;
    let (width, height) = (rgb.width as usize, rgb.height as usize);
    let too_small = || format!("the buffers of PipeWire have {} bytes, a picture needs {}", to.len(), layout.size());
    let size = usize::try_from(layout.size()).ok().filter(|size| *size <= to.len()).ok_or_else(too_small)?;
    if (rgb.width, rgb.height) != (layout.width, layout.height) {
        return Err(format!("a frame shows {width}x{height} of {}x{} pixels", layout.width, layout.height));
    }
    for (plane, (values, shift)) in layout.planes().iter().zip([(luma, 0), (blue, 1), (red, 1)]) {
        for row in 0..plane.rows {
            let Some(to) = plane.row(row).and_then(|range| to.get_mut(range)) else { continue };
            shrink(&values, width, height, row as usize, shift, to);
        }
    }
    Ok(size as u32)
}

/// A row of values, each the mean of those that it stands for.
fn shrink(values: &[u8], width: usize, height: usize, row: usize, shift: usize, to: &mut [u8]) {
    let (x_last, y_last) = (width.saturating_sub(1), height.saturating_sub(1));
    let value =
        |x: usize, y: usize| u32::from(values.get(y.min(y_last) * width + x.min(x_last)).copied().unwrap_or_default());
    for (column, to) in to.iter_mut().enumerate() {
        let (x, y) = (column << shift, row << shift);
        let sum = value(x, y) + value(x + shift, y) + value(x, y + shift) + value(x + shift, y + shift);
        *to = ((sum + 2) / 4) as u8;
    }
}

/// Value of 8 bits of a component in a dark picture.
fn dark(format: VideoFormat, number: usize) -> u16 {
    match (format.model(), number) {
        (_, 3) => 255,
        (ColorModel::Yuv, 1 | 2) => 128,
        _ => 32,
    }
}

/// Sets all values of a component.
fn flood(layout: &Video, number: usize, component: &Component, to: &mut [u8]) {
    let value = (dark(layout.format, number) << component.bits.saturating_sub(8)) << component.shift;
    let bytes = match layout.format.byte_order() {
        Some(shm2_media::ByteOrder::Big) => value.to_be_bytes(),
        _ => value.to_le_bytes(),
    };
    let bytes = if component.bits + component.shift > 8 { &bytes[..] } else { &bytes[..1] };
    let Some(plane) = layout.planes().get(usize::from(component.plane)) else { return };
    for row in (0..plane.rows).filter_map(|row| plane.row(row)) {
        let Some(row) = to.get_mut(row).and_then(|row| row.get_mut(usize::from(component.offset)..)) else { continue };
        for place in row.chunks_mut(usize::from(component.step.max(1))) {
            place.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        }
    }
}

fn blank_jpeg(format: &Format, to: &mut [u8]) -> Option<u32> {
    let (width, height) = (u16::try_from(format.width).ok()?, u16::try_from(format.height).ok()?);
    let mut jpeg = Vec::new();
    let gray = vec![32; usize::from(width) * usize::from(height)];
    jpeg_encoder::Encoder::new(&mut jpeg, 50).encode(&gray, width, height, jpeg_encoder::ColorType::Luma).ok()?;
    to.get_mut(..jpeg.len())?.copy_from_slice(&jpeg);
    u32::try_from(jpeg.len()).ok()
}
