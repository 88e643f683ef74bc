//! How the memory of a plane is indexed: the shapes of arrays, derived from the media description.

use shm2_media::{Audio, AudioLayout, ByteOrder, Component, Media, Plane, SampleKind, Video};
use std::ffi::CStr;

/// Type of an array's items.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// In the language of Python's module `struct`.
    pub format: &'static CStr,
    pub bytes: usize,
    /// DLPack's code: 0 signed, 1 unsigned, 2 float. `None` for bytes in another order than this machine's.
    pub code: Option<u8>,
}

const fn item(format: &'static CStr, bytes: usize, code: Option<u8>) -> Item {
    Item { format, bytes, code }
}

pub static U8: Item = item(c"B", 1, Some(1));
static I8: Item = item(c"b", 1, Some(0));
static U16: Item = item(c"H", 2, Some(1));
static I16: Item = item(c"h", 2, Some(0));
static U32: Item = item(c"I", 4, Some(1));
static I32: Item = item(c"i", 4, Some(0));
static F32: Item = item(c"f", 4, Some(2));
static F64: Item = item(c"d", 8, Some(2));
static U16_BE: Item = item(c">H", 2, None);
static I16_BE: Item = item(c">h", 2, None);
static U32_BE: Item = item(c">I", 4, None);
static I32_BE: Item = item(c">i", 4, None);
static F32_BE: Item = item(c">f", 4, None);
static F64_BE: Item = item(c">d", 8, None);

/// Where the items of an array are in a frame.
#[derive(Debug, Clone)]
pub struct Shape {
    pub item: &'static Item,
    /// Byte of the first item in the frame.
    pub offset: usize,
    /// Items of each dimension.
    pub dims: Vec<isize>,
    /// Bytes from one item to the next of each dimension.
    pub strides: Vec<isize>,
}

impl Shape {
    /// Bytes of a range, without structure.
    pub fn bytes(offset: usize, length: usize) -> Self {
        Self { item: &U8, offset, dims: vec![length as isize], strides: vec![1] }
    }

    /// Number of items.
    pub fn items(&self) -> isize {
        self.dims.iter().product()
    }

    /// Whether the items are without gaps, the last dimension first.
    pub fn is_c_contiguous(&self) -> bool {
        self.is_contiguous(self.dims.iter().zip(&self.strides).rev())
    }

    /// Whether the items are without gaps, the first dimension first.
    pub fn is_f_contiguous(&self) -> bool {
        self.is_contiguous(self.dims.iter().zip(&self.strides))
    }

    fn is_contiguous<'a>(&self, axes: impl Iterator<Item = (&'a isize, &'a isize)>) -> bool {
        let mut expected = self.item.bytes as isize;
        self.items() == 0
            || axes.filter(|(length, _)| **length != 1).all(|(length, stride)| {
                let fits = *stride == expected;
                expected *= length;
                fits
            })
    }
}

/// The planes of a frame of `bytes` bytes: of raw video and planar audio one for each plane, else one for all bytes.
pub fn planes(media: Option<&Media>, bytes: usize) -> Vec<Shape> {
    match media {
        Some(Media::Video(video)) => (0..video.planes().len()).map(|index| video_plane(video, index)).collect(),
        Some(Media::Audio(audio)) => match audio.layout {
            AudioLayout::Interleaved => vec![interleaved(audio, bytes)],
            AudioLayout::Planar => {
                (0..audio.channels).filter_map(|channel| samples_of(audio, channel, bytes)).collect()
            }
        },
        _ => vec![Shape::bytes(0, bytes)],
    }
}

/// All channels of planar audio as one array of samples and channels, if they are at equal distances.
pub fn channels(planes: &[Shape]) -> Option<Shape> {
    let first = planes.first()?;
    let offset = |shape: &Shape| isize::try_from(shape.offset).unwrap_or(0);
    let step = planes.get(1).map_or(0, |second| offset(second) - offset(first));
    let is_even = planes.windows(2).all(|pair| offset(&pair[1]) - offset(&pair[0]) == step);
    let mut shape = first.clone();
    shape.dims.insert(1, planes.len() as isize);
    shape.strides.insert(1, if planes.len() == 1 { first.item.bytes as isize } else { step });
    is_even.then_some(shape)
}

