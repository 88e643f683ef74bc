//! A private, checked copy of the header's fixed part, read once at attach.

use super::builder::Liveness;
use crate::backend::{self, ConsumerRegion, OpenRegion};
use crate::error::AttachError;
use crate::layout::*;
use crate::mapped::Memory;
use crate::name::Spec;
use crate::sync::{Ordering, fence};
use std::path::Path;
use std::time::Duration;

/// What a consumer must know of its region. Offsets are not in here: they follow from the version alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) arena_bytes: u64,
    pub(crate) generation: u64,
    pub(crate) max_leases: usize,
    pub(crate) history: u64,
    pub(crate) blocks: bool,
    /// Sequence of this life's first item.
    pub(crate) first: u64,
    /// Time without a heartbeat after which a peer without a lock is dead; `None` where there are only locks.
    pub(crate) lease: Option<Duration>,
    /// Only its heartbeats tell whether the producer lives.
    pub(crate) by_heartbeat: bool,
    /// The producer's monotonic clock is not this process's.
    pub(crate) has_other_clock: bool,
}

/// Bytes of the fixed part.
pub(crate) const FIXED: usize = 128;

impl Checked {
    /// Whether this is a region of any version.
    pub(crate) fn magic(bytes: &[u8; FIXED], path: &Path) -> Result<(), AttachError> {
        let magic = u64_at(bytes, 0);
        if magic == MAGIC { Ok(()) } else { Err(AttachError::NotARegion { path: path.into(), magic }) }
    }

    /// Checks the first [`FIXED`] bytes of a region's file of `file_bytes`.
    pub(crate) fn from_bytes(bytes: &[u8; FIXED], file_bytes: u64, path: &Path) -> Result<Self, AttachError> {
        let field = |name, found, expected| equal(path, name, found, expected);
        let version = u32_at(bytes, 8);
        let (major, minor) = ((version >> 16) as u16, version as u16);
        if major != VERSION_MAJOR {
            return Err(AttachError::Version { path: path.into(), major, minor });
        }
        let arena = arena_bytes(u64_at(bytes, 16)).ok_or_else(|| AttachError::Header {
            path: path.into(),
            field: "region size",
            found: u64_at(bytes, 16),
            expected: file_bytes,
        })?;
        field("region size", u64_at(bytes, 16), file_bytes)?;
        field("header size", u32_at(bytes, 12).into(), size_of::<Header>() as u64)?;
        field("ring offset", u64_at(bytes, 32), RING_OFFSET)?;
        field("pages offset", u64_at(bytes, 40), PAGES_OFFSET)?;
        field("arena offset", u64_at(bytes, 48), ARENA_OFFSET)?;
        field("arena size", u64_at(bytes, 56), arena)?;
        field("cell count", u32_at(bytes, 64).into(), CELLS)?;
        field("cell size", u32_at(bytes, 68).into(), CELL_BYTES)?;
        field("page count", u32_at(bytes, 72).into(), PAGES as u64)?;
        field("page distance", u32_at(bytes, 76).into(), SECTION)?;
        let leases = u32_at(bytes, 80);
        if !(1..=LEASES as u32).contains(&leases) {
            field("lease limit (1 to 64)", leases.into(), LEASES as u64)?;
        }
        Ok(Self {
            arena_bytes: arena,
            generation: u64_at(bytes, 24),
            max_leases: leases as usize,
            history: u64::from(u32_at(bytes, 84)),
            blocks: u32_at(bytes, 88) == 2,
            first: u64_at(bytes, 104).max(1),
            has_other_clock: is_other_clock(u64_at(bytes, 120), backend::clock_name()),
            by_heartbeat: false,
            lease: (u32_at(bytes, 116) != 0)
                .then(|| Duration::from_millis(u32_at(bytes, 112).clamp(100, 3_600_000).into())),
        })
    }
}

/// Where one of them is not known, the clocks count as the same: most are.
fn is_other_clock(theirs: u64, ours: u64) -> bool {
    theirs != 0 && ours != 0 && theirs != ours
}

