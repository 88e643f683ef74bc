//! Frames as pictures.

use super::Failure;
use shm2::Frame;
use shm2_media::{Media, PictureError, RgbPicture};
use std::io::Write;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// What shm2-media makes of a frame.
pub enum Picture {
    Rgb(RgbPicture),
    /// Why it makes none; a decoder can.
    NeedsDecoder(String),
}

/// Whether pictures can be made of the stream without a decoder of video.
pub fn can_show(media: Option<&Media>) -> bool {
    match media {
        Some(Media::Video(_)) => true,
        Some(Media::Encoded(encoded)) => encoded.media_type == "image/jpeg",
        _ => false,
    }
}

/// A frame of video. `remedy` ends the error for a frame that is none.
pub fn of_frame(frame: &Frame, bytes: &[u8], remedy: &str) -> Result<Picture, Failure> {
    let caps = frame.caps().map(|(_, text)| text);
    let caps = caps.ok_or_else(|| format!("the region has no caps, which say what its bytes are{remedy}"))?;
    match Media::from_caps(caps)?.for_frame(frame.meta(), bytes.len() as u64)? {
        Media::Video(video) => match video.to_rgb(bytes) {
            Err(error @ PictureError::Format { .. }) => Ok(Picture::NeedsDecoder(error.to_string())),
            picture => Ok(Picture::Rgb(picture?)),
        },
        Media::Encoded(encoded) if encoded.media_type == "image/jpeg" => read_jpeg(bytes).map(Picture::Rgb),
        Media::Encoded(encoded) if !encoded.media_type.starts_with("audio/") => {
            Ok(Picture::NeedsDecoder(format!("{} is encoded", encoded.media_type)))
        }
        other => Err(format!("{} is no video{remedy}", other.media_type()).into()),
    }
}

/// Most pixels on a side of a JPEG that is read: its header is another process's, and memory is taken by it.
const MOST_PIXELS: usize = 8192;

/// Reads a JPEG.
fn read_jpeg(bytes: &[u8]) -> Result<RgbPicture, Failure> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let options = options.set_max_width(MOST_PIXELS).set_max_height(MOST_PIXELS);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let failed = |error| format!("the frame cannot be read as a JPEG: {error}");
    let bytes = decoder.decode().map_err(failed)?;
    let (width, height) = decoder.dimensions().ok_or("the JPEG has no size")?;
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    Ok(RgbPicture { width, height, bytes })
}

/// Writes a JPEG with `quality` from 1 to 100.
pub fn write_jpeg(picture: &RgbPicture, quality: u8, to: impl Write) -> Result<(), Failure> {
    let RgbPicture { width, height, bytes } = picture;
    let too_large = |_| format!("a JPEG has at most 65,535 pixels a side, the picture has {width}x{height}");
    let (width, height) = (u16::try_from(*width).map_err(too_large)?, u16::try_from(*height).map_err(too_large)?);
    let encoder = jpeg_encoder::Encoder::new(to, quality);
    Ok(encoder.encode(bytes, width, height, jpeg_encoder::ColorType::Rgb)?)
}

/// The picture in a size that fits `most_width` and `most_height`, with its proportions. Each pixel is the mean of those
/// that it replaces.
pub fn downscale(picture: RgbPicture, most_width: u32, most_height: u32) -> RgbPicture {
    let (from_width, from_height) = (u64::from(picture.width), u64::from(picture.height));
    let scaled = |length: u64, most: u64, of: u64| (length * most / of.max(1)).max(1) as u32;
    let (mut width, mut height) = (picture.width, picture.height);
    if width > most_width {
        (width, height) = (most_width, scaled(from_height, most_width.into(), from_width));
    }
    if height > most_height {
        (width, height) = (scaled(from_width, most_height.into(), from_height).min(width), most_height);
    }
    if (width, height) == (picture.width, picture.height) {
        return picture;
    }
    let columns = spans(picture.width, width);
    let mut bytes = Vec::with_capacity(3 * width as usize * height as usize);
    for rows in spans(picture.height, height) {
        for columns in &columns {
            bytes.extend(mean(&picture, columns.clone(), rows.clone()));
        }
    }
    RgbPicture { width, height, bytes }
}

/// The parts of `from` pixels that `to` pixels replace; none is empty.
fn spans(from: u32, to: u32) -> Vec<std::ops::Range<usize>> {
    let at = |index: u32| (u64::from(index) * u64::from(from) / u64::from(to)) as usize;
    (0..to).map(|index| at(index)..at(index + 1).max(at(index) + 1)).collect()
}

fn mean(picture: &RgbPicture, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> [u8; 3] {
    let mut sums = [0_u32; 3];
    for row in rows.clone() {
        let start = 3 * (row * picture.width as usize + columns.start);
        let pixels = picture.bytes.get(start..start + 3 * columns.len()).unwrap_or_default();
        for pixel in pixels.chunks_exact(3) {
            sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
        }
    }
    let count = (columns.len() * rows.len()).max(1) as u32;
    sums.map(|sum| (sum / count) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, value: impl Fn(u32, u32) -> u8) -> RgbPicture {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        RgbPicture { width, height, bytes: pixels.flat_map(|(x, y)| [value(x, y), 0, 255]).collect() }
    }

    #[test]
    fn a_smaller_picture_has_the_means_and_the_proportions() {
        let halves = downscale(picture(1280, 720, |x, _| if x < 640 { 10 } else { 200 }), 640, 640);
        assert_eq!((halves.width, halves.height, halves.bytes.len()), (640, 360, 3 * 640 * 360));
        assert_eq!((&halves.bytes[..3], &halves.bytes[3 * 639..3 * 640]), (&[10, 0, 255][..], &[200, 0, 255][..]));
        let columns = downscale(picture(4, 2, |x, _| [0, 100, 50, 150][x as usize]), 2, 2);
        assert_eq!(columns.bytes, [50, 0, 255, 100, 0, 255]);
        for (width, height, expected) in [
            (100, 50, (100, 50)),
            (1, 4000, (1, 640)),
            (4000, 1, (640, 1)),
            (641, 641, (640, 640)),
            (3000, 9, (640, 1)),
        ] {
            let small = downscale(picture(width, height, |_, _| 7), 640, 640);
            assert_eq!((small.width, small.height), expected);
            assert_eq!(small.bytes.len(), 3 * (small.width * small.height) as usize);
            assert!(small.bytes.chunks(3).all(|pixel| pixel == [7, 0, 255]));
        }
    }
}
