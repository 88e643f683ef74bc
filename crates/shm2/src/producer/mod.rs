//! The sending side: [`Producer`], its [`Builder`], and a [`Handle`] for other threads.

mod allocator;
mod builder;
mod consumer_liveness;
mod extents;
mod handle;
mod ledger;
mod lifecycle;
mod reap;
mod reservation;
mod shared;

pub use builder::{Builder, FullPolicy};
pub use handle::{Handle, ProducerStats};
pub use reservation::Reservation;

use crate::backend::{ProcessEvent, ProducerRegion};
use crate::description::{Description, FrameInfo, Kind, Range};
use crate::error::{CreateError, SendError, SpecError};
use crate::layout;
use extents::ExtentId;
use ledger::Record;
use shared::{CurrentCaps, Shared};
use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
        Ok(Builder::new(spec.parse()?))
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
        let life = reservation.life;
        let extent = reservation.into_extent();
        self.send_record(payload, extent, life, info, meta, None)
    }

    /// Publishes a part of a reservation that stays with the caller, who must not write those bytes again before `keep`
    /// is dropped: that happens when no consumer can see them any more. `meta` is an opaque blob that travels along.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`SendError::Range`] when the part lies outside, [`SendError::Description`] when
    /// `meta` is too long. After [`SendError::Cleared`] nothing of this reservation can be published any more: make
    /// another one.
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
        extent.into_iter().for_each(|id| self.shared.lock().ledger.extents.retain(id));
        let payload = Range { offset: start + offset, length: end - offset };
        self.send_record(payload, extent, reservation.life, info, meta, Some(keep))
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
        self.shared.await_quiet();
        let mut reservation = self.shared.reserve_uncounted(length + stream)?;
        reservation.write_uncounted(0, caps)?;
        reservation.write_uncounted(caps.len(), blob)?;
        let (offset, extent) = reservation.place();
        self.shared.with(|inner| {
            self.shared.keep_life(inner)?;
            if reservation.life != inner.generation {
                return Err(SendError::Cleared { bytes: length + stream });
            }
            let id = inner.caps.map_or(1, |old| old.id.wrapping_add(1).max(1));
            let old = inner.caps.replace(CurrentCaps { id, extent, offset, length, stream });
            old.and_then(|old| old.extent).into_iter().for_each(|id| inner.ledger.extents.release(id));
            let is_safe = !self.shared.settings.keep_region;
            inner.caps_copy = (!is_safe).then(|| [caps, blob].concat().into());
            Ok(())
        })?;
        let _ = reservation.into_extent();
        Ok(())
    }

    /// Says that no more frames of this stream come. More may follow; a consumer sees the end between them. There is
    /// always room for an end; a second one in a row changes nothing.
    ///
    /// # Errors
    /// In a kept region, when it belongs to another producer, or may.
    pub fn end_of_stream(&mut self) -> Result<u64, SendError> {
        self.shared.await_quiet();
        self.shared.publish(
            Description { kind: Kind::End, ..description(Range::default(), &FrameInfo::new()) },
            Record { kind: Kind::End, ..record(None, None, None) },
            None,
        )
    }

    /// Says something between two frames: its times are in `info`, what it is in the opaque blob `meta`. Only consumers
    /// that ask for events ([`events`](crate::consumer::Builder::events)) see it.
    ///
    /// # Errors
    /// As for a frame; what finds no room is not counted as a dropped frame.
    pub fn send_event(&mut self, info: &FrameInfo, meta: &[u8]) -> Result<u64, SendError> {
        self.shared.await_quiet();
        let life = self.shared.life()?;
        let (range, extent) = self.meta_blob(meta, Shared::reserve_uncounted)?;
        self.shared.publish(
            Description { kind: Kind::Event, meta: range, ..description(Range::default(), info) },
            Record { kind: Kind::Event, ..record(None, extent, None) },
            Some(life),
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
                let next = inner.ledger.next();
                // After a wipe those who were attached come back.
                let are_back = inner.begun_again.is_none_or(|begun| begun.elapsed() > lifecycle::RETURN);
                are_back && inner.ledger.slowest(&self.shared.memory).is_none_or(|(_, cursor)| cursor >= next)
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
        life: u64,
        info: &FrameInfo,
        meta: &[u8],
        keep: Option<Box<dyn Any + Send>>,
    ) -> Result<u64, SendError> {
        let blob = self.meta_blob(meta, Shared::reserve);
        let (meta_range, meta_extent) = match blob {
            Ok(blob) => blob,
            Err(error) => {
                extent.into_iter().for_each(|id| self.shared.release(id));
                if matches!(error, SendError::Cleared { .. }) {
                    self.shared.count_dropped_newest();
                }
                return Err(error);
            }
        };
        let description = Description { meta: meta_range, ..description(payload, info) };
        self.shared.publish(description, record(extent, meta_extent, keep), Some(life))
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
        reservation.write_uncounted(0, meta)?;
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