fn video_plane(video: &Video, index: usize) -> Shape {
    let plane = &video.planes()[index];
    let components = video.format.components().iter().filter(|c| usize::from(c.plane) == index);
    let components: Vec<_> = components.collect();
    if plane.tiles.is_some() {
        return Shape::bytes(plane.offset as usize, plane.size() as usize);
    }
    let is_palette = components.is_empty();
    if is_palette {
        let colors = plane.row_bytes as isize / 4;
        return Shape { item: &U8, offset: plane.offset as usize, dims: vec![colors, 4], strides: vec![4, 1] };
    }
    let Some((item, step)) = item_of(video, &components) else {
        return grid(plane, &U8, plane.row_bytes as isize, 1, 1);
    };
    let finest = components.iter().map(|c| c.width_shift).min().unwrap_or(0);
    let pixels = u64::from(video.stored_size().0).div_ceil(1 << finest) as isize;
    let columns = (plane.row_bytes as isize / step as isize).min(pixels);
    grid(plane, item, columns, (step / item.bytes) as isize, item.bytes as isize)
}

/// An array of rows, columns and, if there is more than one, values in each.
fn grid(plane: &Plane, item: &'static Item, columns: isize, values: isize, bytes: isize) -> Shape {
    let mut dims = vec![plane.rows as isize, columns];
    let mut strides = vec![plane.stride as isize, values * bytes];
    if values > 1 {
        dims.push(values);
        strides.push(bytes);
    }
    Shape { item, offset: plane.offset as usize, dims, strides }
}

/// Type of the items of a plane, and the bytes from one pixel to the next; `None` for formats that pack several pixels
/// into words.
fn item_of(video: &Video, components: &[&Component]) -> Option<(&'static Item, usize)> {
    let step = components.iter().map(|c| usize::from(c.step)).min().filter(|step| *step > 0)?;
    let Some(order) = video.format.byte_order() else { return Some((&U8, step)) };
    let is_one_word = components.len() > 1 && components.iter().all(|c| c.offset == components[0].offset);
    let bytes = if is_one_word { step } else { 2 };
    let item = match (bytes, order) {
        (2, ByteOrder::Little) => &U16,
        (2, ByteOrder::Big) => &U16_BE,
        (4, ByteOrder::Little) => &U32,
        (4, ByteOrder::Big) => &U32_BE,
        _ => return None,
    };
    step.is_multiple_of(item.bytes).then_some((item, step))
}

fn audio_item(audio: &Audio) -> &'static Item {
    let is_big = audio.format.byte_order() == Some(ByteOrder::Big);
    match (audio.format.kind(), audio.format.bytes(), is_big) {
        (SampleKind::Signed, 1, _) => &I8,
        (SampleKind::Signed, 2, false) => &I16,
        (SampleKind::Signed, 2, true) => &I16_BE,
        (SampleKind::Signed, 4, false) => &I32,
        (SampleKind::Signed, 4, true) => &I32_BE,
        (SampleKind::Unsigned, 2, false) => &U16,
        (SampleKind::Unsigned, 2, true) => &U16_BE,
        (SampleKind::Unsigned, 4, false) => &U32,
        (SampleKind::Unsigned, 4, true) => &U32_BE,
        (SampleKind::Float, 4, false) => &F32,
        (SampleKind::Float, 4, true) => &F32_BE,
        (SampleKind::Float, 8, false) => &F64,
        (SampleKind::Float, 8, true) => &F64_BE,
        // Samples of one byte, and of three, which no array has as items.
        _ => &U8,
    }
}

fn interleaved(audio: &Audio, bytes: usize) -> Shape {
    let (item, sample) = (audio_item(audio), audio.format.bytes() as usize);
    let frame = audio.bytes_per_frame() as isize;
    let samples = audio.samples(bytes as u64) as isize;
    let (mut dims, mut strides) = (vec![samples, audio.channels as isize], vec![frame, sample as isize]);
    if item.bytes != sample {
        dims.push(sample as isize);
        strides.push(1);
    }
    Shape { item, offset: 0, dims, strides }
}

fn samples_of(audio: &Audio, channel: u32, bytes: usize) -> Option<Shape> {
    let (item, sample) = (audio_item(audio), audio.format.bytes() as usize);
    let range = audio.channel(channel, bytes as u64)?;
    let (mut dims, mut strides) = (vec![(range.len() / sample) as isize], vec![sample as isize]);
    if item.bytes != sample {
        dims.push(sample as isize);
        strides.push(1);
    }
    Some(Shape { item, offset: range.start, dims, strides })
}
