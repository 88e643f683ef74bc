//! Extents in use, with a count of those who need each: a reservation, and every frame that points into it.

use super::allocator::{Allocator, Outlook, rounded};
use crate::layout::ARENA_OFFSET;

/// Names an extent in use.
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

impl Extents {
    pub(crate) fn new(arena: u64) -> Self {
        Self { allocator: Allocator::new(arena), table: Vec::new(), spare: Vec::new(), arena }
    }

    /// Whether an empty arena could hold this many bytes.
    pub(crate) fn could_hold(&self, bytes: u64) -> bool {
        rounded(bytes).is_some_and(|length| length <= self.arena)
    }

    /// A new extent with one user, and its offset in the region. `bytes` is not 0.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Option<(ExtentId, u64)> {
        let length = rounded(bytes)?;
        let start = self.allocator.allocate(length)?;
        let extent = Extent { start, length, users: 1 };
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
        Some((ExtentId(id), ARENA_OFFSET + start))
    }

    /// One more user.
    pub(crate) fn retain(&mut self, id: ExtentId) {
        self.table[id.0 as usize].users += 1;
    }

    /// One user less; the last one frees it.
    pub(crate) fn release(&mut self, id: ExtentId) {
        let extent = &mut self.table[id.0 as usize];
        extent.users -= 1;
        if extent.users == 0 {
            self.allocator.release(extent.start, extent.length);
            self.spare.push(id.0);
        }
    }

    pub(crate) fn users(&self, id: ExtentId) -> u32 {
        self.table[id.0 as usize].users
    }

    /// Whether `bytes` could be had now.
    pub(crate) fn fits(&mut self, bytes: u64) -> bool {
        rounded(bytes).is_some_and(|length| self.allocator.fits(length))
    }

    pub(crate) fn outlook(&mut self) -> Outlook {
        self.allocator.outlook()
    }

    /// Whether `bytes` would fit if this extent were freed on top of what the outlook has.
    pub(crate) fn would_fit(&self, outlook: &mut Outlook, id: ExtentId, bytes: u64) -> bool {
        let extent = self.table[id.0 as usize];
        outlook.free(extent.start, extent.length) >= bytes
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.allocator.free_bytes()
    }

    /// Bytes in extents that somebody uses.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.table.iter().filter(|e| e.users > 0).map(|e| e.length).sum()
    }
}
