//! The receiving side: [`Consumer`], its [`Builder`], and the [`Frame`]s that it yields.

mod attachment;
mod builder;
mod claim;
mod clock_map;
mod frame;
mod header;
mod overview;
mod producer_liveness;
mod session;
mod snapshot;

pub use builder::{Access, Builder, Liveness, OnProducerExit, Start};
pub use frame::Frame;
pub use overview::Overview;

use crate::backend::{AwaitProducer, ConsumerRegion, Event, Identity, ProcessEvent, ProducerWatch};
use crate::error::{AttachError, ReceiveError, SpecError, Violation};
use crate::layout;
use crate::name::Spec;
use attachment::{Attached, Attachment};
use builder::Settings;
use header::may_restart_unseen;
use producer_liveness::Pulse;
use session::Session;
use snapshot::Snapshot;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where a consumer stands in its generation.
#[derive(Debug, Default, Clone, Copy)]
struct Position {
    next: u64,
    latest_only: bool,
    received: u64,
    missed: u64,
    missed_before_next: u64,
    skipped: u64,
    copied: u64,
    discontinuity: bool,
    /// Looks of a polling consumer that found nothing.
    idle: u32,
}

/// How often to look for the first heartbeat of a producer that no lock shows.
const HEARTBEAT_PROBE: Duration = Duration::from_millis(50);

/// A polling consumer looks this often in vain before it doubts what it sees.
const IDLE_CHECK: u32 = 1024;

impl Position {
    /// A frame that was taken last was not received after all.
    fn lose(&mut self, frame: &Frame) {
        self.received -= u64::from(!frame.is_event());
        self.missed = self.missed.saturating_add(1);
        self.missed_before_next = self.missed_before_next.saturating_add(frame.missed()).saturating_add(1);
    }

    /// Frames below `oldest` are gone.
    fn skip_to(&mut self, oldest: u64) {
        let gone = oldest.saturating_sub(self.next);
        self.missed = self.missed.saturating_add(gone);
        self.missed_before_next = self.missed_before_next.saturating_add(gone);
        self.next = self.next.max(oldest);
    }
}

/// A consumer came to a producer, or lost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It is attached now.
    Attached {
        /// Random number of the region's life.
        generation: u64,
        /// [`Access::Lease`] or [`Access::Snapshot`].
        access: Access,
        /// For a device's memory: how fast it was read just now, in bytes a second. Memory that the processor does not cache
        /// gives a tenth or less of the usual.
        read_speed: Option<u64>,
    },
    /// It is not attached any more: the producer is gone, or misbehaved.
    Detached,
}

type Observer = Box<dyn FnMut(Change) + Send>;

/// Where a consumer stood when it was attached last.
#[derive(Debug, Clone, Copy)]
struct Last {
    file: Identity,
    generation: u64,
    next: u64,
    missed_before_next: u64,
}

// A frame is moved out at once: a box would cost more than the copy.
#[allow(clippy::large_enum_variant)]
enum Step {
    Frame(Frame),
    EndOfStream,
    Nothing,
}

/// Why an attachment cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakeError {
    Violation(Violation),
    Expelled,
    TooLarge { sequence: u64, length: u64 },
    Truncated,
}

impl From<Violation> for TakeError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|t| Instant::now().checked_add(t))
}

#[derive(Debug, Default)]
struct Signals {
    event: Arc<Event>,
    cancelled: AtomicBool,
}

/// Ends a consumer's waiting from another thread.
#[derive(Debug, Clone)]
pub struct Canceller(Arc<Signals>);

impl Canceller {
    /// While true, calls that would wait return `Cancelled` at once.
    pub fn set(&self, cancelled: bool) {
        self.0.cancelled.store(cancelled, Ordering::Release);
        self.0.event.signal();
    }

    /// Whether calls return at once.
    pub fn is_set(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }
}

/// Counts since the consumer was made, over all producers that it saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Frames taken.
    pub received: u64,
    /// Items that were gone before they could be taken: frames, with the events and ends between them.
    pub missed: u64,
    /// Frames passed over on purpose (latest-only).
    pub skipped: u64,
    /// Frames that were copied.
    pub copied: u64,
    /// Attaches; more than one means that producers came anew.
    pub attaches: u64,
}

/// One receiver of a region's frames. Waits for its producer, and attaches to the next one by itself.
pub struct Consumer {
    spec: Spec,
    settings: Settings,
    attached: Option<Attached>,
    observer: Option<Observer>,
    pulse: Pulse,
    last: Option<Last>,
    position: Position,
    totals: ConsumerStats,
    shared: Arc<Signals>,
}

impl Consumer {
    /// A consumer with default settings; see [`Builder::build`].
    ///
    /// # Errors
    /// When the name is bad.
    pub fn new(spec: &str) -> Result<Self, SpecError> {
        Ok(Self::builder(spec)?.build())
    }

