//! The sending side: [`Producer`], its [`Builder`], and a [`Handle`] for other threads.
//!
//! `policy` finds arena memory for a frame, `publish` puts the frame into the ring, the `ledger` records where each
//! frame is, `reap` frees what dead consumers held, and the `lifecycle` decides whether the producer may write at all.

mod allocator;
#[cfg(feature = "async")]
mod asynchronous;
mod builder;
mod consumer_liveness;
mod extents;
mod handle;
mod header_writer;
mod keyframes;
mod ledger;
mod lifecycle;
mod name_check;
mod name_state;
mod policy;
mod publish;
mod reap;
mod reservation;
mod settings;
mod shared;
#[cfg(feature = "async")]
mod space_waiter;

pub use crate::backend::LostName;
#[cfg(feature = "async")]
pub use asynchronous::AsyncProducer;
pub use builder::Builder;
pub use handle::{Handle, ProducerStats};
pub use reservation::Reservation;
pub use settings::FullPolicy;

use crate::backend::{ProcessEvent, ProducerRegion};
use crate::description::{CapsRange, FrameInfo, Kind, Range};
use crate::error::{CreateError, SendError, SpecError};
use crate::layout;
use extents::ExtentId;
use header_writer::write_caps;
use publish::Draft;
use shared::{CurrentCaps, Shared};
use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The one producer of a region. Dropping it closes the region; frames that consumers hold stay readable.
pub struct Producer {
    shared: Arc<Shared>,
}

