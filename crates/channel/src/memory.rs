//! Memory of a channel: created and sealed, or received from a peer and checked.
//!
//! # Safety
//! A ring is attached to a [`ChannelMemory`] only within its first `bytes` bytes. The mapping is at least that long,
//! its seals were checked so that no process can shrink the memory, and it outlives the ring: both are fields of the
//! same struct, the ring first.

use crate::ChannelError;
use crate::blob::MemoryError;
use crate::sys::{Mapping, Seals, create_memory, demand_seals, huge_pages, memory_bytes, seal};
use std::io;
use std::os::fd::OwnedFd;

/// Size of the huge pages of a channel's memory. They come from the system's pool (`/proc/sys/vm/nr_hugepages`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HugePages {
    /// 2 MiB.
    Mib2,
    /// 1 GiB.
    Gib1,
}

impl HugePages {
    /// Binary logarithm of the size in bytes.
    fn log2(self) -> u32 {
        match self {
            Self::Mib2 => 21,
            Self::Gib1 => 30,
        }
    }
}

/// Mapped memory of a channel. The rings use its first `bytes` bytes.
#[derive(Debug)]
pub(crate) struct ChannelMemory {
    pub(crate) fd: OwnedFd,
    pub(crate) mapping: Mapping,
    pub(crate) bytes: usize,
}

impl ChannelMemory {
    /// New sealed memory for one ring.
    pub(crate) fn create<T>(capacity: usize, huge: Option<HugePages>) -> Result<Self, ChannelError> {
        Self::create_bytes(needed::<T>(capacity)?, huge)
    }

    /// New memory of `bytes` bytes whose size is sealed, mapped and populated.
    pub(crate) fn create_bytes(bytes: usize, huge: Option<HugePages>) -> Result<Self, ChannelError> {
        let (memory, whole) = create_memory("shm2-channel", bytes as u64, huge.map(HugePages::log2))
            .map_err(system("make", bytes as u64))?;
        seal(&memory, Seals::Size).map_err(system("seal", whole))?;
        // Rounded up to whole huge pages.
        let length = usize::try_from(whole).map_err(|_| MemoryError::TooLarge { bytes: whole })?;
        let mapping = Mapping::shared(&memory, length).map_err(system("map", whole))?;
        mapping.populate(bytes);
        Ok(Self { fd: memory, mapping, bytes })
    }

    /// Maps memory from a peer for one ring.
    pub(crate) fn open<T>(capacity: usize, memory: OwnedFd, allow_huge: bool) -> Result<Self, ChannelError> {
        Self::open_bytes(capacity, needed::<T>(capacity)?, memory, allow_huge)
    }

    /// Maps memory from a peer, after a check of its seals and its real size. The pages are not populated: pages that
    /// the peer did not touch would be charged to this process.
    pub(crate) fn open_bytes(
        capacity: usize,
        needed: usize,
        memory: OwnedFd,
        allow_huge: bool,
    ) -> Result<Self, ChannelError> {
        if let Some(missing) = demand_seals(&memory, Seals::Size).map_err(system("inspect", 0))? {
            return Err(MemoryError::NotSealed { missing }.into());
        }
        let bytes = memory_bytes(&memory).map_err(system("inspect", 0))?;
        if bytes < needed as u64 {
            return Err(ChannelError::TooSmall { capacity, needed: needed as u64, bytes });
        }
        let page = huge_pages(&memory).map_err(system("inspect", bytes))?;
        if page.is_some() && !allow_huge {
            return Err(MemoryError::HugePages.into());
        }
        // The length of a mapping of huge pages must be a multiple of their size.
        let length = (needed as u64).checked_next_multiple_of(page.unwrap_or(1)).filter(|length| *length <= bytes);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(ChannelError::TooSmall { capacity, needed: needed as u64, bytes })?;
        let mapping = Mapping::shared(&memory, length).map_err(system("map", bytes))?;
        Ok(Self { fd: memory, mapping, bytes: needed })
    }

    /// First byte of the mapping.
    pub(crate) fn address(&self) -> *mut u8 {
        self.mapping.base().as_ptr()
    }

    /// Locks the memory against swapping.
    pub(crate) fn lock(&self) -> Result<(), ChannelError> {
        self.mapping
            .lock()
            .map_err(|source| ChannelError::System { what: "lock the memory (see RLIMIT_MEMLOCK)", source })
    }
}

/// Size in bytes of a ring of `capacity` elements.
fn needed<T>(capacity: usize) -> Result<usize, ChannelError> {
    let element = size_of::<T>();
    let bytes = shm2_ring::channel_bufsize::<T>(capacity).filter(|bytes| isize::try_from(*bytes).is_ok());
    bytes.filter(|_| capacity > 0 && element > 0).ok_or(ChannelError::Capacity { capacity, element })
}

fn system(what: &'static str, bytes: u64) -> impl FnOnce(io::Error) -> ChannelError {
    move |source| MemoryError::System { what, bytes, source }.into()
}
