//! Payload bytes as slices, for programs that trust the processes at the other side.
//!
//! Another process can write memory that is shared with it, and Rust's `&[u8]` must not change while it exists. A peer that
//! keeps to the protocol writes no bytes of a frame that is held, but whether a peer does so cannot be checked. So
//! [`Consumer::trust_producer`] and [`Producer::trust_consumers`] are unsafe calls, made once; everything after them is safe.
//! Programs that trust no peer copy: [`Frame::read_at`], [`Frame::to_vec`], [`Reservation::write_at`].
//!
//! # Safety
//! The caller of an unsafe constructor keeps its contract. This file adds that a slice is made only of a range that is
//! mapped, of this process (a forked child has no mapping), and that it borrows the value that holds the range. No safe call
//! gives a mutable reference to the value inside: it could be exchanged for one of another region.

#![expect(unsafe_code, reason = "slices of memory that is shared with trusted processes")]

use crate::consumer::{Consumer, Frame};
use crate::description::FrameInfo;
use crate::error::{ReceiveError, SendError};
use crate::producer::{Producer, Reservation};
use std::ops::Deref;
use std::time::Duration;

impl Consumer {
    /// A consumer whose frames give their bytes as slices.
    ///
    /// # Safety
    /// As long as frames of this consumer exist, every process that may write the region, the producer above all, keeps to
    /// the protocol: it changes no byte of a frame that is held, and truncates no file. All producers and consumers of
    /// this project do, also when they are killed. It cannot be promised for memory where only heartbeats show liveness
    /// ([`Liveness::Heartbeat`](crate::consumer::Liveness::Heartbeat), virtual machines), unless by
    /// [`Access::Snapshot`](crate::Access::Snapshot), which makes private copies: there a paused consumer loses what it
    /// holds.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-trust-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// // SAFETY: the only other process with permission for the region is the producer of this project.
    /// let mut consumer = unsafe { Consumer::new(&name)?.trust_producer() };
    /// let frame = consumer.next(Some(Duration::from_secs(1)))?;
    /// assert_eq!(frame.bytes(), b"picture"); // in place
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub unsafe fn trust_producer(self) -> TrustedConsumer {
        TrustedConsumer(self)
    }
}

impl Frame {
    /// The frame with its bytes as a slice, for frames of a [`WaitSet`](crate::WaitSet) or of a task.
    ///
    /// # Safety
    /// As [`Consumer::trust_producer`].
    pub unsafe fn trust_producer(self) -> TrustedFrame {
        TrustedFrame(self)
    }
}

/// A [`Consumer`] that trusts its producer; see [`Consumer::trust_producer`].
#[derive(Debug)]
pub struct TrustedConsumer(Consumer);

impl TrustedConsumer {
    /// As [`Consumer::next`].
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<TrustedFrame, ReceiveError> {
        self.0.next(timeout).map(TrustedFrame)
    }

    /// As [`Consumer::try_next`].
    ///
    /// # Errors
    /// As [`Consumer::try_next`].
    pub fn try_next(&mut self) -> Result<Option<TrustedFrame>, ReceiveError> {
        Ok(self.0.try_next()?.map(TrustedFrame))
    }

    /// As [`Consumer::request_keyframe`].
    pub fn request_keyframe(&mut self) -> bool {
        self.0.request_keyframe()
    }

    /// As [`Consumer::set_latest_only`].
    pub fn set_latest_only(&mut self, latest_only: bool) {
        self.0.set_latest_only(latest_only);
    }

    /// The consumer, whose frames are to be copied.
    pub fn into_inner(self) -> Consumer {
        self.0
    }
}

impl Deref for TrustedConsumer {
    type Target = Consumer;

    fn deref(&self) -> &Consumer {
        &self.0
    }
}

/// A [`Frame`] of a trusted producer.
#[derive(Debug)]
pub struct TrustedFrame(Frame);

impl TrustedFrame {
    /// The payload, in place. Empty in a forked child, which has no mapping of the region.
    pub fn bytes(&self) -> &[u8] {
        if !self.0.is_here() {
            return &[];
        }
        // SAFETY: readable for `len` bytes while the frame exists, which the slice borrows. That no process changes them
        // was promised by the caller of `trust_producer`.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), self.0.len()) }
    }

    /// The payload as a value or a slice of plain data, in place. `None` if its size or alignment does not fit; payloads
    /// begin at a multiple of 64 bytes.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-value-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    /// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    ///
    /// #[derive(Debug, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
    /// #[repr(C)]
    /// struct Pose {
    ///     position: [f64; 3],
    ///     rotation: [f64; 4],
    /// }
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let pose = Pose { position: [1.0, 2.0, 3.0], rotation: [0.0, 0.0, 0.0, 1.0] };
    /// producer.send_value(&pose, &FrameInfo::new())?;
    /// let mut consumer = Consumer::new(&name)?;
    /// let frame = consumer.next(Some(Duration::from_secs(1)))?;
    /// assert_eq!(frame.read_value(), Some(pose)); // a copy, without trust
    /// // SAFETY: the only other process with permission for the region is the producer of this project.
    /// let frame = unsafe { frame.trust_producer() };
    /// assert_eq!(frame.value::<Pose>().unwrap().position, [1.0, 2.0, 3.0]); // in place
    /// assert_eq!(frame.value::<[f64]>().unwrap().len(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "zerocopy")]
    pub fn value<T>(&self) -> Option<&T>
    where
        T: zerocopy::FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + ?Sized,
    {
        T::ref_from_bytes(self.bytes()).ok()
    }
}

