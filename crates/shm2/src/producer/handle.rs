//! The part of a producer that other threads use.

use super::LostName;
use super::lifecycle::Phase;
use super::reservation::Reservation;
use super::shared::{Inner, Shared};
use crate::backend::{ProcessEvent, ProducerRegion, Wake};
use crate::error::SendError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Counters of a producer and the use of its memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Items published: frames, events and ends of stream.
    pub published: u64,
    /// Frames retired before every attached consumer had read them.
    pub dropped_oldest: u64,
    /// New frames that were dropped for lack of free space.
    pub dropped_newest: u64,
    /// Frames that were dropped because they are larger than the arena.
    pub dropped_too_large: u64,
    /// Times that the producer woke sleeping consumers.
    pub wakes: u64,
    /// Frames in the ring, which consumers can take.
    pub ready: u64,
    /// Retired frames that a consumer still holds.
    pub held: u64,
    /// Size of the arena in bytes.
    pub arena_bytes: u64,
    /// Bytes of the arena in no reservation and no frame. Free and used bytes always add up to the arena.
    pub free_bytes: u64,
    /// Bytes of the arena in reservations and frames, each extent counted once.
    pub used_bytes: u64,
}

/// The part of a producer that other threads use. It keeps the region mapped, but does not keep it open.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reserves `bytes` of the arena without waiting, and without counting a dropped frame on failure.
    ///
    /// # Errors
    /// [`SendError::Full`] when there is too little free space, under [`FullPolicy::DropOldest`](super::FullPolicy)
    /// even after the oldest frames were dropped; else as [`Producer::reserve`](super::Producer::reserve).
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-try-reserve-{}", std::process::id());
    /// use shm2::{FrameInfo, Producer};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let handle = producer.handle();
    /// let filled = std::thread::spawn(move || {
    ///     let mut slot = handle.try_reserve(7)?;
    ///     slot.write_at(0, b"picture")?;
    ///     Ok::<_, shm2::SendError>(slot)
    /// });
    /// producer.publish(filled.join().unwrap()?, &FrameInfo::new())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_reserve(&self, bytes: usize) -> Result<Reservation, SendError> {
        self.shared.try_reserve(bytes as u64)
    }

    /// Reserves `bytes` for a frame that is made later, if that drops no frame and leaves free space for two more of this
    /// size. Never waits, and counts nothing.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-spare-{}", std::process::id());
    /// let producer = shm2::Producer::builder(&name)?.arena(400_000).create()?;
    /// let handle = producer.handle();
    /// assert_eq!(handle.reserve_spare(100_000).map(|spare| spare.len()), Some(100_000));
    /// assert!(handle.reserve_spare(200_000).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve_spare(&self, bytes: usize) -> Option<Reservation> {
        self.shared.reserve_spare(bytes as u64)
    }

    /// Number of leasing consumers that are attached now. Frees what dead ones held. Where looking for dead consumers took
    /// more than half a millisecond, it is done in the background, and this is the number of the last time.
    pub fn consumers(&self) -> usize {
        let alive = self.shared.count_alive();
        self.shared.with(|inner| {
            if self.shared.is_mine(inner) {
                inner.ledger.collect(&self.shared.memory);
            }
        });
        alive
    }

    /// Whether any snapshot consumer is attached now.
    pub fn has_snapshot_consumers(&self) -> bool {
        self.shared.region.has_snapshots()
    }

    /// Number of times that consumers have requested a keyframe, a frame that depends on no other: after frames were
    /// missed, at an attach in the middle of a stream, or when a user asked. An encoder that makes one after each increase
    /// lets every consumer decode again at once. A request counts as one of [`changes`](Self::changes), so a thread can
    /// wait for it; call this before the wait and after it. Requests of leasing consumers are seen by each call, those of
    /// snapshot consumers, which exist on Linux only, after each [`consumers`](Self::consumers).
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-keyframes-{}", std::process::id());
    /// use shm2::{Consumer, Producer};
    /// use std::time::Duration;
    ///
    /// let producer = Producer::create(&name)?;
    /// let handle = producer.handle();
    /// let mut consumer = Consumer::builder(&name)?.attach(Some(Duration::from_secs(1)))?;
    /// assert_eq!(handle.keyframe_requests(), 0);
    /// consumer.request_keyframe();
    /// assert_eq!(handle.keyframe_requests(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn keyframe_requests(&self) -> u64 {
        let mut inner = self.shared.lock();
        let is_mine = self.shared.is_mine(&inner);
        let Inner { ledger, keyframes, .. } = &mut *inner;
        keyframes.count(is_mine.then(|| ledger.pages(&self.shared.memory)).into_iter().flatten())
    }

    /// Whether frames can still be sent.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Superseded`] or [`SendError::Truncated`]: errors that do not pass by
    /// waiting.
    pub fn check(&self) -> Result<(), SendError> {
        match self.shared.epoch() {
            Ok(_) | Err(SendError::Recovering) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the producer has closed the region.
    pub fn is_closed(&self) -> bool {
        self.shared.phase() >= Phase::Closed
    }

    /// A number that changes whenever a consumer attaches or detaches, and when [`lost_name`](Self::lost_name) changes.
    pub fn changes(&self) -> u32 {
        self.shared.event.value()
    }

    /// Why new consumers cannot find the region, although its producer is alive; `None` while its name leads to it, and
    /// after the close. Consumers that are attached are not affected.
    ///
    /// The name is checked once a second, and a change of this result counts as one of [`changes`](Self::changes). A file
    /// that was moved away gets its name again, if the name is free. A file that was removed cannot get it again: make
    /// a new producer, to which the consumers of this one go over when it is dropped. Another file that is at the path
    /// is never removed. Always `None` for sections of Windows and for devices.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-lost-{}", std::process::id());
    /// use shm2::{Producer, producer::LostName};
    /// use std::time::Duration;
    ///
    /// let producer = Producer::create(&name)?;
    /// let handle = producer.handle();
    /// std::fs::remove_file(producer.path())?;
    /// while handle.lost_name().is_none() {
    ///     handle.wait_change(handle.changes(), Some(Duration::from_millis(100)));
    /// }
    /// assert_eq!(handle.lost_name(), Some(LostName::Removed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lost_name(&self) -> Option<LostName> {
        let is_open = self.shared.phase() == Phase::Open;
        self.shared.name.lost().filter(|_| is_open)
    }

    /// Waits until [`changes`](Self::changes) differs from `seen`, for `timeout` at most (`None`: no limit). False on
    /// timeout. No change is reported when the system has no file watch left, so set a time limit.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-change-{}", std::process::id());
    /// use shm2::{Consumer, Producer};
    /// use std::time::Duration;
    ///
    /// let producer = Producer::create(&name)?;
    /// let handle = producer.handle();
    /// let seen = handle.changes();
    /// assert_eq!(handle.consumers(), 0);
    /// let _consumer = Consumer::builder(&name)?.attach(Some(Duration::from_secs(1)))?;
    /// assert!(handle.wait_change(seen, Some(Duration::from_secs(10))));
    /// assert_eq!(handle.consumers(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_change(&self, seen: u32, timeout: Option<Duration>) -> bool {
        self.shared.event.wait(seen, timeout) != Wake::Timeout
    }

    /// Ends every [`wait_change`](Self::wait_change) of other threads.
    pub fn signal(&self) {
        self.shared.event.signal();
    }

    /// While true, calls that wait under [`FullPolicy::Block`](super::FullPolicy::Block) return
    /// [`SendError::Cancelled`] within 10 ms.
    pub fn set_cancelled(&self, cancelled: bool) {
        self.shared.set_cancelled(cancelled);
    }

    /// Counts one new frame that the caller dropped for lack of free space.
    pub fn count_dropped(&self) {
        self.shared.count_dropped_newest();
    }

    /// Counters and memory use at this moment.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-producer-stats-{}", std::process::id());
    /// use shm2::{FrameInfo, Producer};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// let stats = producer.handle().stats();
    /// assert_eq!((stats.published, stats.ready, stats.dropped_newest), (1, 1, 0));
    /// assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> ProducerStats {
        let inner = self.shared.lock();
        ProducerStats {
            published: inner.ledger.next() - 1,
            dropped_oldest: inner.ledger.dropped_oldest,
            dropped_newest: inner.stats.dropped_newest,
            dropped_too_large: inner.stats.dropped_too_large,
            wakes: inner.stats.wakes,
            ready: inner.ledger.ready(),
            held: inner.ledger.in_limbo() as u64,
            arena_bytes: self.shared.arena,
            free_bytes: inner.ledger.extents.free_bytes(),
            used_bytes: inner.ledger.extents.used_bytes(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("path", &self.shared.region.path()).finish_non_exhaustive()
    }
}
