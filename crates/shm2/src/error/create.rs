//! Why a producer could not create its region.

use super::DeviceError;
use crate::layout;
use crate::name::SpecError;
use std::io;
use std::path::PathBuf;

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
    NoSpace {
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
