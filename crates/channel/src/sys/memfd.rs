//! Memory without a name, and the seals that say what nobody can do to it any more.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, memfd_create};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What nobody can do any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seals {
    /// Change its size.
    Size,
    /// Change its size or any byte.
    All,
}

impl Seals {
    fn flags(self) -> SealFlags {
        match self {
            Self::Size => SealFlags::SHRINK | SealFlags::GROW,
            Self::All => SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        }
    }
}

/// Where the flags of `memfd_create` hold the size of huge pages, as a power of two (`MFD_HUGE_SHIFT` of linux/memfd.h).
const HUGE_SHIFT: u32 = 26;

/// Memory of zeros, of `bytes` bytes or, with huge pages of 2^`huge` bytes, as many of these as it takes, that can be
/// sealed. Returns its size, too.
pub(crate) fn create_memory(name: &str, bytes: u64, huge: Option<u32>) -> io::Result<(OwnedFd, u64)> {
    let pages =
        huge.map_or(MemfdFlags::empty(), |log| MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(log << HUGE_SHIFT));
    let memory = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | pages)?;
    let bytes = bytes.checked_next_multiple_of(1 << huge.unwrap_or_default()).ok_or(io::ErrorKind::OutOfMemory)?;
    ftruncate(&memory, bytes)?;
    Ok((memory, bytes))
}

/// Adds seals, and one that keeps them.
pub(crate) fn seal(memory: impl AsFd, seals: Seals) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, seals.flags() | SealFlags::SEAL)?)
}

/// The seals that are missing, in words; `None` if all are there.
pub(crate) fn demand_seals(memory: impl AsFd, seals: Seals) -> io::Result<Option<String>> {
    let there = match fcntl_get_seals(memory) {
        // What is no memory has no seals.
        Err(Errno::INVAL) => SealFlags::empty(),
        other => other?,
    };
    let missing = seals.flags() - there;
    Ok((!missing.is_empty()).then(|| missing.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", ")))
}

/// Size of what is behind a descriptor.
pub(crate) fn memory_bytes(memory: impl AsFd) -> io::Result<u64> {
    Ok(u64::try_from(fstat(memory)?.st_size).unwrap_or_default())
}

/// `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGE_PAGES: u32 = 0x9584_58f6;

/// Size of the huge pages that memory is made of, if it is. Their owner can take them away in spite of seals on the size.
pub(crate) fn huge_pages(memory: impl AsFd) -> io::Result<Option<u64>> {
    let system = fstatfs(memory)?;
    let is_huge = system.f_type as u32 == HUGE_PAGES;
    Ok(is_huge.then(|| u64::try_from(system.f_bsize).unwrap_or_default()).filter(|bytes| bytes.is_power_of_two()))
}

/// Whether closing the descriptor cannot wait for anything: memory is let go at once.
pub(crate) fn is_memory(fd: impl AsFd) -> bool {
    fcntl_get_seals(fd).is_ok()
}
