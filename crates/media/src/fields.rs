//! Fields that a description needs, with errors that name field and value.

use crate::caps::Structure;
use crate::error::{MediaError, clipped};

/// Required fields of a structure.
pub(crate) struct Fields<'a>(pub(crate) &'a Structure);

impl<'a> Fields<'a> {
    pub(crate) fn text(&self, field: &'static str) -> Result<&'a str, MediaError> {
        self.0.text(field).ok_or_else(|| self.wrong(field, "one text"))
    }

    /// A number from 1 to the largest of GStreamer's integers.
    pub(crate) fn positive(&self, field: &'static str) -> Result<u32, MediaError> {
        positive(self.0, field).ok_or_else(|| self.wrong(field, "one whole number from 1 to 2147483647"))
    }

    pub(crate) fn wrong(&self, field: &'static str, expected: &'static str) -> MediaError {
        let found = self.0.value(field).map_or("nothing".into(), |value| clipped(&value.to_string()));
        MediaError::Field { media_type: clipped(self.0.name()), field, expected, found }
    }
}

/// A number from 1 to the largest of GStreamer's integers, if the field has one.
pub(crate) fn positive(structure: &Structure, field: &str) -> Option<u32> {
    let number = i32::try_from(structure.int(field)?).ok()?;
    u32::try_from(number).ok().filter(|number| *number > 0)
}
