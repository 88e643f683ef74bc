//! Memory that is written once and then read by anybody: a blob handed over by its descriptor, without a copy.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = shm2::memory::write_once("greeting", 5, |bytes| bytes.copy_from_slice(b"hello"))?;
//! // The descriptor goes to another process, by a Unix socket or D-Bus. There:
//! let blob = shm2::memory::Blob::open(memory)?;
//! assert_eq!(&blob[..5], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Safety
//! A [`Blob`] exists only of memory whose seals forbid every change of its bytes and its size, to everybody and for ever.
//! So a slice of it is as good as one of private memory.

#![allow(unsafe_code)]

use crate::backend::{Mapping, Seals, create_memory, demand_seals, memory_bytes, seal};
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
    #[error("the memory lacks the seals {missing}: its sender could change it")]
    NotSealed {
        /// Names of the seals.
        missing: String,
    },
    /// Larger than this program can see.
    #[error("{bytes} bytes of memory are more than this program can map")]
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
        let mapping = Mapping::new(&memory, 0, bytes, true).map_err(system("map", length))?;
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
    /// Maps memory from anybody, after a look at its seals and its real size.
    ///
    /// # Errors
    /// [`MemoryError::NotSealed`] if it could still be changed; others when it cannot be mapped.
    pub fn open(memory: OwnedFd) -> Result<Self, MemoryError> {
        if let Some(missing) = demand_seals(&memory, Seals::All).map_err(system("look at", 0))? {
            return Err(MemoryError::NotSealed { missing });
        }
        let bytes = memory_bytes(&memory).map_err(system("look at", 0))?;
        let length = usize::try_from(bytes).ok().filter(|bytes| isize::try_from(*bytes).is_ok());
        let length = length.ok_or(MemoryError::TooLarge { bytes })?;
        let map = || Mapping::new(&memory, 0, length, false).map_err(system("map", bytes));
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
        let Some(mapping) = self.mapping.as_ref().filter(|mapping| mapping.is_here()) else { return &[] };
        // SAFETY: sealed against every change, see the head of this file; mapped as long as `self`.
        unsafe { std::slice::from_raw_parts(mapping.base().as_ptr(), mapping.len()) }
    }
}
