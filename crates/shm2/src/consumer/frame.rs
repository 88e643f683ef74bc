//! A received frame.

use super::lease::LeaseGuard;
use super::ownership::{Heartbeating, Locked};
use super::position::Gap;
use crate::description::{Description, FrameInfo, Kind};
use crate::mapped::Memory;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

/// Looks for the time of publication, which the producer stores some ten nanoseconds after the frame.
const TIME_LOOKS: u32 = 100;

/// The bytes of a frame.
#[derive(Debug)]
pub(super) enum Payload {
    /// In the region. The producer does not write these bytes while the guard exists.
    Locked(LeaseGuard<Locked>),
    /// As `Locked`, by a consumer that owns its page by heartbeat.
    Heartbeating(LeaseGuard<Heartbeating>),
    /// A private copy.
    Owned(Vec<u8>),
}

impl From<LeaseGuard<Locked>> for Payload {
    fn from(guard: LeaseGuard<Locked>) -> Self {
        Self::Locked(guard)
    }
}

impl From<LeaseGuard<Heartbeating>> for Payload {
    fn from(guard: LeaseGuard<Heartbeating>) -> Self {
        Self::Heartbeating(guard)
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

/// An item that was taken: what a [`Frame`] consists of.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) description: Description,
    pub(super) gap: Gap,
    pub(super) payload: Payload,
    pub(super) caps: Option<Arc<[u8]>>,
    pub(super) meta: Vec<u8>,
    /// The time of publication, once it was asked for.
    pub(super) published_ns: OnceLock<Option<u64>>,
}

impl Item {
    /// Ends the lease of an item that is not returned to the caller.
    pub(super) fn discard(&mut self) {
        (self.payload, self.caps, self.meta) = (Payload::default(), None, Vec::new());
    }
}

/// A received frame: its bytes, in place or copied, and its description. Dropping it lets the producer reuse its
/// memory. A frame may be sent to and dropped on any thread, and may outlive its consumer.
///
/// One pointer: the reader fills the item in place, and a frame that moves through results and queues stays where it is.
pub struct Frame(Box<Item>);

impl Frame {
    /// The frame of an item that was taken.
    #[inline]
    pub(super) fn new(item: Box<Item>) -> Self {
        Self(item)
    }

    /// The mapping of a leased payload.
    fn leased(&self) -> Result<&Memory, &[u8]> {
        match &self.0.payload {
            Payload::Locked(guard) => Ok(guard.memory()),
            Payload::Heartbeating(guard) => Ok(guard.memory()),
            Payload::Owned(bytes) => Err(bytes),
        }
    }

    /// Sequence number of the frame. It grows by one with each item: frames, events and ends of stream. It starts at 1;
    /// in a kept region it usually continues after that of the previous producer.
    pub fn sequence(&self) -> u64 {
        self.0.description.sequence()
    }

    /// Items between the previously received frame and this one that were retired before they could be taken.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-missed-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::builder(&name)?.arena(65_536).create()?;
    /// let second = Some(Duration::from_secs(1));
    /// let mut consumer = Consumer::builder(&name)?.attach(second)?;
    /// for _ in 0..3 {
    ///     producer.send(&[0; 40_000], &FrameInfo::new())?; // the arena holds one frame of this size
    /// }
    /// let frame = consumer.next(second)?;
    /// assert_eq!((frame.sequence(), frame.missed()), (3, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn missed(&self) -> u64 {
        self.0.gap.missed
    }

    /// Whether the stream is interrupted before this frame: items were missed or skipped for their age,
    /// or the consumer attached again.
    pub fn is_discontinuity(&self) -> bool {
        self.0.gap.is_discontinuity
    }

    /// Times, positions and flags of the frame.
    pub fn info(&self) -> FrameInfo {
        self.0.description.info()
    }

