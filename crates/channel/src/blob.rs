//! Memory that is written once and then read by anybody: a blob handed over by its descriptor, without a copy.
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
//! A [`Blob`] exists only of memory whose seals forbid every change of its bytes and its size, to everybody and for ever.
//! So a slice of it is as good as one of private memory.

#![allow(unsafe_code)]

use crate::sys::{Mapping, Seals, create_memory, demand_seals, memory_bytes, seal};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};

/// Memory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The system's.
    #[error("cannot {what} memory of {bytes} bytes: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// How many bytes.
        bytes: u64,
        /// Why not.
        source: io::Error,
    },
    /// The peer's: it could still be changed.
    #[error("the memory lacks the seals {missing}: its sender could change it, or it is no memfd")]
    NotSealed {
        /// Names of the seals.
        missing: String,
    },
    /// The peer's: huge pages can be taken away in spite of all seals, which would end this process.
    #[error("the memory is made of huge pages: take it by open_hugetlb if its maker is trusted")]
    HugePages,
    /// Larger than the caller, or this program, can take.
    #[error("{bytes} bytes of memory are more than this program takes")]
    TooLarge {
        /// How many bytes.
        bytes: u64,
    },
}

fn system(what: &'static str, bytes: u64) -> impl FnOnce(io::Error) -> MemoryError {
    move |source| MemoryError::System { what, bytes, source }
}

/// New memory of `bytes` bytes, all zero, that `fill` fills and that nobody can change afterwards. `name` is for people:
/// it stands in /proc.
///
/// # Errors
/// When the system has no memory.
pub fn write_once(name: &str, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<OwnedFd, MemoryError> {
    let length = bytes as u64;
    let (memory, _) = create_memory(name, length, None).map_err(system("make", length))?;
    if bytes > 0 {
        let mapping = Mapping::shared(&memory, bytes).map_err(system("map", length))?;
        // SAFETY: fresh memory that nobody else has, mapped for so many bytes.
        fill(unsafe { std::slice::from_raw_parts_mut(mapping.base().as_ptr(), bytes) });
    } else {
        fill(&mut []);
    }
    seal(&memory, Seals::All).map_err(system("seal", length))?;
    Ok(memory)
}

/// Sealed memory, mapped to be read.
#[derive(Debug)]
pub struct Blob {
    mapping: Option<Mapping>,
    memory: OwnedFd,
}

impl Blob {
    /// Maps memory of any size, after a look at its seals. Pages that its sender never wrote cost memory where they are
    /// read: from a sender that is not trusted, take [`open_at_most`](Self::open_at_most).
    ///
    /// # Errors
    /// [`MemoryError::NotSealed`] if it could still be changed; others when it cannot be mapped.
    pub fn open(memory: OwnedFd) -> Result<Self, MemoryError> {
        Self::open_at_most(memory, u64::MAX)
    }

    /// As [`open`](Self::open), of at most so many bytes.
    ///
    /// # Errors
    /// Also [`MemoryError::TooLarge`].
    pub fn open_at_most(memory: OwnedFd, most: u64) -> Result<Self, MemoryError> {
        if let Some(missing) = demand_seals(&memory, Seals::All).map_err(system("look at", 0))? {
            return Err(MemoryError::NotSealed { missing });
        }
        let bytes = memory_bytes(&memory).map_err(system("look at", 0))?;
        let length = usize::try_from(bytes).ok().filter(|bytes| isize::try_from(*bytes).is_ok());
        let length = length.ok_or(MemoryError::TooLarge { bytes })?;
        if bytes > most {
            return Err(MemoryError::TooLarge { bytes });
        }
        let map = || Mapping::read_only(&memory, length).map_err(system("map", bytes));
        let mapping = if length == 0 { None } else { Some(map()?) };
        Ok(Self { mapping, memory })
    }

    /// The descriptor, to hand it on.
    pub fn memory(&self) -> std::os::fd::BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Some(mapping) = self.mapping.as_ref() else { return &[] };
        // SAFETY: sealed against every change, see the head of this file; mapped as long as `self`.
        unsafe { std::slice::from_raw_parts(mapping.base().as_ptr(), mapping.len()) }
    }
}
