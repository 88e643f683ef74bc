//! The sending side: [`Producer`], its [`Builder`], and a [`Handle`] for other threads.

mod adopt;
mod allocator;
mod closing;
mod extents;
mod handle;
mod hearts;
mod reservation;
mod shared;
mod state;
mod takeover;
mod wiped;

pub use handle::{Handle, ProducerStats};
pub use reservation::Reservation;

use crate::backend::{self, OwnedRegion};
use crate::description::{Description, FrameInfo, Kind, Range};
use crate::error::{CreateError, SendError, SpecError};
use crate::heartbeat;
use crate::layout;
use crate::mapped::Memory;
use crate::spec::Spec;
use crate::sync::Ordering;
use adopt::Past;
use extents::ExtentId;
use hearts::Hearts;
use shared::{CurrentCaps, Shared};
use state::{Record, State};
use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
struct Settings {
    bytes: u64,
    perms: u32,
    policy: FullPolicy,
    history: u32,
    max_leases: u32,
    beacon: Duration,
    keep_region: bool,
    lease_time: Duration,
    /// The region is a device's memory.
    shared_by_kernels: bool,
}

impl Settings {
    fn kept(&self) -> u32 {
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
    /// once the [`Reservation`]s of this one are dropped, but for those in a `keep` of
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
        let Settings { bytes, perms, history, max_leases, keep_region, lease_time, .. } = self.settings;
        layout::arena_bytes(bytes).ok_or(CreateError::Size { bytes })?;
        if !(1..=layout::LEASES as u32).contains(&max_leases) {
            return Err(setting("max-leases", max_leases, "1 to 64"));
        }
        if perms > 0o777 {
            return Err(setting("perms", perms, "permission bits up to 0777"));
        }
        if !(LEAST_LEASE_TIME..=MOST_LEASE_TIME).contains(&lease_time) {
            return Err(setting("lease time in ms", lease_time.as_millis() as u32, "100 to 3600000"));
        }
        let mut settings = self.settings;
        settings.shared_by_kernels = self.spec.is_device();
        settings.keep_region = keep_region || settings.shared_by_kernels;
        let keep = settings.keep_region;
        let begin = |mapping, clear_dead: &dyn Fn(&Memory)| {
            let memory = Memory::new(mapping);
            settings.bytes = memory.bytes();
            takeover::await_silence(&memory, &settings, self.spec.path())?;
            let begun = begin_life(&memory, &settings, clear_dead);
            Ok((memory, begun))
        };
        let (region, (memory, (generation, past))) = OwnedRegion::create(&self.spec, bytes, perms, keep, begin)?;
        takeover::settle(&memory, &settings, generation, self.spec.path())?;
        let arena = layout::arena_bytes(settings.bytes).ok_or(CreateError::Size { bytes: settings.bytes })?;
        let hearts = Hearts::new(past.lease, past.claims);
        let mut state = State::new(arena, max_leases as usize, u64::from(history), past);
        state.has_unseen_consumers = settings.keep_region;
        Ok(Producer { shared: Shared::start(memory, region, settings, generation, state, hearts) })
    }
}

fn setting(name: &'static str, value: u32, allowed: &'static str) -> CreateError {
    CreateError::Setting { name, value: u64::from(value), allowed }
}

const LEAST_LEASE_TIME: Duration = Duration::from_millis(100);
const MOST_LEASE_TIME: Duration = Duration::from_secs(3600);

/// Ends the life that was in this memory, if any, and writes everything that stays as it is for the life that begins.
/// Returns the new life's number and what it must know of those before it.
fn begin_life(memory: &Memory, settings: &Settings, clear_dead: &dyn Fn(&Memory)) -> (u64, Past) {
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
    fill_header(memory, settings, arena);
    (generation, past)
}

/// The constants, the settings, and last the state.
fn fill_header(memory: &Memory, settings: &Settings, arena: u64) {
    let header = memory.header();
    let relaxed = Ordering::Relaxed;
    header.version.store(u32::from(layout::VERSION_MAJOR) << 16 | u32::from(layout::VERSION_MINOR), relaxed);
    header.header_bytes.store(size_of::<layout::Header>() as u32, relaxed);
    header.region_bytes.store(settings.bytes, relaxed);
    header.ring_offset.store(layout::RING_OFFSET, relaxed);
    header.pages_offset.store(layout::PAGES_OFFSET, relaxed);
    header.arena_offset.store(layout::ARENA_OFFSET, relaxed);
    header.arena_bytes.store(arena, relaxed);
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
    // Where memory was empty somebody may look already: by these two all else is there.
    header.magic.store(layout::MAGIC, Ordering::Release);
    header.state.store(layout::STATE_LIVE, Ordering::Release);
}

