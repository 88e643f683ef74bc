//! Memory that is written once, sealed, and then read by any process that has its descriptor, without a copy.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = shm2_channel::blob::write_once("greeting", 5, |bytes| bytes.copy_from_slice(b"hello"))?;
//! // The descriptor goes to another process, by a Unix socket or D-Bus. There:
//! let blob = shm2_channel::blob::Blob::open(memory)?;
//! assert_eq!(&blob[..5], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Safety
//! A [`Blob`] is made only from memory whose seals forbid every change of its bytes and its size, in all processes and
//! permanently. Therefore a slice of it is as safe as one of private memory.

#![expect(unsafe_code, reason = "slices of new or sealed memory, see the head of this file")]

use crate::sys::{Mapping, Seals, create_memory, demand_seals, memory_bytes, seal};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Memory could not be created or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A system call failed.
    #[error("cannot {what} memory of {bytes} bytes: {source}")]
    System {
        /// The attempted operation, as a verb.
        what: &'static str,
        /// Size of the memory in bytes; 0 when it is not known yet.
        bytes: u64,
        /// The system's error.
        source: io::Error,
    },
    /// The peer could still change the memory.
    #[error("the memory lacks the seals {missing}: its sender could change it, or it is no memfd")]
    NotSealed {
        /// Names of the missing seals, separated by commas.
        missing: String,
    },
    /// The peer's memory is made of huge pages. They can be removed in spite of all seals, which would end this
    /// process.
    #[error("the memory is made of huge pages: open it by open_hugetlb if its creator is trusted")]
    HugePages,
    /// The memory is larger than the caller's limit, or than the address space.
    #[error("{bytes} bytes of memory are more than this program accepts")]
    TooLarge {
        /// Size of the memory in bytes.
        bytes: u64,
    },
}

/// Creates memory of `bytes` zero bytes, lets `fill` write it, and seals it against every later change. `name` is only
/// shown in /proc.
///
/// # Errors
/// [`MemoryError::System`] when the system has no memory or no descriptors.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = shm2_channel::blob::write_once("squares", 4, |bytes| {
///     bytes.iter_mut().zip(0..).for_each(|(byte, index)| *byte = index * index);
/// })?;
/// assert_eq!(&*shm2_channel::blob::Blob::open(memory)?, [0, 1, 4, 9]);
/// # Ok(())
/// # }
/// ```
pub fn write_once(name: &str, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<OwnedFd, MemoryError> {
    let length = bytes as u64;
    let (memory, _) = create_memory(name, length, None).map_err(system("make", length))?;
    if bytes > 0 {
        let mapping = Mapping::shared(&memory, bytes).map_err(system("map", length))?;
        // SAFETY: new memory that no other process has, mapped for `bytes` bytes.
        fill(unsafe { std::slice::from_raw_parts_mut(mapping.base().as_ptr(), bytes) });
    } else {
        fill(&mut []);
    }
    seal(&memory, Seals::All).map_err(system("seal", length))?;
    Ok(memory)
}

/// Sealed memory, mapped for reading. It dereferences to its bytes.
#[derive(Debug)]
pub struct Blob {
    mapping: Option<Mapping>,
    memory: OwnedFd,
}

impl Blob {
    /// Maps memory of any size, after a check of its seals. Reading pages that the sender never wrote allocates memory:
    /// use [`open_at_most`](Self::open_at_most) for a sender that is not trusted.
    ///
    /// # Errors
    /// [`MemoryError::NotSealed`] when the memory could still be changed; [`MemoryError::System`] when it cannot be
    /// mapped.
    ///
    /// ```
    /// use shm2_channel::blob::{Blob, MemoryError};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = shm2_channel::blob::write_once("greeting", 5, |bytes| bytes.copy_from_slice(b"hello"))?;
    /// let blob = Blob::open(memory)?;
    /// assert_eq!(blob.len(), 5);
    ///
    /// let file = std::fs::File::open("/proc/self/exe")?;
    /// assert!(matches!(Blob::open(file.into()), Err(MemoryError::NotSealed { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(memory: OwnedFd) -> Result<Self, MemoryError> {
        Self::open_at_most(memory, u64::MAX)
    }

    /// As [`open`](Self::open), for memory of at most `most` bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`MemoryError::TooLarge`].
    pub fn open_at_most(memory: OwnedFd, most: u64) -> Result<Self, MemoryError> {
        if let Some(missing) = demand_seals(&memory, Seals::All).map_err(system("inspect", 0))? {
            return Err(MemoryError::NotSealed { missing });
        }
        let bytes = memory_bytes(&memory).map_err(system("inspect", 0))?;
        let length = usize::try_from(bytes).ok().filter(|bytes| isize::try_from(*bytes).is_ok());
        let length = length.ok_or(MemoryError::TooLarge { bytes })?;
        if bytes > most {
            return Err(MemoryError::TooLarge { bytes });
        }
        let map = || Mapping::read_only(&memory, length).map_err(system("map", bytes));
        let mapping = if length == 0 { None } else { Some(map()?) };
        Ok(Self { mapping, memory })
    }

    /// The descriptor, to be passed to other processes.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Some(mapping) = self.mapping.as_ref() else { return &[] };
        // SAFETY: sealed against every change, see the head of this file; mapped for as long as `self` exists.
        unsafe { std::slice::from_raw_parts(mapping.base().as_ptr(), mapping.len()) }
    }
}

fn system(what: &'static str, bytes: u64) -> impl FnOnce(io::Error) -> MemoryError {
    move |source| MemoryError::System { what, bytes, source }
}
