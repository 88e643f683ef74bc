//! Rectangles in a picture. Kind 2, the visible part: x, y, width, height u32. Kind 3, a region of interest: x, y,
//! width, height u32, id i32, parent's id i32, length of its type u32, the type, then for each parameter its length u32
//! and its text.

use super::Picture;
use super::text::text_of;
use crate::caps::plain_text;
use crate::items::Reader;
use gst_video::{VideoCropMeta, VideoRegionOfInterestMeta};

/// Most parameters of a region of interest.
const MAX_PARAMETERS: usize = 64;

pub(super) fn crop(meta: &VideoCropMeta) -> Vec<u8> {
    rectangle(meta.rect())
}

fn rectangle((x, y, width, height): (u32, u32, u32, u32)) -> Vec<u8> {
    [x, y, width, height].into_iter().flat_map(u32::to_le_bytes).collect()
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// The region's bytes, and whether all of its parameters are in them: those that cannot be read back are not.
pub(super) fn region(meta: &VideoRegionOfInterestMeta) -> (Vec<u8>, bool) {
    let mut bytes = rectangle(meta.rect());
    bytes.extend(meta.id().to_le_bytes());
    bytes.extend(meta.parent_id().to_le_bytes());
    text(&mut bytes, meta.roi_type());
    let texts: Vec<_> = meta.params().filter_map(text_of).take(MAX_PARAMETERS).collect();
    texts.iter().for_each(|parameter| text(&mut bytes, parameter));
    (bytes, texts.len() == meta.params().count())
}

/// A rectangle, and whether it is inside the picture: elements crop to it without a further check.
fn read_rectangle(reader: &mut Reader, picture: Option<Picture>) -> Option<((u32, u32, u32, u32), bool)> {
    let (x, y, width, height) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    let ends_in = |start: u32, length: u32, most: u32| start.checked_add(length).is_some_and(|end| end <= most);
    let inside = picture.is_some_and(|(w, h)| ends_in(x, width, w) && ends_in(y, height, h));
    Some(((x, y, width, height), inside))
}

/// Skips a rectangle that is not inside a raw picture.
pub(super) fn add_crop(buffer: &mut gst::BufferRef, bytes: &[u8], picture: Option<Picture>) -> Option<()> {
    let (rectangle, inside) = read_rectangle(&mut Reader(bytes), picture)?;
    if inside {
        VideoCropMeta::add(buffer, rectangle);
    }
    Some(())
}

/// As [`add_crop`].
pub(super) fn add_region(buffer: &mut gst::BufferRef, bytes: &[u8], picture: Option<Picture>) -> Option<()> {
    let mut reader = Reader(bytes);
    let (rectangle, inside) = read_rectangle(&mut reader, picture)?;
    let (id, parent) = (reader.u32()? as i32, reader.u32()? as i32);
    let kind = plain_text(reader.sized()?)?;
    let mut parameters = Vec::new();
    while !reader.is_empty() {
        if parameters.len() == MAX_PARAMETERS {
            return None;
        }
        // A parameter that is not plain data cannot be parsed and is left out.
        parameters.extend(super::text::structure(reader.sized()?));
    }
    if inside {
        let mut meta = VideoRegionOfInterestMeta::add(buffer, kind, rectangle);
        meta.set_id(id);
        meta.set_parent_id(parent);
        parameters.into_iter().for_each(|parameter| meta.add_param(parameter));
    }
    Some(())
}
