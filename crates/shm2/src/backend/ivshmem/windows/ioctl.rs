//! Requests to the driver `ivshmem.sys` and its answers: codes, layouts and error numbers.
//!
//! The driver compares the length of each buffer with its own struct and refuses any other, so the layouts are asserted
//! here. Answers come as bytes and are copied out field by field. Source: `Public.h` of virtio-win's ivshmem driver.

use crate::name::ivshmem::Cache;
use std::io;
use std::mem::offset_of;
use windows_sys::Win32::Foundation::{
    ERROR_BAD_LENGTH, ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_PARAMETER, ERROR_INVALID_USER_BUFFER,
};
use windows_sys::core::GUID;

/// The interface class of the driver's devices: {df576976-569d-4672-95a0-f57e4ea0b210}.
pub(super) const INTERFACE_CLASS: GUID = GUID::from_u128(0xdf576976_569d_4672_95a0_f57e4ea0b210);
/// The class, as an interface path ends with it.
pub(super) const INTERFACE_CLASS_TEXT: &str = "{df576976-569d-4672-95a0-f57e4ea0b210}";

/// Asks for the size of the memory: no input, a `u64` as output.
pub(super) const REQUEST_SIZE: u32 = ctl_code(0x801);
/// Maps the memory into this process: a [`MapRequest`] as input, a [`MapAnswer`] as output.
pub(super) const REQUEST_MMAP: u32 = ctl_code(0x802);
/// Ends the mapping, by the handle that made it: no input, no output.
pub(super) const RELEASE_MMAP: u32 = ctl_code(0x803);

/// Bytes of the answer to [`REQUEST_SIZE`].
pub(super) const SIZE_ANSWER: usize = size_of::<u64>();
/// Bytes of the answer to [`REQUEST_MMAP`].
pub(super) const MAP_ANSWER: usize = size_of::<MapAnswer>();

/// `CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)` of the Windows headers.
const fn ctl_code(function: u32) -> u32 {
    const FILE_DEVICE_UNKNOWN: u32 = 0x22;
    const METHOD_BUFFERED: u32 = 0;
    const FILE_ANY_ACCESS: u32 = 0;
    FILE_DEVICE_UNKNOWN << 16 | FILE_ANY_ACCESS << 14 | function << 2 | METHOD_BUFFERED
}

/// How the processor caches the mapped bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum CacheMode {
    /// Not at all.
    Uncached = 0,
    /// As ordinary memory. It is memory of the host, so the caches are coherent. The other modes make reads slower by
    /// orders of magnitude.
    Cached = 1,
    /// Writes are combined.
    WriteCombined = 2,
}

impl CacheMode {
    pub(super) fn of(cache: Cache) -> Self {
        match cache {
            Cache::Best | Cache::Full => Self::Cached,
            Cache::Combined => Self::WriteCombined,
            Cache::None => Self::Uncached,
        }
    }
}

/// Input of [`REQUEST_MMAP`].
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct MapRequest {
    /// A [`CacheMode`].
    pub(super) cache_mode: u8,
}

/// Output of [`REQUEST_MMAP`]. The layout depends on whether the requesting process has 32 or 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct MapAnswer {
    /// This machine's number among the device's peers; 0 for `ivshmem-plain`.
    pub(super) peer: u16,
    /// Bytes mapped.
    pub(super) bytes: u64,
    /// Address of the mapping.
    pub(super) address: usize,
    /// Interrupts of the device; 0 for `ivshmem-plain`.
    pub(super) vectors: u16,
}

impl MapRequest {
    pub(super) fn new(mode: CacheMode) -> Self {
        Self { cache_mode: mode as u8 }
    }

    pub(super) fn to_bytes(self) -> [u8; 1] {
        [self.cache_mode]
    }
}

impl MapAnswer {
    pub(super) fn from_bytes(bytes: &[u8; MAP_ANSWER]) -> Self {
        Self {
            peer: u16::from_ne_bytes(field(bytes, offset_of!(Self, peer))),
            bytes: u64::from_ne_bytes(field(bytes, offset_of!(Self, bytes))),
            address: usize::from_ne_bytes(field(bytes, offset_of!(Self, address))),
            vectors: u16::from_ne_bytes(field(bytes, offset_of!(Self, vectors))),
        }
    }
}

/// The bytes of one field. The assertions below show that every field is inside.
fn field<const N: usize>(bytes: &[u8; MAP_ANSWER], offset: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[offset + index])
}

/// The number of a Windows error.
pub(super) fn code(error: &io::Error) -> Option<u32> {
    error.raw_os_error().map(|code| code as u32)
}

/// Whether the driver refused the form of a request, not the request itself.
pub(super) fn is_about_form(error: &io::Error) -> bool {
    matches!(
        code(error),
        Some(ERROR_INVALID_PARAMETER | ERROR_INSUFFICIENT_BUFFER | ERROR_INVALID_USER_BUFFER | ERROR_BAD_LENGTH)
    )
}

mod assertions {
    use super::*;

    const _: () = assert!(REQUEST_SIZE == 0x22_2004);
    const _: () = assert!(REQUEST_MMAP == 0x22_2008);
    const _: () = assert!(RELEASE_MMAP == 0x22_200C);
    // Unused requests: the peer number, and the interrupts of ivshmem-doorbell.
    const _: () = assert!(ctl_code(0x800) == 0x22_2000 && ctl_code(0x804) == 0x22_2010 && ctl_code(0x805) == 0x22_2014);

    const _: () = assert!(CacheMode::Uncached as u8 == 0);
    const _: () = assert!(CacheMode::Cached as u8 == 1);
    const _: () = assert!(CacheMode::WriteCombined as u8 == 2);
    const _: () = assert!(size_of::<MapRequest>() == 1 && offset_of!(MapRequest, cache_mode) == 0);
    const _: () = assert!(SIZE_ANSWER == 8);
    const _: () = assert!(offset_of!(MapAnswer, peer) == 0);
    const _: () = assert!(offset_of!(MapAnswer, bytes) == 8);
    const _: () = assert!(offset_of!(MapAnswer, address) == 16);
    #[cfg(target_pointer_width = "64")]
    const _: () = assert!(offset_of!(MapAnswer, vectors) == 24 && MAP_ANSWER == 32);
    #[cfg(target_pointer_width = "32")]
    const _: () = assert!(offset_of!(MapAnswer, vectors) == 20 && MAP_ANSWER == 24);
}
