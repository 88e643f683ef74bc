//! Items of a frame's meta blob that tell where its bytes are: kind u16, zero u16, length u32, then that many bytes.
//! `docs/protocol.md`, section 24, has the kinds.

use crate::error::LayoutError;
use crate::rectangle::Rectangle;

const VIDEO: u16 = 1;
const CROP: u16 = 2;
const AUDIO: u16 = 6;

/// Most planes of a picture.
const MAX_PLANES: usize = 4;

/// Items of a frame of raw video.
#[derive(Debug, Default)]
pub(crate) struct VideoItems<'a> {
    pub(crate) layout: Option<VideoItem<'a>>,
    pub(crate) crop: Option<Rectangle>,
}

/// Kind 1: flags u32, width u32, height u32, number of planes n u32, n offsets u64, n strides i32, format name.
#[derive(Debug)]
pub(crate) struct VideoItem<'a> {
    /// Width and height.
    pub(crate) size: (u32, u32),
    /// Offset and stride of each plane.
    pub(crate) places: Vec<(u64, i32)>,
    /// Name of the format.
    pub(crate) format: &'a str,
}

/// Kind 6: samples u64, then for non-interleaved audio the offset u64 of each channel.
#[derive(Debug, PartialEq)]
pub(crate) struct AudioItem {
    pub(crate) samples: u64,
    pub(crate) offsets: Vec<u64>,
}

/// The layout and the crop rectangle of a frame; of several the first one counts.
pub(crate) fn video(meta: &[u8]) -> Result<VideoItems<'_>, LayoutError> {
    let mut items = VideoItems::default();
    let mut reader = Reader(meta);
    while let Some((kind, bytes)) = reader.item()? {
        match kind {
            VIDEO if items.layout.is_none() => {
                let expected = "flags, size, 1 to 4 planes and the name of a format";
                items.layout = Some(video_layout(bytes).ok_or(wrong(kind, bytes, expected))?);
            }
            CROP if items.crop.is_none() => {
                items.crop = Some(crop(bytes).ok_or(wrong(kind, bytes, "rectangle of 16 bytes"))?);
            }
            _ => {}
        }
    }
    Ok(items)
}

/// The layout of a frame of raw audio, if it has one.
pub(crate) fn audio(meta: &[u8]) -> Result<Option<AudioItem>, LayoutError> {
    let mut reader = Reader(meta);
    while let Some((kind, bytes)) = reader.item()? {
        if kind == AUDIO {
            let expected = "number of samples with an offset of 8 bytes for each channel";
            return audio_layout(bytes).map(Some).ok_or(wrong(kind, bytes, expected));
        }
    }
    Ok(None)
}

fn wrong(kind: u16, bytes: &[u8], expected: &'static str) -> LayoutError {
    LayoutError::Item { kind, bytes: bytes.len(), expected }
}

fn video_layout(bytes: &[u8]) -> Option<VideoItem<'_>> {
    let mut reader = Reader(bytes);
    let _flags = reader.u32()?;
    let size = (reader.u32()?, reader.u32()?);
    let planes = Some(reader.u32()? as usize).filter(|planes| (1..=MAX_PLANES).contains(planes))?;
    let offsets = (0..planes).map(|_| reader.u64()).collect::<Option<Vec<_>>>()?;
    let strides = (0..planes).map(|_| reader.u32().map(|stride| stride as i32)).collect::<Option<Vec<_>>>()?;
    let format = std::str::from_utf8(reader.0).ok()?;
    Some(VideoItem { size, places: offsets.into_iter().zip(strides).collect(), format })
}

fn crop(bytes: &[u8]) -> Option<Rectangle> {
    let mut reader = Reader(bytes);
    let (x, y, width, height) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    reader.0.is_empty().then_some(Rectangle { x, y, width, height })
}

/// The offsets are as many as the item has bytes for.
fn audio_layout(bytes: &[u8]) -> Option<AudioItem> {
    let mut reader = Reader(bytes);
    let samples = reader.u64()?;
    let is_whole = reader.0.len() % size_of::<u64>() == 0;
    let offsets = std::iter::from_fn(|| reader.u64()).collect();
    is_whole.then_some(AudioItem { samples, offsets })
}

/// The unread rest of a list or an item.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next item; `None` at the end of the list.
    fn item(&mut self) -> Result<Option<(u16, &'a [u8])>, LayoutError> {
        const HEAD: usize = 8;
        if self.0.is_empty() {
            return Ok(None);
        }
        let truncated = |bytes, needed| LayoutError::Truncated { bytes, needed };
        let left = self.0.len();
        let (kind, length) = self.head().ok_or(truncated(left, HEAD))?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(truncated(self.0.len(), length))?;
        self.0 = rest;
        Ok(Some((kind, bytes)))
    }

    fn head(&mut self) -> Option<(u16, usize)> {
        let kind = u16::from_le_bytes(self.array()?);
        let _zero: [u8; 2] = self.array()?;
        Some((kind, self.u32()? as usize))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