impl Producer {
    /// Creates a region of 64 MiB with default settings at `spec`, for example `shm:///dev/shm/camera`.
    ///
    /// # Errors
    /// See [`Builder::create`].
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-create-{}", std::process::id());
    /// use shm2::{CreateError, Producer};
    ///
    /// let producer = Producer::create(&name)?;
    /// assert!(producer.path().exists());
    /// assert!(matches!(Producer::create(&name), Err(CreateError::Busy { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(spec: &str) -> Result<Self, CreateError> {
        Self::builder(spec)?.create()
    }

    /// Settings for a region at `spec`.
    ///
    /// # Errors
    /// [`SpecError`] when the name is not valid.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-builder-{}", std::process::id());
    /// use shm2::Producer;
    ///
    /// let bytes = 1920 * 1080 * 4;
    /// let producer = Producer::builder(&name)?.arena(4 * bytes).history(2).create()?;
    /// assert!(producer.handle().stats().arena_bytes >= 4 * bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(spec: &str) -> Result<Builder, SpecError> {
        Ok(Builder::new(spec.parse()?))
    }

    /// Reserves `bytes` of the arena for a frame. The policy decides what happens when there is too little free space;
    /// under [`FullPolicy::Block`] this waits.
    ///
    /// # Errors
    /// [`SendError::Full`], [`SendError::TimedOut`], [`SendError::Recovering`] and [`SendError::TooLarge`] mean that
    /// the frame was dropped and counted. [`SendError::Cancelled`], [`SendError::Closed`], [`SendError::Superseded`]
    /// and [`SendError::Truncated`] count nothing.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-reserve-{}", std::process::id());
    /// use shm2::{FrameInfo, Producer, SendError};
    ///
    /// let mut producer = Producer::builder(&name)?.arena(1 << 20).create()?;
    /// let mut slot = producer.reserve(4)?;
    /// slot.write_at(0, &[1, 2, 3, 4])?;
    /// producer.publish(slot, &FrameInfo::new())?;
    ///
    /// drop(producer.reserve(4)?); // not published: its memory is free again
    /// assert!(matches!(producer.reserve(2 << 20), Err(SendError::TooLarge { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(&mut self, bytes: usize) -> Result<Reservation, SendError> {
        self.shared.reserve(bytes as u64)
    }

    /// Publishes a filled reservation. Returns the frame's sequence number, which grows by one with each item.
    ///
    /// # Errors
    /// [`SendError::Full`] and [`SendError::TimedOut`] when the ring is full and the policy keeps its frames,
    /// [`SendError::Cleared`] when the reservation's bytes are lost, [`SendError::ForeignReservation`] when it belongs
    /// to another region.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-publish-{}", std::process::id());
    /// use shm2::{FrameInfo, Producer};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let mut slot = producer.reserve(2)?;
    /// slot.write_at(0, &[1, 2])?;
    /// assert_eq!(producer.publish(slot, &FrameInfo::new().with_pts(0))?, 1);
    /// let empty = producer.reserve(0)?;
    /// assert_eq!(producer.publish(empty, &FrameInfo::new().with_pts(40_000_000))?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish(&mut self, reservation: Reservation, info: &FrameInfo) -> Result<u64, SendError> {
        self.publish_with_meta(reservation, info, &[])
    }

    /// As [`publish`](Self::publish), with an opaque blob of at most 1 MiB, which consumers read by
    /// [`Frame::meta`](crate::Frame::meta).
    ///
    /// # Errors
    /// Also [`SendError::Description`] when `meta` is longer than 1 MiB.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-meta-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let slot = producer.reserve(640 * 480)?;
    /// producer.publish_with_meta(slot, &FrameInfo::new(), b"exposure=10ms")?;
    /// let frame = Consumer::new(&name)?.next(Some(Duration::from_secs(1)))?;
    /// assert_eq!(frame.meta(), b"exposure=10ms");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_with_meta(
        &mut self,
        mut reservation: Reservation,
        info: &FrameInfo,
        meta: &[u8],
    ) -> Result<u64, SendError> {
        self.check(&reservation)?;
        let mut draft = Draft::new(Kind::Frame, info);
        (draft.epoch, draft.waited) = (Some(reservation.epoch), reservation.waited);
        let range = Range { offset: reservation.location().0, length: reservation.len() as u64 };
        // The reservation itself is dropped after the frame is visible.
        draft.payload = (range, reservation.take_extent());
        self.publish_frame(draft, meta)
    }

    /// Publishes the bytes `part` of a reservation that the caller keeps. The caller must not write those bytes again
    /// before `keep` is dropped, which happens when no consumer can read them any more. `meta` is an opaque blob of at
    /// most 1 MiB.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`SendError::Range`] when the part is not inside the reservation,
    /// [`SendError::Description`] when `meta` is too long. After [`SendError::Cleared`] no part of this reservation can
    /// be published any more: make another one.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-part-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::{sync::Arc, time::Duration};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let mut packets = producer.reserve(6)?;
    /// packets.write_at(0, b"onetwo")?;
    /// let in_use = Arc::new(());
    /// producer.publish_part(&packets, 3..6, &FrameInfo::new(), &[], Box::new(in_use.clone()))?;
    ///
    /// let frame = Consumer::new(&name)?.next(Some(Duration::from_secs(1)))?;
    /// assert_eq!(frame.to_vec(), b"two");
    /// assert_eq!(Arc::strong_count(&in_use), 2); // bytes 3..6 must not be written yet
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        let (start, extent) = reservation.location();
        extent.into_iter().for_each(|id| self.shared.lock().ledger.extents.add_use(id));
        let mut draft = Draft::new(Kind::Frame, info);
        (draft.epoch, draft.keep) = (Some(reservation.epoch), Some(keep));
        draft.payload = (Range { offset: start + offset, length: end - offset }, extent);
        self.publish_frame(draft, meta)
    }

    /// Copies `bytes` into the region and publishes them as one frame. Returns its sequence number.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve) and [`publish`](Self::publish).
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-send-{}", std::process::id());
    /// use shm2::{FrameInfo, Producer};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let sequence = producer.send(b"picture", &FrameInfo::new().with_pts(0))?;
    /// assert_eq!(sequence, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send(&mut self, bytes: &[u8], info: &FrameInfo) -> Result<u64, SendError> {
        let mut reservation = self.reserve(bytes.len())?;
        reservation.write_at(0, bytes)?;
        self.publish(reservation, info)
    }

    /// Sets the text that describes the following frames (in GStreamer: the caps). At most 64 KiB. An
    /// [`Overview`](crate::Overview) shows it at once, also before the first frame.
    ///
    /// # Errors
    /// [`SendError::Description`] when the text is too long, [`SendError::Full`] when there is no free space for it.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-set-caps-{}", std::process::id());
    /// use shm2::{FrameInfo, Producer, SendError};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// producer.set_caps(b"video/x-raw,format=RGBA,width=640,height=480,framerate=25/1")?;
    /// producer.send(&[0; 640 * 480 * 4], &FrameInfo::new())?;
    /// let too_long = producer.set_caps(&[b'x'; 70_000]);
    /// assert!(matches!(too_long, Err(SendError::Description { limit: 65_536, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_caps(&mut self, caps: &[u8]) -> Result<(), SendError> {
        self.set_stream(caps, &[])
    }

    /// As [`set_caps`](Self::set_caps), with an opaque blob of at most 1 MiB that belongs to the stream, not to one
    /// frame: consumers that attach later receive it as well.
    ///
    /// # Errors
    /// As [`set_caps`](Self::set_caps).
    pub fn set_stream(&mut self, caps: &[u8], blob: &[u8]) -> Result<(), SendError> {
        let (length, stream) = (caps.len() as u64, blob.len() as u64);
        for (what, bytes, limit) in [("caps", length, layout::MAX_CAPS), ("stream blob", stream, layout::MAX_META)] {
            if bytes > limit {
                return Err(SendError::Description { what, bytes, limit });
            }
        }
        self.shared.await_recovery();
        let mut reservation = self.shared.reserve_uncounted(length + stream)?;
        reservation.write_uncounted(0, caps)?;
        reservation.write_uncounted(caps.len(), blob)?;
        let (offset, extent) = reservation.location();
        self.shared.with(|inner| {
            let epoch = self.shared.enter(inner)?;
            if reservation.epoch != epoch {
                return Err(SendError::Cleared { bytes: length + stream });
            }
            let id = inner.caps.map_or(1, |old| old.range.id.wrapping_add(1).max(1));
            let range = CapsRange { id, text: Range { offset, length }, blob: stream };
            write_caps(&self.shared.memory, range);
            let old = inner.caps.replace(CurrentCaps { range, extent });
            old.and_then(|old| old.extent).into_iter().for_each(|id| inner.ledger.extents.drop_use(id));
            inner.caps_copy = (!inner.lifecycle.is_exclusive()).then(|| [caps, blob].concat().into());
            Ok(())
        })?;
        let _ = reservation.take_extent();
        self.shared.region.announce();
        Ok(())
    }

    /// Publishes the end of the stream. More frames may follow; a consumer sees the end between them. The ring always
    /// has a cell for an end; a second end in a row changes nothing.
    ///
    /// # Errors
    /// [`SendError::Superseded`] and [`SendError::Recovering`] in a kept region, [`SendError::Truncated`] in any.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-end-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer, ReceiveError};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let mut consumer = Consumer::new(&name)?;
    /// producer.send(b"last", &FrameInfo::new())?;
    /// producer.end_of_stream()?;
    ///
    /// let second = Some(Duration::from_secs(1));
    /// assert_eq!(consumer.next(second)?.to_vec(), b"last");
    /// assert!(matches!(consumer.next(second), Err(ReceiveError::EndOfStream)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end_of_stream(&mut self) -> Result<u64, SendError> {
        self.shared.await_recovery();
        self.shared.publish(Draft::new(Kind::End, &FrameInfo::new()))
    }

    /// Publishes an event between two frames. `info` has its times, the opaque blob `meta` its content, at most 1 MiB.
    /// Only consumers with [`events`](crate::consumer::Builder::events) receive it.
    ///
    /// # Errors
    /// As [`send`](Self::send); an event that finds no free space is not counted as a dropped frame.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-event-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let second = Some(Duration::from_secs(1));
    /// let mut consumer = Consumer::builder(&name)?.events(true).attach(second)?;
    /// producer.send_event(&FrameInfo::new().with_pts(40_000_000), b"scene change")?;
    ///
    /// let event = consumer.next(second)?;
    /// assert!(event.is_event() && event.is_empty());
    /// assert_eq!(event.meta(), b"scene change");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_event(&mut self, info: &FrameInfo, meta: &[u8]) -> Result<u64, SendError> {
        self.shared.await_recovery();
        let epoch = self.shared.epoch()?;
        let (meta, waited) = self.meta_blob(meta, |bytes| self.shared.reserve_uncounted(bytes))?;
        self.shared.publish(Draft { meta, epoch: Some(epoch), waited, ..Draft::new(Kind::Event, info) })
    }

    /// Number of leasing consumers that are attached now. Frees what dead ones held.
    pub fn consumers(&self) -> usize {
        self.handle().consumers()
    }

    /// Waits until every attached leasing consumer has taken every item, for `timeout` at most. True if they have.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-drain-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let second = Duration::from_secs(1);
    /// let mut consumer = Consumer::builder(&name)?.attach(Some(second))?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// assert!(!producer.drain(Duration::from_millis(1)));
    /// consumer.next(Some(second))?;
    /// assert!(producer.drain(second));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let seen = self.shared.event.value();
            self.shared.count_alive();
            let drained = self.shared.with(|inner| {
                let next = inner.ledger.next();
                let are_back = !inner.lifecycle.consumers_may_return(Instant::now());
                are_back && inner.ledger.slowest(&self.shared.memory).is_none_or(|(_, cursor)| cursor >= next)
            });
            let left = deadline.map_or(Duration::MAX, |d| d.saturating_duration_since(Instant::now()));
            if drained || left.is_zero() || self.shared.is_cancelled() {
                return drained;
            }
            // A cursor moves without a signal: check every few milliseconds while frames are being read.
            self.shared.event.wait(seen, Some(left.min(Duration::from_millis(5))));
        }
    }

    /// A handle for other threads: reservations, statistics, attached consumers, cancellation.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-handle-{}", std::process::id());
    /// use shm2::{FrameInfo, Producer};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let handle = producer.handle();
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// let published = std::thread::spawn(move || handle.stats().published);
    /// assert_eq!(published.join().unwrap(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }

    /// The region's file, or its whole name for a section or a device.
    pub fn path(&self) -> &Path {
        self.shared.region.path()
    }

    /// Whether this producer made `reservation`.
    pub fn owns(&self, reservation: &Reservation) -> bool {
        Arc::ptr_eq(&reservation.shared, &self.shared)
    }

    fn check(&self, reservation: &Reservation) -> Result<(), SendError> {
        if self.owns(reservation) { Ok(()) } else { Err(SendError::ForeignReservation) }
    }

    #[inline]
    fn publish_frame(&mut self, mut draft: Draft<'_>, meta: &[u8]) -> Result<u64, SendError> {
        if !meta.is_empty() {
            self.add_meta(&mut draft, meta)?;
        }
        self.shared.publish(draft)
    }

    /// Copies metas into the region for `draft`. Without free space for them the frame is withdrawn.
    fn add_meta(&self, draft: &mut Draft<'_>, meta: &[u8]) -> Result<(), SendError> {
        let before = draft.waited;
        match self.meta_blob(meta, |bytes| self.shared.reserve_after(bytes, before)) {
            Ok((meta, waited)) => {
                (draft.meta, draft.waited) = (meta, waited.max(before));
                Ok(())
            }
            Err(error) => {
                draft.payload.1.into_iter().for_each(|id| self.shared.drop_use(id));
                if matches!(error, SendError::Cleared { .. }) {
                    self.shared.count_dropped_newest();
                }
                Err(error)
            }
        }
    }

    /// Copies metas into the region; returns where they are, and the time waited.
    fn meta_blob(
        &self,
        meta: &[u8],
        reserve: impl FnOnce(u64) -> Result<Reservation, SendError>,
    ) -> Result<((Range, Option<ExtentId>), Duration), SendError> {
        let (bytes, limit) = (meta.len() as u64, layout::MAX_META);
        if bytes > limit {
            return Err(SendError::Description { what: "metas", bytes, limit });
        }
        if meta.is_empty() {
            return Ok(((Range::default(), None), Duration::ZERO));
        }
        let mut reservation = reserve(bytes)?;
        reservation.write_uncounted(0, meta)?;
        let (range, waited) = (Range { offset: reservation.location().0, length: bytes }, reservation.waited);
        Ok(((range, reservation.take_extent()), waited))
    }
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
