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
//! | events | `...room`, `...look` | wake the producer: there is room; a consumer came or left |
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

use super::Platform;
use crate::error::{AttachError, CreateError};
use crate::mapped::Memory;
use crate::name::Spec;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This platform.
pub(crate) struct Windows;

impl Platform for Windows {
    type Mapping = mapping::Mapping;
    type Event = event::Event;
    type Watch = watch::Watch;
    type ProducerWatch = wait_for_producer::ProducerWatch;
    type OwnedRegion = create::OwnedRegion;
    type OpenRegion = open::OpenRegion;

    fn create_region<T>(
        spec: &Spec,
        bytes: u64,
        perms: u32,
        keep: bool,
        begin: impl FnOnce(Self::Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self::OwnedRegion, T), CreateError> {
        create::OwnedRegion::create(spec, bytes, perms, keep, begin)
    }

    fn open_region(spec: &Spec, writable: bool) -> Result<Self::OpenRegion, AttachError> {
        open::OpenRegion::open(spec, writable)
    }

    fn monotonic_ns() -> u64 {
        static FREQUENCY: OnceLock<u64> = OnceLock::new();
        let frequency = *FREQUENCY.get_or_init(objects::counter_frequency);
        let count = objects::counter();
        // In two parts, so that nothing overflows.
        count / frequency * 1_000_000_000 + count % frequency * 1_000_000_000 / frequency
    }

    /// A random number that the processes of one Windows session share. Other sessions have another number for the same
    /// clock; between sessions the difference of the clocks is estimated, and comes out as zero.
    fn clock_name() -> u64 {
        static CLOCK: OnceLock<Option<root::Shared>> = OnceLock::new();
        CLOCK.get_or_init(|| root::Shared::open("Local\\shm2-clock").ok()).as_ref().map_or(0, root::Shared::number)
    }

    fn realtime_ns() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
    }

    fn random_nonzero() -> u64 {
        (objects::random() ^ Self::monotonic_ns().rotate_left(32)).max(1)
    }
}
