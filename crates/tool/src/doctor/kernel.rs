//! System calls, large pages, and what removes regions.

use super::Finding;
use rustix::io::Errno;
use rustix::thread::futex::{Wait, WaitFlags, WaitPtr, WaitvFlags, waitv};
use rustix::time::ClockId;
use std::fs;
use std::path::Path;

pub(super) fn check() -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = version(release.trim());
    [Some(futex_waitv(version)), Some(kernel(release.trim(), version)), logind()].into_iter().flatten().collect()
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Calls it: the version alone does not say whether a filter refuses it.
fn futex_waitv(version: (u32, u32)) -> Finding {
    let check = "futex_waitv";
    let mut word = 1_u32;
    let mut wait = Wait::new();
    // The word has another value, so the call returns at once.
    (wait.val, wait.flags) = (0, WaitFlags::SIZE_U32 | WaitFlags::PRIVATE);
    wait.uaddr = WaitPtr::new((&raw mut word).cast());
    match waitv(&[wait], WaitvFlags::empty(), None, ClockId::Monotonic) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Finding::good(check, "consumers sleep until the next frame"),
        Err(error) if version < (5, 16) => {
            Finding::note(check, format!("{error}: consumers look 20 times a second"), "use Linux 5.16 or newer")
        }
        Err(error) => Finding::note(
            check,
            format!("{error}: consumers look 20 times a second, although this kernel has the call"),
            "a seccomp filter refuses it: permit futex_waitv, or update the container runtime (libseccomp 2.5.4)",
        ),
    }
}

fn kernel(release: &str, version: (u32, u32)) -> Finding {
    let check = "kernel";
    if version < (6, 1) {
        let remedy = "without MADV_COLLAPSE (Linux 6.1) large frames lie on small pages";
        return Finding::note(check, release, remedy);
    }
    Finding::good(check, release)
}

/// logind removes files of a user who logs out.
fn logind() -> Option<Finding> {
    let is_running = Path::new("/run/systemd/seats").exists();
    let settings = fs::read_to_string("/etc/systemd/logind.conf").unwrap_or_default();
    let keeps = settings.lines().any(|line| line.trim() == "RemoveIPC=no");
    let is_person = rustix::process::getuid().as_raw() >= 1000;
    let remedy = "for services use a system user, or set RemoveIPC=no in /etc/systemd/logind.conf";
    (is_running && !keeps && is_person)
        .then(|| Finding::note("logind", "regions of this user are removed when the last session ends", remedy))
}
