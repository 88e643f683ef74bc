//! Whether a file that exists at a region's name may be kept as the memory of a new generation: whose it is, and what it
//! holds.

use super::region_file::{create_error, directory, read_header};
use crate::description::Description;
use crate::error::CreateError;
use crate::header::FIXED;
use crate::layout::{self, Header, Page, W_SEQUENCE};
use rustix::fs::{SeekFrom, Stat, seek, stat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Permission for every user to make files in a directory.
const OTHERS_WRITE: u32 = 0o002;

/// In a directory where every user may make files, refuses a file of a user other than this one, root and the
/// directory's owner.
pub(super) fn refuse_foreign_owner(file: &Stat, path: &Path) -> Result<(), CreateError> {
    let directory = stat(directory(path)).map_err(|e| create_error("look at", path, e))?;
    let owner = file.st_uid;
    if directory.st_mode & OTHERS_WRITE == 0 || [geteuid().as_raw(), 0, directory.st_uid].contains(&owner) {
        return Ok(());
    }
    Err(CreateError::ForeignOwner { path: path.into(), owner: user(owner) })
}

/// A user as people know it: number, and name if this machine's list has it.
pub(super) fn user(id: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = list.lines().map(|line| line.split(':'));
    let name = users.find_map(|mut fields| Some((fields.next()?, fields.nth(1)?)).filter(|(_, n)| n.parse() == Ok(id)));
    name.map_or(format!("user {id}"), |(name, _)| format!("user {id} ({name})"))
}

/// Checks that the next producer may begin a generation in this file of `bytes`: it holds a region of this version, what
/// is left of one whose header was cleared, or nothing but zeros and a header that its producer has not finished.
pub(in crate::backend) fn check_content(fd: &OwnedFd, bytes: u64, path: &Path) -> Result<(), CreateError> {
    let header = read_header(fd, path)?;
    header.check_inheritable(bytes, path)?;
    if header.is_region() || header.has_version() {
        return Ok(());
    }
    let mut head = vec![0; layout::ARENA_OFFSET as usize];
    let read = |error: Errno| create_error("read", path, error);
    read_at(fd, &mut head, 0).map_err(read)?;
    let arena = layout::arena_bytes(bytes).unwrap_or_default();
    if has_items(&head, arena) || (is_blank(&mut head) && !has_data(fd, bytes).map_err(read)?) {
        return Ok(());
    }
    Err(CreateError::NotInheritable { path: path.into(), what: "data, although its first bytes are zeros" })
}

/// Whether the ring has items of a region, and nothing else. Its header may have been cleared.
fn has_items(head: &[u8], arena: u64) -> bool {
    let mut items = 0;
    for index in 0..layout::CELLS {
        let at = layout::cell_offset(index) as usize;
        let Some(bytes) = head.get(at..at + layout::CELL_BYTES as usize).and_then(|cell| cell.try_into().ok()) else {
            return false;
        };
        let words = layout::cell_words(bytes);
        let sequence = words[W_SEQUENCE];
        if sequence == 0 {
            continue;
        }
        if sequence % layout::CELLS != index || Description::check(&words, sequence, arena).is_err() {
            return false;
        }
        items += 1;
    }
    items > 0
}

/// Whether everything in front of the arena is zero, but for heartbeats and the words that a producer writes before the
/// constants of its header. The fixed part was checked before.
fn is_blank(head: &mut [u8]) -> bool {
    head[..FIXED].fill(0);
    let words = [offset_of!(Header, heartbeat), offset_of!(Header, oldest)];
    // A consumer on another kernel shows its heartbeat until it sees that the memory was cleared, and one that stops
    // reading then its cursor.
    let of_pages = [offset_of!(Page, heartbeat), offset_of!(Page, cursor)];
    let in_pages =
        (0..layout::PAGES).flat_map(|page| of_pages.map(|word| layout::page_words_offset(page) as usize + word));
    for at in words.into_iter().chain(in_pages) {
        head[at..at + 8].fill(0);
    }
    // A producer that tests whether the memory is writable changes the wake word.
    for at in [offset_of!(Header, state), offset_of!(Header, wake)] {
        head[at..at + 4].fill(0);
    }
    is_zero(head)
}

/// Whether the arena has a byte that is not zero. Holes are not read.
fn has_data(fd: &OwnedFd, bytes: u64) -> Result<bool, Errno> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = layout::ARENA_OFFSET;
    while at < bytes {
        let (start, end) = match seek(fd, SeekFrom::Data(at)) {
            Ok(start) => (start, seek(fd, SeekFrom::Hole(start)).unwrap_or(bytes).min(bytes)),
            Err(Errno::NXIO) => return Ok(false),
            // The file system cannot tell.
            Err(_) => (at, bytes),
        };
        at = start;
        while at < end {
            let part = (end - at).min(buffer.len() as u64) as usize;
            read_at(fd, &mut buffer[..part], at)?;
            if !is_zero(&buffer[..part]) {
                return Ok(true);
            }
            at += part as u64;
        }
    }
    Ok(false)
}

/// Fills the buffer. Zeros follow the end of the file.
fn read_at(fd: &OwnedFd, mut buffer: &mut [u8], mut at: u64) -> Result<(), Errno> {
    buffer.fill(0);
    while !buffer.is_empty() {
        match rustix::io::pread(fd, &mut *buffer, at) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}
