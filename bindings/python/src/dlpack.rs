//! Planes as DLPack tensors of version 1. The structs are those of `dlpack.h`.
//!
//! # Safety
//! A capsule owns a [`Managed`] on the heap: the deleter frees it, once. Until then it keeps the memory and the arrays
//! of shape and strides that the tensor points to.

#![expect(unsafe_code, reason = "DLPack's capsule")]

use crate::memory::Memory;
use crate::shape::Shape;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, c_void};

/// DLPack's type and number of the CPU.
pub const CPU: (i32, i32) = (1, 0);
const NAME: &CStr = c"dltensor_versioned";
const READ_ONLY: u64 = 1;

#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensorVersioned`, followed by what it points to.
#[repr(C)]
struct Managed {
    major: u32,
    minor: u32,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
    flags: u64,
    tensor: Tensor,
    memory: Memory,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

/// A capsule with the memory of a plane.
pub fn capsule<'py>(py: Python<'py>, memory: &Memory, shape: &Shape) -> PyResult<Bound<'py, PyAny>> {
    let item = shape.item;
    let size = item.bytes as isize;
    let code = item.code.ok_or_else(|| PyBufferError::new_err("DLPack has no items of another byte order"))?;
    if shape.strides.iter().any(|stride| stride % size != 0) {
        return Err(PyBufferError::new_err("DLPack needs strides that are a multiple of the item's size"));
    }
    let data = memory.begin_export()?.wrapping_add(shape.offset).cast();
    let (device_type, device_id) = CPU;
    let mut managed = Box::new(Managed {
        major: 1,
        minor: 0,
        context: std::ptr::null_mut(),
        deleter: Some(delete),
        flags: if memory.is_writable() { 0 } else { READ_ONLY },
        tensor: Tensor {
            data,
            device_type,
            device_id,
            ndim: shape.dims.len() as i32,
            code,
            bits: (item.bytes * 8) as u8,
            lanes: 1,
            shape: std::ptr::null_mut(),
            strides: std::ptr::null_mut(),
            byte_offset: 0,
        },
        memory: memory.clone(),
        shape: shape.dims.iter().map(|length| *length as i64).collect(),
        strides: shape.strides.iter().map(|stride| (stride / size) as i64).collect(),
    });
    managed.tensor.shape = managed.shape.as_mut_ptr();
    managed.tensor.strides = managed.strides.as_mut_ptr();
    let pointer = Box::into_raw(managed);
    // SAFETY: the pointer is not null, the name is static, and the destructor has the right type.
    let capsule = unsafe { ffi::PyCapsule_New(pointer.cast(), NAME.as_ptr(), Some(destroy)) };
    if capsule.is_null() {
        // SAFETY: no capsule owns it.
        unsafe { delete(pointer) };
    }
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, capsule) }
}

/// Frees what a capsule owned that was never used; a used one has another name, and its user calls the deleter.
unsafe extern "C" fn destroy(capsule: *mut ffi::PyObject) {
    // SAFETY: the interpreter passes the capsule that is destroyed, and its pointer is that of `capsule`.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, NAME.as_ptr()) == 1 {
            delete(ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr()).cast());
        }
    }
}

/// May be called by any thread, also one without the interpreter.
unsafe extern "C" fn delete(managed: *mut Managed) {
    // SAFETY: made by `capsule`, and given up by its only owner.
    let managed = unsafe { Box::from_raw(managed) };
    managed.memory.end_export();
}
