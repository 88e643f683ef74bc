//! The receiving side: [`Consumer`], its [`Builder`], and the [`Frame`]s that it yields.

mod absent;
mod arm;
#[cfg(feature = "async")]
mod asynchronous;
mod attach;
mod attachment;
mod builder;
mod claim;
mod clock_map;
#[cfg(all(target_os = "linux", not(miri)))]
mod descriptor;
mod frame;
mod lease;
mod leasing;
mod notified;
mod ownership;
mod position;
mod producer_liveness;
mod reader;
mod receive;
mod ring_reader;
mod signals;
mod sleep;
mod snapshots;
mod start;
mod take_error;
mod waiting;
mod wake_ahead;

#[cfg(feature = "async")]
pub use asynchronous::AsyncConsumer;
pub(crate) use attach::header_of;
pub use builder::{Access, Builder, Liveness, OnProducerExit};
pub use frame::Frame;
pub use signals::Canceller;
pub use start::Start;
pub use waiting::{Place, WaitReason, WaitingFor};

use crate::backend::Identity;
use crate::error::{AttachError, ReceiveError, SpecError};
use crate::name::Spec;
use attachment::Attachment;
use builder::Settings;
use notified::Notified;
use position::Position;
use producer_liveness::FirstHeartbeat;
use signals::Signals;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A change of a consumer's attachment, as [`Consumer::observe`] reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The consumer is attached now.
    Attached {
        /// Random number of the region's generation.
        generation: u64,
        /// [`Access::Lease`] or [`Access::Snapshot`].
        access: Access,
        /// For a device's memory: its measured read speed, in bytes per second. Memory that the processor does not
        /// cache has a tenth of the usual speed or less.
        read_speed: Option<u64>,
    },
    /// The consumer is no longer attached: its producer exited, or its region cannot be used any more.
    Detached,
}

type Observer = Box<dyn FnMut(Change) + Send>;

/// The end of the previous attachment.
#[derive(Debug, Clone, Copy)]
struct LastAttachment {
    file: Identity,
    generation: u64,
    next: u64,
    missed_before_next: u64,
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|t| Instant::now().checked_add(t))
}

/// Counters of a consumer, over all producers to which it was attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Frames taken.
    pub received: u64,
    /// Items that were retired before they could be taken: frames, with the events and ends between them.
    pub missed: u64,
    /// Frames skipped under latest-only, or because they were too old.
    pub skipped: u64,
    /// The part of `skipped` that was older than the [lag limit](Builder::lag_limit).
    pub skipped_old: u64,
    /// Frames received as private copies.
    pub copied: u64,
    /// Number of attaches. More than 1 means that a producer was restarted, or that the consumer attached again.
    pub attaches: u64,
    /// Wake-ups that did not arrive: another process that may read the region took them. Each delayed a frame by a
    /// second at most; after it, this consumer looks every two milliseconds for a time.
    pub lost_wakes: u64,
    /// Looks ahead of time that found an item; see [`Builder::wake_ahead`].
    pub looks_found: u64,
    /// Looks ahead of time that ended without an item.
    pub looks_missed: u64,
    /// Time spent on looks ahead of time, in nanoseconds.
    pub looked_ns: u64,
}

/// A receiver of a region's frames. It waits for its producer, and attaches to the next one when that one exits.
pub struct Consumer {
    spec: Spec,
    settings: Settings,
    attachment: Option<Attachment>,
    observer: Option<Observer>,
    first_heartbeat: FirstHeartbeat,
    last: Option<LastAttachment>,
    position: Position,
    /// The last take stopped at events although more items may wait.
    has_more: bool,
    totals: ConsumerStats,
    /// When a request of a keyframe began that lasts.
    keyframe_requested: Option<Instant>,
    shared: Arc<Signals>,
    /// Another thread waits for this consumer.
    notified: Option<Notified>,
}

impl Builder {
    /// A consumer that attaches at its first [`next`](Consumer::next). The producer may start later.
    pub fn build(self) -> Consumer {
        Consumer::with(self)
    }

    /// A consumer that is already attached. Waits for a producer up to `timeout` (`None`: no limit).
    ///
    /// # Errors
    /// [`AttachError::TimedOut`] when no producer comes in time; other variants when the region cannot be used.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-attach-{}", std::process::id());
    /// use shm2::{AttachError, Consumer, Producer};
    /// use std::time::Duration;
    ///
    /// let early = Consumer::builder(&name)?.attach(Some(Duration::from_millis(1)));
    /// assert!(matches!(early, Err(AttachError::TimedOut { .. })));
    /// let _producer = Producer::create(&name)?;
    /// assert!(Consumer::builder(&name)?.attach(Some(Duration::from_secs(1)))?.is_attached());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach(self, timeout: Option<Duration>) -> Result<Consumer, AttachError> {
        let mut consumer = self.build();
        consumer.attach(deadline(timeout))?;
        Ok(consumer)
    }
}

