//! Allocator of the arena. Its state is in the producer's private memory, so no content of the region can corrupt it.
//!
//! An extent of the same size that was freed last is reused first, because its bytes are still in the cache (*warm*).
//! Other requests are a best-fit search over coalesced free ranges. Small extents (caps, metas, small frames) are placed
//! at the arena's end, where a part is reserved for them, so that one that stays for long does not divide the free space
//! that a large frame needs. A large request gets space of that part only as its last resort. Offsets count from the arena's start; all offsets
//! and lengths are multiples of [`GRANULE`]. The crate `offset-allocator` is not used: its size classes lose up to an
//! eighth of an extent, so an arena for three frames would hold two.

use crate::layout::GRANULE;
use std::collections::{BTreeMap, BTreeSet};

/// Warm extents that are compared before the general search.
const WARM_LOOKS: usize = 4;
/// Number of warm extents at which they are merged into the general ranges.
const WARM_MOST: usize = 8192;
/// A request of at most this fraction of the arena is small.
const SMALL: u64 = 64;
/// The fraction of the arena that is reserved for small extents.
const RESERVED: u64 = 32;
/// Small extents are reused warm only in this fraction of the arena, at its end, once there was a request that is not
/// small.
const SMALL_ZONE: u64 = 8;
/// Free ranges at the arena's end that are tried for a small request before the best fit.
const SMALL_LOOKS: usize = 256;

/// `length` rounded up to whole granules; 0 for an empty frame.
pub(crate) fn rounded(length: u64) -> Option<u64> {
    length.checked_next_multiple_of(GRANULE)
}

#[derive(Debug)]
pub(crate) struct Allocator {
    /// Offset to length of coalesced free ranges.
    by_offset: BTreeMap<u64, u64>,
    /// The same as (length, offset), for best fit.
    by_length: BTreeSet<(u64, u64)>,
    /// Offset and length of recently freed extents, not coalesced.
    warm: Vec<(u64, u64)>,
    free: u64,
    arena: u64,
    /// There was a request that is not small.
    has_large: bool,
}

impl Allocator {
    /// An arena of `bytes`, all free.
    pub(crate) fn new(bytes: u64) -> Self {
        let mut new = Self {
            by_offset: BTreeMap::new(),
            by_length: BTreeSet::new(),
            warm: Vec::new(),
            free: bytes,
            arena: bytes,
            has_large: false,
        };
        new.insert(0, bytes);
        new
    }

    /// Allocates the given range, which is part of one free range, at the start of a generation.
    pub(crate) fn take(&mut self, offset: u64, length: u64) {
        let Some((&start, &whole)) = self.by_offset.range(..=offset).next_back() else { return };
        debug_assert!(offset + length <= start + whole);
        self.remove(start, whole);
        if offset > start {
            self.insert(start, offset - start);
        }
        if offset + length < start + whole {
            self.insert(offset + length, start + whole - offset - length);
        }
        self.free -= length;
    }

    /// Offset of the extent that was freed last, if it still is one.
    #[inline]
    pub(crate) fn warmest(&self) -> Option<u64> {
        self.warm.last().map(|&(offset, _)| offset)
    }