impl Deref for TrustedFrame {
    type Target = Frame;

    fn deref(&self) -> &Frame {
        &self.0
    }
}

impl AsRef<[u8]> for TrustedFrame {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl From<TrustedFrame> for Frame {
    fn from(frame: TrustedFrame) -> Self {
        frame.0
    }
}

impl Producer {
    /// A producer whose reservations give their bytes as slices.
    ///
    /// # Safety
    /// As long as reservations of this producer exist, no other process writes bytes of them: consumers with permission to
    /// write keep to the protocol, and nobody truncates the file. In the memory of a device and in a kept region, no
    /// other process clears it or takes it over.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-trust-consumers-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// // SAFETY: all consumers with permission for the region are those of this project.
    /// let mut producer = unsafe { Producer::create(&name)?.trust_consumers() };
    /// let mut slot = producer.reserve(3)?;
    /// slot.bytes_mut().copy_from_slice(&[1, 2, 3]); // in the region
    /// producer.publish(slot, &FrameInfo::new())?;
    /// assert_eq!(Consumer::new(&name)?.next(Some(Duration::from_secs(1)))?.to_vec(), [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub unsafe fn trust_consumers(self) -> TrustedProducer {
        TrustedProducer(self)
    }
}

/// A [`Producer`] that trusts its consumers; see [`Producer::trust_consumers`].
#[derive(Debug)]
pub struct TrustedProducer(Producer);

impl TrustedProducer {
    /// As [`Producer::reserve`].
    ///
    /// # Errors
    /// As [`Producer::reserve`].
    pub fn reserve(&mut self, bytes: usize) -> Result<TrustedReservation, SendError> {
        self.0.reserve(bytes).map(TrustedReservation)
    }

    /// As [`Producer::publish`].
    ///
    /// # Errors
    /// As [`Producer::publish`].
    pub fn publish(&mut self, slot: TrustedReservation, info: &FrameInfo) -> Result<u64, SendError> {
        self.0.publish(slot.0, info)
    }

    /// As [`Producer::publish_with_meta`].
    ///
    /// # Errors
    /// As [`Producer::publish_with_meta`].
    pub fn publish_with_meta(
        &mut self,
        slot: TrustedReservation,
        info: &FrameInfo,
        meta: &[u8],
    ) -> Result<u64, SendError> {
        self.0.publish_with_meta(slot.0, info, meta)
    }

    /// As [`Producer::send`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn send(&mut self, bytes: &[u8], info: &FrameInfo) -> Result<u64, SendError> {
        self.0.send(bytes, info)
    }

    /// As [`Producer::set_caps`].
    ///
    /// # Errors
    /// As [`Producer::set_caps`].
    pub fn set_caps(&mut self, caps: &[u8]) -> Result<(), SendError> {
        self.0.set_caps(caps)
    }

    /// As [`Producer::send_event`].
    ///
    /// # Errors
    /// As [`Producer::send_event`].
    pub fn send_event(&mut self, info: &FrameInfo, meta: &[u8]) -> Result<u64, SendError> {
        self.0.send_event(info, meta)
    }

    /// As [`Producer::end_of_stream`].
    ///
    /// # Errors
    /// As [`Producer::end_of_stream`].
    pub fn end_of_stream(&mut self) -> Result<u64, SendError> {
        self.0.end_of_stream()
    }

    /// The producer, whose reservations are to be filled by copies.
    pub fn into_inner(self) -> Producer {
        self.0
    }
}

impl Deref for TrustedProducer {
    type Target = Producer;

    fn deref(&self) -> &Producer {
        &self.0
    }
}

/// A [`Reservation`] of a producer that trusts its consumers.
#[derive(Debug)]
pub struct TrustedReservation(Reservation);

impl TrustedReservation {
    /// The bytes of the frame, in the region: what an earlier frame left there, or zeros. Empty in a forked child, which
    /// has no mapping of the region.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if !self.0.is_here() {
            return &mut [];
        }
        // SAFETY: writable for `len` bytes while the reservation exists, which the slice borrows alone. That no other
        // process accesses them was promised by the caller of `trust_consumers`. All of a mapping is initialized.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr(), self.0.len()) }
    }

    /// The bytes as a value or a slice of plain data. `None` if the size does not fit.
    #[cfg(feature = "zerocopy")]
    pub fn value_mut<T>(&mut self) -> Option<&mut T>
    where
        T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + ?Sized,
    {
        T::mut_from_bytes(self.bytes_mut()).ok()
    }
}

impl Deref for TrustedReservation {
    type Target = Reservation;

    fn deref(&self) -> &Reservation {
        &self.0
    }
}

#[cfg(feature = "zerocopy")]
impl Frame {
    /// The payload as a value of plain data, copied, for programs that trust no peer. `None` if its size differs, or if the
    /// region's file was truncated.
    pub fn read_value<T: zerocopy::FromBytes + zerocopy::IntoBytes>(&self) -> Option<T> {
        let mut value = T::new_zeroed();
        (self.len() == size_of::<T>() && self.read_at(0, value.as_mut_bytes())).then_some(value)
    }
}

#[cfg(feature = "zerocopy")]
impl Producer {
    /// Publishes a value of plain data, or a slice of them, as one frame. Its bytes are those in memory: a consumer on a
    /// machine with the same layout of the type reads them by [`Frame::read_value`] or [`TrustedFrame::value`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn send_value<T>(&mut self, value: &T, info: &FrameInfo) -> Result<u64, SendError>
    where
        T: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized,
    {
        self.send(value.as_bytes(), info)
    }
}
