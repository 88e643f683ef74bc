//! The receiving side: [`Consumer`], its [`Builder`], and the [`Frame`]s that it yields.

mod attach;
mod attachment;
mod builder;
mod claim;
mod clock_map;
mod frame;
mod leasing;
mod overview;
mod ownership;
mod position;
mod producer_liveness;
mod ring_reader;
mod snapshots;
mod start;

pub use builder::{Access, Builder, Liveness, OnProducerExit};
pub use frame::Frame;
pub use overview::Overview;
pub use start::Start;

use crate::backend::{AwaitProducer, ConsumerRegion, Event, Identity, ProcessEvent, ProducerWatch};
use crate::description::Kind;
use crate::error::{AttachError, ReceiveError, SpecError};
use crate::layout;
use crate::name::Spec;
use attach::{attach, may_restart_unseen};
use attachment::Attachment;
use builder::Settings;
use position::Position;
use producer_liveness::{FirstHeartbeat, ProducerLiveness};
use ring_reader::{Step, TakeError, Taken};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Interval at which a consumer checks for the first heartbeat of a producer without a lock.
const HEARTBEAT_PROBE: Duration = Duration::from_millis(50);

/// Number of calls of a polling consumer without an item after which it checks the ring's state and its producer.
const IDLE_CHECK: u32 = 1024;

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

#[derive(Debug, Default)]
struct Signals {
    event: Arc<Event>,
    cancelled: AtomicBool,
}

/// Cancels a consumer's waiting calls from another thread. Made by [`Consumer::canceller`].
#[derive(Debug, Clone)]
pub struct Canceller(Arc<Signals>);

impl Canceller {
    /// While true, calls that would wait return [`ReceiveError::Cancelled`] at once.
    pub fn set(&self, cancelled: bool) {
        self.0.cancelled.store(cancelled, Ordering::Release);
        self.0.event.signal();
    }

    /// Whether waiting calls are cancelled now.
    pub fn is_set(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }
}

