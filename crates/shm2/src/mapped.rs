//! The only access to mapped shared memory.
//!
//! # Safety
//! * Every access is bounds-checked against the mapping, which exists as long as the value that hands it out.
//! * References are made only to structs of atomics, padding included; a peer may change them at any time.
//! * Payload bytes are moved by raw copies, and no reference to them is made here. A peer that breaks the protocol can
//!   change them during a copy; the copy is then a mix of old and new bytes.

#![expect(unsafe_code, reason = "this file alone accesses mapped memory")]

use crate::backend::{MappedBytes, Mapping};
use crate::copy::copy;
use crate::layout::{self, Cell, Header, Page};
use crate::protocol;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::mem::offset_of;
use std::ptr::NonNull;

/// Requests the cache line of a word for writing, so that a store soon afterwards finds it in this processor's cache. A
/// hint without an effect on any value; nothing on processors without such an instruction.
#[inline]
pub(crate) fn prefetch_write(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: PREFETCHW changes no memory and no register, and never faults; a processor without it takes it for a NOP.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) word, options(nostack, preserves_flags, readonly));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: PRFM changes no memory and no register, and never faults.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) word, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    let _ = word;
}

/// A whole region, or the part of it from its first byte that a snapshot consumer maps.
#[derive(Debug)]
pub(crate) struct Memory(Mapping);

impl Memory {
    /// Wraps a mapping of a whole region, which is at least [`layout::MIN_REGION`] bytes long.
    pub(crate) fn new(mapping: Mapping) -> Self {
        assert!(mapping.len() as u64 >= layout::MIN_REGION, "the backend maps whole regions only");
        Self(mapping)
    }

    /// Size of the mapping in bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    /// False in a forked child, which must not touch the bytes.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.0.is_here()
    }

    /// Whether the file was truncated below bytes that were touched since.
    #[inline]
    pub(crate) fn is_broken(&self) -> bool {
        self.0.is_broken()
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the header is at offset 0, inside every mapping of `MIN_REGION`, and page-aligned.
        unsafe { self.0.base().cast().as_ref() }
    }

    #[inline]
    pub(crate) fn cell(&self, sequence: u64) -> &Cell {
        // SAFETY: `cell_offset` is below `PAGES_OFFSET` for every sequence, and a multiple of 128.
        unsafe { self.0.base().add(layout::cell_offset(sequence) as usize).cast().as_ref() }
    }

    /// As [`protocol::publication_time`], of an item of this generation; also `None` in a forked child.
    pub(crate) fn published_ns(&self, sequence: u64, generation: u64) -> Option<u64> {
        let words = &self.is_here().then(|| self.cell(sequence))?.words;
        let time = protocol::publication_time(&words[layout::W_PUBLISHED], &words[layout::W_SEQUENCE], sequence)?;
        // Relaxed: a later generation was stored before any of its times, one of which was just loaded with Acquire.
        (self.header().generation.load(Ordering::Relaxed) == generation).then_some(time)
    }

    #[inline]
    pub(crate) fn page(&self, index: usize) -> &Page {
        assert!(index < layout::PAGES);
        // SAFETY: just checked; the words end before `ARENA_OFFSET` and start at a multiple of 64.
        unsafe { self.0.base().add(layout::page_words_offset(index) as usize).cast().as_ref() }
    }

    /// Address of a range, or `None` when the range is not inside the region.
    #[inline]
    pub(crate) fn pointer(&self, offset: u64, length: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(length)?;
        if end > self.0.len() as u64 {
            return None;
        }
        // SAFETY: inside the mapping, or one past its end for an empty range.
        Some(unsafe { self.0.base().add(offset as usize) })
    }

    /// Writes 0 to the first eight bytes of memory that is free or just reserved, so that its cache line belongs to this
    /// processor alone when the payload is written. [`prefetch_write`] does not do this for a line that this processor
    /// still shares with a consumer, as measured on Zen 4, and the publishing then waits for it. Only for a writable
    /// mapping's owner.
    #[inline]
    pub(crate) fn own_line(&self, offset: u64) {
        if let Some(to) = self.pointer(offset, 8).filter(|_| self.is_here()) {
            // SAFETY: inside the mapping; the bytes are free or reserved by this producer, as for a payload.
            unsafe { to.cast::<[u8; 8]>().write([0; 8]) };
        }
    }

    /// See [`MappedBytes::use_large_pages`].
    pub(crate) fn use_large_pages(&self, offset: u64, bytes: u64) {
        self.0.use_large_pages(offset as usize, bytes as usize);
    }

    /// The word at an offset, or `None` when it is not inside the region or not at a multiple of 8.
    #[inline]
    pub(crate) fn word(&self, offset: u64) -> Option<&AtomicU64> {
        let word = self.pointer(offset, 8).filter(|_| offset % 8 == 0)?;
        // SAFETY: inside the mapping. Its base is aligned for a header, and the offset is a multiple of 8. An atomic
        // may change at any time.
        Some(unsafe { word.cast().as_ref() })
    }

    /// Copies bytes out; false when the range is not in the region.
    #[must_use]
    pub(crate) fn copy_out(&self, offset: u64, to: &mut [u8]) -> bool {
        let Some(from) = self.pointer(offset, to.len() as u64) else { return false };
        // SAFETY: the source range was checked; `to` is private memory, so they do not overlap.
        unsafe { copy(from.as_ptr(), to.as_mut_ptr(), to.len(), to.len()) };
        true
    }

    /// Copies bytes into a fresh vector; `None` when the range is not in the region or memory is short.
    pub(crate) fn copy_to_vec(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        let from = self.pointer(offset, length)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length as usize).ok()?;
        // SAFETY: the capacity was just made; all `length` bytes are written before the length is set.
        unsafe {
            copy(from.as_ptr(), bytes.as_mut_ptr(), length as usize, length as usize);
            bytes.set_len(length as usize);
        }
        Some(bytes)
    }

    /// Copies bytes of a frame of `frame` bytes in; false when the range is not in the region. Only for a writable
    /// mapping's owner.
    #[must_use]
    pub(crate) fn copy_in(&self, offset: u64, from: &[u8], frame: u64) -> bool {
        let Some(to) = self.pointer(offset, from.len() as u64) else { return false };
        // SAFETY: the target range was checked and belongs to an extent that this producer reserved.
        unsafe { copy(from.as_ptr(), to.as_ptr(), from.len(), frame as usize) };
        true
    }
}

