//! Creating a region: its settings, its header, and what it inherits from the previous generation.

use super::consumer_liveness::ConsumerLiveness;
use super::header_writer::go_live;
use super::ledger::Ledger;
use super::lifecycle::Inheritance;
use super::settings::{FullPolicy, Settings};
use super::shared::Shared;
use super::{Producer, lifecycle};
use crate::backend::{self, OwnedRegion};
use crate::description::CapsRange;
use crate::error::CreateError;
use crate::heartbeat;
use crate::layout;
use crate::mapped::Memory;
use crate::name::Spec;
use crate::sync::Ordering;
use std::time::Duration;

/// Settings of a region, which [`create`](Self::create) makes.
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
    /// about 0.8 MiB use memory) are protocol overhead, the rest is for frames.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-size-{}", std::process::id());
    /// use shm2::{Producer, layout};
    ///
    /// let producer = Producer::builder(&name)?.size(8 << 20).create()?;
    /// assert_eq!(producer.handle().stats().arena_bytes, (8 << 20) - layout::ARENA_OFFSET);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn size(mut self, bytes: u64) -> Self {
        self.settings.bytes = bytes;
        self
    }

    /// Size of the region by its arena: at least `bytes` bytes for frames. The last one of this and
    /// [`size`](Self::size) counts.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-arena-{}", std::process::id());
    /// use shm2::Producer;
    ///
    /// let frame_bytes = 1280 * 720 * 2;
    /// let producer = Producer::builder(&name)?.arena(4 * frame_bytes).create()?;
    /// assert!(producer.handle().stats().free_bytes >= 4 * frame_bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn arena(self, bytes: u64) -> Self {
        self.size(layout::region_bytes_for_arena(bytes))
    }

    /// Permission bits of the file, independent of the umask; `0o660` if not set.
    pub fn perms(mut self, mode: u32) -> Self {
        self.settings.perms = mode;
        self
    }

    /// Policy for a new frame without free space; [`FullPolicy::DropOldest`] if not set.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-policy-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, FullPolicy, Producer, SendError};
    /// use std::time::Duration;
    ///
    /// let policy = FullPolicy::Block { timeout: Some(Duration::from_millis(1)) };
    /// let mut producer = Producer::builder(&name)?.arena(65_536).full_policy(policy).create()?;
    /// let mut consumer = Consumer::builder(&name)?.attach(Some(Duration::from_secs(1)))?;
    ///
    /// producer.send(&[1; 40_000], &FrameInfo::new())?;
    /// let second = producer.send(&[2; 40_000], &FrameInfo::new());
    /// assert!(matches!(second, Err(SendError::TimedOut { bytes: 40_000 })));
    /// drop(consumer.next(None)?); // the consumer has read the first frame: its memory can be reused
    /// producer.send(&[2; 40_000], &FrameInfo::new())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn full_policy(mut self, policy: FullPolicy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// Number of frames kept for consumers that attach later, 1 if not set. With `u32::MAX`, as many as fit.
    pub fn history(mut self, frames: u32) -> Self {
        self.settings.history = frames;
        self
    }

    /// Number of frames that one consumer may hold in place at a time (1 to 64, 16 if not set). It copies further
    /// frames.
    pub fn max_leases(mut self, frames: u32) -> Self {
        self.settings.max_leases = frames;
        self
    }

    /// Interval at which the region's pair of clock readings is renewed while frames are published; 250 ms if not set.
    pub fn beacon(mut self, every: Duration) -> Self {
        self.settings.beacon = every;
        self
    }

    /// Reuses an existing file, with its size and permissions, and never removes it; false if not set. This is for
    /// memory that cannot be replaced, such as the backing file of a virtual machine's device. Frames that consumers
    /// hold do not change when the next producer begins. All producers of such a region must set this; for the memory
    /// of a device it is always set.
    ///
    /// The next producer can begin once the [`Reservation`](crate::Reservation)s of this one are dropped, except those
    /// in a `keep` of [`publish_part`](Producer::publish_part). These must not be written after this producer was
    /// dropped.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-keep-{}", std::process::id());
    /// use shm2::{FrameInfo, Producer};
    ///
    /// let create = || Producer::builder(&name)?.arena(1 << 20).keep_region(true).create();
    /// let mut first = create()?;
    /// assert_eq!(first.send(b"one", &FrameInfo::new())?, 1);
    /// drop(first); // the file stays
    /// let mut second = create()?;
    /// assert_eq!(second.send(b"two", &FrameInfo::new())?, 2); // sequences continue
    /// # std::fs::remove_file(second.path())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn keep_region(mut self, keep: bool) -> Self {
        self.settings.keep_region = keep;
        self
    }

    /// Also uses an existing file of another user in a directory where every user may make files, such as /dev/shm; false
    /// if not set. Only for [`keep_region`](Self::keep_region). Without it only files of this user, of root and of the
    /// directory's owner are used there, because another user may have taken the name first. That user can read and
    /// change all frames. Set it for the file of a virtual machine that runs as another user.
    pub fn foreign_owner(mut self, permit: bool) -> Self {
        self.settings.foreign_owner = permit;
        self
    }

    /// Time without a heartbeat after which a peer that has no lock counts as dead
    /// ([`Liveness::Heartbeat`](crate::consumer::Liveness::Heartbeat)): a consumer for this producer, and this producer
    /// for its consumers. 100 ms to 1 h, 2 s if not set. Only kept regions have such peers.
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.settings.lease_time = time;
        self
    }

    /// Creates the region and makes it visible at its name. Replaces the region of a dead producer.
    ///
    /// # Errors
    /// [`CreateError`]: a setting out of range, a live producer of the same name, too little memory or file system
    /// space, or missing permissions. Each text names the value and the remedy.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-build-{}", std::process::id());
    /// use shm2::{CreateError, Producer};
    ///
    /// assert!(matches!(Producer::builder(&name)?.size(1).create(), Err(CreateError::Size { bytes: 1 })));
    /// let producer = Producer::builder(&name)?.perms(0o600).create()?;
    /// assert!(producer.path().exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(self) -> Result<Producer, CreateError> {
        let mut settings = self.settings;
        settings.check()?;
        let Settings { bytes, perms, history, max_leases, keep_region, .. } = settings;
        settings.shared_by_kernels = self.spec.is_device();
        settings.keep_region = keep_region || settings.shared_by_kernels;
        let keep = settings.keep();
        let begin = |mapping, clear_dead: &dyn Fn(&Memory)| {
            let memory = Memory::new(mapping);
            settings.bytes = memory.bytes();
            lifecycle::await_silence(&memory, &settings, self.spec.path())?;
            let begun = begin_generation(&memory, &settings, clear_dead);
            Ok((memory, begun))
        };
        let (region, (memory, (generation, inheritance))) = OwnedRegion::create(&self.spec, bytes, perms, keep, begin)?;
        lifecycle::tie_break(&memory, &settings, generation, self.spec.path())?;
        let arena = layout::arena_bytes(settings.bytes).ok_or(CreateError::Size { bytes: settings.bytes })?;
        let consumers = ConsumerLiveness::new(inheritance.lease_time);
        let mut ledger = Ledger::new(arena, max_leases as usize, u64::from(history), generation, inheritance);
        ledger.has_unseen_consumers = settings.keep_region;
        // If no thread can be started, the drop of `producer` closes the region.
        let producer = Producer { shared: Shared::new(memory, region, settings, generation, ledger, consumers) };
        let (what, path) = ("start the heartbeat thread for", self.spec.path().into());
        producer.shared.start_heartbeat().map_err(|source| CreateError::System { what, path, source })?;
        producer.shared.start_name_checks();
        Ok(producer)
    }
}

/// Ends the previous generation in this memory, if any, and writes the header of a new one. Returns the new generation
/// and what it inherits.
fn begin_generation(memory: &Memory, settings: &Settings, clear_dead: &dyn Fn(&Memory)) -> (u64, Inheritance) {
    let generation = backend::random_nonzero();
    let arena = layout::arena_bytes(settings.bytes).unwrap_or_default();
    let inheritance = match settings.keep_region {
        true => Inheritance::end_previous(memory, arena, generation, || clear_dead(memory)),
        false => Inheritance::none(),
    };
    let header = memory.header();
    header.generation.store(generation, Ordering::Relaxed);
    header.first_sequence.store(inheritance.first_sequence, Ordering::Relaxed);
    header.head.store(inheritance.first_sequence - 1, Ordering::Relaxed);
    header.oldest.store(inheritance.first_sequence, Ordering::Relaxed);
    heartbeat::advance(&header.heartbeat);
    for counter in [&header.dropped_oldest, &header.dropped_newest, &header.dropped_too_large] {
        counter.store(0, Ordering::Relaxed);
    }
    header.producer_waits.store(0, Ordering::Relaxed);
    go_live(memory, settings, CapsRange::default());
    (generation, inheritance)
}
