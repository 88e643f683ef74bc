//! What a row of the table of formats says: components, planes, padding and tiles.

/// What the components of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColorModel {
    /// Luma and two colour differences.
    Yuv,
    /// Red, green and blue.
    Rgb,
    /// Luma alone.
    Gray,
}

/// Order of the bytes in a word or a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The lowest byte first.
    Little,
    /// The highest byte first.
    Big,
}

/// Where a component is in its plane, and what part of a word it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Number of its plane, from 0.
    pub plane: u8,
    /// Bytes from one value to the next in a row. 0 for formats that pack several pixels into words, such as v210,
    /// where a value has no byte of its own.
    pub step: u8,
    /// Bytes before the first value of a row; 0 where `step` is 0.
    pub offset: u8,
    /// Bits of a value.
    pub bits: u8,
    /// Bits below the value in its word.
    pub shift: u8,
    /// A value stands for `1 << width_shift` pixels of a row.
    pub width_shift: u8,
    /// A value stands for `1 << height_shift` rows.
    pub height_shift: u8,
}

/// Bytes of the smallest unit that repeats in a row, and the pixels it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) bytes: u8,
    pub(super) pixels: u8,
}

/// How GStreamer rounds the number of rows of planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Not at all.
    Exact,
    /// The picture's rows are rounded up to an even number.
    Even,
    /// As [`Self::Even`], and in interlaced streams so are the rows of planes that have fewer.
    EvenFields,
    /// In interlaced streams, the rows of planes that have fewer are rounded up to an even number.
    Fields,
}

/// Groups of pixels that are packed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) bytes: u8,
    pub(super) pixels: u8,
    /// Rows are padded to a multiple of this many bytes.
    pub(super) align: u8,
}

/// Tiles of the first plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tiling {
    /// Bytes of a row of a tile.
    pub(super) row_bytes: u8,
    /// Rows of a tile.
    pub(super) height: u8,
    /// Bits of a luma value.
    pub(super) bits: u8,
    /// Whether the number of tiles in a row is even.
    pub(super) even_columns: bool,
    /// Whether a field of a stream of alternating fields has the tiles of a field; otherwise it has those of a frame.
    pub(super) by_field: bool,
    /// Whether tiles of the second plane have half as many rows; otherwise there are half as many rows of tiles.
    pub(super) short_chroma: bool,
}

/// A row of the table of formats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) model: ColorModel,
    pub(super) order: Option<ByteOrder>,
    pub(super) parts: Parts,
    pub(super) rows: Rows,
    pub(super) group: Option<Group>,
    pub(super) tiling: Option<Tiling>,
    pub(super) palette: bool,
}

impl Entry {
    pub(super) const fn new(
        name: &'static str,
        model: ColorModel,
        order: Option<ByteOrder>,
        parts: Parts,
        rows: Rows,
    ) -> Self {
        Self { name, model, order, parts, rows, group: None, tiling: None, palette: false }
    }

    pub(super) const fn grouped(self, bytes: u8, pixels: u8, align: u8) -> Self {
        Self { group: Some(Group { bytes, pixels, align }), ..self }
    }

    pub(super) const fn tiled(self, tiling: Tiling) -> Self {
        Self { tiling: Some(tiling), ..self }
    }

    pub(super) const fn with_palette(self) -> Self {
        Self { palette: true, ..self }
    }
}

/// The components of a format and the number of planes that they are in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) components: [Component; 4],
    pub(super) count: u8,
    pub(super) planes: u8,
}

const NONE: Component = Component { plane: 0, step: 0, offset: 0, bits: 0, shift: 0, width_shift: 0, height_shift: 0 };

/// Shifts of width and height of the colour differences.
pub(super) type Subsampling = (u8, u8);

/// Each component in a plane of its own; `order` has the number of each one's plane. Alpha has the luma's size.
pub(super) const fn planar(bits: u8, bytes: u8, sub: Subsampling, order: &[u8]) -> Parts {
    let mut components = [NONE; 4];
    let mut i = 0;
    while i < order.len() {
        let (width_shift, height_shift) = if i == 1 || i == 2 { sub } else { (0, 0) };
        components[i] = Component { plane: order[i], step: bytes, bits, width_shift, height_shift, ..NONE };
        i += 1;
    }
    Parts { components, count: order.len() as u8, planes: order.len() as u8 }
}

/// Luma in the first plane, pairs of colour differences in the second: U at byte `u`, V at byte `v`.
pub(super) const fn pairs(bits: u8, shift: u8, bytes: u8, sub: Subsampling, [u, v]: [u8; 2]) -> Parts {
    let (width_shift, height_shift) = sub;
    let luma = Component { step: bytes, bits, shift, ..NONE };
    let first = Component { plane: 1, step: bytes * 2, offset: u, bits, shift, width_shift, height_shift };
    let second = Component { offset: v, ..first };
    Parts { components: [luma, first, second, NONE], count: 3, planes: 2 }
}

/// As [`pairs`], with alpha in a third plane.
pub(super) const fn pairs_alpha(bits: u8, bytes: u8, sub: Subsampling) -> Parts {
    let parts = pairs(bits, 0, bytes, sub, [0, bytes]);
    let [luma, u, v, _] = parts.components;
    Parts { components: [luma, u, v, Component { plane: 2, ..luma }], count: 4, planes: 3 }
}

/// All components side by side in elements of `step` bytes, each at its own byte.
pub(super) const fn packed(bits: u8, shift: u8, step: u8, offsets: &[u8]) -> Parts {
    let mut components = [NONE; 4];
    let mut i = 0;
    while i < offsets.len() {
        components[i] = Component { step, offset: offsets[i], bits, shift, ..NONE };
        i += 1;
    }
    Parts { components, count: offsets.len() as u8, planes: 1 }
}

/// All components in one word of `step` bytes, each with its number of bits and the bits below it.
pub(super) const fn word(step: u8, fields: &[(u8, u8)]) -> Parts {
    let mut components = [NONE; 4];
    let mut i = 0;
    while i < fields.len() {
        let (bits, shift) = fields[i];
        components[i] = Component { step, bits, shift, ..NONE };
        i += 1;
    }
    Parts { components, count: fields.len() as u8, planes: 1 }
}

/// Two pixels that share U and V in one element; `offsets` has the bytes of the first Y, of U, and of V.
pub(super) const fn two_pixels(bits: u8, shift: u8, bytes: u8, [y, u, v]: [u8; 3]) -> Parts {
    let luma = Component { step: bytes * 2, offset: y, bits, shift, ..NONE };
    let first = Component { step: bytes * 4, offset: u, width_shift: 1, ..luma };
    Parts { components: [luma, first, Component { offset: v, ..first }, NONE], count: 3, planes: 1 }
}

/// Several pixels packed into words; `planes` is 1, or 2 for pairs in a second plane.
pub(super) const fn in_groups(bits: u8, count: u8, planes: u8, sub: Subsampling) -> Parts {
    let (width_shift, height_shift) = sub;
    let luma = Component { bits, ..NONE };
    let chroma = Component { plane: planes - 1, bits, width_shift, height_shift, ..NONE };
    Parts { components: [luma, chroma, chroma, NONE], count, planes }
}
