//! Errors, one enum per operation. Each text names the value and what to do about it.

mod lie;
mod send;

pub use lie::Lie;
pub use send::SendError;

use crate::device::DeviceError;
use crate::layout;
use crate::spec::EXAMPLE;
use std::io;
use std::path::PathBuf;

/// A region's name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Nothing stands behind the scheme.
    #[error("the region name {0:?} is empty: write for example {example}", example = EXAMPLE)]
    Empty(String),
    /// Not one of ours.
    #[error("the scheme {scheme:?} of {spec:?} is not known: use {example}", example = EXAMPLE)]
    UnknownScheme {
        /// What stood before `://`.
        scheme: String,
        /// The whole text.
        spec: String,
    },
    /// A scheme that this build cannot serve.
    #[error("{spec:?} needs {needs}, which this build for {os} does not have: use {example} here")]
    Unsupported {
        /// The whole text.
        spec: String,
        /// What it would take.
        needs: &'static str,
        /// The operating system of this build.
        os: &'static str,
        /// A name that works here.
        example: &'static str,
    },
    /// Not a section's name.
    #[error(
        "{0:?} is no name of a section: write winshm://Local/NAME or winshm://Global/NAME, NAME without slashes and of \
         at most 180 characters"
    )]
    BadSection(String),
    /// Not a device's name.
    #[error(
        "{0:?} names no ivshmem device: write ivshmem:// for the only one, ivshmem://0 for the first, \
         ivshmem://?size=64M for the one of that size, ivshmem://0000:00:04.0 or ivshmem:///dev/kvmfr0 (any file) on \
         Linux, ivshmem://PCI/VEN_... on Windows; ?cache= takes full, combined or none"
    )]
    BadDevice(String),
    /// A zero byte or a bad percent escape.
    #[error("the region name {0:?} holds a zero byte or a broken %-escape")]
    BadCharacter(String),
    /// A name without a directory is ambiguous.
    #[error("{0:?} is not an absolute path: write shm:///dev/shm/NAME")]
    NotAbsolute(String),
}

