//! The header's fixed part: one parser for consumers that attach, producers that inherit a file, and overviews.
//!
//! [`RawHeader`] is an unchecked private copy. [`RawHeader::parse`] turns it into a [`RegionHeader`], whose values are
//! in range. A `RegionHeader` has no offsets, because they follow from the protocol version alone.

use crate::backend;
use crate::error::AttachError;
#[cfg(all(target_os = "linux", not(miri)))]
use crate::error::CreateError;
use crate::layout::{self, Header};
use std::mem::offset_of;
use std::path::Path;
use std::time::Duration;

/// Bytes of the fixed part.
pub(crate) const FIXED: usize = 128;
/// The shortest and the longest lease time.
pub(crate) const LEAST_LEASE_TIME: Duration = Duration::from_millis(100);
pub(crate) const MOST_LEASE_TIME: Duration = Duration::from_secs(3600);
/// Value of `Header::full_policy` for a producer that waits for its consumers.
const POLICY_BLOCK: u32 = 2;

/// The first bytes of a file or device, unchecked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawHeader([u8; FIXED]);

/// The checked header fields that a consumer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegionHeader {
    pub(crate) arena_bytes: u64,
    /// Random number of the generation, never 0 in a complete region.
    pub(crate) generation: u64,
    /// Lease entries that the producer honours in each page, 1 to [`layout::LEASES`].
    pub(crate) max_leases: usize,
    /// Frames kept for consumers that attach later.
    pub(crate) history: u64,
    /// The producer waits for slow consumers.
    pub(crate) blocks: bool,
    /// Sequence of this generation's first item.
    pub(crate) first_sequence: u64,
    /// Time without a heartbeat after which a peer without a lock counts as dead; `None` unless the region is kept.
    pub(crate) lease_time: Option<Duration>,
    /// The region is kept, and its producer may run on another kernel: only the heartbeat shows that it is alive.
    pub(crate) is_kept_by_heartbeat: bool,
    /// The producer's monotonic clock is not this process's.
    pub(crate) has_other_clock: bool,
}

/// A field of the header that has one value in all regions of this version and size.
struct Constant {
    name: &'static str,
    /// What the header shows.
    found: u64,
    expected: u64,
}

impl RawHeader {
    pub(crate) fn new(bytes: [u8; FIXED]) -> Self {
        Self(bytes)
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| self.0[at + i]))
    }

    fn u64_at(&self, at: usize) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| self.0[at + i]))
    }

    /// The first eight bytes.
    pub(crate) fn magic(&self) -> u64 {
        self.u64_at(offset_of!(Header, magic))
    }

    /// Whether this is a region, of any version.
    pub(crate) fn is_region(&self) -> bool {
        self.magic() == layout::MAGIC
    }

    /// Whether this is a kept region: its next producer must reuse this memory.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_region() && self.kept() != 0
    }

    /// Whether this is a kept region whose producer may run on another kernel.
    pub(crate) fn is_kept_by_heartbeat(&self) -> bool {
        self.is_region() && self.kept() == layout::KEPT_BY_HEARTBEAT
    }

    fn kept(&self) -> u32 {
        self.u32_at(offset_of!(Header, kept))
    }

    fn version(&self) -> (u16, u16) {
        let version = self.u32_at(offset_of!(Header, version));
        ((version >> 16) as u16, version as u16)
    }

    /// Checks every value against the protocol and the size of the memory, `bytes`.
    pub(crate) fn parse(&self, bytes: u64, path: &Path) -> Result<RegionHeader, AttachError> {
        if !self.is_region() {
            return Err(AttachError::NotARegion { path: path.into(), magic: self.magic() });
        }
        let (major, minor) = self.version();
        if major != layout::VERSION_MAJOR {
            return Err(AttachError::Version { path: path.into(), major, minor });
        }
        let wrong = |field, found, expected| AttachError::Header { path: path.into(), field, found, expected };
        let size = self.u64_at(offset_of!(Header, region_bytes));
        let arena_bytes = layout::arena_bytes(size).ok_or_else(|| wrong("region size", size, bytes))?;
        if let Some(field) = self.constants(bytes).iter().find(|field| field.found != field.expected) {
            return Err(wrong(field.name, field.found, field.expected));
        }
        let max_leases = self.u32_at(offset_of!(Header, max_leases));
        if !(1..=layout::LEASES as u32).contains(&max_leases) {
            return Err(wrong("lease limit (1 to 64)", max_leases.into(), layout::LEASES as u64));
        }
        let lease = Duration::from_millis(self.u32_at(offset_of!(Header, lease_ms)).into());
        let (theirs, ours) = (self.u64_at(offset_of!(Header, clock)), backend::clock_name());
        Ok(RegionHeader {
            arena_bytes,
            generation: self.u64_at(offset_of!(Header, generation)),
            max_leases: max_leases as usize,
            history: self.u32_at(offset_of!(Header, history)).into(),
            blocks: self.u32_at(offset_of!(Header, full_policy)) == POLICY_BLOCK,
            first_sequence: self.u64_at(offset_of!(Header, first_sequence)).max(1),
            lease_time: self.is_kept().then(|| lease.clamp(LEAST_LEASE_TIME, MOST_LEASE_TIME)),
            is_kept_by_heartbeat: self.is_kept_by_heartbeat(),
            // A clock of unknown identity counts as the same clock, which it is in most cases.
            has_other_clock: theirs != 0 && ours != 0 && theirs != ours,
        })
    }

    /// The fields that follow from the version and from the size of the memory.
    fn constants(&self, bytes: u64) -> [Constant; 10] {
        let long = |name, at, expected| Constant { name, found: self.u64_at(at), expected };
        let word = |name, at, expected| Constant { name, found: self.u32_at(at).into(), expected };
        [
            long("region size", offset_of!(Header, region_bytes), bytes),
            word("header size", offset_of!(Header, header_bytes), size_of::<Header>() as u64),
            long("ring offset", offset_of!(Header, ring_offset), layout::RING_OFFSET),
            long("pages offset", offset_of!(Header, pages_offset), layout::PAGES_OFFSET),
            long("arena offset", offset_of!(Header, arena_offset), layout::ARENA_OFFSET),
            long("arena size", offset_of!(Header, arena_bytes), layout::arena_bytes(bytes).unwrap_or_default()),
            word("cell count", offset_of!(Header, cells), layout::CELLS),
            word("cell size", offset_of!(Header, cell_bytes), layout::CELL_BYTES),
            word("page count", offset_of!(Header, pages), layout::PAGES as u64),
            word("page distance", offset_of!(Header, page_stride), layout::SECTION),
        ]
    }
}

