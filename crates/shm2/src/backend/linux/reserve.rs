//! Reserving a region's memory. tmpfs provides memory when a page is first touched and raises SIGBUS if there is none,
//! so all memory is reserved before the file is mapped. A memory cgroup does not refuse memory but kills the process,
//! so its headroom is read first.

use super::file_system::FileSystem;
use super::region_file::{directory, step_error};
use crate::error::CreateError;
use crate::layout;
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

/// Bytes reserved by one call. tmpfs undoes a whole call that a signal interrupts, so a call must be short enough to
/// end between two signals.
const PIECE: u64 = 16 << 20;

/// Sets the size of a file that has been made, or was empty.
pub(super) fn set_size(fd: impl AsFd, path: &Path, bytes: u64) -> Result<(), CreateError> {
    ftruncate(&fd, bytes).map_err(|e| step_error("set the size of", path, e))
}

/// Reserves the given ranges of the file.
pub(super) fn reserve(fd: impl AsFd, ranges: impl Iterator<Item = (u64, u64)>) -> Result<(), Errno> {
    for (offset, length) in ranges {
        for piece in (0..length).step_by(PIECE as usize) {
            reserve_piece(&fd, offset + piece, PIECE.min(length - piece))?;
        }
    }
    Ok(())
}

fn reserve_piece(fd: impl AsFd, offset: u64, length: u64) -> Result<(), Errno> {
    loop {
        match fallocate(&fd, FallocateFlags::empty(), offset, length) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Refuses to make a file longer than this process's limit: the system would end the process by SIGXFSZ.
pub(super) fn refuse_over_limit(path: &Path, bytes: u64) -> Result<(), CreateError> {
    match getrlimit(Resource::Fsize).current.filter(|limit| *limit < bytes) {
        Some(limit) => Err(CreateError::FileSizeLimit { path: path.into(), bytes, limit }),
        None => Ok(()),
    }
}

/// Compares `needed` bytes with what the file system, the memory cgroup and the machine have left. Without this check a
/// reservation could make the kernel kill processes.
pub(super) fn refuse_too_large(path: &Path, needed: u64) -> Result<(), CreateError> {
    if let Some(free) = free_bytes(directory(path)).filter(|free| *free < needed) {
        return Err(CreateError::NoSpace { path: path.into(), needed, free });
    }
    if !FileSystem::at(directory(path)).is_some_and(|found| found.is_tmpfs()) {
        return Ok(());
    }
    if let Some(headroom) = cgroup_headroom().filter(|h| *h < needed) {
        return Err(CreateError::ControlGroup { path: path.into(), needed, headroom });
    }
    match available_memory().filter(|available| *available < needed) {
        Some(available) => Err(CreateError::NoMemory { path: path.into(), needed, available }),
        None => Ok(()),
    }
}

/// All ranges that are ever touched. Of each consumer page that is the first part only.
pub(super) fn reserved_ranges(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let pages = (0..layout::PAGES).map(|i| (layout::page_offset(i), layout::PAGE_USED));
    let ends = [(0, layout::PAGES_OFFSET), (layout::ARENA_OFFSET, bytes - layout::ARENA_OFFSET)];
    ends.into_iter().chain(pages)
}

/// The error of a failed reservation.
pub(super) fn no_space(errno: Errno, path: &Path, bytes: u64) -> CreateError {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => CreateError::NoSpace {
            path: path.into(),
            needed: reserved_ranges(bytes).map(|(_, n)| n).sum(),
            free: free_bytes(directory(path)).unwrap_or_default(),
        },
        e => step_error("reserve memory for", path, e),
    }
}

/// Free bytes of the file system that holds `path`; `None` if unknown.
fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok().filter(|s| s.f_blocks > 0)?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes of memory and swap that the machine can provide without killing a process; `None` if unknown.
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    Some((field("MemAvailable")? + field("SwapFree").unwrap_or(0)) * 1024)
}

/// Bytes that this process's memory cgroup still allows, or `None` without a limit.
fn cgroup_headroom() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(headroom_of_line).min()
}

/// A line is `hierarchy:controllers:path`; version 2 has an empty list of controllers.
fn headroom_of_line(line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (root, limit, usage) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max", "memory.current")
    } else if controllers.split(',').any(|c| c == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
    } else {
        return None;
    };
    ancestors(path).filter_map(|group| headroom(&format!("{root}{group}"), limit, usage)).min()
}

/// The limit of each parent group applies, too.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    Path::new(path).ancestors().filter_map(Path::to_str).map(|p| p.trim_end_matches('/'))
}

fn headroom(group: &str, limit: &str, usage: &str) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(format!("{group}/{file}")).ok()?.trim().parse::<u64>().ok();
    // The kernel drops cached files before it kills a process.
    let cache = fs::read_to_string(format!("{group}/memory.stat")).map_or(0, |stat| file_cache(&stat));
    Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(cache)))
}

fn file_cache(stat: &str) -> u64 {
    let counted = |name: &str| matches!(name, "inactive_file" | "active_file");
    stat.lines()
        .filter_map(|l| l.split_once(' '))
        .filter(|(n, _)| counted(n))
        .filter_map(|(_, v)| v.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_controllers_are_ignored() {
        assert_eq!(headroom_of_line("3:cpu,cpuacct:/x"), None);
        assert_eq!(headroom_of_line("nonsense"), None);
        assert_eq!(file_cache("anon 5\ninactive_file 7\nactive_file 8\nfile_mapped 9\n"), 15);
        assert_eq!(ancestors("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", ""]);
    }
}