    /// Time of publication, nanoseconds of the producer's monotonic clock; see [`to_local`](crate::Consumer::to_local).
    ///
    /// The producer stores it right after the frame, so that no consumer waits for its clock. `None` if the producer
    /// died or was stopped in between, and, at the first call for a frame that is read in place, after 4,096 newer
    /// items. Later calls return the same.
    ///
    /// It may be some hundred nanoseconds later than the time at which a consumer that polls got the frame: subtract with
    /// `saturating_sub`.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-published-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let before = shm2::monotonic_ns();
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// let frame = Consumer::new(&name)?.next(Some(Duration::from_secs(1)))?;
    /// assert!(frame.published_ns().is_some_and(|time| time >= before));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn published_ns(&self) -> Option<u64> {
        let look = || match &self.0.payload {
            Payload::Locked(guard) => guard.published_ns(),
            Payload::Heartbeating(guard) => guard.published_ns(),
            Payload::Owned(_) => None,
        };
        let again = |_| {
            std::hint::spin_loop();
            look()
        };
        let looks = if self.is_leased() { TIME_LOOKS } else { 0 };
        let find = || self.0.description.published_ns().or_else(look).or_else(|| (0..looks).find_map(again));
        *self.0.published_ns.get_or_init(find)
    }

    /// The text that describes the stream at this frame, and its number, which changes with each new text. `None` if
    /// the producer has set none.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-caps-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// producer.set_caps(b"audio/x-raw,rate=48000")?;
    /// producer.send(&[0; 1920], &FrameInfo::new())?;
    /// let frame = Consumer::new(&name)?.next(Some(Duration::from_secs(1)))?;
    /// assert_eq!(frame.caps(), Some((1, &b"audio/x-raw,rate=48000"[..])));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn caps(&self) -> Option<(u32, &[u8])> {
        self.0.caps.as_deref().map(|text| (self.0.description.caps().id, self.split(text).0))
    }

    /// The opaque blob of the stream at this frame, which changes together with the number of the caps; empty if there
    /// is none.
    pub fn stream_blob(&self) -> &[u8] {
        self.0.caps.as_deref().map_or(&[], |text| self.split(text).1)
    }

    /// False in a forked child, where a leased payload is not mapped.
    pub(crate) fn is_here(&self) -> bool {
        self.leased().map_or(true, Memory::is_here)
    }

    fn split<'a>(&self, text: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        // If the producer breaks the protocol, the cached text of the same number may be shorter.
        text.split_at(text.len().min(self.0.description.caps().text.length as usize))
    }

    /// Whether this is an event between frames: it has no bytes; [`info`](Self::info) and [`meta`](Self::meta) describe
    /// it.
    pub fn is_event(&self) -> bool {
        self.0.description.kind() == Kind::Event
    }

    /// The opaque blob of this frame or event; empty if there is none.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-frame-meta-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let slot = producer.reserve(100)?;
    /// producer.publish_with_meta(slot, &FrameInfo::new(), b"gain=4")?;
    /// producer.send(b"no meta", &FrameInfo::new())?;
    /// let mut consumer = Consumer::builder(&name)?.start(shm2::Start::Oldest).build();
    /// let second = Some(Duration::from_secs(1));
    /// assert_eq!(consumer.next(second)?.meta(), b"gain=4");
    /// assert!(consumer.next(second)?.meta().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn meta(&self) -> &[u8] {
        &self.0.meta
    }

    /// Size of the payload in bytes.
    pub fn len(&self) -> usize {
        self.0.description.payload().length as usize
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the bytes are in the region itself (true) or a private copy (false).
    pub fn is_leased(&self) -> bool {
        !matches!(self.0.payload, Payload::Owned(_))
    }

    /// Copies `to.len()` bytes from `offset`, in bytes from the beginning of the payload. False when the payload is not
    /// that long, or when the region's file was truncated and bytes are lost.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-read-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// producer.send(b"header:payload", &FrameInfo::new())?;
    /// let frame = Consumer::new(&name)?.next(Some(Duration::from_secs(1)))?;
    /// let mut payload = [0; 7];
    /// assert!(frame.read_at(7, &mut payload));
    /// assert_eq!(&payload, b"payload");
    /// assert!(!frame.read_at(8, &mut payload)); // beyond the end
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> bool {
        if offset.checked_add(to.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        match self.leased() {
            Ok(memory) => {
                memory.copy_out(self.0.description.payload().offset + offset as u64, to) && !memory.is_broken()
            }
            Err(bytes) => {
                to.copy_from_slice(&bytes[offset..offset + to.len()]);
                true
            }
        }
    }

    /// A private copy of the payload. Bytes that are lost because the region's file was truncated are zeros in it.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        // The range is the whole payload. After a truncation the copy has zeros, as documented.
        let _ = self.read_at(0, &mut bytes);
        bytes
    }

    /// Address of the first byte, readable for [`len`](Self::len) bytes while this value exists. A leased payload is
    /// mapped read-only.
    ///
    /// Whether a `&[u8]` may be made of it depends on the caller's trust: the bytes do not change as long as the
    /// producer keeps to the protocol, but a hostile producer can change them.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-frame-ptr-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// let frame = Consumer::new(&name)?.next(Some(Duration::from_secs(1)))?;
    /// // SAFETY: the bytes are readable while `frame` exists, and this process trusts the producer not to change them.
    /// let bytes = unsafe { std::slice::from_raw_parts(frame.as_ptr(), frame.len()) };
    /// assert_eq!(bytes, b"picture");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn as_ptr(&self) -> *const u8 {
        match self.leased() {
            Ok(memory) => {
                let range = self.0.description.payload();
                // The description was checked: the range is inside the region, and the mapping has all of the region.
                memory.pointer(range.offset, range.length).unwrap_or(NonNull::dangling()).as_ptr()
            }
            Err(bytes) => bytes.as_ptr(),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("sequence", &self.sequence())
            .field("bytes", &self.len())
            .field("leased", &self.is_leased())
            .field("info", &self.info())
            .finish_non_exhaustive()
    }
}
