//! A frame that is being filled.

use crate::error::{Class, no_pickle};
use crate::frame;
use crate::memory::{Memory, Slot};
use crate::plane;
use crate::producer::Core;
use crate::shape::Shape;
use pyo3::exceptions::PyResourceWarning;
use pyo3::ffi::Py_buffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use shm2::FrameInfo;
use shm2_media::Media;
use std::ffi::{CString, c_int};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory of the region for one frame, as ``Producer.frame()`` makes it.
///
/// Fill it in a ``with`` block: the frame is published at the end of the block, and dropped if the block ends with an
/// exception. Arrays and memoryviews of it must be gone by then, because they could still write:
/// ``f.array[...] = picture`` leaves none.
#[pyclass(frozen, module = "shm2")]
#[derive(Debug)]
pub struct OutFrame {
    core: Arc<Core>,
    slot: Arc<Slot>,
    memory: Memory,
    whole: Shape,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    info: FrameInfo,
    meta: Vec<u8>,
    sequence: Option<u64>,
}

impl OutFrame {
    /// A frame of a producer.
    pub fn new(core: Arc<Core>, slot: Arc<Slot>) -> Self {
        let mut details = Details::default();
        details.info.time = Some(shm2::monotonic_ns());
        let whole = Shape::bytes(0, slot.bytes());
        Self { core, memory: Memory::Slot(slot.clone()), slot, whole, details: Mutex::new(details) }
    }
}

#[pymethods]
impl OutFrame {
    /// The planes to fill, as those of ``Frame.planes``; ``numpy.asarray(plane)`` may be written.
    #[getter]
    fn planes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.slot.check_open()?;
        frame::planes(py, &self.memory, self.media(&[])?.as_ref(), self.whole.dims[0])
    }

    /// The one plane as a NumPy array that may be written; see ``Frame.array``.
    ///
    /// Raises:
    ///     ClosedError: when the frame was published or dropped.
    ///     MediaError: for formats of several planes, such as NV12: use ``planes``.
    #[getter]
    fn array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.slot.check_open()?;
        let remedy = "call send() with one array for each plane, such as send([luma, chroma]), or fill numpy.asarray(plane) \
                      of each of planes";
        frame::array(py, &self.memory, self.media(&[])?.as_ref(), self.whole.dims[0], remedy)
    }

    /// Publishes the frame now; returns its sequence number. The end of a ``with`` block does this.
    ///
    /// Raises:
    ///     ViewsError: when arrays or memoryviews of the frame exist. Nothing was published, and the frame is dropped.
    ///     ClosedError: when the frame was published or dropped before, or its producer is closed.
    fn publish(&self, py: Python<'_>) -> PyResult<u64> {
        self.slot.check_open()?;
        let (info, meta) = {
            let mut details = self.details()?;
            details.info.pts.get_or_insert_with(|| self.core.running_ns());
            (details.info, details.meta.clone())
        };
        if let Err(error) = self.media(&meta) {
            self.slot.cancel()?;
            // Without a meta blob, the reason is the caps.
            return Err(if self.media(&[]).is_ok() { not_items(py, &error) } else { error });
        }
        let reservation = self.slot.take()?;
        let sequence = self.core.publish(py, reservation, &info, &meta)?;
        self.details()?.sequence = Some(sequence);
        Ok(sequence)
    }

    /// Drops the frame; nothing is published. No effect on a frame that was published or dropped.
    fn cancel(&self) -> PyResult<()> {
        self.slot.cancel().map(|_| ())
    }

    /// Presentation time in nanoseconds on the producer's own timeline. If it is not set, the time since the producer
    /// began.
    #[getter]
    fn pts(&self) -> PyResult<Option<u64>> {
        Ok(self.details()?.info.pts)
    }

    #[setter]
    fn set_pts(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.details()?.info.pts = nanoseconds("pts", value)?;
        Ok(())
    }

    /// Decoding time in nanoseconds.
    #[getter]
    fn dts(&self) -> PyResult<Option<i64>> {
        Ok(self.details()?.info.dts)
    }

    #[setter]
    fn set_dts(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.details()?.info.dts = value.extract().map_err(|_| wrong("dts", value, "a whole number, or None"))?;
        Ok(())
    }

    /// Duration in nanoseconds.
    #[getter]
    fn duration(&self) -> PyResult<Option<u64>> {
        Ok(self.details()?.info.duration)
    }

    #[setter]
    fn set_duration(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.details()?.info.duration = nanoseconds("duration", value)?;
        Ok(())
    }

    /// Absolute time in nanoseconds of ``shm2.monotonic_ns()``: when the frame was made, if it is not set.
    #[getter]
    fn time(&self) -> PyResult<Option<u64>> {
        Ok(self.details()?.info.time)
    }

    #[setter]
    fn set_time(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.details()?.info.time = nanoseconds("time", value)?;
        Ok(())
    }

    /// Flags of the application, 32 bits.
    #[getter]
    fn flags(&self) -> PyResult<u32> {
        Ok(self.details()?.info.flags)
    }

    #[setter]
    fn set_flags(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let needed = "a whole number of 32 bits, 0 or more";
        self.details()?.info.flags = value.extract().map_err(|_| wrong("flags", value, needed))?;
        Ok(())
    }

    /// The meta blob, at most 1 MiB. That of raw video and audio is a list of items: set ``metas``.
    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.details()?.meta))
    }

    #[setter]
    fn set_meta(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let needed = "bytes; of raw video and audio they are items: set metas = [(kind, bytes), ...] of the frame";
        self.details()?.meta = value.extract().map_err(|_| wrong("meta", value, needed))?;
        Ok(())
    }

    /// The items of the meta blob, as ``(kind, bytes)``; see ``Frame.metas``.
    #[getter]
    fn metas<'py>(&self, py: Python<'py>) -> PyResult<Vec<(u16, Bound<'py, PyBytes>)>> {
        Ok(frame::metas(py, &self.details()?.meta))
    }

    #[setter]
    fn set_metas(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let needed = "a list of items: give [(kind, bytes), ...], each kind a number from 0 to 65535";
        let items: Vec<(u16, Vec<u8>)> = value.extract().map_err(|_| wrong("metas", value, needed))?;
        let mut meta = Vec::new();
        for (kind, bytes) in items {
            let length = u32::try_from(bytes.len()).map_err(|_| Class::Argument.error("an item has 4 GiB or more"))?;
            meta.extend(u32::from(kind).to_le_bytes());
            meta.extend(length.to_le_bytes());
            meta.extend(bytes);
        }
        self.details()?.meta = meta;
        Ok(())
    }

    /// Sequence number of the published frame; ``None`` before.
    #[getter]
    fn sequence(&self) -> PyResult<Option<u64>> {
        Ok(self.details()?.sequence)
    }

    /// Number of bytes.
    fn __len__(&self) -> usize {
        self.slot.bytes()
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().slot.check_open()?;
        Ok(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        class: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if self.memory.check().is_err() {
            // In a forked child: the frame is the parent's.
            return Ok(());
        }
        // The block may have published or dropped the frame itself.
        let is_open = self.slot.check_open().is_ok();
        if class.is_none() && is_open { self.publish(py).map(|_| ()) } else { self.cancel() }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_pickle())
    }

    fn __repr__(&self) -> String {
        format!("<shm2.OutFrame {} bytes>", self.slot.bytes())
    }

    /// As ``Plane.__array__``.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        plane::array_of_view(slf.into_any(), dtype, copy)
    }

    #[expect(unsafe_code, reason = "the buffer protocol")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut Py_buffer, flags: c_int) -> PyResult<()> {
        let frame = slf.get();
        // SAFETY: the interpreter passes a valid view; the frame owns the shape, and the view will own the frame.
        unsafe { plane::fill(view, flags, &frame.memory, &frame.whole)? };
        // SAFETY: as above.
        unsafe { (*view).obj = slf.into_any().into_ptr() };
        Ok(())
    }

    #[expect(unsafe_code, reason = "the buffer protocol")]
    unsafe fn __releasebuffer__(&self, _view: *mut Py_buffer) {
        self.memory.end_export();
    }
}

