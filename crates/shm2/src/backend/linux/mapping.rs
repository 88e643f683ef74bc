//! Mapping a region file into memory.
//!
//! # Safety
//! The caller maps only a range that is inside the file at that time. The range is unmapped once, at drop. No
//! reference to mapped bytes is made here: `crate::mapped` makes references, to atomics only.

#![expect(unsafe_code, reason = "mmap")]

use super::large_pages::{Alignment, LargePages};
use super::{fork, sigbus};
use crate::backend::MappedBytes;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// A mapped range of a region file.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    /// The whole mapping. `base` and `bytes` may be a part of it.
    whole: (NonNull<u8>, usize),
    made_at: usize,
    guard: sigbus::Guard,
    large_pages: LargePages,
}

// SAFETY: the struct is an address and a length; all access goes through `crate::mapped`, which uses atomics and
// copies.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Page tables of ranges up to this size are filled at once, so that streaming causes no page faults.
const POPULATE_UP_TO: usize = 1 << 30;

impl Mapping {
    /// Maps `bytes` of the file from `offset`. The caller has checked that the file is that long.
    pub(crate) fn new(fd: impl AsFd, offset: u64, bytes: usize, writable: bool) -> io::Result<Self> {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let _section = fork::Section::enter();
        let base = map(fd, offset, bytes, protection)?;
        let guard = sigbus::Guard::new(base.as_ptr() as usize, bytes);
        let mapping = Self {
            base,
            bytes,
            whole: (base, bytes),
            made_at: fork::depth(),
            guard,
            large_pages: LargePages::default(),
        };
        mapping.advise(Advice::LinuxDontFork)?;
        Ok(mapping)
    }

    /// Narrows the accessible range to a part of the mapping. `None` if the part is not inside.
    pub(crate) fn part(mut self, offset: u64, bytes: usize) -> Option<Self> {
        if offset.checked_add(bytes as u64)? > self.bytes as u64 {
            return None;
        }
        // SAFETY: inside the mapping, as checked above.
        self.base = unsafe { self.base.add(offset as usize) };
        self.bytes = bytes;
        Some(self)
    }

    /// Fills the page tables of one range. If the kernel cannot do that, page faults fill them later.
    pub(crate) fn populate(&self, offset: usize, bytes: usize, writable: bool) {
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) || bytes > POPULATE_UP_TO {
            return;
        }
        let advice = if writable { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
        // SAFETY: the range is inside this mapping; populating changes no byte.
        let _ = unsafe { madvise(self.base.as_ptr().add(offset).cast::<c_void>(), bytes, advice) };
    }

    fn advise(&self, advice: Advice) -> io::Result<()> {
        // SAFETY: the range is exactly this mapping.
        unsafe { madvise(self.base.as_ptr().cast::<c_void>(), self.bytes, advice)? };
        Ok(())
    }
}

/// Maps a range of the file, where possible at an address that suits large pages.
fn map(fd: impl AsFd, offset: u64, bytes: usize, protection: ProtFlags) -> io::Result<NonNull<u8>> {
    let base = match Alignment::reserve(offset, bytes) {
        Some(alignment) => {
            let (start, flags) = (alignment.start() as *mut c_void, MapFlags::SHARED | MapFlags::FIXED);
            // SAFETY: the addresses are reserved for this mapping and used by nothing.
            let base = unsafe { mmap(start, bytes, protection, flags, fd, offset) };
            // After a failure it is unknown whether the addresses between are still reserved: they stay as they are.
            alignment.free_around(bytes);
            base?
        }
        // SAFETY: a new shared mapping at an address that the kernel chooses replaces nothing.
        None => unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, offset)? },
    };
    Ok(NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?)
}

impl MappedBytes for Mapping {
    fn use_large_pages(&self, offset: usize, bytes: usize) {
        let is_inside = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        if is_inside && self.base == self.whole.0 && self.is_here() {
            self.large_pages.use_for(self.base, self.bytes, offset..offset + bytes);
        }
    }

    #[inline]
    fn is_here(&self) -> bool {
        fork::is_same_process(self.made_at)
    }

    #[inline]
    fn is_broken(&self) -> bool {
        self.guard.is_broken()
    }

    #[inline]
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    #[inline]
    fn len(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.is_here() {
            return;
        }
        self.guard.end();
        // SAFETY: mapped in `new`, unmapped here only; every user keeps the `Mapping` alive while it uses the bytes.
        let _ = unsafe { munmap(self.whole.0.as_ptr().cast::<c_void>(), self.whole.1) };
    }
}
