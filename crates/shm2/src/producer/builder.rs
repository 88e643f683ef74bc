//! Creating a region: its settings, its header, and what must be known of the generations before.

use super::consumer_liveness::ConsumerLiveness;
use super::header_writer::go_live;
use super::ledger::Ledger;
use super::lifecycle::Past;
use super::settings::{FullPolicy, Settings};
use super::shared::Shared;
use super::{Producer, lifecycle};
use crate::backend::{self, OwnedRegion};
use crate::error::CreateError;
use crate::heartbeat;
use crate::layout;
use crate::mapped::Memory;
use crate::name::Spec;
use crate::sync::Ordering;
use std::time::Duration;

/// Settings of a region to be made.
#[derive(Debug, Clone)]
pub struct Builder {
    spec: Spec,
    settings: Settings,
}

impl Builder {
    pub(super) fn new(spec: Spec) -> Self {
        Self { spec, settings: Settings::default() }
    }

    /// Size of the whole region in bytes; 64 MiB if not set. [`layout::ARENA_OFFSET`] bytes of it (4.6 MiB, of which
    /// about 0.8 MiB take memory) are the protocol's own, the rest is for frames.
    pub fn size(mut self, bytes: u64) -> Self {
        self.settings.bytes = bytes;
        self
    }

    /// Size of the region by its arena: at least `bytes` for frames.
    pub fn arena(self, bytes: u64) -> Self {
        self.size(layout::region_bytes_for_arena(bytes))
    }

    /// Permission bits of the file, whatever the umask; `0o660` if not set.
    pub fn perms(mut self, mode: u32) -> Self {
        self.settings.perms = mode;
        self
    }

    /// What to do when there is no room; [`FullPolicy::DropOldest`] if not set.
    pub fn full_policy(mut self, policy: FullPolicy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// Frames kept for consumers that attach later, 1 if not set; as many as there is room for with `u32::MAX`.
    pub fn history(mut self, frames: u32) -> Self {
        self.settings.history = frames;
        self
    }

    /// Frames that one consumer may hold at a time (1 to 64, 16 if not set); beyond that it copies.
    pub fn max_leases(mut self, frames: u32) -> Self {
        self.settings.max_leases = frames;
        self
    }

    /// How often the region's clock pair is renewed while frames flow; 250 ms if not set.
    pub fn beacon(mut self, every: Duration) -> Self {
        self.settings.beacon = every;
        self
    }

    /// For memory that cannot be replaced, such as the backing file of a virtual machine's device: a file that is there
    /// is used as it is, with its own size and permissions, and is never removed. Frames that consumers hold over the
    /// change of producers stay as they are. All producers of such a region must say so. The next producer can begin
    /// once the [`Reservation`](crate::Reservation)s of this one are dropped, but for those in a `keep` of
    /// [`publish_part`](Producer::publish_part): these must not be written after this producer was dropped. False if not
    /// set. In the memory of a virtual machine's device it is always so.
    pub fn keep_region(mut self, keep: bool) -> Self {
        self.settings.keep_region = keep;
        self
    }

    /// Time without a heartbeat after which a peer that has no lock counts as dead
    /// ([`Liveness::Heartbeat`](crate::consumer::Liveness::Heartbeat)): a consumer for this producer, and this producer for
    /// them. 100 ms to an hour, 2 s if not set. Only kept regions have such peers.
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.settings.lease_time = time;
        self
    }

    /// Makes the region and puts it at its name.
    ///
    /// # Errors
    /// Each [`CreateError`] names the value and the remedy.
    pub fn create(self) -> Result<Producer, CreateError> {
        let mut settings = self.settings;
        settings.check()?;
        let Settings { bytes, perms, history, max_leases, keep_region, .. } = settings;
        settings.shared_by_kernels = self.spec.is_device();
        settings.keep_region = keep_region || settings.shared_by_kernels;
        let keep = settings.keep_region;
        let begin = |mapping, clear_dead: &dyn Fn(&Memory)| {
            let memory = Memory::new(mapping);
            settings.bytes = memory.bytes();
            lifecycle::await_silence(&memory, &settings, self.spec.path())?;
            let begun = begin_generation(&memory, &settings, clear_dead);
            Ok((memory, begun))
        };
        let (region, (memory, (generation, past))) = OwnedRegion::create(&self.spec, bytes, perms, keep, begin)?;
        lifecycle::tie_break(&memory, &settings, generation, self.spec.path())?;
        let arena = layout::arena_bytes(settings.bytes).ok_or(CreateError::Size { bytes: settings.bytes })?;
        let consumers = ConsumerLiveness::new(past.lease);
        let mut ledger = Ledger::new(arena, max_leases as usize, u64::from(history), past);
        ledger.has_unseen_consumers = settings.keep_region;
        // Closed like any other if it finds no thread.
        let producer = Producer { shared: Shared::new(memory, region, settings, generation, ledger, consumers) };
        let (what, path) = ("start the heartbeat thread for", self.spec.path().into());
        producer.shared.start_heartbeat().map_err(|source| CreateError::System { what, path, source })?;
        Ok(producer)
    }
}

/// Ends the generation that was in this memory, if any, and writes the header of the one that begins. Returns its number
/// and what it must know of those before it.
fn begin_generation(memory: &Memory, settings: &Settings, clear_dead: &dyn Fn(&Memory)) -> (u64, Past) {
    let generation = backend::random_nonzero();
    let arena = layout::arena_bytes(settings.bytes).unwrap_or_default();
    let past = match settings.keep_region {
        true => Past::end(memory, arena, generation, || clear_dead(memory)),
        false => Past::none(),
    };
    let header = memory.header();
    header.generation.store(generation, Ordering::Relaxed);
    header.first_sequence.store(past.first, Ordering::Relaxed);
    header.head.store(past.first - 1, Ordering::Relaxed);
    header.oldest.store(past.first, Ordering::Relaxed);
    heartbeat::advance(&header.heartbeat);
    for counter in [&header.dropped_oldest, &header.dropped_newest, &header.dropped_too_large] {
        counter.store(0, Ordering::Relaxed);
    }
    header.producer_waits.store(0, Ordering::Relaxed);
    go_live(memory, settings);
    (generation, past)
}
