//! Copies of payload bytes into and out of mapped memory.
//!
//! A plain copy reads each line of the target into the cache before it overwrites the line, and evicts what the cache
//! holds. For frames that are larger than the cache both are waste: the consumer finds no byte of the frame there. So
//! large frames are copied by *streaming* (non-temporal) stores, which go to memory without reading the target. Small
//! frames are copied plainly, because the consumer then reads them from the cache.
//!
//! # Safety
//! The ranges are the caller's; see [`copy`]. All stores, aligned ones included, are inside the target range.

#![expect(unsafe_code, reason = "raw copies")]

use std::sync::OnceLock;

/// Parts of a large frame below this size are copied plainly: each streamed part waits for its own stores at its end.
const SMALLEST_PART: usize = 4096;
/// No frame below this size is streamed, whatever the processor reports: it may still be in a cache of one core.
const SMALLEST_FRAME: usize = 2 << 20;
/// Size of the last-level cache where the processor reports none. Caches of 8 to 32 MiB are usual for machines that
/// move such frames, and around the limit both kinds of copies take about as long, so an error is cheap.
const USUAL_CACHE: usize = 16 << 20;

/// Copies `bytes` bytes of a frame that has `frame` bytes in all.
///
/// The copy is complete for every later store of this thread: a Release store publishes it.
///
/// # Safety
/// `from` is readable and `to` is writable for `bytes` bytes, and the ranges do not overlap. Another process may change
/// the bytes of either range at any time; the copy is then a mix of old and new bytes.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize, frame: usize) {
    if bytes >= SMALLEST_PART && frame >= SMALLEST_FRAME && frame >= limit() {
        // SAFETY: the caller's.
        unsafe { stream(from, to, bytes) }
    } else {
        // SAFETY: the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
    }
}

/// Size from which a frame is streamed: a third of the last-level cache, because the source, the frame that is written
/// and the one that a consumer reads do not fit into it together.
fn limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| wide::last_level_cache().unwrap_or(USUAL_CACHE) / 3)
}

