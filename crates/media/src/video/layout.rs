//! Planes of a picture: the layout that GStreamer derives from the caps, and layouts of single frames.

use super::entry::{Rows, Tiling};
use super::format::VideoFormat;
use crate::error::{LayoutError, MediaError};
use std::ops::Range;

/// Bytes of a palette: 256 colours of 4 bytes.
const PALETTE_BYTES: u64 = 1024;

/// Where a plane is in a frame, and how its rows follow each other. All numbers are bytes, but for `rows` and
/// `element_pixels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plane {
    /// Before the first row.
    pub offset: u64,
    /// From one row to the next; for tiles from one row of tiles to the next.
    pub stride: u64,
    /// Rows of picture. A palette is one row.
    pub rows: u32,
    /// Of picture in a row, without padding; for tiles as if the row were in one piece.
    pub row_bytes: u64,
    /// Of the smallest unit that repeats in a row: a pixel of RGB, two pixels of YUY2, a pair of U and V.
    pub element_bytes: u32,
    /// Pixels of the picture's width that this unit stands for.
    pub element_pixels: u32,
    /// The tiles, if the picture is stored in tiles.
    pub tiles: Option<Tiles>,
}

impl Plane {
    /// The bytes of a row; `None` for a row outside the picture, and for tiles, whose rows are not in one piece.
    pub fn row(&self, row: u32) -> Option<Range<usize>> {
        if row >= self.rows || self.tiles.is_some() {
            return None;
        }
        let start = u64::from(row).checked_mul(self.stride)?.checked_add(self.offset)?;
        let end = start.checked_add(self.row_bytes)?;
        Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// The rows in the bytes of a frame, from top to bottom, each without its padding. No row for tiles, and none of those
    /// that are not inside `frame`.
    ///
    /// ```
    /// # use shm2_media::Media;
    /// let media = Media::from_caps("video/x-raw, format=NV12, width=4, height=2")?;
    /// let frame = [1, 2, 3, 4, 5, 6, 7, 8, 100, 101, 102, 103];
    /// let Media::Video(video) = media.for_frame(&[], 12)? else { panic!("raw video") };
    /// let colours: Vec<_> = video.planes()[1].rows_in(&frame).collect();
    /// assert_eq!(colours, [[100, 101, 102, 103]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rows_in<'a>(&self, frame: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let plane = *self;
        (0..plane.rows).filter_map(move |row| frame.get(plane.row(row)?))
    }

    /// Bytes from the first row to behind the last one's padding, or of all tiles.
    pub fn size(&self) -> u64 {
        let rows = self.tiles.map_or(self.rows, |tiles| tiles.rows);
        // The one row of a palette is longer than its stride.
        let bytes = u64::from(rows).saturating_mul(self.stride);
        if self.tiles.is_none() { bytes.max(self.row_bytes) } else { bytes }
    }

    /// The byte behind the last byte of picture, without the padding of the last row; [`u64::MAX`] for a plane that
    /// ends beyond all numbers.
    pub fn end(&self) -> u64 {
        let length = match self.tiles {
            Some(tiles) => u64::from(tiles.rows).saturating_mul(self.stride),
            None => u64::from(self.rows.saturating_sub(1)).saturating_mul(self.stride).saturating_add(self.row_bytes),
        };
        self.offset.saturating_add(length)
    }
}

/// Tiles of a plane: each is in one piece, row by row within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// Tiles side by side.
    pub columns: u32,
    /// Rows of tiles.
    pub rows: u32,
    /// Bytes of a row of a tile.
    pub row_bytes: u32,
    /// Rows of a tile.
    pub height: u32,
    /// Bytes of a tile.
    pub bytes: u32,
}

/// How a stream is interlaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum InterlaceMode {
    /// Frames.
    #[default]
    Progressive,
    /// Both fields are in each frame, line by line.
    Interleaved,
    /// Frames and interleaved fields; flags of a frame tell which.
    Mixed,
    /// Both fields are in each frame, one after the other.
    Fields,
    /// Each frame of the region is one field, with half of the rows.
    Alternate,
}