/// For files, which may hold anything before a producer begins.
#[cfg(all(target_os = "linux", not(miri)))]
impl RawHeader {
    /// Checks that the next producer may begin a generation in this memory of `bytes`: it holds a region of this
    /// version, zeros, or a header that its producer has not finished.
    pub(crate) fn check_inheritable(&self, bytes: u64, path: &Path) -> Result<(), CreateError> {
        let what = match () {
            () if self.is_region() && self.version().0 == layout::VERSION_MAJOR => return Ok(()),
            () if self.is_unfinished(bytes) => return Ok(()),
            () if self.is_region() => "a region of another protocol version",
            () => "something else",
        };
        Err(CreateError::NotInheritable { path: path.into(), what })
    }

    /// Whether the version is written, which only a producer of a region has done in an incomplete header.
    pub(crate) fn has_version(&self) -> bool {
        self.u32_at(offset_of!(Header, version)) != 0
    }

    /// Whether this is an incomplete header: the magic number, which a producer writes last, is missing, and every
    /// other field is zero or has its final value. The producer was killed while it wrote the header, or a producer on
    /// another kernel is writing it now.
    pub(crate) fn is_unfinished(&self, bytes: u64) -> bool {
        let limits = [
            (offset_of!(Header, max_leases), layout::LEASES as u32),
            (offset_of!(Header, full_policy), POLICY_BLOCK),
            (offset_of!(Header, lease_ms), MOST_LEASE_TIME.as_millis() as u32),
            (offset_of!(Header, kept), layout::KEPT_BY_HEARTBEAT),
        ];
        let version = self.u32_at(offset_of!(Header, version));
        self.magic() == 0
            && (version == 0 || self.version().0 == layout::VERSION_MAJOR)
            && self.constants(bytes).iter().all(|field| [0, field.expected].contains(&field.found))
            && limits.iter().all(|(at, most)| self.u32_at(*at) <= *most)
            && (version != 0 || self.has_only_numbers())
    }

    /// Whether every field is zero but the two that are written before the version.
    fn has_only_numbers(&self) -> bool {
        let numbers = [offset_of!(Header, generation), offset_of!(Header, first_sequence)];
        (0..FIXED).step_by(8).all(|at| numbers.contains(&at) || self.u64_at(at) == 0)
    }
}
