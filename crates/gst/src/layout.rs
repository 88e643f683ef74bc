//! Where the rows of raw video are in a frame: which layouts are inside it, and the copy into the layout that follows
//! from the caps.

use gst_video::{VideoFormat, VideoFormatFlags, VideoFormatInfo, VideoInfo, VideoInterlaceMode, VideoMeta};

/// Bytes of the colour table of a format with a palette.
const PALETTE_BYTES: usize = 1024;

/// Layout of one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) offsets: Vec<usize>,
    pub(crate) strides: Vec<i32>,
}

/// Rows of one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    bytes: usize,
    lines: usize,
}

/// Where a layout ends in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Behind the last byte of picture.
    pub(crate) visible: usize,
    /// Behind the padding of the last row.
    pub(crate) padded: usize,
}

impl Layout {
    pub(crate) fn of_meta(meta: &VideoMeta) -> Self {
        let (offsets, strides) = (meta.offset().to_vec(), meta.stride().to_vec());
        Self { width: meta.width(), height: meta.height(), offsets, strides }
    }

    /// The layout that follows from the caps.
    pub(crate) fn of_caps(caps: &VideoInfo) -> Self {
        let planes = caps.format_info().n_planes() as usize;
        let (offsets, strides) = (caps.offset()[..planes].to_vec(), caps.stride()[..planes].to_vec());
        Self { width: caps.width(), height: caps.height(), offsets, strides }
    }

    /// Whether it holds at least the picture of the caps.
    pub(crate) fn covers(&self, caps: &VideoInfo) -> bool {
        self.width >= caps.width() && self.height >= caps.height()
    }

    /// The end; `None` if rows overlap, or if the format has tiles and the layout is not that of the caps.
    pub(crate) fn end(&self, caps: &VideoInfo) -> Option<End> {
        let planes = caps.format_info().n_planes() as usize;
        if self.offsets.len() != planes || self.strides.len() != planes {
            return None;
        }
        if is_tiled(caps.format_info()) {
            let end = End { visible: caps.size(), padded: caps.size() };
            return (*self == Self::of_caps(caps)).then_some(end);
        }
        let mut all = End { visible: 0, padded: 0 };
        for (plane, rows) in rows(caps, caps.format_info(), self.width, self.height)?.iter().enumerate() {
            let stride = usize::try_from(self.strides[plane]).ok()?;
            // A table of colours is one row, whatever its stride.
            if rows.lines > 1 && stride < rows.bytes {
                return None;
            }
            let last = rows.lines.saturating_sub(1).checked_mul(stride)?.checked_add(self.offsets[plane])?;
            all.visible = all.visible.max(last.checked_add(rows.bytes)?);
            all.padded = all.padded.max(last.checked_add(stride.max(rows.bytes))?);
        }
        Some(all)
    }

    /// Copies the picture of the caps into their own layout. `None` if a row is outside `bytes`, or for tiles.
    pub(crate) fn pack(&self, bytes: &[u8], caps: &VideoInfo) -> Option<Vec<u8>> {
        if is_tiled(caps.format_info()) || !self.covers(caps) {
            return None;
        }
        let rows = rows(caps, caps.format_info(), caps.width(), caps.height())?;
        let mut packed = vec![0; caps.size()];
        let own = Self::of_caps(caps);
        let layouts = self.offsets.iter().zip(&self.strides).zip(own.offsets.iter().zip(&own.strides));
        for (rows, ((from, stride), (to, own_stride))) in rows.iter().zip(layouts) {
            let length = if is_complex(caps.format_info()) {
                rows.bytes.min(stride.unsigned_abs() as usize)
            } else {
                rows.bytes
            };
            for line in 0..rows.lines {
                let start = isize::try_from(line).ok()?.checked_mul(*stride as isize)?.checked_add_unsigned(*from)?;
                let row = bytes.get(usize::try_from(start).ok()?..)?.get(..length)?;
                packed.get_mut(to + line * *own_stride as usize..)?.get_mut(..length)?.copy_from_slice(row);
            }
        }
        Some(packed)
    }
}

/// Whether pictures of both formats have the same rows, so that only the meaning of their bytes differs.
pub(crate) fn same_rows(caps: &VideoInfo, other: VideoFormat) -> bool {
    let other = VideoFormatInfo::from_format(other);
    let formula = |format| !is_tiled(format) && !is_complex(format);
    let size = (caps.width(), caps.height());
    let both = [caps.format_info(), other];
    both.into_iter().all(formula) && rows(caps, both[0], size.0, size.1) == rows(caps, both[1], size.0, size.1)
}

/// Rows of each plane of a picture of this format, with the interlacing of the caps.
fn rows(caps: &VideoInfo, format: VideoFormatInfo, width: u32, height: u32) -> Option<Vec<Rows>> {
    let is_field = caps.interlace_mode() == VideoInterlaceMode::Alternate;
    let height = if is_field { height.div_ceil(2) } else { height };
    let mut rows = vec![Rows { bytes: 0, lines: 0 }; format.n_planes() as usize];
    for component in 0..format.n_components() as usize {
        let plane = format.plane()[component] as usize;
        let bytes = if is_complex(format) {
            // There is no formula for a row: only that of the caps' own width is known.
            (width == caps.width())
                .then(|| caps.stride().get(plane))
                .flatten()
                .and_then(|s| usize::try_from(*s).ok())?
        } else {
            let pixels = format.scale_width(component as u8, width) as usize;
            pixels.checked_mul(format.pixel_stride()[component] as usize)?
        };
        let lines = format.scale_height(component as u8, height) as usize;
        let row = rows.get_mut(plane)?;
        (row.bytes, row.lines) = (row.bytes.max(bytes), row.lines.max(lines));
    }
    if let (true, Some(palette)) = (format.has_palette(), rows.get_mut(1)) {
        *palette = Rows { bytes: PALETTE_BYTES, lines: 1 };
    }
    Some(rows)
}

fn is_tiled(format: VideoFormatInfo) -> bool {
    format.flags().contains(VideoFormatFlags::TILED)
}

/// Whether a pixel has no fixed number of bytes.
fn is_complex(format: VideoFormatInfo) -> bool {
    let components = format.n_components() as usize;
    format.flags().contains(VideoFormatFlags::COMPLEX) || format.pixel_stride()[..components].iter().any(|s| *s <= 0)
}
