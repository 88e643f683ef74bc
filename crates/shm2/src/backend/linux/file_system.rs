//! File systems: on which ones locks and shared memory reach every process that can open a file.
//!
//! A producer removes a dead producer's file, and a missing lock is what shows that it is dead. So it removes nothing on
//! a file system whose locks end at the mount, or at the machine, and a consumer does not wait there.

use crate::error::{AttachError, CreateError};
use rustix::fs::{StatFs, fstatfs, major, minor, stat, statfs};
use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

/// What files of a file system can serve for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suits {
    Regions,
    /// Locks do not reach processes that use the layer below directly.
    RegionsInOneMount,
    /// Locks or memory do not reach every process.
    Nothing,
    HugePages,
}

/// Types of `statfs` (`linux/magic.h` and the sources of the file systems), their names, and what they can serve for.
const KNOWN: [(u32, &str, Suits); 30] = [
    (TMPFS, "tmpfs", Suits::Regions),
    (0x8584_58f6, "ramfs", Suits::Regions),
    (0x0000_ef53, "ext4", Suits::Regions),
    (0x5846_5342, "xfs", Suits::Regions),
    (0x9123_683e, "btrfs", Suits::Regions),
    (0xf2f5_2010, "f2fs", Suits::Regions),
    (0x2fc1_2fc1, "zfs", Suits::Regions),
    (0xca45_1a4e, "bcachefs", Suits::Regions),
    (0x3153_464a, "jfs", Suits::Regions),
    (0x0000_3434, "nilfs2", Suits::Regions),
    (0x2405_1905, "ubifs", Suits::Regions),
    (0x0000_4d44, "vfat", Suits::Regions),
    (0x2011_bab0, "exfat", Suits::Regions),
    (0x7366_746e, "ntfs3", Suits::Regions),
    (0x7371_7368, "squashfs", Suits::Regions),
    (0xe0f5_e1e2, "erofs", Suits::Regions),
    (0x0000_9660, "iso9660", Suits::Regions),
    (0x794c_7630, "overlayfs", Suits::RegionsInOneMount),
    (0x9584_58f6, "hugetlbfs", Suits::HugePages),
    (0x6573_5546, "FUSE", Suits::Nothing),
    (0x0000_6969, "NFS", Suits::Nothing),
    (0xff53_4d42, "CIFS", Suits::Nothing),
    (0xfe53_4d42, "SMB", Suits::Nothing),
    (0x0000_517b, "SMB", Suits::Nothing),
    (0x0102_1997, "9p", Suits::Nothing),
    (0x00c3_6400, "Ceph", Suits::Nothing),
    (0x7461_636f, "ocfs2", Suits::Nothing),
    (0x0116_1970, "gfs2", Suits::Nothing),
    (0x0000_f15f, "eCryptfs", Suits::Nothing),
    (0x786f_4256, "vboxsf", Suits::Nothing),
];

/// `statfs` type of tmpfs.
pub(super) const TMPFS: u32 = 0x0102_1994;

const NO_LOCKS: &str = "locks and memory there do not reach every process that can open the file, so a live producer \
                        could be taken for a dead one; use a directory on tmpfs, such as /dev/shm (in a container: \
                        share /dev/shm itself)";
const HUGE_PAGES: &str = "consumers map single pages of a region, which huge pages do not permit; use a tmpfs, such as \
                          /dev/shm, mounted with huge=within_size where huge pages are wanted";

/// The file system of a file or directory.
pub(crate) struct FileSystem {
    kind: u32,
    page_bytes: u64,
}

impl FileSystem {
    /// That of an open file; `None` if it cannot be found out.
    pub(super) fn of(fd: impl AsFd) -> Option<Self> {
        fstatfs(fd).ok().map(|found| Self::new(&found))
    }

    /// That of what `path` leads to; `None` if it cannot be found out.
    pub(super) fn at(path: &Path) -> Option<Self> {
        statfs(path).ok().map(|found| Self::new(&found))
    }

    fn new(found: &StatFs) -> Self {
        // The type is a signed word of the machine, and a type of 32 bits may be extended by its sign.
        Self { kind: found.f_type as u32, page_bytes: found.f_bsize as u64 }
    }

    pub(super) fn is_tmpfs(&self) -> bool {
        self.kind == TMPFS
    }

    fn known(&self) -> Option<&'static (u32, &'static str, Suits)> {
        KNOWN.iter().find(|(kind, ..)| *kind == self.kind)
    }

    fn suits(&self) -> Suits {
        self.known().map_or(Suits::Nothing, |(.., suits)| *suits)
    }

    /// Whether processes may use the same file through another file system, whose locks are not seen here.
    pub(super) fn is_layered(&self) -> bool {
        self.suits() == Suits::RegionsInOneMount
    }

    /// Why no region can be here, and the remedy.
    fn problem(&self) -> Option<&'static str> {
        match self.suits() {
            Suits::Regions | Suits::RegionsInOneMount => None,
            Suits::Nothing => Some(NO_LOCKS),
            Suits::HugePages => Some(HUGE_PAGES),
        }
    }

    /// An error for a producer if no region can be here.
    pub(super) fn check_create(&self, path: &Path) -> Result<(), CreateError> {
        let error = |problem| CreateError::FileSystem { path: path.into(), file_system: self.to_string(), problem };
        self.problem().map_or(Ok(()), |problem| Err(error(problem)))
    }

    /// An error for a consumer if no region can be here.
    pub(super) fn check_attach(&self, path: &Path) -> Result<(), AttachError> {
        let error = |problem| AttachError::FileSystem { path: path.into(), file_system: self.to_string(), problem };
        self.problem().map_or(Ok(()), |problem| Err(error(problem)))
    }
}

/// Name of the file system of `path`, or of its nearest directory that exists, and the number of its device.
pub(super) fn place_of(path: &Path) -> Option<(String, (u32, u32))> {
    let (existing, found) = path.ancestors().find_map(|at| Some((at, stat(at).ok()?)))?;
    Some((FileSystem::at(existing)?.to_string(), (major(found.st_dev), minor(found.st_dev))))
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((_, name, Suits::HugePages)) => write!(f, "{name} with pages of {} KiB", self.page_bytes >> 10),
            Some((_, name, _)) => f.write_str(name),
            None => write!(f, "a file system of the unknown type {:#x}", self.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_whose_locks_are_known_to_reach_every_process_hold_regions() {
        let problem = |kind| FileSystem { kind, page_bytes: 2 << 20 }.problem();
        assert_eq!(problem(TMPFS), None);
        assert_eq!(problem(0xef53), None);
        for kind in [0x6573_5546, 0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x1234_5678, 0] {
            assert_eq!(problem(kind), Some(NO_LOCKS), "{kind:#x}");
        }
        let text = |kind| FileSystem { kind, page_bytes: 2 << 20 }.to_string();
        assert_eq!(text(0x9584_58f6), "hugetlbfs with pages of 2048 KiB");
        assert_eq!(text(0x1234_5678), "a file system of the unknown type 0x12345678");
        let kinds: std::collections::HashSet<_> = KNOWN.iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds.len(), KNOWN.len());
    }
}