use wide::stream;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod wide {
    use std::arch::x86_64::{
        __cpuid, __cpuid_count, __m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128, CpuidResult,
    };

    /// Bytes of one store, which must be aligned to as much. Stores of 32 bytes were not faster.
    const STORE: usize = size_of::<__m128i>();
    /// Bytes of one step, a cache line: streaming stores leave the processor in whole lines.
    const STEP: usize = 4 * STORE;

    /// Copies by streaming stores.
    ///
    /// # Safety
    /// As [`copy`](super::copy).
    pub(super) unsafe fn stream(from: *const u8, to: *mut u8, bytes: usize) {
        let head = to.align_offset(STEP).min(bytes);
        let body = (bytes - head) / STEP * STEP;
        let tail = bytes - head - body;
        // SAFETY: head, body and tail are the range, one after the other. Each step of the body starts at a multiple
        // of `STEP` of the target. SSE2 is part of x86-64.
        unsafe {
            std::ptr::copy_nonoverlapping(from, to, head);
            for at in (head..head + body).step_by(STEP) {
                let (from, to) = (from.add(at).cast::<__m128i>(), to.add(at).cast::<__m128i>());
                let line = [0, 1, 2, 3].map(|part| _mm_loadu_si128(from.add(part)));
                for (part, bytes) in line.into_iter().enumerate() {
                    _mm_stream_si128(to.add(part), bytes);
                }
            }
            std::ptr::copy_nonoverlapping(from.add(head + body), to.add(head + body), tail);
        }
        // Streaming stores are weakly ordered. The Release store that publishes the frame is a plain store on this
        // architecture, which orders earlier plain stores only: without the fence it could become visible before these.
        // SAFETY: SSE is part of x86-64.
        unsafe { _mm_sfence() };
    }

    /// Size of the last-level cache of this processor in bytes, if it has a level above the cores' own.
    pub(super) fn last_level_cache() -> Option<usize> {
        // Intel, then AMD: the same words in leaves of different numbers.
        [4, 0x8000_001d].into_iter().filter(|leaf| has_leaf(*leaf)).find_map(|leaf| {
            let caches = (0..16).map(|index| cpuid(leaf, index)).take_while(|words| words.eax & 0x1f != 0);
            let shared = caches.filter(|words| words.eax >> 5 & 7 >= 3);
            shared.map(|words| cache_bytes(&words)).max()
        })
    }

    fn has_leaf(leaf: u32) -> bool {
        // SAFETY: every x86-64 processor has the instruction.
        let highest: unsafe fn(u32) -> CpuidResult = __cpuid;
        // SAFETY: as above.
        unsafe { highest(leaf & 0x8000_0000) }.eax >= leaf
    }

    fn cpuid(leaf: u32, index: u32) -> CpuidResult {
        // A pointer, because the function is safe from some version of Rust on.
        let cpuid: unsafe fn(u32, u32) -> CpuidResult = __cpuid_count;
        // SAFETY: every x86-64 processor has the instruction.
        unsafe { cpuid(leaf, index) }
    }

    /// Ways, partitions, bytes of a line and sets, each one less than there are.
    fn cache_bytes(words: &CpuidResult) -> usize {
        let factors = [words.ebx >> 22, words.ebx >> 12 & 0x3ff, words.ebx & 0xfff, words.ecx];
        factors.into_iter().fold(1usize, |bytes, factor| bytes.saturating_mul(factor as usize + 1))
    }

    #[cfg(test)]
    #[test]
    fn the_size_of_a_cache_is_the_product_of_its_parts() {
        // 16 ways of 8,192 sets of lines of 64 bytes.
        let words = CpuidResult { eax: 0x0000_4163, ebx: 15 << 22 | 63, ecx: 8191, edx: 0 };
        assert_eq!(cache_bytes(&words), 8 << 20);
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod wide {
    /// A plain copy.
    ///
    /// # Safety
    /// As [`copy`](super::copy).
    pub(super) unsafe fn stream(from: *const u8, to: *mut u8, bytes: usize) {
        // SAFETY: the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
    }

    pub(super) fn last_level_cache() -> Option<usize> {
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Copies with `copy` between buffers at the given displacements, and compares all bytes with `copy_from_slice`.
    fn agrees(from_at: usize, to_at: usize, bytes: usize, copy: impl Fn(*const u8, *mut u8)) {
        let from: Vec<u8> = (0..from_at + bytes).map(|index| (index * 7 + index / 251) as u8).collect();
        let mut to = vec![0xa5; to_at + bytes + 100];
        let mut expected = to.clone();
        expected[to_at..to_at + bytes].copy_from_slice(&from[from_at..]);
        copy(from[from_at..].as_ptr(), to[to_at..].as_mut_ptr());
        assert!(to == expected, "{bytes} bytes from {from_at} to {to_at}");
    }

    fn streams(from_at: usize, to_at: usize, bytes: usize) {
        // SAFETY: both buffers have so many bytes from there on, and are not the same.
        agrees(from_at, to_at, bytes, |from, to| unsafe { stream(from, to, bytes) });
    }

    #[test]
    fn a_streamed_copy_of_any_alignment_is_exact() {
        let step = if cfg!(miri) { 13 } else { 1 };
        for to_at in (0..64).step_by(step) {
            for from_at in [0, 1, 8, 15, 16, 17, 63] {
                for bytes in (0..200).step_by(step) {
                    streams(from_at, to_at, bytes);
                }
            }
        }
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "many cases of a plain copy")]
        fn a_streamed_copy_of_any_size_is_exact(from_at in 0usize..128, to_at in 0usize..128, bytes in 0usize..40_000) {
            streams(from_at, to_at, bytes);
        }
    }

    /// Around the sizes from which parts of large frames, and whole frames, are streamed.
    #[test]
    #[cfg_attr(miri, ignore = "large buffers of a plain copy")]
    fn a_copy_around_the_limits_is_exact() {
        let large = limit().max(SMALLEST_FRAME);
        for bytes in [SMALLEST_PART - 1, SMALLEST_PART, SMALLEST_PART + 1, large - 1, large, large + 1] {
            for frame in [bytes, large - 1, large].into_iter().filter(|frame| *frame >= bytes) {
                // SAFETY: as in `streams`.
                agrees(3, 5, bytes, |from, to| unsafe { copy(from, to, bytes, frame) });
            }
        }
    }
}
