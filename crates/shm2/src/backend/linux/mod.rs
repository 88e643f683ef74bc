//! Linux: a region is a file on tmpfs; peers are alive while they hold byte-range locks on it; waiting is a futex. In a
//! virtual machine it may be the memory of a device.

mod bus;
mod create;
mod device;
mod fork;
mod futex;
mod head;
mod kvmfr;
mod lock;
mod mapping;
mod memfd;
mod name;
mod open;
mod room;
mod signal;
mod socket;
mod sockopt;
mod watch;

pub(crate) use device::{DeviceMemory, devices};
pub(crate) use fork::depth as fork_depth;
pub(crate) use futex::{Event, Wake};
pub(crate) use mapping::Mapping;
pub(crate) use memfd::{Seals, create_memory, demand_seals, huge_pages, is_memory, memory_bytes, seal};
pub(crate) use name::NameWatch;
pub(crate) use open::Identity;
pub(crate) use signal::{
    Cleared, Outcome, WaitSet, Waker, clear_all, clear_some, new_event, wait_any_readable, wait_readable,
};
pub(crate) use socket::{
    MOST_DESCRIPTORS, Message, accept_one, close_elsewhere, connect_to, is_seqpacket, listen_at, new_socket_pair,
    receive_message, send_message,
};
pub(crate) use sockopt::{peer_of, refuse_descriptors};
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
        super::fold(boot.iter().chain(namespace.as_os_str().as_encoded_bytes()).copied()).max(1)
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
