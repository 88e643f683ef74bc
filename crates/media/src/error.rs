//! One error type for each operation. Texts from outside are shortened before they are put into an error.

use crate::limits::{MAX_CAPS_BYTES, MAX_DEPTH, MAX_VALUES};

/// Longest part of a foreign text in an error, in characters.
const CLIP: usize = 60;

/// Why a text is no caps that this crate can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapsError {
    /// The text is longer than [`MAX_CAPS_BYTES`].
    #[error(
        "the caps have {bytes} bytes; the limit is {MAX_CAPS_BYTES}: shorten the largest field, often streamheader"
    )]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// The text is not UTF-8.
    #[error("the caps are no text: byte {at} is not UTF-8")]
    NotText {
        /// Position of the first byte that is not UTF-8.
        at: usize,
    },
    /// The text has more than [`MAX_VALUES`] values.
    #[error("the caps have more than {MAX_VALUES} values: pass the fixed caps of a negotiated stream")]
    TooManyValues,
    /// Lists, arrays or ranges are nested deeper than [`MAX_DEPTH`].
    #[error("the field {field:?} nests lists deeper than {MAX_DEPTH} levels: pass the caps of a negotiated stream")]
    TooDeep {
        /// Name of the field.
        field: String,
    },
    /// The text breaks the grammar.
    #[error("the caps are wrong at byte {at}: expected {expected}, found {found:?}")]
    Syntax {
        /// Position in the text, without blanks around the whole.
        at: usize,
        /// Start of what is there; empty at the end of the text.
        found: String,
        /// What the grammar asks for.
        expected: &'static str,
    },
    /// A value does not have the type that is written before it.
    #[error("the field {field:?} has the value {text:?}: expected {expected}")]
    Value {
        /// Name of the field.
        field: String,
        /// Text of the value.
        text: String,
        /// What a value of this type looks like.
        expected: &'static str,
    },
}

/// Why caps do not describe a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The text is no caps.
    #[error(transparent)]
    Caps(#[from] CapsError),
    /// The caps are `ANY` or `EMPTY`.
    #[error("the caps name no media type: pass the caps of a negotiated stream, such as video/x-raw, format=RGBA, ...")]
    NoMediaType,
    /// A field is missing, or its value has another type than it should have.
    #[error("{media_type} needs the field {field} as {expected}, found {found}: add it, or fix its value")]
    Field {
        /// The media type.
        media_type: String,
        /// Name of the field.
        field: &'static str,
        /// What its value should be.
        expected: &'static str,
        /// Its value, or `nothing`.
        found: String,
    },
    /// No raw format has this name.
    #[error("{media_type} has the format {format:?}, which has no layout here: convert the stream to another format")]
    UnknownFormat {
        /// The media type.
        media_type: String,
        /// Name of the format.
        format: String,
    },
    /// A frame of this size has 4 GiB or more; GStreamer refuses it, too.
    #[error("a picture of {width}x{height} {format} has 4 GiB or more: use a smaller size")]
    TooLarge {
        /// Name of the format.
        format: &'static str,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// Why the layout items of a frame do not fit its caps or its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The list of items ends inside an item.
    #[error("the meta blob ends inside an item: {bytes} bytes are left where {needed} are announced")]
    Truncated {
        /// Bytes that are left.
        bytes: usize,
        /// Bytes that the item should have.
        needed: usize,
    },
    /// An item is too short, too long, or has a count that is not possible.
    #[error("the item of kind {kind} has {bytes} bytes, which is no {expected}")]
    Item {
        /// Kind of the item.
        kind: u16,
        /// Length of the item.
        bytes: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// The item is for another format than the caps.
    #[error("the layout is for {layout}, the caps say {caps}: the frame does not belong to these caps")]
    Format {
        /// Format of the item.
        layout: String,
        /// Format of the caps.
        caps: &'static str,
    },
    /// The layout has another number of planes or channels than the caps.
    #[error("the layout has {layout} planes, the caps have {caps}")]
    Planes {
        /// Number in the item.
        layout: usize,
        /// Number that follows from the caps.
        caps: usize,
    },
    /// The layout holds less than the picture of the caps.
    #[error("the layout has {}x{} pixels, less than the {}x{} of the caps", layout.0, layout.1, caps.0, caps.1)]
    Size {
        /// Width and height in the item.
        layout: (u32, u32),
        /// Width and height in the caps.
        caps: (u32, u32),
    },
    /// Rows of a plane overlap.
    #[error("plane {plane} has a stride of {stride} bytes for rows of {row_bytes} bytes: its rows overlap")]
    Stride {
        /// Number of the plane, from 0.
        plane: usize,
        /// Bytes from one row to the next.
        stride: i32,
        /// Bytes of a row.
        row_bytes: u64,
    },
    /// A format with tiles has one layout only: that of the caps.
    #[error("the layout of {format} differs from that of the caps: a format with tiles has only that one")]
    Tiles {
        /// Name of the format.
        format: &'static str,
    },
    /// The picture or the samples reach outside the frame.
    #[error("the layout ends at byte {end}, the frame has {bytes} bytes: the frame does not belong to these caps")]
    Outside {
        /// Where the layout ends; [`u64::MAX`] for one that ends beyond all numbers.
        end: u64,
        /// Bytes of the frame.
        bytes: u64,
    },
    /// Planes of audio overlap.
    #[error("the channels' planes of {bytes} bytes each overlap: offsets {offsets:?}")]
    Overlap {
        /// Bytes of one plane.
        bytes: u64,
        /// The first 8 offsets.
        offsets: Vec<u64>,
    },
}

/// Why a frame cannot be shown as RGB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The format has tiles, a palette, or words of several pixels.
    #[error("{format} cannot be converted to RGB here: convert it with videoconvert first")]
    Format {
        /// Name of the format.
        format: &'static str,
    },
    /// The frame is shorter than its description says.
    #[error("the frame has {found} bytes, its description needs {needed}: it does not belong to these caps")]
    Short {
        /// Bytes that the description needs.
        needed: u64,
        /// Bytes of the frame.
        found: u64,
    },
    /// The conversion of colours failed.
    #[error("the colours cannot be converted: {error}")]
    Conversion {
        /// What the conversion said.
        error: String,
    },
}

/// The start of a text, short enough for an error.
pub(crate) fn clipped(text: &str) -> String {
    match text.char_indices().nth(CLIP) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
