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
    /// The name is bad.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Nothing there yet.
    #[error("{path:?} does not exist: start its producer, or wait for it")]
    NotFound {
        /// Where.
        path: PathBuf,
    },
    /// A region whose producer is gone.
    #[error("{path:?} has no live producer: start it, or wait for it")]
    NoProducer {
        /// Where.
        path: PathBuf,
    },
    /// No right to open it.
    #[error(
        "permission denied for {path:?}: a leasing consumer needs read and write, a snapshot consumer read; \
         check the producer's perms"
    )]
    Denied {
        /// Where.
        path: PathBuf,
    },
    /// Not a file at all.
    #[error("{path:?} is {what}, not a region")]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A region of which less is backed by memory than it must have reserved.
    #[error("{path:?} has {backed} bytes of memory behind it, its arena alone must have {needed}")]
    NotBacked {
        /// Where.
        path: PathBuf,
        /// Bytes of memory.
        backed: u64,
        /// Bytes of arena.
        needed: u64,
    },
    /// A consumer without locks, and a producer that shows no heartbeat.
    #[error(
        "{path:?} is not a kept region, so a consumer without locks cannot tell whether its producer lives: set keep-region at the producer"
    )]
    NoHeartbeat {
        /// Where.
        path: PathBuf,
    },
    /// The file does not begin like a region.
    #[error("{path:?} is not an shm2 region: it begins with {magic:#018x}")]
    NotARegion {
        /// Where.
        path: PathBuf,
        /// Its first eight bytes, little-endian.
        magic: u64,
    },
    /// Made by an incompatible shm2.
    #[error("{path:?} speaks protocol version {major}.{minor}, this program {ours}.x: use one version on both sides",
        ours = layout::VERSION_MAJOR)]
    Version {
        /// Where.
        path: PathBuf,
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// A header field that cannot be.
    #[error("{path:?} has a damaged header: {field} is {found}, it must be {expected}")]
    Header {
        /// Where.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The value for a region of this size.
        expected: u64,
    },
    /// The memory of a virtual machine's device cannot be had.
    #[error("{path:?}: {problem}")]
    Device {
        /// Its name.
        path: PathBuf,
        /// What is wrong with it.
        problem: DeviceError,
    },
    /// All consumer pages are taken.
    #[error("{path:?} has {pages} leasing consumers already: attach with snapshot access, or stop one",
        pages = layout::PAGES)]
    Full {
        /// Where.
        path: PathBuf,
    },
    /// The time limit passed.
    #[error("no producer came to {path:?} in time")]
    TimedOut {
        /// Where.
        path: PathBuf,
    },
    /// Somebody called `cancel`.
    #[error("cancelled")]
    Cancelled,
    /// Anything else from the system.
    #[error("cannot {what} {path:?}: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
}

impl AttachError {
    /// Whether waiting for a producer can mend it.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoProducer { .. })
    }
}
