//! A region's settings, and its making: the header, and what must be known of the lives before.

use super::consumer_liveness::Hearts;
use super::ledger::Ledger;
use super::lifecycle::Past;
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

/// What happens to a new frame when there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullPolicy {
    /// The oldest frames that nobody holds go, if that makes room; else the new frame is dropped.
    DropOldest,
    /// The new frame is dropped as long as an attached consumer has not read the old ones.
    DropNewest,
    /// The producer waits for the slowest consumer; a dead one, or none at all, never blocks.
    Block {
        /// Longest wait for one frame; `None` for ever.
        timeout: Option<Duration>,
    },
}

impl FullPolicy {
    fn code(self) -> u32 {
        match self {
            Self::DropOldest => 0,
            Self::DropNewest => 1,
            Self::Block { .. } => 2,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) bytes: u64,
    perms: u32,
    pub(super) policy: FullPolicy,
    history: u32,
    max_leases: u32,
    pub(super) beacon: Duration,
    pub(super) keep_region: bool,
    pub(super) lease_time: Duration,
    /// The region is a device's memory.
    pub(super) shared_by_kernels: bool,
}

impl Settings {
    pub(super) fn kept(&self) -> u32 {
        match (self.keep_region, self.shared_by_kernels) {
            (false, _) => 0,
            (true, false) => layout::KEPT_BY_LOCK,
            (true, true) => layout::KEPT_BY_HEARTBEAT,
        }
    }
}

/// Settings of a region to be made.
#[derive(Debug, Clone)]
pub struct Builder {
    spec: Spec,
    settings: Settings,
}

impl Builder {
    pub(super) fn new(spec: Spec) -> Self {
        let settings = Settings {
            bytes: 64 << 20,
            perms: 0o660,
            policy: FullPolicy::DropOldest,
            history: 1,
            max_leases: 16,
            beacon: Duration::from_millis(250),
            keep_region: false,
            lease_time: Duration::from_secs(2),
            shared_by_kernels: false,
        };
        Self { spec, settings }
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
        lifecycle::settle(&memory, &settings, generation, self.spec.path())?;
        let arena = layout::arena_bytes(settings.bytes).ok_or(CreateError::Size { bytes: settings.bytes })?;
        let hearts = Hearts::new(past.lease);
        let mut state = Ledger::new(arena, max_leases as usize, u64::from(history), past);
        state.has_unseen_consumers = settings.keep_region;
        // Closed like any other if it finds no thread.
        let producer = Producer { shared: Shared::new(memory, region, settings, generation, state, hearts) };
        let (what, path) = ("start the heartbeat thread for", self.spec.path().into());
        producer.shared.start_heartbeat().map_err(|source| CreateError::System { what, path, source })?;
        Ok(producer)
    }
}

impl Settings {
    fn check(&self) -> Result<(), CreateError> {
        layout::arena_bytes(self.bytes).ok_or(CreateError::Size { bytes: self.bytes })?;
        if !(1..=layout::LEASES as u32).contains(&self.max_leases) {
            return Err(setting("max-leases", self.max_leases.into(), "1 to 64"));
        }
        if self.perms > 0o777 {
            return Err(setting("perms", self.perms.into(), "permission bits up to 0777"));
        }
        if !(LEAST_LEASE_TIME..=MOST_LEASE_TIME).contains(&self.lease_time) {
            let ms = self.lease_time.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX);
            return Err(setting("lease time in ms", ms, "100 to 3600000"));
        }
        Ok(())
    }
}

fn setting(name: &'static str, value: u64, allowed: &'static str) -> CreateError {
    CreateError::Setting { name, value, allowed }
}

pub(super) const LEAST_LEASE_TIME: Duration = Duration::from_millis(100);
pub(super) const MOST_LEASE_TIME: Duration = Duration::from_secs(3600);

/// Ends the life that was in this memory, if any, and writes everything that stays as it is for the life that begins.
/// Returns the new life's number and what it must know of those before it.
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

/// The constants, the settings, and last the state.
pub(super) fn go_live(memory: &Memory, settings: &Settings) {
    fill_constants(memory, settings);
    memory.header().state.store(layout::STATE_LIVE, Ordering::Release);
}

/// The constants and the settings: with them a producer lives, but as long as the state does not say so, no region.
pub(super) fn fill_constants(memory: &Memory, settings: &Settings) {
    let header = memory.header();
    let relaxed = Ordering::Relaxed;
    header.version.store(layout::VERSION, relaxed);
    header.header_bytes.store(size_of::<layout::Header>() as u32, relaxed);
    header.region_bytes.store(settings.bytes, relaxed);
    header.ring_offset.store(layout::RING_OFFSET, relaxed);
    header.pages_offset.store(layout::PAGES_OFFSET, relaxed);
    header.arena_offset.store(layout::ARENA_OFFSET, relaxed);
    header.arena_bytes.store(layout::arena_bytes(settings.bytes).unwrap_or_default(), relaxed);
    header.cells.store(layout::CELLS as u32, relaxed);
    header.cell_bytes.store(layout::CELL_BYTES as u32, relaxed);
    header.pages.store(layout::PAGES as u32, relaxed);
    header.page_stride.store(layout::SECTION as u32, relaxed);
    header.max_leases.store(settings.max_leases, relaxed);
    header.history.store(settings.history, relaxed);
    let lease_ms = if settings.keep_region { settings.lease_time.as_millis() as u32 } else { 0 };
    header.lease_ms.store(lease_ms, relaxed);
    header.kept.store(settings.kept(), relaxed);
    header.full_policy.store(settings.policy.code(), relaxed);
    header.producer_pid.store(backend::process_id(), relaxed);
    header.clock.store(backend::clock_name(), relaxed);
    header.created_ns.store(backend::realtime_ns(), relaxed);
    // That of the life before may be of another clock.
    renew_beacon(memory, backend::monotonic_ns(), header.head.load(relaxed));
    // Where memory was empty somebody may look already: by these two all else is there.
    header.magic.store(layout::MAGIC, Ordering::Release);
}

/// A sequence lock: readers skip a beacon whose number is odd or changes while they read.
pub(super) fn renew_beacon(memory: &Memory, now: u64, head: u64) {
    let header = memory.header();
    let number = header.beacon_sequence.load(Ordering::Relaxed);
    header.beacon_sequence.store(number | 1, Ordering::Relaxed);
    crate::sync::fence(Ordering::Release);
    header.beacon_monotonic_ns.store(now, Ordering::Relaxed);
    header.beacon_realtime_ns.store(backend::realtime_ns(), Ordering::Relaxed);
    header.beacon_head.store(head, Ordering::Relaxed);
    header.beacon_sequence.store((number | 1).wrapping_add(1), Ordering::Release);
}