impl OutFrame {
    /// What the bytes of the frame mean with a meta blob.
    fn media(&self, meta: &[u8]) -> PyResult<Option<Media>> {
        let Some(media) = self.core.media()? else { return Ok(None) };
        let media = media.for_frame(meta, self.slot.bytes() as u64);
        media.map(Some).map_err(|error| Class::Media.error(error.to_string()))
    }

    fn details(&self) -> PyResult<MutexGuard<'_, Details>> {
        self.memory.check()?;
        Ok(self.details.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for OutFrame {
    fn drop(&mut self) {
        // Not published: the memory is free again when its last view goes.
        if matches!(self.slot.cancel(), Ok(true)) {
            warn_of_loss(self.core.path());
        }
    }
}

/// Warns that a frame of a region was never published.
fn warn_of_loss(path: &str) {
    let text =
        format!("a frame of {path:?} was never published: use it in a with block, or call its publish() or cancel()\0");
    let Ok(text) = CString::from_vec_with_nul(text.into_bytes()) else { return };
    // Nothing is done while the interpreter exits.
    Python::try_attach(|py| {
        // The object may be dropped while an exception is on its way.
        let raised = PyErr::take(py);
        if let Err(error) = PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &text, 1) {
            error.write_unraisable(py, None);
        }
        if let Some(raised) = raised {
            raised.restore(py);
        }
    });
}

/// A time in nanoseconds that a program gives; `None` for no time.
pub fn nanoseconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    value.extract().map_err(|_| wrong(name, value, "a time in nanoseconds: give a whole number of 0 or more, or None"))
}

/// The error of a meta blob that does not belong to the caps.
fn not_items(py: Python<'_>, error: &PyErr) -> PyErr {
    let remedy =
        "the meta blob of raw video and audio is a list of items: set metas = [(kind, bytes), ...] of the frame";
    Class::Media.error(format!("{}; {remedy}", error.value(py)))
}

fn wrong(name: &str, value: &Bound<'_, PyAny>, needed: &str) -> PyErr {
    let text = value.repr().map_or_else(|_| "?".into(), |text| text.to_string());
    Class::Argument.error(format!("{name}={text} is not {needed}"))
}
