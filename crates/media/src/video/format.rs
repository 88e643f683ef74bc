//! Raw video formats: where the components of a pixel are.

use super::entry::{ByteOrder, ColorModel, Component, Element, Entry};
use super::table::FORMATS;
use std::fmt::{self, Debug, Display, Formatter};

/// A raw video format that GStreamer knows, up to version 1.28.
///
/// ```
/// use shm2_media::{ColorModel, VideoFormat};
///
/// let nv12 = VideoFormat::from_name("NV12").expect("GStreamer knows it");
/// let [y, u, v] = nv12.components() else { panic!("three components") };
/// assert_eq!((nv12.model(), nv12.plane_count()), (ColorModel::Yuv, 2));
/// // The second plane has pairs of U and V, one for 2x2 pixels.
/// assert_eq!((y.plane, u.plane, v.plane), (0, 1, 1));
/// assert_eq!((u.offset, v.offset, v.step, v.width_shift, v.height_shift), (0, 1, 2, 1, 1));
/// ```
#[derive(Clone, Copy)]
pub struct VideoFormat(&'static Entry);

impl VideoFormat {
    /// All formats, in GStreamer's order.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        FORMATS.iter().map(Self)
    }

    /// The format with this name in caps; names are case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        FORMATS.iter().find(|entry| entry.name == name).map(Self)
    }

    /// The name in caps, such as `I420`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// What the components mean.
    pub fn model(self) -> ColorModel {
        self.0.model
    }

    /// Byte order of the words that hold a component; `None` where each component is a byte.
    pub fn byte_order(self) -> Option<ByteOrder> {
        self.0.order
    }

    /// The components in the order Y, U, V, alpha or red, green, blue, alpha. Grey and palette indices have one.
    pub fn components(self) -> &'static [Component] {
        &self.0.parts.components[..usize::from(self.0.parts.count)]
    }

    /// Number of planes, 1 to 4. A palette is a plane of its own.
    pub fn plane_count(self) -> usize {
        usize::from(self.0.parts.planes) + usize::from(self.0.palette)
    }

    /// Whether pixels have an opacity, be it in a palette.
    pub fn has_alpha(self) -> bool {
        self.0.palette || self.0.parts.count == 4
    }

    /// Whether the picture has indices, and the second plane 256 colours of 4 bytes: B, G, R, A on a little-endian
    /// machine.
    pub fn has_palette(self) -> bool {
        self.0.palette
    }

    /// Whether the picture is stored in tiles, each of them in one piece.
    pub fn is_tiled(self) -> bool {
        self.0.tiling.is_some()
    }

    /// The smallest unit that repeats in a row of a plane.
    pub(super) fn element(self, plane: usize) -> Element {
        if let Some(group) = self.0.group {
            return Element { bytes: group.bytes, pixels: group.pixels };
        }
        let own = self.components().iter().filter(|c| usize::from(c.plane) == plane);
        own.map(|c| Element { bytes: c.step, pixels: 1 << c.width_shift })
            .max_by_key(|element| element.bytes)
            .unwrap_or(Element { bytes: 1, pixels: 1 })
    }

    /// By how many powers of two the rows of a plane are fewer than those of the picture.
    pub(super) fn height_shift(self, plane: usize) -> u8 {
        let own = self.components().iter().find(|c| usize::from(c.plane) == plane);
        own.map_or(0, |c| c.height_shift)
    }

    pub(super) fn entry(self) -> &'static Entry {
        self.0
    }
}

impl PartialEq for VideoFormat {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for VideoFormat {}

impl Debug for VideoFormat {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Display for VideoFormat {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}
