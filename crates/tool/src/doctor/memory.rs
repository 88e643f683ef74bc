//! Memory and descriptors.

use super::Finding;
use rustix::process::{Resource, getrlimit};
use std::fs;

/// `statfs` type of tmpfs.
const TMPFS: u32 = 0x0102_1994;

pub(super) fn check() -> Vec<Finding> {
    [Some(space()), file_system(), control_group(), Some(descriptors())].into_iter().flatten().collect()
}

/// Space of /dev/shm.
fn space() -> Finding {
    let check = "/dev/shm";
    let Ok(file_system) = rustix::fs::statvfs("/dev/shm") else {
        return Finding::bad(check, "it is not there", "mount it: mount -t tmpfs tmpfs /dev/shm");
    };
    let mib = |blocks: u64| blocks.saturating_mul(file_system.f_frsize) >> 20;
    let (whole, free) = (mib(file_system.f_blocks), mib(file_system.f_bavail));
    let found = format!("{free} of {whole} MiB are free");
    match free {
        0..64 => Finding::bad(
            check,
            found,
            "a region has 64 MiB by default: free some, or enlarge it: mount -o remount,size=2G /dev/shm; in Docker \
             --shm-size=2g",
        ),
        64..512 => Finding::note(check, found, "eight frames of 4K RGB need 256 MiB; in Docker --shm-size=2g"),
        _ => Finding::good(check, found),
    }
}

/// A folder on a disk is written to that disk.
fn file_system() -> Option<Finding> {
    let found = rustix::fs::statfs("/dev/shm").ok()?;
    let remedy = "frames there may be written to a disk: mount -t tmpfs tmpfs /dev/shm";
    (found.f_type as u32 != TMPFS).then(|| Finding::note("/dev/shm", "it is no tmpfs", remedy))
}

/// The memory that this process's control group has left.
fn control_group() -> Option<Finding> {
    let check = "control group";
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::"))?;
    let number = |name: &str| -> Option<u64> {
        let path = format!("/sys/fs/cgroup{}/{name}", group.trim_end_matches('/'));
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let (limit, used) = number("memory.max").zip(number("memory.current"))?;
    let left = limit.saturating_sub(used) >> 20;
    let found = format!("{left} of {} MiB are left", limit >> 20);
    Some(match left {
        0..128 => Finding::note(check, found, "the memory of a region counts for the group: raise memory.max"),
        _ => Finding::good(check, found),
    })
}

fn descriptors() -> Finding {
    let check = "descriptors";
    let limit = getrlimit(Resource::Nofile).current;
    let found = limit.map_or("no limit".into(), |limit| format!("a process may have {limit}"));
    match limit {
        Some(0..256) => Finding::note(check, found, "each region takes some of them: ulimit -n 4096"),
        _ => Finding::good(check, found),
    }
}