    /// Bytes that are not allocated.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free
    }

    /// Offset of `length` bytes (a multiple of the granule, not 0), or `None` when no free range is that long.
    /// `is_last_resort`: the range may be in the part that is reserved for small extents.
    pub(crate) fn allocate(&mut self, length: u64, is_last_resort: bool) -> Option<u64> {
        debug_assert!(length > 0 && length % GRANULE == 0);
        let offset = if length <= self.arena / SMALL {
            self.take_small(length)?
        } else {
            let reserved = if is_last_resort { 0 } else { self.arena / RESERVED };
            self.take_large(length, self.arena - reserved)?
        };
        self.free -= length;
        Some(offset)
    }

    /// A range that ends at `limit` or before.
    fn take_large(&mut self, length: u64, limit: u64) -> Option<u64> {
        self.has_large = true;
        self.take_warm(length, 0).or_else(|| self.take_best(length, limit)).or_else(|| {
            self.coalesce();
            self.take_best(length, limit)
        })
    }

    fn take_small(&mut self, length: u64) -> Option<u64> {
        let zone = if self.has_large { self.arena - self.arena / SMALL_ZONE } else { 0 };
        self.take_warm(length, zone).or_else(|| {
            // A free range that is still in parts would be passed over, and the extent would lie further from the end.
            self.coalesce();
            self.take_last(length)
        })
    }

    /// Frees a range that `allocate` returned.
    pub(crate) fn free(&mut self, offset: u64, length: u64) {
        self.free += length;
        if self.warm.len() >= WARM_MOST {
            self.coalesce();
        }
        self.warm.push((offset, length));
    }

    /// Whether `length` bytes could be allocated now.
    pub(crate) fn fits(&mut self, length: u64) -> bool {
        self.longest() >= length
    }

    /// Length of the longest free range.
    pub(crate) fn longest(&mut self) -> u64 {
        self.coalesce();
        self.by_length.last().map_or(0, |&(longest, _)| longest)
    }

    /// Offset and length of every free range.
    pub(crate) fn free_ranges(&mut self) -> Vec<(u64, u64)> {
        self.coalesce();
        self.by_offset.iter().map(|(offset, length)| (*offset, *length)).collect()
    }

    /// A copy of the free ranges, in which the effect of further frees can be tried.
    pub(crate) fn outlook(&mut self) -> Outlook {
        self.coalesce();
        Outlook(self.by_offset.clone())
    }

    fn take_warm(&mut self, length: u64, from: u64) -> Option<u64> {
        let newest = self.warm.iter().rev().take(WARM_LOOKS).position(|&(o, l)| l == length && o >= from)?;
        Some(self.warm.swap_remove(self.warm.len() - 1 - newest).0)
    }

    fn take_best(&mut self, length: u64, limit: u64) -> Option<u64> {
        let mut fitting = self.by_length.range((length, 0)..);
        let &(found, offset) = fitting.find(|(_, offset)| offset + length <= limit)?;
        self.remove(offset, found);
        if found > length {
            self.insert(offset + length, found - length);
        }
        Some(offset)
    }

    /// The end of one of the last free ranges.
    fn take_last(&mut self, length: u64) -> Option<u64> {
        let mut last = self.by_offset.iter().rev().take(SMALL_LOOKS).map(|(offset, length)| (*offset, *length));
        let fits = last.find(|(_, found)| *found >= length);
        let best = || self.by_length.range((length, 0)..).next().map(|&(found, offset)| (offset, found));
        let (offset, found) = fits.or_else(best)?;
        self.remove(offset, found);
        if found > length {
            self.insert(offset, found - length);
        }
        Some(offset + found - length)
    }

    /// Merges the warm extents into the ranges.
    fn coalesce(&mut self) {
        for (offset, length) in std::mem::take(&mut self.warm) {
            let before = self.by_offset.range(..offset).next_back().map(|(&o, &l)| (o, l));
            let after = self.by_offset.get(&(offset + length)).map(|&l| (offset + length, l));
            for (o, l) in before.into_iter().chain(after) {
                self.by_length.remove(&(l, o));
            }
            let (start, joined) = merge(&mut self.by_offset, offset, length);
            if let Some((o, l)) = before.filter(|&(o, _)| o != start) {
                self.by_length.insert((l, o));
            }
            self.by_length.insert((joined, start));
        }
    }

    fn insert(&mut self, offset: u64, length: u64) {
        self.by_offset.insert(offset, length);
        self.by_length.insert((length, offset));
    }

    fn remove(&mut self, offset: u64, length: u64) {
        self.by_offset.remove(&offset);
        self.by_length.remove(&(length, offset));
    }
}

/// Adds a free range, joined with its neighbours; returns the joined range.
fn merge(ranges: &mut BTreeMap<u64, u64>, offset: u64, length: u64) -> (u64, u64) {
    let (mut start, mut end) = (offset, offset + length);
    if let Some((&o, _)) = ranges.range(..offset).next_back().filter(|(o, l)| **o + **l == offset) {
        start = o;
    }
    if let Some(&l) = ranges.get(&end) {
        ranges.remove(&end);
        end += l;
    }
    ranges.insert(start, end - start);
    (start, end - start)
}

/// Free ranges after frees that were only tried.
#[derive(Debug)]
pub(crate) struct Outlook(BTreeMap<u64, u64>);