/// Why a producer could not make its region.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The name is bad.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Less than the fixed parts need, or more than is believable.
    #[error(
        "a region of {bytes} bytes is out of range: it takes {min} to {max} bytes, of which {fixed} are the \
         protocol's own",
        min = layout::MIN_REGION, max = layout::MAX_REGION, fixed = layout::ARENA_OFFSET
    )]
    Size {
        /// Bytes asked for.
        bytes: u64,
    },
    /// A builder value that cannot be.
    #[error("{name} = {value} is out of range: {allowed}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The file system is too full.
    #[error(
        "no room for {path:?}: it needs {needed} bytes and {free} are free there; choose a smaller size or enlarge \
         the file system (containers: --shm-size; mount -o remount,size=...)"
    )]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Bytes to reserve.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The memory control group would kill the process instead of refusing.
    #[error(
        "no room for {path:?}: it needs {needed} bytes and this process's memory control group allows {headroom} \
         more; raise the group's limit or choose a smaller size"
    )]
    ControlGroup {
        /// Where.
        path: PathBuf,
        /// Bytes to reserve.
        needed: u64,
        /// Bytes left in the group.
        headroom: u64,
    },
    /// The machine's memory is too small or too full.
    #[error(
        "no room for {path:?}: it needs {needed} bytes of memory and the machine has {available} available; choose a \
         smaller size"
    )]
    NoMemory {
        /// Where.
        path: PathBuf,
        /// Bytes to reserve.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// Somebody produces there.
    #[error("{path:?} has a live producer already: stop it or choose another name")]
    Busy {
        /// Where.
        path: PathBuf,
    },
    /// The path holds something that shm2 did not make.
    #[error("{path:?} exists and is {what}: remove it or choose another name")]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What stands there.
        what: &'static str,
    },
    /// A region that lives on in the same memory, met by a producer that would replace it.
    #[error(
        "{path:?} is a kept region: set keep-region (--keep-region) to go on in it; the memory of a virtual machine must \
         not be removed while it runs"
    )]
    Kept {
        /// Where.
        path: PathBuf,
    },
    /// Memory that somebody prepared, met by a producer that would replace it.
    #[error(
        "{path:?} is filled with zeros, as the memory of a virtual machine is: set keep-region (--keep-region) to use it; \
         it must not be removed while the machine runs"
    )]
    Prepared {
        /// Where.
        path: PathBuf,
    },
    /// Windows: a section that producers would have to follow each other in.
    #[error(
        "keep-region is not possible with {path:?}: a section is replaced while others still read the last one; leave it off"
    )]
    KeptSection {
        /// Where.
        path: PathBuf,
    },
    /// The path leads to something that is no regular file.
    #[error("{path:?} is {what}: choose another name")]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What stands there.
        what: &'static str,
    },
    /// A file that a producer of a kept region cannot go on in.
    #[error("{path:?} holds {what}: fill it with zeros to make it a region, or choose another name")]
    NotAdoptable {
        /// Where.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
    },
    /// A file whose own size is that of no region.
    #[error("the file {path:?} has {bytes} bytes, and a region takes {min} to {max}: make it larger, or choose another name",
        min = layout::MIN_REGION, max = layout::MAX_REGION)]
    FileSize {
        /// Where.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A dead producer's file that belongs to another user.
    #[error(
        "{path:?} was left by a producer of another user and may only be removed by that user (the directory is \
         sticky): ask them, or choose another name"
    )]
    OthersLeftover {
        /// Where.
        path: PathBuf,
    },
    /// Somebody holds the lock under which a dead producer's file is removed.
    #[error(
        "{path:?} was left by a dead producer and cannot be taken over: another program holds its lock (any program \
         that may read the file can); end that program or remove the file"
    )]
    TakeoverBlocked {
        /// Where.
        path: PathBuf,
    },
    /// No right to make or replace files there.
    #[error("permission denied for {path:?}: check the directory's and the file's owner and mode")]
    Denied {
        /// Where.
        path: PathBuf,
    },
    /// The memory of a virtual machine's device cannot be had.
    #[error("{path:?}: {problem}")]
    Device {
        /// Its name.
        path: PathBuf,
        /// What is wrong with it.
        problem: DeviceError,
    },
    /// The directory is missing.
    #[error("the directory of {path:?} does not exist: make it, or use a name below /dev/shm")]
    NoDirectory {
        /// Where.
        path: PathBuf,
    },
    /// Windows: no right to make the section, or to use the one that is there.
    #[error(
        "access denied to {path:?}: another user has this name, or for Global/ the privilege to create global objects \
         (SeCreateGlobalPrivilege: services and administrators) is missing; use winshm://Local/NAME within one session"
    )]
    SectionDenied {
        /// Where.
        path: PathBuf,
    },
    /// Windows: memory and page file together are too small.
    #[error(
        "no room for {path:?}: it needs {needed} bytes and the system cannot commit them; choose a smaller size or \
         enlarge the page file"
    )]
    NoCommit {
        /// Where.
        path: PathBuf,
        /// Bytes to commit.
        needed: u64,
    },
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

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The time limit passed; call again.
    #[error("no frame came in time")]
    TimedOut,
    /// The producer said that its stream is over.
    #[error("end of stream")]
    EndOfStream,
    /// The producer is gone and the consumer was told not to wait for the next.
    #[error("the producer of {path:?} is gone")]
    ProducerGone {
        /// Where.
        path: PathBuf,
    },
    /// Somebody called `cancel`.
    #[error("cancelled")]
    Cancelled,
    /// Attaching to the producer's next region failed.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The region's content cannot be; whoever wrote it is broken or hostile.
    #[error("the attachment to {path:?} ended: {lie}")]
    Misbehaving {
        /// Where.
        path: PathBuf,
        /// What does not hold.
        lie: Lie,
    },
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