/// Reads and checks the header, and that the region has a producer, as far as locks can tell.
pub(super) fn check(region: &OpenRegion, liveness: Liveness) -> Result<Checked, AttachError> {
    let path = region.path();
    if region.bytes() == 0 {
        // A place that somebody prepared for a producer.
        return Err(AttachError::NotFound { path: path.into() });
    }
    let system = |source| AttachError::System { what: "read", path: path.into(), source };
    let bytes = fixed(region).map_err(system)?;
    if u64_at(&bytes, 0) == 0 {
        // Memory in which nothing was yet, or a producer is about to begin.
        return Err(AttachError::NoProducer { path: path.into() });
    }
    Checked::magic(&bytes, path)?;
    // The magic number is written last: what is read after it is whole.
    fence(Ordering::Acquire);
    let bytes = fixed(region).map_err(system)?;
    if u64_at(&bytes, 0) != MAGIC {
        // Wiped in this moment.
        return Err(AttachError::NoProducer { path: path.into() });
    }
    // What a dead producer left may be of any version: its successor will replace it.
    let by_heartbeat =
        !region.has_locks() || liveness == Liveness::Heartbeat || u32_at(&bytes, 116) == KEPT_BY_HEARTBEAT;
    if !by_heartbeat && !region.producer_lives() {
        return Err(AttachError::NoProducer { path: path.into() });
    }
    let mut checked = Checked::from_bytes(&bytes, region.bytes(), path)?;
    checked.by_heartbeat = by_heartbeat;
    if by_heartbeat && checked.lease.is_none() {
        return Err(AttachError::NoHeartbeat { path: path.into() });
    }
    if u32_at(&bytes, 116) == KEPT_BY_HEARTBEAT {
        // A guest's producer cannot reserve the memory of the host's file.
        return Ok(checked);
    }
    let (backed, needed) = (region.backed_bytes(), checked.arena_bytes);
    if backed < needed { Err(AttachError::NotBacked { path: path.into(), backed, needed }) } else { Ok(checked) }
}

/// As [`check`], of a region whose life is the one in `memory`.
pub(super) fn check_generation(
    region: &OpenRegion,
    memory: &Memory,
    liveness: Liveness,
) -> Result<Checked, AttachError> {
    let lives = || memory.header().state.load(Ordering::Acquire) == STATE_LIVE;
    let absent = || AttachError::NoProducer { path: region.path().into() };
    if !lives() {
        return Err(absent());
    }
    // Once more: what was read at first may be of the life before, or of two.
    let checked = check(region, liveness)?;
    let is_same = memory.header().generation.load(Ordering::Acquire) == checked.generation;
    if is_same && lives() { Ok(checked) } else { Err(absent()) }
}

/// As much of the fixed part as there is.
fn fixed(region: &OpenRegion) -> std::io::Result<[u8; FIXED]> {
    let mut bytes = [0; FIXED];
    let length = FIXED.min(region.bytes() as usize);
    region.read_exact(&mut bytes[..length], 0)?;
    Ok(bytes)
}

/// Whether a producer in another kernel may begin a life at this name, of which nothing here would tell.
pub(super) fn may_restart_unseen(spec: &Spec) -> bool {
    let Ok(region) = OpenRegion::open(spec, false) else { return false };
    let may_be = |bytes: [u8; FIXED]| match u64_at(&bytes, 0) {
        // A place that somebody prepared, perhaps a virtual machine.
        0 => true,
        magic => magic == MAGIC && u32_at(&bytes, 116) != 0,
    };
    !region.has_locks() || fixed(&region).is_ok_and(may_be)
}

fn equal(path: &Path, field: &'static str, found: u64, expected: u64) -> Result<(), AttachError> {
    if found == expected { Ok(()) } else { Err(AttachError::Header { path: path.into(), field, found, expected }) }
}

fn u64_at(bytes: &[u8; FIXED], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u32_at(bytes: &[u8; FIXED], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
