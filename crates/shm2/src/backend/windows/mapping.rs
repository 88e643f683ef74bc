//! Views of sections, and parts of a device's memory.
//!
//! # Safety
//! The system refuses a view of a range that the section does not have. A view is unmapped once, when its `Mapping` is
//! dropped. No reference to mapped bytes is made here.

#![expect(unsafe_code, reason = "views of sections")]

use crate::backend::MappedBytes;
use crate::backend::ivshmem::{DeviceAccess, DeviceMemory};
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::NonNull;
use windows_sys::Win32::System::Memory::{
    FILE_MAP_READ, FILE_MAP_WRITE, MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile,
    UnmapViewOfFile, VirtualQuery,
};

/// Mapped memory.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    /// Keeps a device's mapping alive. `None` for a view of a section, which this value unmaps.
    device: Option<DeviceMemory>,
}

// SAFETY: an address and a length; all access goes through `crate::mapped`, which uses atomics and copies.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` of the section from `offset`, a multiple of 64 KiB.
    pub(super) fn of_section(section: &OwnedHandle, offset: u64, bytes: usize, writable: bool) -> io::Result<Self> {
        let access = if writable { FILE_MAP_READ | FILE_MAP_WRITE } else { FILE_MAP_READ };
        // SAFETY: a live handle; the system refuses a range that the section does not have.
        let view =
            unsafe { MapViewOfFile(section.as_raw_handle(), access, (offset >> 32) as u32, offset as u32, bytes) };
        let base = NonNull::new(view.Value.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, bytes, device: None })
    }

    /// Maps all of it, in whole pages.
    pub(super) fn of_whole_section(section: &OwnedHandle, writable: bool) -> io::Result<Self> {
        let mut mapping = Self::of_section(section, 0, 0, writable)?;
        // SAFETY: the struct has only numbers and pointers, for which zeros are valid.
        let mut about: MEMORY_BASIC_INFORMATION = unsafe { std::mem::zeroed() };
        let length = size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: the struct has the length that is passed.
        if unsafe { VirtualQuery(mapping.base.as_ptr().cast(), &mut about, length) } == 0 {
            return Err(io::Error::last_os_error());
        }
        mapping.bytes = about.RegionSize;
        Ok(mapping)
    }

    /// A part of a device's memory, which is mapped as a whole. `None` if the part is not inside.
    pub(in crate::backend) fn of_device(device: &DeviceMemory, offset: u64, bytes: usize) -> Option<Self> {
        if offset.checked_add(bytes as u64)? > device.bytes() {
            return None;
        }
        // SAFETY: inside the mapping, as checked above.
        let base = unsafe { device.base().add(offset as usize) };
        Some(Self { base, bytes, device: Some(device.clone()) })
    }
}

impl MappedBytes for Mapping {
    /// A section keeps its size.
    fn is_broken(&self) -> bool {
        false
    }

    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.device.is_none() {
            // SAFETY: mapped in `of_section`, unmapped here only; every user keeps the `Mapping` alive.
            unsafe { UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: self.base.as_ptr().cast() }) };
        }
    }
}