impl Consumer {
    /// A consumer with default settings. It attaches at its first [`next`](Self::next); see [`Builder::build`].
    ///
    /// # Errors
    /// [`SpecError`] when the name is not valid.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-new-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut consumer = Consumer::new(&name)?; // no producer yet
    /// assert!(!consumer.is_attached());
    /// let mut producer = Producer::create(&name)?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// assert_eq!(consumer.next(Some(Duration::from_secs(1)))?.to_vec(), b"picture");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(spec: &str) -> Result<Self, SpecError> {
        Ok(Self::builder(spec)?.build())
    }

    fn with(builder: Builder) -> Self {
        let Builder { spec, settings } = builder;
        Self {
            spec,
            settings,
            attachment: None,
            observer: None,
            first_heartbeat: FirstHeartbeat::default(),
            last: None,
            position: Position::default(),
            has_more: false,
            totals: ConsumerStats::default(),
            keyframe_requested: None,
            shared: Arc::default(),
            notified: None,
        }
    }

    /// Settings for a consumer of the region at `spec`.
    ///
    /// # Errors
    /// [`SpecError`] when the name is not valid.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-consumer-builder-{}", std::process::id());
    /// use shm2::{Consumer, OnProducerExit, Producer, ReceiveError};
    /// use std::time::Duration;
    ///
    /// let producer = Producer::create(&name)?;
    /// let settings = Consumer::builder(&name)?.on_producer_exit(OnProducerExit::Error);
    /// let mut consumer = settings.attach(Some(Duration::from_secs(1)))?;
    /// drop(producer);
    /// assert!(matches!(consumer.next(None), Err(ReceiveError::ProducerGone { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(spec: &str) -> Result<Builder, SpecError> {
        Ok(Builder { spec: spec.parse()?, settings: Settings::default() })
    }

    /// Returns the next frame. Waits for it, and for a producer, up to `timeout` (`None`: no limit).
    ///
    /// # Errors
    /// [`ReceiveError::TimedOut`] and [`ReceiveError::Cancelled`] change nothing. After [`ReceiveError::EndOfStream`] a
    /// further call waits for frames after the end. After any other error the consumer is detached, and a further call
    /// attaches again.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("shm:///dev/shm/shm2-doc-next-{}", std::process::id());
    /// use std::time::Duration;
    ///
    /// let mut producer = shm2::Producer::create(&name)?;
    /// let mut consumer = shm2::Consumer::new(&name)?;
    /// producer.send(b"picture", &shm2::FrameInfo::new().with_pts(40))?;
    ///
    /// let frame = consumer.next(Some(Duration::from_secs(1)))?;
    /// assert_eq!((frame.to_vec().as_slice(), frame.info().pts), (&b"picture"[..], Some(40)));
    /// let late = consumer.next(Some(Duration::from_millis(1)));
    /// assert!(matches!(late, Err(shm2::ReceiveError::TimedOut)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Frame, ReceiveError> {
        // The clock is not read when there is a frame to take.
        let taken = match self.take()? {
            Some(taken) => taken,
            None => self.wait(timeout)?,
        };
        self.frame(taken)
    }

    /// Returns the next frame if there is one now. Never waits. For programs that poll: a call without a frame costs
    /// some nanoseconds.
    ///
    /// # Errors
    /// As [`next`](Self::next); with [`OnProducerExit::Reconnect`] a missing producer is no error.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("shm:///dev/shm/shm2-doc-try-{}", std::process::id());
    /// let mut consumer = shm2::Consumer::new(&name)?;
    /// assert!(consumer.try_next()?.is_none()); // no producer yet
    /// let mut producer = shm2::Producer::create(&name)?;
    /// producer.send(b"picture", &shm2::FrameInfo::new())?;
    /// assert_eq!(consumer.try_next()?.map(|frame| frame.len()), Some(7));
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_next(&mut self) -> Result<Option<Frame>, ReceiveError> {
        if self.has_descriptor() {
            return self.next_or_arm_descriptor();
        }
        let taken = match self.take()? {
            None => self.poll_attachment()?,
            taken => taken,
        };
        match taken {
            Some(kind) => self.frame(kind).map(Some),
            None => Ok(None),
        }
    }

    /// Counters since the consumer was made.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-consumer-stats-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let mut consumer = Consumer::new(&name)?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// consumer.next(Some(Duration::from_secs(1)))?;
    /// let stats = consumer.stats();
    /// assert_eq!((stats.received, stats.missed, stats.attaches), (1, 0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> ConsumerStats {
        let (t, p) = (&self.totals, &self.position);
        let looks = self.attachment.as_ref().map(Attachment::looks_ahead).unwrap_or_default();
        ConsumerStats {
            received: t.received.saturating_add(p.received),
            missed: t.missed.saturating_add(p.missed),
            skipped: t.skipped.saturating_add(p.skipped),
            skipped_old: t.skipped_old.saturating_add(p.skipped_old),
            copied: t.copied.saturating_add(p.copied),
            attaches: t.attaches,
            lost_wakes: t.lost_wakes + self.attachment.as_ref().map_or(0, Attachment::lost_wakes),
            looks_found: t.looks_found + looks.found,
            looks_missed: t.looks_missed + looks.missed,
            looked_ns: t.looked_ns + looks.looked_ns,
        }
    }

    /// Whether the consumer is attached to a region now.
    pub fn is_attached(&self) -> bool {
        self.attachment.is_some()
    }

    /// Random number of the attached region's generation; `None` while detached.
    pub fn generation(&self) -> Option<u64> {
        self.attachment.as_ref().map(|attachment| attachment.reader.header().generation)
    }

    /// Why this consumer would wait now, for a message to a user. Looks at the region's file, and changes nothing.
    pub fn waiting_for(&self) -> WaitingFor {
        WaitingFor::of(&self.spec)
    }

    /// How the attached region is accessed: [`Access::Lease`] or [`Access::Snapshot`]; `None` while detached.
    pub fn access(&self) -> Option<Access> {
        self.attachment.as_ref().map(|attachment| attachment.reader.access())
    }

    /// Converts a time of the producer's monotonic clock ([`FrameInfo::time`](crate::FrameInfo::time),
    /// [`Frame::published_ns`]), in nanoseconds, to this process's monotonic clock. On one machine both are the same
    /// clock. For a producer on another kernel, as in a virtual machine, or in another time namespace, the difference
    /// is estimated from the times at which frames were published and received; it includes the shortest delay of a
    /// frame.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-local-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let mut consumer = Consumer::new(&name)?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// let frame = consumer.next(Some(Duration::from_secs(1)))?;
    /// let now = shm2::monotonic_ns();
    /// let published_ns = frame.published_ns().map_or(now, |time| consumer.to_local(time));
    /// let age = Duration::from_nanos(now.saturating_sub(published_ns));
    /// assert!(age < Duration::from_secs(60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_local(&self, time: u64) -> u64 {
        self.attachment.as_ref().map_or(time, |attachment| attachment.to_local(time))
    }

    /// Asks the producer for a keyframe, a frame that depends on no other, so that a decoder can begin or continue. The
    /// producer decides; see [`Handle::keyframe_requests`](crate::producer::Handle::keyframe_requests). False if it cannot
    /// be told: while detached, and for snapshots on Windows and of a device. Costs some system calls.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-request-{}", std::process::id());
    /// use shm2::{Consumer, Producer};
    /// use std::time::Duration;
    ///
    /// let mut consumer = Consumer::new(&name)?;
    /// assert!(!consumer.request_keyframe(), "no producer yet");
    /// let producer = Producer::create(&name)?;
    /// let mut consumer = Consumer::builder(&name)?.attach(Some(Duration::from_secs(1)))?;
    /// assert!(consumer.request_keyframe());
    /// assert_eq!(producer.handle().keyframe_requests(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request_keyframe(&mut self) -> bool {
        let Some(attachment) = &self.attachment else { return false };
        let is_told = attachment.reader.request_keyframe();
        self.keyframe_requested = is_told.then(Instant::now);
        is_told
    }

    /// Switches between receiving all frames in order and latest-only; see
    /// [`latest_only`](Builder::latest_only).
    pub fn set_latest_only(&mut self, latest_only: bool) {
        self.settings.latest_only = latest_only;
        self.position.latest_only = self.latest_scan();
    }

    /// Changes the [`lag_limit`](Builder::lag_limit); zero for no limit.
    pub fn set_lag_limit(&mut self, age: Duration) {
        self.settings.lag_limit = age;
    }

    /// Calls `observer` at each attach and detach, also inside a [`next`](Self::next) that waits, on the thread of that
    /// call. Replaces the previous observer.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-observe-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer, consumer::Change};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let mut consumer = Consumer::new(&name)?;
    /// let (sender, changes) = mpsc::channel();
    /// consumer.observe(move |change| {
    ///     let _ = sender.send(matches!(change, Change::Attached { .. }));
    /// });
    /// let mut producer = Producer::create(&name)?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// consumer.next(Some(Duration::from_secs(1)))?;
    /// drop(producer);
    /// assert!(consumer.next(Some(Duration::from_millis(1))).is_err());
    /// assert_eq!(changes.try_iter().collect::<Vec<_>>(), [true, false]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn observe(&mut self, observer: impl FnMut(Change) + Send + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// A handle that cancels waiting calls from another thread.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-cancel-{}", std::process::id());
    /// use shm2::{Consumer, ReceiveError};
    ///
    /// let mut consumer = Consumer::new(&name)?;
    /// let canceller = consumer.canceller();
    /// let waiting = std::thread::spawn(move || consumer.next(None));
    /// canceller.set(true);
    /// assert!(matches!(waiting.join().unwrap(), Err(ReceiveError::Cancelled)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn canceller(&self) -> Canceller {
        Canceller(self.shared.clone())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.observer = None;
        self.detach();
        self.set_notified(None);
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("region", &self.spec).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