    fn with(builder: Builder) -> Self {
        let Builder { spec, settings } = builder;
        Self {
            spec,
            settings,
            attached: None,
            observer: None,
            pulse: Pulse::default(),
            last: None,
            position: Position::default(),
            totals: ConsumerStats::default(),
            shared: Arc::default(),
        }
    }

    /// Settings for a consumer of the region at `spec`.
    ///
    /// # Errors
    /// When the name is bad.
    pub fn builder(spec: &str) -> Result<Builder, SpecError> {
        Ok(Builder { spec: spec.parse()?, settings: Settings::default() })
    }

    /// The next frame; waits up to `timeout`, `None` for ever.
    ///
    /// # Errors
    /// [`ReceiveError::TimedOut`] and [`ReceiveError::Cancelled`] leave everything as it was. After
    /// [`ReceiveError::EndOfStream`] a further call waits for what comes next.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Frame, ReceiveError> {
        // First without a look at the clock: a frame that is there costs no more than taking it.
        if let Some(frame) = self.take()? {
            return Ok(frame);
        }
        let deadline = deadline(timeout);
        loop {
            self.attach(deadline).map_err(|e| match e {
                AttachError::TimedOut { .. } => ReceiveError::TimedOut,
                AttachError::Cancelled => ReceiveError::Cancelled,
                e => ReceiveError::Attach(e),
            })?;
            if let Some(frame) = self.next_attached(deadline)? {
                return Ok(frame);
            }
        }
    }

    /// The next frame if it is there now; never waits. For programs that poll: a call costs some nanoseconds.
    ///
    /// # Errors
    /// As [`next`](Self::next); with [`OnProducerExit::Reconnect`] a missing producer is no error.
    pub fn try_next(&mut self) -> Result<Option<Frame>, ReceiveError> {
        if let Some(frame) = self.take()? {
            return Ok(Some(frame));
        }
        let seen = self.shared.event.value();
        match self.attached.as_mut().map(|attached| attached.is_gone(seen)) {
            Some(false) => self.idle(),
            Some(true) => match self.take()? {
                None => self.producer_gone(),
                frame => Ok(frame),
            },
            None => match self.try_attach() {
                Ok(()) => self.take(),
                Err(error) if error.is_absence() => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Nothing there: now and then a look whether that can be.
    fn idle(&mut self) -> Result<Option<Frame>, ReceiveError> {
        self.position.idle = self.position.idle.wrapping_add(1);
        if !self.position.idle.is_multiple_of(IDLE_CHECK) {
            return Ok(None);
        }
        let Some(attached) = &mut self.attached else { return Ok(None) };
        if let Err(error) = attached.attachment.check_idle(&self.position) {
            return Err(self.fail(error));
        }
        // Where only a wait is told of the producer's death, one that never waits must ask.
        if attached.producer_lives() {
            return Ok(None);
        }
        match self.take()? {
            None => self.producer_gone(),
            frame => Ok(frame),
        }
    }

    /// `None` when the producer is gone and the next one is to be waited for.
    fn next_attached(&mut self, deadline: Option<Instant>) -> Result<Option<Frame>, ReceiveError> {
        let mut gone = false;
        let mut spin_until = (!self.settings.spin.is_zero()).then(|| Instant::now() + self.settings.spin);
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if gone {
                return self.producer_gone();
            }
            let Some(attached) = &mut self.attached else { return Ok(None) };
            if self.shared.cancelled.load(Ordering::Acquire) {
                return Err(ReceiveError::Cancelled);
            }
            if spin_until.is_some_and(|end| Instant::now() < end) {
                std::hint::spin_loop();
                continue;
            }
            spin_until = None;
            if deadline.is_some_and(|d| Instant::now() >= d) {
                gone = attached.is_gone(self.shared.event.value());
                if gone {
                    continue;
                }
                return Err(ReceiveError::TimedOut);
            }
            gone = match attached.wait(&self.position, &self.shared, deadline) {
                Ok(gone) => gone,
                Err(error) => return Err(self.fail(error)),
            };
        }
    }

    /// The next frame if it is there.
    fn take(&mut self) -> Result<Option<Frame>, ReceiveError> {
        // At most a ring of events at once: then the callers look whether they are still to go on.
        for _ in 0..layout::CELLS {
            let Some(attached) = &mut self.attached else { return Ok(None) };
            return match attached.attachment.take(&mut self.position) {
                Ok(Step::Frame(frame)) if frame.is_event() && !self.settings.events => continue,
                Ok(Step::Frame(frame)) => {
                    attached.observe_clock(&frame);
                    Ok(Some(frame))
                }
                Ok(Step::EndOfStream) => Err(ReceiveError::EndOfStream),
                Ok(Step::Nothing) => Ok(None),
                Err(error) => Err(self.fail(error)),
            };
        }
        Ok(None)
    }

    /// Ends the attachment, for a reason that is not the producer's end.
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

    fn producer_gone(&mut self) -> Result<Option<Frame>, ReceiveError> {
        self.detach();
        match self.settings.on_exit {
            OnProducerExit::Reconnect => Ok(None),
            OnProducerExit::EndOfStream => Err(ReceiveError::EndOfStream),
            OnProducerExit::Error => Err(ReceiveError::ProducerGone { path: self.spec.path().into() }),
        }
    }

    /// Attaches if it is not yet; waits for a producer.
    fn attach(&mut self, deadline: Option<Instant>) -> Result<(), AttachError> {
        if self.attached.is_some() {
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
                self.wait_for_name(&watch, seen, deadline)?;
            }
        }
    }

    fn wait_for_name(&self, watch: &ProducerWatch, seen: u32, deadline: Option<Instant>) -> Result<(), AttachError> {
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
        let (attachment, position) = self.open()?;
        let watch = attachment.region().watch(&self.shared.event);
        let discontinuity = self.totals.attaches > 0;
        self.position = Position { latest_only: self.settings.latest_only, discontinuity, ..position };
        self.resume_position(&attachment);
        self.totals.attaches += 1;
        self.attached = Some(Attached::new(attachment, seen, watch));
        if let (Some(generation), Some(access), Some(attached)) = (self.generation(), self.access(), &self.attached) {
            let read_speed = attached.attachment.region().read_speed();
            self.tell(Change::Attached { generation, access, read_speed });
        }
        Ok(())
    }

    /// In the same memory sequences go on: no frame comes twice, and those of the last life that were not taken are
    /// missed, as are those that passed in this life while the consumer was away.
    fn resume_position(&mut self, attachment: &Attachment) {
        let Some(last) = self.last.filter(|last| last.file == attachment.region().identity()) else { return };
        let position = &mut self.position;
        if last.generation != attachment.generation() {
            position.missed = attachment.first().saturating_sub(last.next);
        } else if last.next <= position.next.saturating_add(layout::CELLS) {
            position.missed = position.next.saturating_sub(last.next);
            position.next = position.next.max(last.next);
        }
        position.missed_before_next = position.missed.saturating_add(last.missed_before_next);
    }

    fn open(&mut self) -> Result<(Attachment, Position), AttachError> {
        let (spec, settings, pulse) = (&self.spec, &self.settings, &mut self.pulse);
        let lease = |pulse: &mut Pulse| Session::open(spec, settings, pulse).map(|(s, p)| (Attachment::Lease(s), p));
        let snapshot = |pulse: &mut Pulse| {
            Snapshot::open(spec, settings, pulse).map(|(s, p)| (Attachment::Snapshot(Box::new(s)), p))
        };
        match settings.access {
            Access::Lease => lease(pulse),
            Access::Snapshot => snapshot(pulse),
            Access::Auto => match lease(pulse) {
                Err(AttachError::Denied { .. } | AttachError::Full { .. }) => snapshot(pulse),
                other => other,
            },
        }
    }

    fn detach(&mut self) {
        if let Some(attached) = self.attached.take() {
            self.totals = self.stats();
            let attachment = &attached.attachment;
            let (file, generation) = (attachment.region().identity(), attachment.generation());
            let Position { next, missed_before_next, .. } = self.position;
            self.last = Some(Last { file, generation, next, missed_before_next });
            self.pulse = Pulse::default();
            self.position = Position::default();
            if let Attachment::Lease(session) = &attached.attachment {
                session.stop_reading();
            }
            drop(attached);
            self.tell(Change::Detached);
        }
    }

    fn tell(&mut self, change: Change) {
        if let Some(observer) = &mut self.observer {
            observer(change);
        }
    }

    /// Counts so far.
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

    /// Whether a region is attached at the moment.
    pub fn is_attached(&self) -> bool {
        self.attached.is_some()
    }

    /// Random number of the attached region's life.
    pub fn generation(&self) -> Option<u64> {
        self.attached.as_ref().map(|a| a.attachment.generation())
    }

    /// How the attached region is accessed: [`Access::Lease`] or [`Access::Snapshot`].
    pub fn access(&self) -> Option<Access> {
        self.attached.as_ref().map(|a| match a.attachment {
            Attachment::Lease(_) => Access::Lease,
            Attachment::Snapshot(_) => Access::Snapshot,
        })
    }

    /// A time of the producer's monotonic clock ([`FrameInfo::time`](crate::FrameInfo::time),
    /// [`Frame::published_ns`]) on this program's. On one machine both are the same clock. On another kernel, as in a
    /// virtual machine, or in a time namespace, the difference is estimated from when frames were published and seen:
    /// it includes the shortest time that a frame took.
    pub fn to_local(&self, time: u64) -> u64 {
        self.attached.as_ref().map_or(time, |attached| attached.to_local(time))
    }

    /// Switches between reading in order and latest-only.
    pub fn set_latest_only(&mut self, latest_only: bool) {
        self.settings.latest_only = latest_only;
        self.position.latest_only = latest_only;
    }

    /// Calls `observer` at each attach and detach, also in the middle of a [`next`](Self::next) that waits, on the thread
    /// that called it.
    pub fn observe(&mut self, observer: impl FnMut(Change) + Send + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// For ending a wait from another thread.
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