impl InterlaceMode {
    /// The mode with this name in caps. GStreamer takes other names for `progressive`.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Progressive, Self::Interleaved, Self::Mixed, Self::Fields, Self::Alternate];
        all.into_iter().find(|mode| mode.name() == name)
    }

    /// The name in caps.
    pub fn name(self) -> &'static str {
        match self {
            Self::Progressive => "progressive",
            Self::Interleaved => "interleaved",
            Self::Mixed => "mixed",
            Self::Fields => "fields",
            Self::Alternate => "alternate",
        }
    }

    fn rows(self, height: u32) -> u32 {
        if self == Self::Alternate { height.div_ceil(2) } else { height }
    }
}

/// Planes of a picture, with the size of the picture that is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) planes: Vec<Plane>,
    /// Bytes of a frame.
    pub(super) size: u64,
}

impl Layout {
    /// The layout that follows from the caps.
    pub(super) fn of_caps(
        format: VideoFormat,
        width: u32,
        height: u32,
        mode: InterlaceMode,
    ) -> Result<Self, MediaError> {
        let (format_name, rows) = (format.name(), mode.rows(height));
        let bits = format.components().iter().map(|c| u64::from(c.bits)).sum::<u64>();
        let bits = bits + if format.has_palette() { 32 } else { 0 };
        // GStreamer's own limit: with it, no sum below can overflow.
        let pixels = u64::from(width).next_multiple_of(128) * u64::from(rows);
        if pixels >= u64::from(u32::MAX) / bits.div_ceil(8) {
            return Err(MediaError::TooLarge { format: format_name, width, height });
        }
        let mut planes = Vec::with_capacity(format.plane_count());
        let mut size = 0;
        for index in 0..format.plane_count() {
            let mut plane = plane(format, index, width, height, mode);
            plane.offset = size;
            size += match plane.tiles {
                _ if is_palette(format, index) => PALETTE_BYTES,
                Some(tiles) => plane.stride * u64::from(tiles.rows),
                None => plane.stride * stored_rows(format, index, rows, mode),
            };
            planes.push(plane);
        }
        Ok(Self { width, height, planes, size })
    }

    /// The layout that GStreamer before 1.28 derives from the caps, where it is another one: it cuts the last two pixels
    /// of UYVP off where the width is odd.
    pub(super) fn of_older_release(&self, format: VideoFormat) -> Option<Self> {
        if format.name() != "UYVP" || self.width % 2 == 0 {
            return None;
        }
        let stride = (u64::from(self.width) * 5).div_ceil(2).next_multiple_of(4);
        let plane = self.planes.first()?;
        let plane = Plane { stride, row_bytes: plane.row_bytes.min(stride), ..*plane };
        Some(Self { planes: vec![plane], size: plane.size(), ..self.clone() })
    }

    /// The layout of a frame that has an item for it. `self` is the layout of the caps.
    pub(super) fn of_item(
        &self,
        format: VideoFormat,
        mode: InterlaceMode,
        (width, height): (u32, u32),
        places: &[(u64, i32)],
    ) -> Result<Self, LayoutError> {
        if places.len() != self.planes.len() {
            return Err(LayoutError::Planes { layout: places.len(), caps: self.planes.len() });
        }
        if width < self.width || height < self.height {
            return Err(LayoutError::Size { layout: (width, height), caps: (self.width, self.height) });
        }
        if format.is_tiled() {
            let is_own = (width, height) == (self.width, self.height) && self.has_tiles_at(places);
            return if is_own { Ok(self.clone()) } else { Err(LayoutError::Tiles { format: format.name() }) };
        }
        let mut planes = Vec::with_capacity(places.len());
        for (index, (offset, stride)) in places.iter().enumerate() {
            let plane = plane(format, index, width, height, mode);
            let wrong = || LayoutError::Stride { plane: index, stride: *stride, row_bytes: plane.row_bytes };
            let bytes = u64::try_from(*stride).map_err(|_| wrong())?;
            if plane.rows > 1 && bytes < plane.row_bytes {
                return Err(wrong());
            }
            planes.push(Plane { offset: *offset, stride: bytes, ..plane });
        }
        let size = planes.iter().map(Plane::end).max().unwrap_or(0);
        Ok(Self { width, height, planes, size })
    }

