//! Linux: a region is a file on tmpfs; peers are alive while they hold byte-range locks on it; waiting is a futex. In a
//! virtual machine it may be the memory of a device.

mod create;
mod fork;
mod futex;
pub(super) mod head;
mod lock;
pub(super) mod mapping;
mod open;
mod reserve;
mod sigbus;
mod wait_for_producer;
mod watch;

pub(crate) use fork::depth as fork_depth;
pub(crate) use futex::{Event, Wake};
pub(crate) use mapping::Mapping;
pub(crate) use open::Identity;
pub(crate) use wait_for_producer::ProducerWatch;
pub(crate) use watch::Watch;

/// This system's own kind of region.
pub(super) mod native {
    pub(crate) use super::create::OwnedRegion;
    pub(crate) use super::open::OpenRegion;
}

use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;

/// Nanoseconds of the monotonic clock, the one that every process on this kernel shares.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Names the monotonic clock of this process: one for each boot of a kernel and each time namespace in it. 0 if that
/// cannot be found out.
pub(crate) fn clock_name() -> u64 {
    static NAME: OnceLock<u64> = OnceLock::new();
    *NAME.get_or_init(|| {
        let Ok(boot) = std::fs::read("/proc/sys/kernel/random/boot_id") else { return 0 };
        // Kernels before 5.6 have no time namespaces.
        let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
        super::fnv1a(boot.iter().chain(namespace.as_os_str().as_encoded_bytes()).copied()).max(1)
    })
}

/// Nanoseconds since 1970.
pub(crate) fn realtime_ns() -> u64 {
    nanoseconds(ClockId::Realtime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// A random number that is not zero.
pub(crate) fn random_nonzero() -> u64 {
    let mut bytes = [0u8; 8];
    // A short read leaves zeros; the clock below still makes the value new for each region.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    (u64::from_le_bytes(bytes) ^ monotonic_ns().rotate_left(32)).max(1)
}

/// This process's id in its own namespace.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}