/// The one sender of a region. Closes it when dropped.
pub struct Producer {
    shared: Arc<Shared>,
}

impl Producer {
    /// A region of default size at `spec`, for example `shm:///dev/shm/camera`.
    ///
    /// # Errors
    /// See [`Builder::create`].
    pub fn create(spec: &str) -> Result<Self, CreateError> {
        Self::builder(spec)?.create()
    }

    /// Settings for a region at `spec`.
    ///
    /// # Errors
    /// When the name is bad.
    pub fn builder(spec: &str) -> Result<Builder, SpecError> {
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
        Ok(Builder { spec: spec.parse()?, settings })
    }

    /// Arena memory for a frame of `bytes`, as the policy has it. Under [`FullPolicy::Block`] this may wait.
    ///
    /// # Errors
    /// [`SendError::Full`] and [`SendError::TimedOut`] mean a frame dropped and counted.
    pub fn reserve(&mut self, bytes: usize) -> Result<Reservation, SendError> {
        self.shared.reserve(bytes as u64)
    }

    /// Publishes a filled reservation; returns the frame's sequence number, which grows by one with each frame.
    ///
    /// # Errors
    /// When the ring is full and the policy keeps what is there.
    pub fn publish(&mut self, reservation: Reservation, info: &FrameInfo) -> Result<u64, SendError> {
        self.publish_with_meta(reservation, info, &[])
    }

    /// As [`publish`](Self::publish), with an opaque blob that travels along.
    ///
    /// # Errors
    /// Also [`SendError::Description`] when `meta` is longer than 1 MiB.
    pub fn publish_with_meta(
        &mut self,
        reservation: Reservation,
        info: &FrameInfo,
        meta: &[u8],
    ) -> Result<u64, SendError> {
        self.check(&reservation)?;
        let payload = Range { offset: reservation.place().0, length: reservation.len() as u64 };
        let extent = reservation.into_extent();
        self.send_record(payload, extent, info, meta, None)
    }

    /// Publishes a part of a reservation that stays with the caller, who must not write those bytes again before `keep`
    /// is dropped: that happens when no consumer can see them any more. `meta` is an opaque blob that travels along.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`SendError::Range`] when the part lies outside, [`SendError::Description`] when
    /// `meta` is too long.
    pub fn publish_part(
        &mut self,
        reservation: &Reservation,
        part: std::ops::Range<usize>,
        info: &FrameInfo,
        meta: &[u8],
        keep: Box<dyn Any + Send>,
    ) -> Result<u64, SendError> {
        self.check(reservation)?;
        let (offset, end) = (part.start as u64, part.end as u64);
        if offset > end || end > reservation.len() as u64 {
            return Err(SendError::Range { offset, end, bytes: reservation.len() as u64 });
        }
        let (start, extent) = reservation.place();
        extent.into_iter().for_each(|id| self.shared.lock().state.extents.retain(id));
        self.send_record(Range { offset: start + offset, length: end - offset }, extent, info, meta, Some(keep))
    }

    /// Copies `bytes` into the region and publishes them.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve) and [`publish`](Self::publish).
    pub fn send(&mut self, bytes: &[u8], info: &FrameInfo) -> Result<u64, SendError> {
        let mut reservation = self.reserve(bytes.len())?;
        reservation.write_at(0, bytes)?;
        self.publish(reservation, info)
    }

    /// Sets the text that describes the frames from here on (in GStreamer: the caps). At most 64 KiB.
    ///
    /// # Errors
    /// When it is too long or there is no room for it.
    pub fn set_caps(&mut self, caps: &[u8]) -> Result<(), SendError> {
        self.set_stream(caps, &[])
    }

    /// As [`set_caps`](Self::set_caps), with an opaque blob of at most 1 MiB that belongs to the stream, not to one
    /// frame: whoever comes later gets it, too.
    ///
    /// # Errors
    /// When one of them is too long or there is no room.
    pub fn set_stream(&mut self, caps: &[u8], blob: &[u8]) -> Result<(), SendError> {
        let (length, stream) = (caps.len() as u64, blob.len() as u64);
        for (what, bytes, limit) in [("caps", length, layout::MAX_CAPS), ("stream blob", stream, layout::MAX_META)] {
            if bytes > limit {
                return Err(SendError::Description { what, bytes, limit });
            }
        }
        let mut reservation = self.shared.reserve_uncounted(length + stream)?;
        reservation.write_at(0, caps)?;
        reservation.write_at(caps.len(), blob)?;
        let (offset, extent) = reservation.place();
        let _ = reservation.into_extent();
        self.shared.with(|inner| {
            let id = inner.caps.map_or(1, |old| old.id.wrapping_add(1).max(1));
            let old = inner.caps.replace(CurrentCaps { id, extent, offset, length, stream });
            old.and_then(|old| old.extent).into_iter().for_each(|id| inner.state.extents.release(id));
            let is_safe = !self.shared.settings.keep_region;
            inner.caps_copy = (!is_safe).then(|| [caps, blob].concat().into());
        });
        Ok(())
    }

