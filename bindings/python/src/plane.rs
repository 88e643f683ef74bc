//! A plane of a frame, as an object of the buffer protocol.
//!
//! # Safety
//! A view has the address of exported memory, and the shape and strides that its plane owns. The interpreter keeps the
//! plane alive as long as the view, by the reference in `Py_buffer::obj`, and the plane keeps the memory. All items of a
//! [`Shape`] are inside the memory: shapes come from a media description that was checked against the frame's size.

#![expect(unsafe_code, reason = "the buffer protocol")]

use crate::dlpack;
use crate::error::no_pickle;
use crate::memory::Memory;
use crate::shape::Shape;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi::{self, Py_buffer};
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

/// Memory of one plane of a frame, N-dimensional, by the buffer protocol and DLPack.
///
/// ``numpy.asarray(plane)`` and ``memoryview(plane)`` do not copy, and keep the frame's memory as long as they exist.
/// Planes of received frames are read-only.
#[pyclass(frozen, module = "shm2")]
#[derive(Debug)]
pub struct Plane {
    pub memory: Memory,
    pub shape: Shape,
}

#[pymethods]
impl Plane {
    /// Number of items of each dimension: rows, columns, and values of a pixel; or samples and channels.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape.dims)
    }

    /// Bytes from one item to the next, of each dimension.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape.strides)
    }

    /// Bytes before the first item, from the beginning of the frame.
    #[getter]
    fn offset(&self) -> usize {
        self.shape.offset
    }

    /// Bytes of one item.
    #[getter]
    fn itemsize(&self) -> usize {
        self.shape.item.bytes
    }

    /// Type of the items, in the language of the module ``struct``.
    #[getter]
    fn format(&self) -> &'static str {
        self.shape.item.format.to_str().unwrap_or_default()
    }

    /// Number of dimensions.
    #[getter]
    fn ndim(&self) -> usize {
        self.shape.dims.len()
    }

    /// Whether views may not be written.
    #[getter]
    fn readonly(&self) -> bool {
        !self.memory.is_writable()
    }

    /// Number of rows, or of samples, or of bytes.
    fn __len__(&self) -> usize {
        self.shape.dims.first().map_or(0, |length| length.unsigned_abs())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_pickle())
    }

    fn __repr__(&self) -> String {
        let Shape { item, dims, strides, .. } = &self.shape;
        let format = item.format.to_str().unwrap_or_default();
        format!("<shm2.Plane shape={dims:?} strides={strides:?} format={format:?} readonly={}>", self.readonly())
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut Py_buffer, flags: c_int) -> PyResult<()> {
        let plane = slf.get();
        // SAFETY: the interpreter passes a valid view.
        unsafe { fill(view, flags, &plane.memory, &plane.shape)? };
        // SAFETY: as above. The view owns this reference, which keeps memory and shape.
        unsafe { (*view).obj = slf.into_any().into_ptr() };
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut Py_buffer) {
        self.memory.end_export();
    }

    /// Called by NumPy when the buffer protocol fails, whose error NumPy drops: raises it.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        array_of_view(slf.into_any(), dtype, copy)
    }

    /// The memory as a DLPack capsule of version 1, marked read-only for received frames.
    ///
    /// Raises:
    ///     BufferError: for a consumer that knows no versions (``max_version``), because read-only memory cannot be
    ///         passed to it; for ``copy=True``; for a device other than the CPU.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = stream;
        if max_version.is_none_or(|(major, _)| major < 1) {
            return Err(PyBufferError::new_err(
                "this memory needs DLPack of version 1, which can mark it as read-only: pass max_version=(1, 0), or use \
                 numpy.asarray(plane)",
            ));
        }
        if copy == Some(true) {
            return Err(PyBufferError::new_err("this export makes no copies: copy the result"));
        }
        if dl_device.is_some_and(|device| device != dlpack::CPU) {
            return Err(PyBufferError::new_err("the memory is the CPU's, DLPack device (1, 0)"));
        }
        dlpack::capsule(py, &self.memory, &self.shape)
    }

    /// DLPack's device: ``(1, 0)``, the CPU.
    fn __dlpack_device__(&self) -> (i32, i32) {
        dlpack::CPU
    }
}

/// An array over the memoryview of an object; the error of its buffer protocol, if that fails.
pub fn array_of_view<'py>(
    object: Bound<'py, PyAny>,
    dtype: Option<Bound<'py, PyAny>>,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    let view = PyMemoryView::from(&object)?;
    let function = if copy == Some(true) { "array" } else { "asarray" };
    object.py().import("numpy")?.getattr(function)?.call1((view, dtype))
}

/// Fills all of a view but its owner, and begins an export.
///
/// # Safety
/// `view` must be valid, and `shape` must live as long as the view.
pub unsafe fn fill(view: *mut Py_buffer, flags: c_int, memory: &Memory, shape: &Shape) -> PyResult<()> {
    // SAFETY: the caller's promise.
    let view = unsafe { &mut *view };
    view.obj = null_mut();
    if flags & ffi::PyBUF_WRITABLE != 0 && !memory.is_writable() {
        memory.check()?;
        return Err(PyBufferError::new_err("the frame is read-only: its memory is shared with other processes"));
    }
    let has = |flag: c_int| flags & flag == flag;
    let (is_c, is_f) = (shape.is_c_contiguous(), shape.is_f_contiguous());
    let wants_c = has(ffi::PyBUF_C_CONTIGUOUS) || !has(ffi::PyBUF_STRIDES);
    let is_refused =
        wants_c && !is_c || has(ffi::PyBUF_F_CONTIGUOUS) && !is_f || has(ffi::PyBUF_ANY_CONTIGUOUS) && !is_c && !is_f;
    if is_refused {
        let text = "the rows have padding (strides), and this use needs them without: copy it, by numpy.array(plane)";
        return Err(PyBufferError::new_err(text));
    }
    let base = memory.begin_export()?;
    // The interpreter does not write by these pointers; the fields are not const for historical reasons.
    view.buf = base.wrapping_add(shape.offset).cast::<c_void>();
    view.len = shape.items() * shape.item.bytes as isize;
    view.itemsize = shape.item.bytes as isize;
    view.readonly = c_int::from(!memory.is_writable());
    view.format = if has(ffi::PyBUF_FORMAT) { shape.item.format.as_ptr().cast_mut() } else { null_mut() };
    view.ndim = if has(ffi::PyBUF_ND) { shape.dims.len() as c_int } else { 1 };
    view.shape = if has(ffi::PyBUF_ND) { shape.dims.as_ptr().cast_mut() } else { null_mut() };
    view.strides = if has(ffi::PyBUF_STRIDES) { shape.strides.as_ptr().cast_mut() } else { null_mut() };
    view.suboffsets = null_mut();
    view.internal = null_mut();
    Ok(())
}
