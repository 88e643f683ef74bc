//! Extents in use. Each has a count of users: its reservation, and every frame that points into it.

use super::allocator::{Allocator, Outlook, rounded};
use crate::description::Range;
use crate::error::Shortage;
use crate::layout::{ARENA_OFFSET, GRANULE};

/// Identifies an extent in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ExtentId(u32);

#[derive(Debug, Clone, Copy)]
struct Extent {
    start: u64,
    length: u64,
    users: u32,
}

#[derive(Debug)]
pub(crate) struct Extents {
    allocator: Allocator,
    table: Vec<Extent>,
    spare: Vec<u32>,
    arena: u64,
}

impl Extent {
    fn end(&self) -> u64 {
        self.start + self.length
    }
}

/// Start of the first granule and end of the last one, as offsets in the arena, of a range inside it.
fn granules(range: &Range, arena: u64) -> (u64, u64) {
    let start = range.offset - ARENA_OFFSET;
    (start / GRANULE * GRANULE, (start + range.length).next_multiple_of(GRANULE).min(arena))
}

impl Extents {
    pub(crate) fn new(arena: u64) -> Self {
        Self { allocator: Allocator::new(arena), table: Vec::new(), spare: Vec::new(), arena }
    }

    /// Whether an empty arena could hold this many bytes.
    pub(crate) fn could_hold(&self, bytes: u64) -> bool {
        rounded(bytes).is_some_and(|length| length <= self.arena)
    }

    /// A new extent with one user, and its offset in the region. `bytes` is not 0; `is_last_resort` as in
    /// [`Allocator::allocate`].
    pub(crate) fn reserve(&mut self, bytes: u64, is_last_resort: bool) -> Option<(ExtentId, u64)> {
        let length = rounded(bytes)?;
        let start = self.allocator.allocate(length, is_last_resort)?;
        Some((self.add(Extent { start, length, users: 1 }), ARENA_OFFSET + start))
    }

    /// Offset in the region of the extent that the next request of the same size probably gets.
    #[inline]
    pub(crate) fn next_offset(&self) -> Option<u64> {
        self.allocator.warmest().map(|start| ARENA_OFFSET + start)
    }

    fn add(&mut self, extent: Extent) -> ExtentId {
        let id = match self.spare.pop() {
            Some(id) => {
                self.table[id as usize] = extent;
                id
            }
            None => {
                self.table.push(extent);
                self.table.len() as u32 - 1
            }
        };
        ExtentId(id)
    }

    /// Reserves the given ranges of the region, which consumers of an earlier generation hold, before any other
    /// reservation. Ranges that touch the same granule become one extent, with a user for each of them. Returns the
    /// extent of each range.
    pub(crate) fn reserve_inherited(&mut self, ranges: &[Range]) -> Vec<ExtentId> {
        let mut order: Vec<_> = ranges.iter().enumerate().map(|(i, r)| (granules(r, self.arena), i)).collect();
        order.sort_unstable();
        let mut ids = vec![ExtentId(0); ranges.len()];
        let mut last: Option<ExtentId> = None;
        for ((start, end), index) in order {
            let id = match last.filter(|id| start < self.table[id.0 as usize].end()) {
                Some(id) => {
                    self.add_use(id);
                    id
                }
                None => self.add(Extent { start, length: 0, users: 1 }),
            };
            let extent = &mut self.table[id.0 as usize];
            extent.length = extent.length.max(end - extent.start);
            (ids[index], last) = (id, Some(id));
        }
        for extent in &self.table {
            self.allocator.take(extent.start, extent.length);
        }
        ids
    }

    /// Adds a user.
    pub(crate) fn add_use(&mut self, id: ExtentId) {
        self.table[id.0 as usize].users += 1;
    }

    /// Removes a user; removing the last one frees the extent.
    pub(crate) fn drop_use(&mut self, id: ExtentId) {
        let extent = &mut self.table[id.0 as usize];
        extent.users -= 1;
        if extent.users == 0 {
            self.allocator.free(extent.start, extent.length);
            self.spare.push(id.0);
        }
    }

    pub(crate) fn users(&self, id: ExtentId) -> u32 {
        self.table[id.0 as usize].users
    }

