//! Mappings of memory whose size is sealed.
//!
//! # Safety
//! A mapping starts at the first byte of the memory, and the caller has checked that the memory is at least that long.
//! The seals forbid every change of the size, so the mapping stays valid until it is dropped, also in a forked child.
//! It is unmapped once, in `drop`. Every user keeps the `Mapping` while it uses the bytes.

#![expect(unsafe_code, reason = "memory mapping calls, see the head of this file")]

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// Memory up to this size gets its page tables at creation, so that streaming causes no page faults.
const POPULATE_UP_TO: usize = 1 << 30;

/// Mapped sealed memory.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the struct is an address and a length; the rings and blobs define which thread accesses the bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` bytes for reading and writing.
    pub(crate) fn shared(memory: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::new(memory, bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// Maps the first `bytes` bytes for reading. Memory that is sealed against writing cannot be mapped `MAP_SHARED`
    /// before Linux 6.7, so the mapping is private.
    pub(crate) fn read_only(memory: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::new(memory, bytes, ProtFlags::READ, MapFlags::PRIVATE)
    }

    fn new(memory: impl AsFd, bytes: usize, protection: ProtFlags, flags: MapFlags) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address that the kernel chooses replaces nothing.
        let base = unsafe { mmap(std::ptr::null_mut(), bytes, protection, flags, memory, 0)? };
        Ok(Self { base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?, bytes })
    }

    /// Fills the page tables of the first `bytes` bytes. A kernel without this call takes page faults later instead.
    pub(crate) fn populate(&self, bytes: usize) {
        if bytes > self.bytes.min(POPULATE_UP_TO) {
            return;
        }
        // SAFETY: the range is inside this mapping; populating changes no byte.
        let _ = unsafe { madvise(self.base.as_ptr().cast::<c_void>(), bytes, Advice::LinuxPopulateWrite) };
    }

    /// Locks the mapping against swapping.
    pub(crate) fn lock(&self) -> io::Result<()> {
        // SAFETY: the range is exactly this mapping; locking changes no byte.
        unsafe { mlock(self.base.as_ptr().cast::<c_void>(), self.bytes)? };
        Ok(())
    }

    /// First byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes mapped.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, unmapped here only.
        let _ = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), self.bytes) };
    }
}
