//! Files that dead producers have left.

use crate::backend::{self, Identity, LeftoverFile};
use crate::error::CreateError;
use std::io;
use std::path::{Path, PathBuf};

/// What a leftover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftoverKind {
    /// A region whose producer is dead. No consumer can attach to it; those that are attached keep the frames that they
    /// hold, also when it is removed.
    Region,
    /// A file with a temporary name (`NAME.new-` and 16 digits): the producer of NAME was killed before its region was
    /// complete.
    Unfinished,
}

/// A file that a dead producer has left, which takes memory until the next producer of the same name, or
/// [`remove`](Self::remove), removes it. A kept region is no leftover.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// Path of the file.
    pub path: PathBuf,
    /// What it is.
    pub kind: LeftoverKind,
    /// Memory or disk space that it takes, in bytes.
    pub bytes: u64,
    identity: Identity,
}

/// What dead producers have left in a folder, sorted by path. Files that this user may not read are passed over, and so
/// is everything that no producer made. Empty on Windows, where a section goes with its last user.
///
/// # Errors
/// When the folder cannot be read.
///
/// ```
/// use shm2::{Producer, discovery};
/// use std::path::Path;
///
/// let name = format!("shm:///dev/shm/shm2-doc-leftovers-{}", std::process::id());
/// let producer = Producer::create(&name)?;
/// let leftovers = discovery::leftovers(Path::new("/dev/shm"))?;
/// assert!(leftovers.iter().all(|leftover| leftover.path != producer.path()), "its producer is alive");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn leftovers(folder: &Path) -> io::Result<Vec<Leftover>> {
    let files = std::fs::read_dir(folder)?.flatten();
    let files = files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())).map(|file| file.path());
    let mut all: Vec<_> = files.filter_map(Leftover::at).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

impl Leftover {
    fn at(path: PathBuf) -> Option<Self> {
        let LeftoverFile { identity, bytes, is_draft } = backend::leftover_at(&path)?;
        let kind = if is_draft { LeftoverKind::Unfinished } else { LeftoverKind::Region };
        Some(Self { path, kind, bytes, identity })
    }

    /// Removes the file, if its producer is still dead and its path still leads to it. This is checked under the lock
    /// that a producer takes when it removes a leftover, so a region that a new producer makes meanwhile stays. False if
    /// the path leads to another file or to none by now.
    ///
    /// # Errors
    /// [`CreateError::Busy`] when a producer uses the file again, [`CreateError::OthersLeftover`] and
    /// [`CreateError::OthersFile`] when only another user may remove it, [`CreateError::TakeoverBlocked`] when another
    /// program holds its lock.
    pub fn remove(&self) -> Result<bool, CreateError> {
        backend::remove_leftover(&self.path, self.identity)
    }
}