    /// Says that no more frames of this stream come. More may follow; a consumer sees the end between them. There is
    /// always room for an end; a second one in a row changes nothing.
    ///
    /// # Errors
    /// In a kept region, when it belongs to another producer, or may.
    pub fn end_of_stream(&mut self) -> Result<u64, SendError> {
        self.shared.publish(
            Description { kind: Kind::End, ..description(Range::default(), &FrameInfo::new()) },
            Record { kind: Kind::End, ..record(None, None, None) },
        )
    }

    /// Says something between two frames: its times are in `info`, what it is in the opaque blob `meta`. Only consumers
    /// that ask for events ([`events`](crate::consumer::Builder::events)) see it.
    ///
    /// # Errors
    /// As for a frame; what finds no room is not counted as a dropped frame.
    pub fn send_event(&mut self, info: &FrameInfo, meta: &[u8]) -> Result<u64, SendError> {
        let (range, extent) = self.meta_blob(meta, Shared::reserve_uncounted)?;
        self.shared.publish(
            Description { kind: Kind::Event, meta: range, ..description(Range::default(), info) },
            Record { kind: Kind::Event, ..record(None, extent, None) },
        )
    }

    /// Leasing consumers that are attached now.
    pub fn consumers(&self) -> usize {
        self.handle().consumers()
    }

    /// Waits until every attached consumer has taken every frame, or the time is over; true when they have.
    pub fn drain(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let seen = self.shared.event.value();
            let drained = self.shared.with(|inner| {
                self.shared.reap(inner);
                let next = inner.state.next();
                inner.state.slowest(&self.shared.memory).is_none_or(|(_, cursor)| cursor >= next)
            });
            let left = deadline.map_or(Duration::MAX, |d| d.saturating_duration_since(Instant::now()));
            if drained || left.is_zero() || self.shared.is_cancelled() {
                return drained;
            }
            // A cursor moves without a signal: look every few milliseconds while frames are being read.
            self.shared.event.wait(seen, Some(left.min(Duration::from_millis(5))));
        }
    }

    /// A handle for other threads: memory ahead of time, statistics, demand, cancelling.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }

    /// Where the region is.
    pub fn path(&self) -> &Path {
        self.shared.region.path()
    }

    /// Whether a reservation is of this producer, not of another region.
    pub fn owns(&self, reservation: &Reservation) -> bool {
        Arc::ptr_eq(&reservation.shared, &self.shared)
    }

    fn check(&self, reservation: &Reservation) -> Result<(), SendError> {
        if self.owns(reservation) { Ok(()) } else { Err(SendError::ForeignReservation) }
    }

    fn send_record(
        &mut self,
        payload: Range,
        extent: Option<ExtentId>,
        info: &FrameInfo,
        meta: &[u8],
        keep: Option<Box<dyn Any + Send>>,
    ) -> Result<u64, SendError> {
        let blob = self.meta_blob(meta, Shared::reserve);
        let (meta_range, meta_extent) = match blob {
            Ok(blob) => blob,
            Err(error) => {
                extent.into_iter().for_each(|id| self.shared.release(id));
                return Err(error);
            }
        };
        let description = Description { meta: meta_range, ..description(payload, info) };
        self.shared.publish(description, record(extent, meta_extent, keep))
    }

    fn meta_blob(
        &mut self,
        meta: &[u8],
        reserve: fn(&Arc<Shared>, u64) -> Result<Reservation, SendError>,
    ) -> Result<(Range, Option<ExtentId>), SendError> {
        let (bytes, limit) = (meta.len() as u64, layout::MAX_META);
        if bytes > limit {
            return Err(SendError::Description { what: "metas", bytes, limit });
        }
        if meta.is_empty() {
            return Ok((Range::default(), None));
        }
        let mut reservation = reserve(&self.shared, bytes)?;
        reservation.write_at(0, meta)?;
        Ok((Range { offset: reservation.place().0, length: bytes }, reservation.into_extent()))
    }
}

fn description(payload: Range, info: &FrameInfo) -> Description {
    Description {
        kind: Kind::Frame,
        payload,
        caps: Range::default(),
        stream: 0,
        caps_id: 0,
        meta: Range::default(),
        published_ns: 0,
        info: *info,
    }
}

fn record(payload: Option<ExtentId>, meta: Option<ExtentId>, keep: Option<Box<dyn Any + Send>>) -> Record {
    Record { sequence: 0, payload, caps: None, meta, keep, kind: Kind::Frame }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("path", &self.path()).finish_non_exhaustive()
    }
}
