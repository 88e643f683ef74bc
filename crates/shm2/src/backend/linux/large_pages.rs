//! Large pages behind the parts of a region that carry large frames, where the kernel has any.
//!
//! With pages of 4 KiB the processor looks up an address for each of them, and prefetches no further than to the end of
//! a page. `MADV_COLLAPSE` (Linux 6.1) replaces the pages of a block of a tmpfs file by one large page, whatever the
//! system's settings for shared memory say. The bytes stay; accesses meanwhile wait. One call takes some milliseconds,
//! so only blocks that a large frame uses are replaced, and only a few of them for each use.
//!
//! A process profits if its mapping has the blocks at multiples of their size: see [`Alignment`].
//!
//! # Safety
//! Only pages that are wholly inside the mapping are named, and their bytes do not change.

#![expect(unsafe_code, reason = "madvise and mmap")]

use crate::layout::ARENA_OFFSET;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::param::page_size;
use std::io;
use std::ops::Range;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Size of a large page. Where the kernel's are larger, it refuses and small pages stay.
pub(super) const LARGE: usize = 2 << 20;
/// Blocks that one call replaces at most: two calls are enough for a 4K frame.
const BLOCKS_AT_A_TIME: usize = 8;
/// A call that takes longer shows that the kernel has to search for free memory. No further block is replaced.
const TOO_LONG: Duration = Duration::from_millis(50);
/// Linux 6.1.
const MADV_COLLAPSE: libc::c_int = 25;

/// Which blocks of a mapping of a whole region were replaced.
#[derive(Debug, Default)]
pub(super) struct LargePages {
    tried: OnceLock<Box<[AtomicBool]>>,
    is_given_up: AtomicBool,
}

impl LargePages {
    /// Replaces blocks of the arena that contain bytes of this range of the mapping.
    pub(super) fn use_for(&self, base: NonNull<u8>, mapped: usize, range: Range<usize>) {
        // Relaxed, here and below: a block that two threads try is replaced once.
        if range.len() < LARGE || self.is_given_up.load(Ordering::Relaxed) {
            return;
        }
        let tried = self.tried.get_or_init(|| (0..mapped / LARGE).map(|_| AtomicBool::new(false)).collect());
        let blocks = blocks(range, mapped);
        let untried = blocks.filter(|block| !tried[*block].swap(true, Ordering::Relaxed));
        for block in untried.take(BLOCKS_AT_A_TIME) {
            let begun = Instant::now();
            // SAFETY: the block is inside the mapping, and its bytes do not change.
            let result = unsafe { libc::madvise(base.as_ptr().add(block * LARGE).cast(), LARGE, MADV_COLLAPSE) };
            let is_busy = || matches!(io::Error::last_os_error().raw_os_error(), Some(libc::EAGAIN | libc::EBUSY));
            if (result != 0 && !is_busy()) || begun.elapsed() > TOO_LONG {
                self.is_given_up.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Blocks of the arena, wholly inside the mapping, with bytes of the range. The blocks before them contain the pages of
/// consumers, most of which have no memory.
fn blocks(range: Range<usize>, mapped: usize) -> Range<usize> {
    let first = (range.start / LARGE).max((ARENA_OFFSET as usize).div_ceil(LARGE));
    first..range.end.div_ceil(LARGE).min(mapped / LARGE)
}

/// Reserved addresses for a mapping in which the blocks of the file are at multiples of their size.
pub(super) struct Alignment {
    whole: Range<usize>,
    start: usize,
}

impl Alignment {
    /// `None` for mappings without a block, and if the addresses cannot be reserved.
    pub(super) fn reserve(offset: u64, bytes: usize) -> Option<Self> {
        let reserved = bytes.checked_next_multiple_of(page_size())?.checked_add(LARGE)?;
        if bytes < LARGE {
            return None;
        }
        // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
        let base = unsafe {
            mmap_anonymous(null_mut(), reserved, ProtFlags::empty(), MapFlags::NORESERVE | MapFlags::PRIVATE)
        };
        let whole = base.ok()? as usize;
        let displaced = offset as usize % LARGE;
        let start = (whole + LARGE - displaced - 1) / LARGE * LARGE + displaced;
        Some(Self { whole: whole..whole + reserved, start })
    }

    /// The address for the mapping, which replaces reserved ones.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Frees the addresses that a mapping of `bytes` at [`start`](Self::start) does not need.
    pub(super) fn free_around(self, bytes: usize) {
        let end = self.start + bytes.next_multiple_of(page_size());
        for part in [self.whole.start..self.start, end..self.whole.end] {
            if !part.is_empty() {
                // SAFETY: reserved by this value, and not used by the mapping.
                let _ = unsafe { munmap(part.start as *mut _, part.len()) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_of_the_arena_are_replaced() {
        let arena = ARENA_OFFSET as usize;
        let first = arena.div_ceil(LARGE);
        let mapped = 20 * LARGE + 4096;
        // A frame at the arena's start shares a block with the pages of consumers.
        assert_eq!(blocks(arena..arena + 3 * LARGE, mapped).start, first);
        assert_eq!(blocks(10 * LARGE - 1..11 * LARGE + 1, mapped), 9..12);
        assert_eq!(blocks(10 * LARGE..11 * LARGE, mapped), 10..11);
        assert_eq!(blocks(19 * LARGE..mapped, mapped), 19..20);
    }

    #[test]
    fn reserved_addresses_match_the_offset() {
        for (offset, bytes) in [(0, LARGE), (4096, 3 * LARGE + 1), (LARGE as u64 + 8192, 2 * LARGE - 4096)] {
            let Some(alignment) = Alignment::reserve(offset, bytes) else { panic!("no addresses") };
            assert_eq!(alignment.start() % LARGE, offset as usize % LARGE);
            assert!(alignment.whole.start <= alignment.start() && alignment.start() + bytes <= alignment.whole.end);
            let (start, bytes) = (alignment.start(), bytes.next_multiple_of(page_size()));
            alignment.free_around(bytes);
            // SAFETY: reserved above, and not used.
            unsafe { munmap(start as *mut _, bytes) }.unwrap();
        }
        assert!(Alignment::reserve(0, LARGE - 1).is_none());
    }
}
