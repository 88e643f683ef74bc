//! Windows: a region is a named section. Peers are alive while they own mutexes, which the system takes from a process
//! that ends; waiting is for named events.
//!
//! | object | name | purpose |
//! |---|---|---|
//! | root section | `NAME` | names the current generation and its size |
//! | mutex | `NAME.shm2-producer` | owned by the one live producer |
//! | event | `NAME.shm2-bell` | a producer has appeared; made by a consumer that waits for one |
//! | data section | `NAME.shm2-GENERATION` | the region itself |
//! | mutex, event | `...p0` and `...e0` to 63 | owned by a leasing consumer while it is attached; wakes it |
//! | mutex, event | `...s0` and `...t0` to 63 | the same for a snapshot consumer |
//! | events | `...room`, `...look` | wake the producer: space was freed; a consumer attached or detached |
//!
//! A section cannot be replaced while a process has it open. So each producer makes a data section of its own, and the
//! root section, which is used again, says which one is current. The producer makes all objects of its generation, so
//! its security descriptor applies to each of them.
//!
//! | module | contents |
//! |---|---|
//! | `create` | creating a region |
//! | `producer_region`, `consumer_region` | the region, as each side sees it |
//! | `root_section`, `object_names`, `security` | what the objects are called, and who may open them |
//! | `kernel_objects`, `mapping`, `event` | the system calls |
//! | `mutex_thread` | the thread that owns this process's mutexes |
//! | `watch`, `wait_for_producer` | a consumer came or went, a producer may have appeared |

mod consumer_region;
mod create;
mod event;
mod generation_objects;
mod kernel_objects;
mod mapping;
mod mutex_thread;
mod object_names;
mod producer_region;
mod root_section;
mod security;
mod wait_for_producer;
mod watch;

use super::{Keep, Platform};
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
    type OwnedRegion = producer_region::OwnedRegion;
    type OpenRegion = consumer_region::OpenRegion;

    fn create_region<T>(
        spec: &Spec,
        bytes: u64,
        perms: u32,
        keep: Keep,
        begin: impl FnOnce(Self::Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self::OwnedRegion, T), CreateError> {
        create::create_region(spec, bytes, perms, keep.is_set(), begin)
    }

    fn open_region(spec: &Spec, writable: bool) -> Result<Self::OpenRegion, AttachError> {
        consumer_region::OpenRegion::open(spec, writable)
    }

    fn monotonic_ns() -> u64 {
        static FREQUENCY: OnceLock<u64> = OnceLock::new();
        let frequency = *FREQUENCY.get_or_init(kernel_objects::counter_frequency);
        let count = kernel_objects::counter();
        // In two parts, so that nothing overflows.
        count / frequency * 1_000_000_000 + count % frequency * 1_000_000_000 / frequency
    }

    /// A random number that the processes of one Windows session share. Other sessions have another number for the same
    /// clock; between sessions the difference of the clocks is estimated, and comes out as zero.
    fn clock_name() -> u64 {
        static CLOCK: OnceLock<Option<root_section::SharedNumber>> = OnceLock::new();
        CLOCK
            .get_or_init(|| root_section::SharedNumber::open("Local\\shm2-clock").ok())
            .as_ref()
            .map_or(0, root_section::SharedNumber::number)
    }

    fn realtime_ns() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
    }

    fn random_nonzero() -> u64 {
        (kernel_objects::random() ^ Self::monotonic_ns().rotate_left(32)).max(1)
    }
}