/// Counters of a consumer, over all producers to which it was attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Frames taken.
    pub received: u64,
    /// Items that were retired before they could be taken: frames, with the events and ends between them.
    pub missed: u64,
    /// Frames skipped under latest-only.
    pub skipped: u64,
    /// Frames received as private copies.
    pub copied: u64,
    /// Number of attaches. More than 1 means that a producer was restarted, or that the consumer attached again.
    pub attaches: u64,
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
    totals: ConsumerStats,
    shared: Arc<Signals>,
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
            totals: ConsumerStats::default(),
            shared: Arc::default(),
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
        let taken = match self.take()? {
            None => self.poll_attachment()?,
            taken => taken,
        };
        taken.map(|taken| self.frame(taken)).transpose()
    }

    /// Makes the [`Frame`] of an item that was just taken.
    #[inline]
    fn frame(&mut self, taken: Taken) -> Result<Frame, ReceiveError> {
        // `take` returns items of the current attachment only.
        let Some(attachment) = &mut self.attachment else { return Err(ReceiveError::TimedOut) };
        let gap = self.position.take_gap(taken.kind);
        let frame = attachment.reader.frame(taken, gap);
        attachment.observe_clock(&frame);
        Ok(frame)
    }

    /// Without an item to take: attaches, or checks the producer, for a caller that does not wait.
    fn poll_attachment(&mut self) -> Result<Option<Taken>, ReceiveError> {
        let seen = self.shared.event.value();
        match self.attachment.as_mut().map(|attachment| attachment.is_gone(seen)) {
            Some(false) => self.idle(),
            Some(true) => self.take_last(),
            None => match self.try_attach() {
                Ok(()) => self.take(),
                Err(error) if error.is_absence() => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Checks the ring and the producer every [`IDLE_CHECK`] calls without an item.
    fn idle(&mut self) -> Result<Option<Taken>, ReceiveError> {
        self.position.idle = self.position.idle.wrapping_add(1);
        if !self.position.idle.is_multiple_of(IDLE_CHECK) {
            return Ok(None);
        }
        let Some(attachment) = &mut self.attachment else { return Ok(None) };
        if let Err(error) = attachment.reader.check_idle(&self.position) {
            return Err(self.fail(error));
        }
        // A wait ends when the producer dies. A consumer that never waits must probe it.
        if attachment.is_producer_alive() { Ok(None) } else { self.take_last() }
    }

    /// Takes what remains of a producer that has exited; detaches when nothing remains.
    fn take_last(&mut self) -> Result<Option<Taken>, ReceiveError> {
        match self.take()? {
            None => self.producer_gone().map(|()| None),
            taken => Ok(taken),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Taken, ReceiveError> {
        let deadline = deadline(timeout);
        loop {
            self.attach(deadline).map_err(|e| match e {
                AttachError::TimedOut { .. } => ReceiveError::TimedOut,
                AttachError::Cancelled => ReceiveError::Cancelled,
                e => ReceiveError::Attach(e),
            })?;
            if let Some(taken) = self.wait_attached(deadline)? {
                return Ok(taken);
            }
        }
    }

    /// `None` when the producer has exited and the consumer is to wait for the next one.
    fn wait_attached(&mut self, deadline: Option<Instant>) -> Result<Option<Taken>, ReceiveError> {
        let mut is_gone = false;
        let mut spin_until = (!self.settings.spin.is_zero()).then(|| Instant::now() + self.settings.spin);
        loop {
            if is_gone {
                return self.take_last();
            }
            if let Some(taken) = self.take()? {
                return Ok(Some(taken));
            }
            let Some(attachment) = &mut self.attachment else { return Ok(None) };
            if self.shared.cancelled.load(Ordering::Acquire) {
                return Err(ReceiveError::Cancelled);
            }
            if spin_until.is_some_and(|end| Instant::now() < end) {
                std::hint::spin_loop();
                continue;
            }
            spin_until = None;
            if deadline.is_some_and(|d| Instant::now() >= d) {
                is_gone = attachment.is_gone(self.shared.event.value());
                if !is_gone {
                    return Err(ReceiveError::TimedOut);
                }
                continue;
            }
            is_gone = match attachment.wait(&self.position, &self.shared, deadline) {
                Ok(is_gone) => is_gone,
                Err(error) => return Err(self.fail(error)),
            };
        }
    }

    /// Takes the next frame, or event if the settings ask for events, if there is one.
    #[inline]
    fn take(&mut self) -> Result<Option<Taken>, ReceiveError> {
        // Skips at most a ring of events at once, then the callers check for cancellation.
        for _ in 0..layout::CELLS {
            let Some(attachment) = &mut self.attachment else { return Ok(None) };
            return match attachment.reader.take(&mut self.position) {
                Ok(Step::Item(taken)) if taken.kind == Kind::Event && !self.settings.events => {
                    attachment.reader.discard(taken);
                    continue;
                }
                Ok(Step::Item(taken)) => Ok(Some(taken)),
                Ok(Step::EndOfStream) => Err(ReceiveError::EndOfStream),
                Ok(Step::Nothing) => Ok(None),
                Err(error) => Err(self.fail(error)),
            };
        }
        Ok(None)
    }

    /// Ends the attachment because of an error.
    fn fail(&mut self, error: TakeError) -> ReceiveError {
        self.detach();
        let path = self.spec.path().into();
        match error {
            TakeError::Violation(violation) => ReceiveError::Misbehaving { path, violation },
            TakeError::Expelled => ReceiveError::Expelled { path },
            TakeError::TooLarge { sequence, length } => ReceiveError::FrameTooLarge { path, sequence, length },
            TakeError::Truncated => ReceiveError::Truncated { path },
        }
    }

    fn producer_gone(&mut self) -> Result<(), ReceiveError> {
        self.detach();
        match self.settings.on_exit {
            OnProducerExit::Reconnect => Ok(()),
            OnProducerExit::EndOfStream => Err(ReceiveError::EndOfStream),
            OnProducerExit::Error => Err(ReceiveError::ProducerGone { path: self.spec.path().into() }),
        }
    }

    /// Attaches, unless the consumer is attached; waits for a producer.
    fn attach(&mut self, deadline: Option<Instant>) -> Result<(), AttachError> {
        if self.attachment.is_some() {
            return Ok(());
        }
        let mut watch = ProducerWatch::default();
        loop {
            let seen = self.shared.event.value();
            match self.try_attach() {
                Err(e) if e.is_absence() => {}
                other => return other,
            }
            if !watch.arm(&self.spec, &self.shared.event) {
                self.wait_for_producer(&watch, seen, deadline)?;
            }
        }
    }

    fn wait_for_producer(
        &self,
        watch: &ProducerWatch,
        seen: u32,
        deadline: Option<Instant>,
    ) -> Result<(), AttachError> {
        if self.shared.cancelled.load(Ordering::Acquire) {
            return Err(AttachError::Cancelled);
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left.is_some_and(|l| l.is_zero()) {
            return Err(AttachError::TimedOut { path: self.spec.path().into() });
        }
        let by_heartbeat = self.settings.liveness == Liveness::Heartbeat || may_restart_unseen(&self.spec);
        let slice = by_heartbeat.then_some(HEARTBEAT_PROBE);
        watch.wait(&self.shared.event, seen, [left, slice].into_iter().flatten().min());
        Ok(())
    }

    fn try_attach(&mut self) -> Result<(), AttachError> {
        let seen = self.shared.event.value();
        let attach::Attached { reader, position, lease } =
            attach(&self.spec, &self.settings, &mut self.first_heartbeat)?;
        // Liveness by heartbeat needs no watch of the file.
        let watch = if lease.is_none() { reader.region().watch(&self.shared.event) } else { None };
        let liveness = ProducerLiveness::new(&*reader, lease, seen, watch);
        let discontinuity = self.totals.attaches > 0;
        self.position = Position { latest_only: self.settings.latest_only, discontinuity, ..position };
        self.totals.attaches += 1;
        let (generation, access) = (reader.header().generation, reader.access());
        let read_speed = reader.region().read_speed();
        self.attachment = Some(Attachment::new(reader, liveness));
        self.resume_position();
        self.notify_observer(Change::Attached { generation, access, read_speed });
        Ok(())
    }

    /// Sequences continue in the same memory: no frame is received twice. Items of the last generation that were not
    /// taken count as missed, as do items of this generation that were retired while the consumer was detached.
    fn resume_position(&mut self) {
        let Some(Attachment { reader, .. }) = &self.attachment else { return };
        let Some(last) = self.last.filter(|last| last.file == reader.region().identity()) else { return };
        let position = &mut self.position;
        if last.generation != reader.header().generation {
            position.missed = reader.header().first_sequence.saturating_sub(last.next);
        } else if last.next <= position.next.saturating_add(layout::CELLS) {
            position.missed = position.next.saturating_sub(last.next);
            position.next = position.next.max(last.next);
        }
        position.missed_before_next = position.missed.saturating_add(last.missed_before_next);
    }

    fn detach(&mut self) {
        let Some(attachment) = self.attachment.take() else { return };
        self.totals = self.stats();
        let reader = &attachment.reader;
        let (file, generation) = (reader.region().identity(), reader.header().generation);
        let Position { next, missed_before_next, .. } = self.position;
        self.last = Some(LastAttachment { file, generation, next, missed_before_next });
        self.first_heartbeat = FirstHeartbeat::default();
        self.position = Position::default();
        reader.stop_reading();
        drop(attachment);
        self.notify_observer(Change::Detached);
    }

    fn notify_observer(&mut self, change: Change) {
        if let Some(observer) = &mut self.observer {
            observer(change);
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
        ConsumerStats {
            received: t.received.saturating_add(p.received),
            missed: t.missed.saturating_add(p.missed),
            skipped: t.skipped.saturating_add(p.skipped),
            copied: t.copied.saturating_add(p.copied),
            attaches: t.attaches,
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
    /// let published_ns = consumer.to_local(frame.published_ns());
    /// let age = Duration::from_nanos(shm2::monotonic_ns() - published_ns);
    /// assert!(age < Duration::from_secs(60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_local(&self, time: u64) -> u64 {
        self.attachment.as_ref().map_or(time, |attachment| attachment.to_local(time))
    }

    /// Switches between receiving all frames in order and latest-only; see
    /// [`latest_only`](Builder::latest_only).
    pub fn set_latest_only(&mut self, latest_only: bool) {
        self.settings.latest_only = latest_only;
        self.position.latest_only = latest_only;
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
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("region", &self.spec).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
