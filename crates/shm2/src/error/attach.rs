//! Why a consumer could not attach.

use super::DeviceError;
use crate::layout;
use crate::name::SpecError;
use std::io;
use std::path::PathBuf;

/// Why a consumer could not attach.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The name is not valid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is no region of this name yet.
    #[error("{path:?} does not exist: start its producer, or wait for it")]
    NotFound {
        /// Path of the region.
        path: PathBuf,
    },
    /// The region has no live producer.
    #[error("{path:?} has no live producer: start it, or wait for it")]
    NoProducer {
        /// Path of the region.
        path: PathBuf,
    },
    /// This user may not open the region.
    #[error(
        "permission denied for {path:?}: a leasing consumer needs read and write, a snapshot consumer read; \
         check the producer's perms"
    )]
    Denied {
        /// Path of the region.
        path: PathBuf,
    },
    /// The path leads to something other than a regular file.
    #[error("{path:?} is {what}, not a region")]
    NotAFile {
        /// Path of the region.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Locks or shared memory do not reach every process on this file system, so no producer can be there.
    #[error("{path:?} is on {file_system}: {problem}")]
    FileSystem {
        /// Path of the region.
        path: PathBuf,
        /// The file system.
        file_system: String,
        /// What does not work there, and the remedy.
        problem: &'static str,
    },
    /// Less memory backs the region than its producer must have reserved.
    #[error(
        "{path:?} has {backed} bytes of memory, but its arena alone needs {needed}: make its producer create it again"
    )]
    NotBacked {
        /// Path of the region.
        path: PathBuf,
        /// Bytes of memory.
        backed: u64,
        /// Bytes of arena.
        needed: u64,
    },
    /// The consumer can use no locks, and the producer shows no heartbeat.
    #[error(
        "{path:?} is not a kept region, so a consumer without locks cannot see whether its producer is alive: set \
         keep-region at the producer"
    )]
    NoHeartbeat {
        /// Path of the region.
        path: PathBuf,
    },
    /// The file does not begin like a region.
    #[error("{path:?} is not an shm2 region: it begins with {magic:#018x}")]
    NotARegion {
        /// Path of the region.
        path: PathBuf,
        /// Its first eight bytes, little-endian.
        magic: u64,
    },
    /// The region was made by an incompatible version of shm2.
    #[error("{path:?} speaks protocol version {major}.{minor}, this program {ours}.x: use one version on both sides",
        ours = layout::VERSION_MAJOR)]
    Version {
        /// Path of the region.
        path: PathBuf,
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// A header field has an impossible value.
    #[error("{path:?} has a damaged header: {field} is {found}, it must be {expected}")]
    Header {
        /// Path of the region.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The value for a region of this size.
        expected: u64,
    },
    /// The memory of a virtual machine's device cannot be used.
    #[error("{path:?}: {problem}")]
    Device {
        /// Its name.
        path: PathBuf,
        /// What is wrong with it.
        problem: DeviceError,
    },
    /// All 64 consumer pages are in use.
    #[error("{path:?} has {pages} leasing consumers already: attach with snapshot access, or stop one",
        pages = layout::PAGES)]
    Full {
        /// Path of the region.
        path: PathBuf,
    },
    /// The time limit passed before a producer came.
    #[error("no producer came to {path:?} in time: start it, or wait longer")]
    TimedOut {
        /// Path of the region.
        path: PathBuf,
    },
    /// The wait was cancelled by a [`Canceller`](crate::consumer::Canceller).
    #[error("cancelled")]
    Cancelled,
    /// Any other error of the system.
    #[error("cannot {what} {path:?}: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// Path of the region.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
}

impl AttachError {
    /// Whether only a producer is missing, so that waiting for one helps.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoProducer { .. })
    }
}
