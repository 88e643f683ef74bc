//! Memory without a name (memfd), and the seals that forbid later changes of it.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The changes that the seals forbid, in all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seals {
    /// Changes of the size.
    Size,
    /// Changes of the size and of the bytes.
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

/// Bit position of the binary logarithm of the huge page size in the flags of `memfd_create` (`MFD_HUGE_SHIFT` of
/// linux/memfd.h).
const HUGE_SHIFT: u32 = 26;

/// Creates memory of `bytes` zero bytes that can be sealed. With huge pages of 2^`huge` bytes the size is rounded up to
/// whole pages. Returns the descriptor and the size.
pub(crate) fn create_memory(name: &str, bytes: u64, huge: Option<u32>) -> io::Result<(OwnedFd, u64)> {
    let pages =
        huge.map_or(MemfdFlags::empty(), |log| MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(log << HUGE_SHIFT));
    let memory = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | pages)?;
    let bytes = bytes.checked_next_multiple_of(1 << huge.unwrap_or_default()).ok_or(io::ErrorKind::OutOfMemory)?;
    if let Some(limit) = getrlimit(Resource::Fsize).current.filter(|limit| *limit < bytes) {
        // The system would end the process by SIGXFSZ.
        let text = format!(
            "{bytes} bytes of memory are over this process's file size limit of {limit} bytes (ulimit -f, \
                            LimitFSIZE=)"
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    ftruncate(&memory, bytes)?;
    Ok((memory, bytes))
}

/// Adds the seals, and the seal that forbids further seals.
pub(crate) fn seal(memory: impl AsFd, seals: Seals) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, seals.flags() | SealFlags::SEAL)?)
}

/// Names of the missing seals; `None` when all are set.
pub(crate) fn demand_seals(memory: impl AsFd, seals: Seals) -> io::Result<Option<String>> {
    let there = match fcntl_get_seals(memory) {
        // A descriptor of anything but memory has no seals.
        Err(Errno::INVAL) => SealFlags::empty(),
        other => other?,
    };
    let missing = seals.flags() - there;
    Ok((!missing.is_empty()).then(|| missing.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", ")))
}

/// Size in bytes of the file behind a descriptor.
pub(crate) fn memory_bytes(memory: impl AsFd) -> io::Result<u64> {
    Ok(u64::try_from(fstat(memory)?.st_size).unwrap_or_default())
}

/// `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGE_PAGES: u32 = 0x9584_58f6;

/// Size of the huge pages that the memory is made of, in bytes; `None` for normal pages. The creator can remove huge
/// pages in spite of seals on the size.
pub(crate) fn huge_pages(memory: impl AsFd) -> io::Result<Option<u64>> {
    let system = fstatfs(memory)?;
    let is_huge = system.f_type as u32 == HUGE_PAGES;
    Ok(is_huge.then(|| u64::try_from(system.f_bsize).unwrap_or_default()).filter(|bytes| bytes.is_power_of_two()))
}

/// Whether the descriptor is memory, so that closing it never blocks.
pub(crate) fn is_memory(fd: impl AsFd) -> bool {
    fcntl_get_seals(fd).is_ok()
}