impl Outlook {
    /// Frees one more extent; returns the length of the free range that then contains it.
    pub(crate) fn free(&mut self, offset: u64, length: u64) -> u64 {
        merge(&mut self.0, offset, length).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARENA: u64 = 64 * 256;

    proptest! {
        /// Compared with a map of single granules: no overlap, no lost granule, and failure only when no run is long
        /// enough.
        #[test]
        #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
        fn agrees_with_a_map_of_granules(
            steps in proptest::collection::vec((any::<bool>(), 1u64..40, any::<usize>()), 1..200),
        ) {
            let mut allocator = Allocator::new(ARENA);
            let mut used = vec![false; (ARENA / GRANULE) as usize];
            let mut live: Vec<(u64, u64)> = Vec::new();
            for (allocate, granules, pick) in steps {
                if allocate {
                    let run = used.chunk_by(|a, b| a == b).filter(|c| !c[0]).map(<[bool]>::len).max().unwrap_or(0);
                    match allocator.allocate(granules * GRANULE, true) {
                        None => prop_assert!((run as u64) < granules),
                        Some(offset) => {
                            let first = (offset / GRANULE) as usize;
                            for slot in &mut used[first..first + granules as usize] {
                                prop_assert!(!std::mem::replace(slot, true));
                            }
                            live.push((offset, granules));
                        }
                    }
                } else if !live.is_empty() {
                    let (offset, granules) = live.swap_remove(pick % live.len());
                    allocator.free(offset, granules * GRANULE);
                    used[(offset / GRANULE) as usize..][..granules as usize].fill(false);
                }
                let free = used.iter().filter(|u| !**u).count() as u64 * GRANULE;
                prop_assert_eq!(allocator.free_bytes(), free);
            }
            for (offset, granules) in live {
                allocator.free(offset, granules * GRANULE);
            }
            prop_assert_eq!(allocator.allocate(ARENA, true), Some(0));
        }

        /// Small extents, whatever their order and however long they stay, leave the rest of the arena in one piece as
        /// soon as no other extent is in use.
        #[test]
        #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
        fn small_extents_stay_at_the_end_of_the_arena(
            steps in proptest::collection::vec((0u8..4, 200u64..20_000, 1_000_000u64..20_000_000, any::<usize>()), 1..400),
        ) {
            const ARENA: u64 = 62_324_736;
            let mut allocator = Allocator::new(ARENA);
            let (mut small, mut large) = (Vec::new(), Vec::new());
            let mut peak = 0;
            for (kind, bytes, large_bytes, pick) in steps {
                match kind {
                    // As the ring does: the oldest frame goes when the next one finds no space, held ones stay.
                    0 => loop {
                        let length = rounded(large_bytes).unwrap();
                        let found = allocator.allocate(length, large.is_empty());
                        if let Some(offset) = found {
                            large.push((offset, length));
                            break;
                        }
                        prop_assert!(!large.is_empty(), "{length} bytes do not fit beside {small:?}");
                        let (offset, length) = large.remove(0);
                        allocator.free(offset, length);
                    },
                    1 | 2 => {
                        let length = rounded(bytes).unwrap();
                        if let Some(offset) = allocator.allocate(length, true) {
                            small.push((offset, length));
                        }
                        if small.len() > 64 {
                            let (offset, length) = small.remove(0);
                            allocator.free(offset, length);
                        }
                    }
                    _ if small.is_empty() => {}
                    _ => {
                        let (offset, length) = small.swap_remove(pick % small.len());
                        allocator.free(offset, length);
                    }
                }
                peak = peak.max(small.iter().map(|(_, length)| length).sum::<u64>());
            }
            for (offset, length) in large {
                allocator.free(offset, length);
            }
            // Their space was fragmented in between, but stayed inside twice what they used at most.
            prop_assert!(ARENA - allocator.longest() <= 2 * peak, "{} bytes behind the longest range", ARENA - allocator.longest());
        }

        /// An outlook predicts exactly after how many frees a request fits.
        #[test]
        #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
        fn predicts_after_how_many_frees_a_request_fits(
            lengths in proptest::collection::vec(1u64..60, 1..40), want in 1u64..256,
        ) {
            let mut allocator = Allocator::new(ARENA);
            let live: Vec<_> = lengths
                .iter()
                .map_while(|g| allocator.allocate(g * GRANULE, true).map(|o| (o, g * GRANULE)))
                .collect();
            let mut outlook = allocator.outlook();
            let predicted = if allocator.fits(want * GRANULE) {
                Some(0)
            } else {
                live.iter().position(|&(o, l)| outlook.free(o, l) >= want * GRANULE).map(|last| last + 1)
            };
            let mut freed = 0;
            let found = loop {
                if let Some(offset) = allocator.allocate(want * GRANULE, true) {
                    allocator.free(offset, want * GRANULE);
                    break Some(freed);
                }
                let Some(&(offset, length)) = live.get(freed) else { break None };
                allocator.free(offset, length);
                freed += 1;
            };
            prop_assert_eq!(predicted, found);
        }
    }

    #[test]
    fn the_extent_freed_last_comes_first() {
        let mut allocator = Allocator::new(ARENA);
        let offsets: Vec<_> = (0..4).map(|_| allocator.allocate(128, true).unwrap()).collect();
        for &offset in &offsets {
            allocator.free(offset, 128);
        }
        assert_eq!(allocator.allocate(128, true), Some(offsets[3]));
    }
}
