//! The header of a file that exists before its producer does: whether a generation may begin in it.

use crate::error::CreateError;
use crate::layout;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The first bytes of the file.
pub(in crate::backend) struct ExistingFile([u8; 128]);

impl ExistingFile {
    pub(in crate::backend) fn read(fd: &OwnedFd, path: &Path) -> Result<Self, CreateError> {
        let mut bytes = [0; 128];
        let read = rustix::io::pread(fd, &mut bytes, 0);
        read.map_err(|e| CreateError::System { what: "read", path: path.into(), source: e.into() })?;
        Ok(Self(bytes))
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| self.0[at + i]))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| self.0[at + i]))
    }

    pub(in crate::backend) fn is_region(&self) -> bool {
        self.long(offset_of!(layout::Header, magic)) == layout::MAGIC
    }

    /// Whether this is a header without its magic number, which a producer writes last. That producer was killed before, or
    /// runs in another kernel and is about to write it.
    pub(in crate::backend) fn is_unfinished(&self, bytes: u64) -> bool {
        use layout::Header as H;
        let words = [
            (offset_of!(H, version), layout::VERSION),
            (offset_of!(H, header_bytes), size_of::<H>() as u32),
            (offset_of!(H, cells), layout::CELLS as u32),
            (offset_of!(H, cell_bytes), layout::CELL_BYTES as u32),
            (offset_of!(H, pages), layout::PAGES as u32),
            (offset_of!(H, page_stride), layout::SECTION as u32),
        ];
        let longs = [
            (offset_of!(H, magic), 0),
            (offset_of!(H, region_bytes), bytes),
            (offset_of!(H, ring_offset), layout::RING_OFFSET),
            (offset_of!(H, pages_offset), layout::PAGES_OFFSET),
            (offset_of!(H, arena_offset), layout::ARENA_OFFSET),
            (offset_of!(H, arena_bytes), layout::arena_bytes(bytes).unwrap_or_default()),
        ];
        let limits = [
            (offset_of!(H, max_leases), layout::LEASES as u32),
            (offset_of!(H, full_policy), 2),
            (offset_of!(H, lease_ms), 3_600_000),
            (offset_of!(H, kept), layout::KEPT_BY_HEARTBEAT),
        ];
        words.iter().all(|(at, expected)| [0, *expected].contains(&self.word(*at)))
            && longs.iter().all(|(at, expected)| [0, *expected].contains(&self.long(*at)))
            && limits.iter().all(|(at, most)| self.word(*at) <= *most)
            && (self.word(offset_of!(H, version)) != 0 || self.has_only_numbers())
    }

    /// Whether nothing is written but the two numbers that a producer writes before the version.
    fn has_only_numbers(&self) -> bool {
        let numbers = [offset_of!(layout::Header, generation), offset_of!(layout::Header, first_sequence)];
        (0..self.0.len()).step_by(8).all(|at| numbers.contains(&at) || self.long(at) == 0)
    }

    /// Whether the next producer must use this file.
    pub(in crate::backend) fn is_kept(&self) -> bool {
        self.is_region() && self.word(offset_of!(layout::Header, kept)) != 0
    }

    /// An error unless this is a region of this version, or an unfinished or empty one.
    pub(in crate::backend) fn check_adoptable(&self, bytes: u64, path: &Path) -> Result<(), CreateError> {
        let version = (self.word(offset_of!(layout::Header, version)) >> 16) as u16;
        match () {
            () if self.is_unfinished(bytes) || (self.is_region() && version == layout::VERSION_MAJOR) => Ok(()),
            () if self.is_region() => {
                Err(CreateError::NotAdoptable { path: path.into(), what: "a region of another protocol version" })
            }
            () => Err(CreateError::NotAdoptable { path: path.into(), what: "something else" }),
        }
    }
}