/// A consumer's own page, mapped for writing.
#[derive(Debug)]
pub(crate) struct OwnPage {
    mapping: Mapping,
    index: usize,
    /// Distance of the words from the mapping's first byte.
    displaced: usize,
}

impl OwnPage {
    /// Wraps a writable mapping of the first [`layout::PAGE_USED`] bytes of page `index`.
    pub(crate) fn new(mapping: Mapping, index: usize) -> Self {
        assert!(mapping.len() as u64 >= layout::PAGE_USED && index < layout::PAGES);
        let displaced = layout::page_words_offset(index) - layout::page_offset(index);
        Self { mapping, index, displaced: displaced as usize }
    }

    /// As [`Memory::is_broken`].
    #[inline]
    pub(crate) fn is_broken(&self) -> bool {
        self.mapping.is_broken()
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    #[inline]
    pub(crate) fn words(&self) -> &Page {
        // SAFETY: displacement plus size is at most `PAGE_USED` (asserted in `layout`), and a multiple of 64.
        unsafe { self.mapping.base().add(self.displaced).cast().as_ref() }
    }
}

/// A snapshot consumer's mapping of the header page. Only the kernel uses it, through the wake word's address.
#[derive(Debug)]
pub(crate) struct WakeWord(Mapping);

impl WakeWord {
    /// Bytes to map.
    pub(crate) const BYTES: usize = 4096;

    pub(crate) fn new(mapping: Mapping) -> Self {
        assert!(mapping.len() >= Self::BYTES);
        Self(mapping)
    }

    /// Offset in the region of the word.
    pub(crate) const fn offset() -> u64 {
        offset_of!(Header, wake) as u64
    }

    /// The word's address. It must not be read, because a truncation may have removed its page.
    pub(crate) fn address(&self) -> NonNull<AtomicU32> {
        // SAFETY: inside the mapped header page.
        unsafe { self.0.base().add(Self::offset() as usize).cast() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[repr(C, align(128))]
    struct Space([u8; 4096]);

    /// Says more under Miri, which knows what a reference forbids.
    #[test]
    fn a_write_to_the_padding_beside_a_reference_is_allowed() {
        let mut space = Box::new(Space([0; 4096]));
        let base = space.0.as_mut_ptr();
        // SAFETY: aligned memory of zeros, larger than both.
        let (header, page) = unsafe { (&*base.cast::<Header>(), &*base.add(1024).cast::<Page>()) };
        // Padding of the header, spare words of a page, and those of a lease.
        for at in [136, 1024 + 16, 1024 + 32 + 24] {
            // SAFETY: inside the same memory.
            unsafe { base.add(at).cast::<u64>().write(7) };
        }
        // An argument is a claim about all bytes of the struct.
        let words = |header: &Header, page: &Page| {
            let lease = &page.leases[0];
            [&header.head, &page.cursor, &lease.sequence].map(|word| word.load(Ordering::Relaxed))
        };
        assert_eq!(words(header, page), [0; 3]);
    }
}
