//! Linux: a region is a file on tmpfs. Peers are alive while they hold byte-range locks on it; waiting is a futex.
//!
//! | module | contents |
//! |---|---|
//! | `create`, `draft`, `naming`, `takeover`, `existing`, `reserve` | creating a region, or using an existing file for one |
//! | `leftover` | files of dead producers, found and removed |
//! | `producer_region`, `consumer_region`, `region_file` | the region, as each side sees it |
//! | `lock`, `futex`, `mapping` | the system calls |
//! | `large_pages` | large pages behind large frames |
//! | `file_system` | on which file systems locks and memory reach every process |
//! | `watch`, `wait_for_producer` | inotify: a peer came or went, a producer may have appeared |
//! | `readiness` | a descriptor for poll loops |
//! | `fork`, `sigbus` | guards against forked children and truncated files |

mod consumer_region;
mod create;
mod draft;
pub(super) mod existing;
mod file_system;
mod fork;
mod futex;
mod large_pages;
mod leftover;
mod lock;
mod mapping;
mod naming;
mod producer_region;
mod readiness;
pub(super) mod region_file;
mod reserve;
mod sigbus;
mod takeover;
mod wait_for_producer;
mod watch;

pub(crate) use readiness::Readiness;

use super::{ChangedNames, Identity, Keep, LeftoverFile, Platform, Stamp, fnv1a};
use crate::error::{AttachError, CreateError};
use crate::mapped::Memory;
use crate::name::Spec;
use crate::sync::AtomicU32;
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// This platform.
pub(crate) struct Linux;

impl Platform for Linux {
    type Mapping = mapping::Mapping;
    type Event = futex::Event;
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
        create::create_region(spec, bytes, perms, keep, begin)
    }

    fn open_region(spec: &Spec, writable: bool) -> Result<Self::OpenRegion, AttachError> {
        consumer_region::OpenRegion::open(spec.path(), writable, true)
    }

    fn open_listed(path: &Path) -> Result<Self::OpenRegion, AttachError> {
        consumer_region::OpenRegion::open(path, false, false)
    }

    fn watch_folder(path: &Path, event: &Arc<futex::Event>, changed: &Arc<ChangedNames>) -> Option<watch::Watch> {
        watch::watch_folder(path, event, changed)
    }

    fn watch_listed(path: &Path, event: &Arc<futex::Event>, changed: &Arc<ChangedNames>) -> Option<watch::Watch> {
        watch::watch_listed(path, event, changed)
    }

    fn stamp_of(path: &Path) -> Option<Stamp> {
        region_file::stamp_of(path)
    }

    fn leftover_at(path: &Path) -> Option<LeftoverFile> {
        leftover::find(path)
    }

    fn remove_leftover(path: &Path, identity: Identity) -> Result<bool, CreateError> {
        leftover::remove(path, identity)
    }

    fn place_of(spec: &Spec) -> Option<(String, (u32, u32))> {
        if spec.is_device() { None } else { file_system::place_of(spec.path()) }
    }

    const WAITS_ON_WORDS: bool = true;

    fn wait_many(
        words: &[(NonNull<AtomicU32>, u32)],
        event: &futex::Event,
        seen: u32,
        timeout: Option<Duration>,
    ) -> Option<usize> {
        futex::wait_many(words, event, seen, timeout)
    }

    fn monotonic_ns() -> u64 {
        nanoseconds(ClockId::Monotonic)
    }

    /// One for each boot of a kernel and each time namespace in it.
    fn clock_name() -> u64 {
        static NAME: OnceLock<u64> = OnceLock::new();
        *NAME.get_or_init(|| {
            let Ok(boot) = std::fs::read("/proc/sys/kernel/random/boot_id") else { return 0 };
            // Kernels before 5.6 have no time namespaces.
            let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
            fnv1a(boot.iter().chain(namespace.as_os_str().as_encoded_bytes()).copied()).max(1)
        })
    }

    fn realtime_ns() -> u64 {
        nanoseconds(ClockId::Realtime)
    }

    fn random_nonzero() -> u64 {
        let mut bytes = [0u8; 8];
        // A short read leaves zeros; the clock below still makes the value new for each region.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        (u64::from_le_bytes(bytes) ^ Self::monotonic_ns().rotate_left(32)).max(1)
    }

    fn fork_depth() -> usize {
        fork::counted_depth()
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
