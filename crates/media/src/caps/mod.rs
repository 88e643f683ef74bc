//! Parsed caps: media types with their features and fields.

mod parser;
mod value;

pub use value::{Fraction, Value};

use crate::error::CapsError;
use crate::limits::MAX_CAPS_BYTES;
use std::str::FromStr;

/// Caps: the media types that a stream has (one), or may have (several).
///
/// ```
/// use shm2_media::Caps;
///
/// let caps = Caps::parse("video/x-h264, stream-format=(string)avc, width=(int)640; image/jpeg")?;
/// let [first, second] = caps.structures() else { panic!("two media types") };
/// assert_eq!((first.name(), first.int("width")), ("video/x-h264", Some(640)));
/// assert_eq!((first.text("stream-format"), second.name()), (Some("avc"), "image/jpeg"));
/// # Ok::<_, shm2_media::CapsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Caps {
    structures: Vec<Structure>,
    is_any: bool,
}

impl Caps {
    /// Parses the text that `gst_caps_to_string` makes, or that a user writes by hand: types may be left out. Bytes of a
    /// region are accepted, too.
    ///
    /// # Errors
    /// [`CapsError`] for text that is no caps, or that passes [`MAX_CAPS_BYTES`], [`MAX_VALUES`](crate::MAX_VALUES) or [`MAX_DEPTH`](crate::MAX_DEPTH).
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, CapsError> {
        let bytes = text.as_ref();
        if bytes.len() > MAX_CAPS_BYTES {
            return Err(CapsError::TooLong { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| CapsError::NotText { at: error.valid_up_to() })?;
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        match text {
            "ANY" => Ok(Self { structures: Vec::new(), is_any: true }),
            "EMPTY" | "NONE" | "" => Ok(Self::default()),
            _ => parser::structures(text).map(|structures| Self { structures, is_any: false }),
        }
    }

    /// The media types, in order of preference. A negotiated stream has one.
    pub fn structures(&self) -> &[Structure] {
        &self.structures
    }

    /// Whether these are the caps `ANY`, which name no media type.
    pub fn is_any(&self) -> bool {
        self.is_any
    }
}

impl FromStr for Caps {
    type Err = CapsError;

    fn from_str(text: &str) -> Result<Self, CapsError> {
        Self::parse(text)
    }
}

/// A media type with its features and fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    name: String,
    features: Vec<String>,
    fields: Vec<(String, Value)>,
}

impl Structure {
    /// The media type, such as `video/x-raw`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The features in parentheses behind the media type, such as `memory:SystemMemory`.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// The fields, in the order of the text.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of a field. Of several fields with one name the last one counts, as in GStreamer.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.fields.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The value of an integer field.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.value(name)?.as_int()
    }

    /// The value of a text field.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_text()
    }

    /// The value of a fraction field.
    pub fn fraction(&self, name: &str) -> Option<Fraction> {
        self.value(name)?.as_fraction()
    }

    /// The value of a boolean field.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.value(name)?.as_bool()
    }
}
