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
    /// The name is not valid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The size is below what the fixed parts need, or above the protocol's limit.
    #[error(
        "a region of {bytes} bytes is out of range: it takes {min} to {max} bytes, of which {fixed} are \
         protocol overhead",
        min = layout::MIN_REGION, max = layout::MAX_REGION, fixed = layout::ARENA_OFFSET
    )]
    Size {
        /// Bytes asked for.
        bytes: u64,
    },
    /// A setting of the builder is out of range.
    #[error("{name} = {value} is out of range: {allowed}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The file system has too little free space.
    #[error(
        "no free space for {path:?}: it needs {needed} bytes and {free} are free there; choose a smaller size or \
         enlarge the file system (containers: --shm-size; mount -o remount,size=...)"
    )]
    NoSpace {
        /// Path of the region.
        path: PathBuf,
        /// Bytes to reserve.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The region is larger than this process may make a file. The system would end the process by SIGXFSZ.
    #[error(
        "the file {path:?} cannot be made: it needs {bytes} bytes, and this process's file size limit (ulimit -f, \
         LimitFSIZE=) is {limit}; raise the limit or choose a smaller size"
    )]
    FileSizeLimit {
        /// Path of the region.
        path: PathBuf,
        /// Size of the region.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The limit of the memory control group is too low. The group would kill the process instead of refusing the
    /// memory.
    #[error(
        "not enough memory for {path:?}: it needs {needed} bytes and this process's memory control group allows \
         {headroom} more; raise the group's limit or choose a smaller size"
    )]
    ControlGroup {
        /// Path of the region.
        path: PathBuf,
        /// Bytes to reserve.
        needed: u64,
        /// Bytes left in the group.
        headroom: u64,
    },
    /// The machine has too little memory available.
    #[error(
        "not enough memory for {path:?}: it needs {needed} bytes and the machine has {available} available; choose a \
         smaller size"
    )]
    NoMemory {
        /// Path of the region.
        path: PathBuf,
        /// Bytes to reserve.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// Locks or shared memory do not reach every process on this file system.
    #[error("{path:?} is on {file_system}: {problem}")]
    FileSystem {
        /// Path of the region.
        path: PathBuf,
        /// The file system.
        file_system: String,
        /// What does not work there, and the remedy.
        problem: &'static str,
    },
    /// The region has a live producer.
    #[error("{path:?} has a live producer already: stop it or choose another name")]
    Busy {
        /// Path of the region.
        path: PathBuf,
    },
    /// The path holds something that is not a region of shm2.
    #[error("{path:?} exists and is {what}: remove it or choose another name")]
    Foreign {
        /// Path of the region.
        path: PathBuf,
        /// What the path leads to.
        what: &'static str,
    },
    /// The region is kept, and this producer is set to replace it.
    #[error(
        "{path:?} is a kept region: set keep-region (--keep-region) to reuse it; the memory of a virtual machine must \
         not be removed while the machine runs"
    )]
    Kept {
        /// Path of the region.
        path: PathBuf,
    },
    /// The file is filled with zeros, so it may be the memory of a virtual machine, and this producer is set to replace
    /// it.
    #[error(
        "{path:?} is filled with zeros, as the memory of a virtual machine is: set keep-region (--keep-region) to use \
         it; it must not be removed while the machine runs"
    )]
    Prepared {
        /// Path of the region.
        path: PathBuf,
    },
    /// Windows: `keep_region` is set for a named section.
    #[error(
        "keep-region is not possible with {path:?}: a section is replaced while consumers still read the last one; \
         leave it off"
    )]
    KeptSection {
        /// Path of the region.
        path: PathBuf,
    },
    /// The path leads to something other than a regular file.
    #[error("{path:?} is {what}: choose another name")]
    NotAFile {
        /// Path of the region.
        path: PathBuf,
        /// What the path leads to.
        what: &'static str,
    },
    /// The file belongs to another user, in a directory where every user may make files, and this producer is set to use
    /// it. That user could read and change every frame.
    #[error(
        "{path:?} belongs to {owner}, in a directory where every user may make files, so that user may have taken the \
         name first, and could read and change every frame: use a directory that only this user may write, give the \
         file to this user, or permit its owner (Builder::foreign_owner, --foreign-owner)"
    )]
    ForeignOwner {
        /// Path of the region.
        path: PathBuf,
        /// Its owner.
        owner: String,
    },
    /// The file holds data in which a producer of a kept region cannot begin.
    #[error("{path:?} holds {what}: fill it with zeros to make it a region, or choose another name")]
    NotInheritable {
        /// Path of the region.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
    },
    /// The existing file has a size that no region has.
    #[error(
        "the file {path:?} has {bytes} bytes, and a region takes {min} to {max}: make it larger, or choose another \
         name",
        min = layout::MIN_REGION, max = layout::MAX_REGION
    )]
    FileSize {
        /// Path of the region.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A dead producer's file belongs to another user.
    #[error(
        "{path:?} was left by a producer of {owner}, and only that user or root may remove it (the directory is \
         sticky): let that user or root remove it, or choose another name"
    )]
    OthersLeftover {
        /// Path of the region.
        path: PathBuf,
        /// Its owner.
        owner: String,
    },
    /// A file at the path may not be opened by this user.
    #[error(
        "permission denied for {path:?}, a file of {owner} with mode {mode:03o}: if its producer has ended, let that \
         user or root remove it, or permit writing; or choose another name"
    )]
    OthersFile {
        /// Path of the region.
        path: PathBuf,
        /// Its owner.
        owner: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process holds the lock under which a dead producer's file is removed.
    #[error(
        "{path:?} was left by a dead producer and cannot be taken over: another program holds its lock (any program \
         that may read the file can); end that program or remove the file"
    )]
    TakeoverBlocked {
        /// Path of the region.
        path: PathBuf,
    },
    /// This user may not make or replace files there.
    #[error("permission denied for {path:?}: check the directory's and the file's owner and mode")]
    Denied {
        /// Path of the region.
        path: PathBuf,
    },
    /// The system forbids a step on a file that this user has just made, or may write.
    #[error("cannot {what} {path:?}: {source}; a security policy (seccomp, AppArmor, SELinux) may forbid the call")]
    Forbidden {
        /// The step.
        what: &'static str,
        /// Path of the region.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// The memory of a virtual machine's device cannot be used.
    #[error("{path:?}: {problem}")]
    Device {
        /// Its name.
        path: PathBuf,
        /// What is wrong with it.
        problem: DeviceError,
    },
    /// The directory does not exist.
    #[error("the directory of {path:?} does not exist: make it, or use a name below /dev/shm")]
    NoDirectory {
        /// Path of the region.
        path: PathBuf,
    },
    /// Windows: this user may not make the section, or may not use the existing one.
    #[error(
        "access denied to {path:?}: another user has this name, or for Global/ the privilege to create global objects \
         (SeCreateGlobalPrivilege: services and administrators) is missing; use winshm://Local/NAME within one session"
    )]
    SectionDenied {
        /// Path of the region.
        path: PathBuf,
    },
    /// Windows: the system cannot commit the memory.
    #[error(
        "not enough memory for {path:?}: it needs {needed} bytes and the system cannot commit them; choose a smaller \
         size or enlarge the page file"
    )]
    NoCommit {
        /// Path of the region.
        path: PathBuf,
        /// Bytes to commit.
        needed: u64,
    },
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