    /// Whether the planes of tiles are there, with these numbers of columns and rows.
    fn has_tiles_at(&self, places: &[(u64, i32)]) -> bool {
        self.planes.iter().zip(places).all(|(plane, (offset, stride))| {
            plane.offset == *offset && plane.tiles.is_some_and(|tiles| Some(*stride) == tile_stride(tiles))
        })
    }

    /// The byte behind the last byte of picture.
    pub(super) fn end(&self) -> u64 {
        self.planes.iter().map(Plane::end).max().unwrap_or(0)
    }
}

/// GStreamer puts the numbers of columns and rows of tiles into one stride.
fn tile_stride(tiles: Tiles) -> Option<i32> {
    let rows = u16::try_from(tiles.rows).ok()?;
    let columns = u16::try_from(tiles.columns).ok()?;
    Some((u32::from(rows) << 16 | u32::from(columns)) as i32)
}

fn is_palette(format: VideoFormat, plane: usize) -> bool {
    format.has_palette() && plane == 1
}

/// The plane at offset 0.
fn plane(format: VideoFormat, index: usize, width: u32, height: u32, mode: InterlaceMode) -> Plane {
    let element = format.element(index);
    let (element_bytes, element_pixels) = (u32::from(element.bytes), u32::from(element.pixels));
    let mut plane =
        Plane { offset: 0, stride: 4, rows: 1, row_bytes: PALETTE_BYTES, element_bytes, element_pixels, tiles: None };
    if is_palette(format, index) {
        return Plane { element_bytes: 4, element_pixels: 1, ..plane };
    }
    plane.rows = subsampled(mode.rows(height), format.height_shift(index));
    plane.row_bytes = u64::from(width.div_ceil(element_pixels)) * u64::from(element_bytes);
    let align = format.entry().group.map_or(4, |group| u64::from(group.align));
    plane.stride = plane.row_bytes.next_multiple_of(align);
    if let Some(tiling) = format.entry().tiling {
        let tiles = tiles(tiling, index, width, height, mode);
        plane.stride = u64::from(tiles.columns) * u64::from(tiles.bytes);
        plane.tiles = Some(tiles);
    }
    plane
}

/// Rows of a plane with those that only fill it up.
fn stored_rows(format: VideoFormat, plane: usize, height: u32, mode: InterlaceMode) -> u64 {
    let rule = format.entry().rows;
    let height = if matches!(rule, Rows::Even | Rows::EvenFields) { height.next_multiple_of(2) } else { height };
    let shift = format.height_shift(plane);
    let rows = subsampled(height, shift);
    let has_fields = matches!(rule, Rows::Fields | Rows::EvenFields) && mode != InterlaceMode::Progressive;
    u64::from(if has_fields && shift > 0 { rows.next_multiple_of(2) } else { rows })
}

fn subsampled(length: u32, shift: u8) -> u32 {
    length.div_ceil(1 << shift)
}

fn tiles(tiling: Tiling, plane: usize, width: u32, height: u32, mode: InterlaceMode) -> Tiles {
    let (row_bytes, tile_height) = (u32::from(tiling.row_bytes), u32::from(tiling.height));
    let bytes = (u64::from(width) * u64::from(tiling.bits)).div_ceil(8);
    let columns = u32::try_from(bytes.div_ceil(row_bytes.into())).unwrap_or(u32::MAX);
    let columns = if tiling.even_columns { columns.next_multiple_of(2) } else { columns };
    let is_interlaced = mode != InterlaceMode::Progressive;
    let height = if tiling.by_field { mode.rows(height) } else { height };
    let rows = height.div_ceil(tile_height);
    // Fields take whole pairs of rows of these tall tiles.
    let rows = if is_interlaced && tiling.height == 128 { rows.next_multiple_of(2) } else { rows };
    let (rows, height) = match (plane, tiling.short_chroma) {
        (0, _) => (rows, tile_height),
        (_, true) => (rows, tile_height / 2),
        (_, false) => (rows.div_ceil(2), tile_height),
    };
    Tiles { columns, rows, row_bytes, height, bytes: row_bytes * height }
}
