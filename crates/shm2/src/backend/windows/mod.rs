//! Windows: a region is a named section; peers are alive while they own mutexes, which the system takes from a process
//! that ends; waiting is for named events. In a virtual machine it may be the memory of a device.
//!
//! | object | name | what for |
//! |---|---|---|
//! | root section | `NAME` | names the current generation and its size |
//! | mutex | `NAME.shm2-producer` | owned by the one producer as long as it lives |
//! | event | `NAME.shm2-bell` | a producer came; for consumers that wait for one |
//! | data section | `NAME.shm2-GENERATION` | the region itself |
//! | mutex, event | `...p0` and `...e0` to 63 | a leasing consumer's life, and what wakes it |
//! | mutex, event | `...s0` and `...t0` to 63 | the same for a snapshot consumer |
//! | events | `...space`, `...look` | wake the producer: there is room; a consumer came or left |
//!
//! A section cannot be replaced while anybody holds it. So each producer makes a data section of its own, and the root
//! section, which is used again, says which it is. The producer makes all objects of its generation, so that its security
//! descriptor is on each of them.

mod access;
mod create;
mod event;
mod keeper;
pub(super) mod mapping;
mod object_names;
mod objects;
mod open;
mod root;
mod wait_for_producer;
mod watch;

pub(crate) use event::{Event, Wake};
pub(crate) use mapping::Mapping;
pub(crate) use wait_for_producer::ProducerWatch;
pub(crate) use watch::Watch;

/// This system's own kind of region.
pub(super) mod native {
    pub(crate) use super::create::OwnedRegion;
    pub(crate) use super::open::OpenRegion;
}

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which memory a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64);

impl Identity {
    pub(crate) fn of_device(name: &str) -> Self {
        Self(super::fnv1a(name.to_lowercase().bytes()))
    }
}

/// Nanoseconds of the monotonic clock, the one that every process of this system shares.
pub(crate) fn monotonic_ns() -> u64 {
    static FREQUENCY: OnceLock<u64> = OnceLock::new();
    let frequency = *FREQUENCY.get_or_init(objects::counter_frequency);
    let count = objects::counter();
    // In two parts, so that nothing overflows.
    count / frequency * 1_000_000_000 + count % frequency * 1_000_000_000 / frequency
}

/// ObjectNames the monotonic clock: a random number that the programs of a session share. Those of other sessions have another
/// one; between them the difference of one and the same clock is estimated. 0 if it cannot be shared.
pub(crate) fn clock_name() -> u64 {
    static CLOCK: OnceLock<Option<root::Shared>> = OnceLock::new();
    CLOCK.get_or_init(|| root::Shared::open("Local\\shm2-clock").ok()).as_ref().map_or(0, root::Shared::number)
}

/// Nanoseconds since 1970.
pub(crate) fn realtime_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}

/// A random number that is not zero.
pub(crate) fn random_nonzero() -> u64 {
    (objects::random() ^ monotonic_ns().rotate_left(32)).max(1)
}

/// This process's id.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// Nothing forks here.
pub(crate) fn fork_depth() -> usize {
    0
}