    /// Every extent in use, and its number of users.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = (ExtentId, u32)> {
        let all = self.table.iter().enumerate().map(|(index, extent)| (ExtentId(index as u32), extent.users));
        all.filter(|(_, users)| *users > 0)
    }

    /// Whether `bytes` could be reserved now.
    pub(crate) fn fits(&mut self, bytes: u64) -> bool {
        rounded(bytes).is_some_and(|length| self.allocator.fits(length))
    }

    pub(crate) fn outlook(&mut self) -> Outlook {
        self.allocator.outlook()
    }

    /// Frees this extent in the outlook as well; whether `bytes` would then fit into the range around it.
    pub(crate) fn would_fit(&self, outlook: &mut Outlook, id: ExtentId, bytes: u64) -> bool {
        let extent = self.table[id.0 as usize];
        outlook.free(extent.start, extent.length) >= bytes
    }

    /// Offset in the arena and length of every free range.
    pub(crate) fn free_ranges(&mut self) -> Vec<(u64, u64)> {
        self.allocator.free_ranges()
    }

    /// Size of the arena in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.allocator.free_bytes()
    }

    /// What a request for `bytes`, which failed, lacks.
    pub(crate) fn shortage(&mut self, bytes: u64) -> Shortage {
        let (free, longest) = (self.free_bytes(), self.allocator.longest());
        if free < bytes { Shortage::Bytes { free } } else { Shortage::Contiguous { free, longest } }
    }

    /// Bytes in extents in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.table.iter().filter(|e| e.users > 0).map(|e| e.length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARENA: u64 = 3 * GRANULE;

    /// Every range of a small arena.
    fn ranges(step: usize) -> impl Iterator<Item = Range> + Clone {
        let starts = (0..ARENA).step_by(step);
        starts.flat_map(move |start| {
            let lengths = (1..=ARENA - start).step_by(step);
            lengths.map(move |length| Range { offset: ARENA_OFFSET + start, length })
        })
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn the_granules_of_every_range_cover_it_and_no_granule_more() {
        for range in ranges(1) {
            let (start, end) = granules(&range, ARENA);
            let (first, last) = (range.offset - ARENA_OFFSET, range.offset - ARENA_OFFSET + range.length - 1);
            assert!(start % GRANULE == 0 && end % GRANULE == 0 && end <= ARENA, "{range:?}");
            assert_eq!((start / GRANULE, end / GRANULE - 1), (first / GRANULE, last / GRANULE), "{range:?}");
        }
    }

    #[test]
    fn the_granules_of_a_range_at_the_end_of_the_largest_arena_do_not_overflow() {
        let arena = crate::layout::arena_bytes(crate::layout::MAX_REGION).unwrap();
        for length in 1..=3 * GRANULE {
            let range = Range { offset: ARENA_OFFSET + arena - length, length };
            assert_eq!(granules(&range, arena).1, arena);
        }
        assert_eq!(granules(&Range { offset: ARENA_OFFSET, length: arena }, arena), (0, arena));
    }

    /// Every pair of ranges that consumers of an earlier generation may hold.
    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn inherited_ranges_are_kept_out_until_the_last_of_them_is_dropped() {
        for (one, other) in ranges(31).flat_map(|one| ranges(31).map(move |other| (one, other))) {
            let mut extents = Extents::new(ARENA);
            let held = [one, other];
            let ids = extents.reserve_inherited(&held);
            let mut fresh = Vec::new();
            while let Some((id, offset)) = extents.reserve(1, true) {
                let is_apart = |r: &Range| offset + GRANULE <= r.offset || offset >= r.offset + r.length;
                assert!(held.iter().all(is_apart), "{held:?} {offset}");
                fresh.push(id);
            }
            extents.drop_use(ids[0]);
            if ids[0] == ids[1] {
                assert!(!extents.fits(1), "the other one still holds the extent: {held:?}");
            }
            extents.drop_use(ids[1]);
            fresh.into_iter().for_each(|id| extents.drop_use(id));
            assert_eq!(extents.free_bytes(), ARENA, "{held:?}");
        }
    }
}
