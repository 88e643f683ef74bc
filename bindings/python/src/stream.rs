//! The description of a stream: its caps, parsed, and as Python objects.

use crate::error::Class;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple};
use shm2_media::{Media, Structure, Value};
use std::sync::Arc;

/// Media type of plain data whose dtype is in the caps.
pub const RECORDS: &str = "application/x-shm2-struct";

/// Caps, with what they mean.
pub struct Stream {
    /// `None` if the producer has set none.
    text: Option<Vec<u8>>,
    media: Option<Result<Media, String>>,
    object: PyOnceLock<Py<PyAny>>,
}

impl Stream {
    /// Parses caps.
    pub fn new(text: Option<&[u8]>) -> Arc<Self> {
        let media = text.map(|text| Media::from_caps(text).map_err(|error| error.to_string()));
        Arc::new(Self { text: text.map(Into::into), media, object: PyOnceLock::new() })
    }

    /// Whether these are the caps.
    pub fn is_of(&self, text: Option<&[u8]>) -> bool {
        self.text.as_deref() == text
    }

    /// What the caps mean; `None` without caps.
    pub fn media(&self) -> PyResult<Option<&Media>> {
        match &self.media {
            None => Ok(None),
            Some(Ok(media)) => Ok(Some(media)),
            Some(Err(error)) => Err(Class::Media.error(error.clone())),
        }
    }

    /// The `shm2.Caps`; `None` without caps.
    pub fn object<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(text) = &self.text else { return Ok(None) };
        let make = || {
            let structure = self.media.as_ref().and_then(|media| media.as_ref().ok()?.structure());
            Ok::<_, PyErr>(caps(py, &String::from_utf8_lossy(text), structure)?.unbind())
        };
        Ok(Some(self.object.get_or_try_init(py, make)?.bind(py).clone()))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("media", &self.media).finish_non_exhaustive()
    }
}

/// A `shm2.Caps` of a text.
pub fn caps<'py>(py: Python<'py>, text: &str, structure: Option<&Structure>) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    for (name, value) in structure.into_iter().flat_map(Structure::fields) {
        fields.set_item(name, object(py, value)?)?;
    }
    let media_type = structure.map_or("", Structure::name);
    let features = PyTuple::new(py, structure.map_or(&[][..], Structure::features))?;
    py.import("shm2._caps")?.getattr("Caps")?.call1((text, media_type, features, fields))
}

fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    let items = || value.items().iter().map(|item| object(py, item)).collect::<PyResult<Vec<_>>>();
    Ok(match value {
        Value::Int(value) => value.into_pyobject(py)?.into_any(),
        Value::Unsigned(value) | Value::Bitmask(value) => value.into_pyobject(py)?.into_any(),
        Value::Double(value) => value.into_pyobject(py)?.into_any(),
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Value::Fraction(value) => fraction(py, *value)?,
        Value::Text(text) => text.into_pyobject(py)?.into_any(),
        Value::List(_) => PyList::new(py, items()?)?.into_any(),
        Value::Array(_) | Value::Range(_) => PyTuple::new(py, items()?)?.into_any(),
        other => other.to_string().into_pyobject(py)?.into_any(),
    })
}

/// A `fractions.Fraction`.
pub fn fraction(py: Python<'_>, value: shm2_media::Fraction) -> PyResult<Bound<'_, PyAny>> {
    py.import("fractions")?.getattr("Fraction")?.call1((value.numerator(), value.denominator()))
}

/// The caps of a text, as ``shm2.Caps``.
///
/// Raises:
///     MediaError: when the text is no caps, or raw video or audio lacks a field.
#[pyfunction]
pub fn describe<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let media = Media::from_caps(text).map_err(|error| Class::Media.error(error.to_string()))?;
    caps(py, text, media.structure())
}

/// The current time of the clock of ``Frame.time``, in nanoseconds.
#[pyfunction]
pub fn monotonic_ns() -> u64 {
    shm2::monotonic_ns()
}

/// Names of the formats of raw video (``"video"``) or audio.
#[pyfunction]
pub fn formats(kind: &str) -> Vec<&'static str> {
    match kind {
        "video" => shm2_media::VideoFormat::all().map(|format| format.name()).collect(),
        _ => shm2_media::AudioFormat::all().map(|format| format.name()).collect(),
    }
}
