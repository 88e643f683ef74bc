//! Parts of pictures.

/// A part of a picture, in pixels from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rectangle {
    /// Pixels to the left of it.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

impl Rectangle {
    /// Whether it is inside a picture of this size.
    pub(crate) fn is_inside(&self, width: u32, height: u32) -> bool {
        let ends_in = |start: u32, length: u32, most| start.checked_add(length).is_some_and(|end| end <= most);
        ends_in(self.x, self.width, width) && ends_in(self.y, self.height, height)
    }
}
