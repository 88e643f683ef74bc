//! The receiving side: [`Consumer`], its [`Builder`], and the [`Frame`]s that it yields.

mod frame;
mod header;
mod session;
mod snapshot;

pub use frame::Frame;

use crate::backend::{Event, OpenRegion, Wake, Watch, watch_directory, watch_region};
use crate::error::{AttachError, Lie, ReceiveError, SpecError};
use crate::spec::Spec;
use session::Session;
use snapshot::Snapshot;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How a consumer gets at the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Leasing if there is a page and the right to write; else snapshots.
    #[default]
    Auto,
    /// In place, holding each frame: needs the right to write the file and one of 64 pages.
    Lease,
    /// A private copy of each frame: needs only the right to read, any number of consumers.
    Snapshot,
}

/// Which frame comes first after an attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// The producer's `history`: by default the newest frame that is there.
    #[default]
    History,
    /// The oldest that is still there.
    Oldest,
    /// The next that comes.
    Next,
}

impl Start {
    fn first(self, oldest: u64, head: u64, history: u64) -> u64 {
        let next = head.saturating_add(1);
        match self {
            Self::History => next.saturating_sub(history).max(oldest),
            Self::Oldest => oldest,
            Self::Next => next,
        }
    }
}

/// What to do when the producer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnProducerExit {
    /// Wait for the next one at the same name, for ever.
    #[default]
    Reconnect,
    /// Say that the stream is over.
    EndOfStream,
    /// Return [`ReceiveError::ProducerGone`].
    Error,
}

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
}

impl Position {
    /// Frames below `oldest` are gone.
    fn pass_over(&mut self, oldest: u64) {
        let gone = oldest.saturating_sub(self.next);
        self.missed = self.missed.saturating_add(gone);
        self.missed_before_next = self.missed_before_next.saturating_add(gone);
        self.next = self.next.max(oldest);
    }
}

// A frame is moved out at once: a box would cost more than the copy.
#[allow(clippy::large_enum_variant)]
enum Step {
    Frame(Frame),
    EndOfStream,
    Nothing,
}

#[derive(Debug)]
enum Attachment {
    Lease(Arc<Session>),
    Snapshot(Box<Snapshot>),
}

impl Attachment {
    fn region(&self) -> &OpenRegion {
        match self {
            Self::Lease(session) => session.region(),
            Self::Snapshot(snapshot) => snapshot.region(),
        }
    }

    fn generation(&self) -> u64 {
        match self {
            Self::Lease(session) => session.generation(),
            Self::Snapshot(snapshot) => snapshot.generation(),
        }
    }

    fn take(&mut self, position: &mut Position) -> Result<Step, Lie> {
        match self {
            Self::Lease(session) => session.take(position),
            Self::Snapshot(snapshot) => snapshot.take(position),
        }
    }

    fn wait(&self, position: &Position, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake {
        match self {
            Self::Lease(session) => session.wait(position, event, seen, timeout),
            Self::Snapshot(snapshot) => snapshot.wait(position, event, seen, timeout),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Lease(session) => session.is_closed(),
            Self::Snapshot(snapshot) => snapshot.is_closed(),
        }
    }
}

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct Builder {
    spec: Spec,
    access: Access,
    start: Start,
    latest_only: bool,
    max_leases: usize,
    on_exit: OnProducerExit,
    spin: Duration,
}

impl Builder {
    /// How to get at the bytes; [`Access::Auto`] if not set.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Which frame comes first; [`Start::History`] if not set.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Passes over frames that wait: takes the second newest when two or more are there. False if not set.
    pub fn latest_only(mut self, latest_only: bool) -> Self {
        self.latest_only = latest_only;
        self
    }

    /// Frames held in place at a time, at most what the producer allows; beyond that frames are copied.
    pub fn max_leases(mut self, frames: usize) -> Self {
        self.max_leases = frames;
        self
    }

    /// What to do when the producer is gone; [`OnProducerExit::Reconnect`] if not set.
    pub fn on_producer_exit(mut self, action: OnProducerExit) -> Self {
        self.on_exit = action;
        self
    }

    /// How long to look for the next frame before sleeping; not at all if not set.
    pub fn spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }

    /// A consumer that attaches at its first [`next`](Consumer::next): the producer may come later.
    pub fn build(self) -> Consumer {
        let Self { spec, access, start, latest_only, max_leases, on_exit, spin } = self;
        Consumer {
            spec,
            access,
            start,
            max_leases,
            on_exit,
            spin,
            latest_only,
            attached: None,
            position: Position::default(),
            totals: ConsumerStats::default(),
            shared: Arc::default(),
        }
    }

    /// A consumer that is attached.
    ///
    /// # Errors
    /// When no producer comes in time (`None`: wait for ever), or the region is not usable.
    pub fn attach(self, timeout: Option<Duration>) -> Result<Consumer, AttachError> {
        let mut consumer = self.build();
        consumer.attach(deadline(timeout))?;
        Ok(consumer)
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
}

/// Counts since the consumer was made, over all producers that it saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Frames taken.
    pub received: u64,
    /// Frames that were gone before they could be taken.
    pub missed: u64,
    /// Frames passed over on purpose (latest-only).
    pub skipped: u64,
    /// Frames that were copied.
    pub copied: u64,
    /// Attaches; more than one means that producers came anew.
    pub attaches: u64,
}

/// Probing for the producer's death: at each change of the region file, and some times after it, because a file's
/// watch speaks up before the locks are gone.
#[derive(Debug)]
struct Liveness {
    /// The event's value at the last change that was looked into.
    seen: u32,
    /// When to probe next without a change, and how long after that again.
    next: Option<(Instant, Duration)>,
    watch: Option<Watch>,
}

const UNWATCHED_PROBE: Duration = Duration::from_millis(250);
const FIRST_PROBE: Duration = Duration::from_micros(200);
const LAST_PROBE: Duration = Duration::from_millis(100);

impl Liveness {
    fn new(seen: u32, watch: Option<Watch>) -> Self {
        Self { seen, next: Some((Instant::now(), FIRST_PROBE)), watch }
    }

    /// Whether it is time to probe; plans the next time.
    fn is_due(&mut self, seen: u32) -> bool {
        if seen == self.seen && self.next.is_none() {
            return false;
        }
        let now = Instant::now();
        if seen != self.seen {
            self.seen = seen;
            self.next = Some((now + FIRST_PROBE, 2 * FIRST_PROBE));
            return true;
        }
        let Some((_, step)) = self.next.filter(|(due, _)| *due <= now) else { return false };
        let watched = self.watch.as_ref().is_some_and(Watch::is_alive);
        self.next = match step {
            step if step <= LAST_PROBE => Some((now + step, 2 * step)),
            _ if watched => None,
            step => Some((now + UNWATCHED_PROBE, step)),
        };
        true
    }

    /// Longest sleep before the next probe.
    fn sleep(&self) -> Option<Duration> {
        self.next.map(|(due, _)| due.saturating_duration_since(Instant::now()))
    }
}

#[derive(Debug)]
struct Attached {
    attachment: Attachment,
    liveness: Liveness,
}

/// One receiver of a region's frames. Waits for its producer, and attaches to the next one by itself.
pub struct Consumer {
    spec: Spec,
    access: Access,
    start: Start,
    max_leases: usize,
    on_exit: OnProducerExit,
    spin: Duration,
    latest_only: bool,
    attached: Option<Attached>,
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

    /// Settings for a consumer of the region at `spec`.
    ///
    /// # Errors
    /// When the name is bad.
    pub fn builder(spec: &str) -> Result<Builder, SpecError> {
        Ok(Builder {
            spec: spec.parse()?,
            access: Access::default(),
            start: Start::default(),
            latest_only: false,
            max_leases: crate::layout::LEASES,
            on_exit: OnProducerExit::default(),
            spin: Duration::ZERO,
        })
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
            Some(false) => Ok(None),
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

    /// `None` when the producer is gone and the next one is to be waited for.
    fn next_attached(&mut self, deadline: Option<Instant>) -> Result<Option<Frame>, ReceiveError> {
        let mut gone = false;
        let mut spin_until = (!self.spin.is_zero()).then(|| Instant::now() + self.spin);
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
                Err(lie) => return Err(self.misbehaving(lie)),
            };
        }
    }

    /// The next frame if it is there.
    fn take(&mut self) -> Result<Option<Frame>, ReceiveError> {
        let Some(attached) = &mut self.attached else { return Ok(None) };
        match attached.attachment.take(&mut self.position) {
            Ok(Step::Frame(frame)) => Ok(Some(frame)),
            Ok(Step::EndOfStream) => Err(ReceiveError::EndOfStream),
            Ok(Step::Nothing) => Ok(None),
            Err(lie) => Err(self.misbehaving(lie)),
        }
    }

    fn misbehaving(&mut self, lie: Lie) -> ReceiveError {
        self.detach();
        ReceiveError::Misbehaving { path: self.spec.path().into(), lie }
    }

    fn producer_gone(&mut self) -> Result<Option<Frame>, ReceiveError> {
        self.detach();
        match self.on_exit {
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
        let mut watch: Option<Watch> = None;
        loop {
            let seen = self.shared.event.value();
            let watched = watch.as_ref().is_some_and(Watch::is_alive);
            match self.try_attach() {
                Err(e) if e.is_absence() => {}
                other => return other,
            }
            if !watched {
                // Watch first, then look once more: a producer may have come in between.
                let directory = self.spec.path().parent().unwrap_or(Path::new("/"));
                watch = watch_directory(directory, &self.shared.event);
                if watch.is_some() {
                    continue;
                }
            }
            self.wait_for_name(seen, deadline, watch.is_some())?;
        }
    }

    fn wait_for_name(&self, seen: u32, deadline: Option<Instant>, watched: bool) -> Result<(), AttachError> {
        if self.shared.cancelled.load(Ordering::Acquire) {
            return Err(AttachError::Cancelled);
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left.is_some_and(|l| l.is_zero()) {
            return Err(AttachError::TimedOut { path: self.spec.path().into() });
        }
        let slice = (!watched).then_some(UNWATCHED_PROBE);
        self.shared.event.wait(seen, [left, slice].into_iter().flatten().min());
        Ok(())
    }

    fn try_attach(&mut self) -> Result<(), AttachError> {
        let path = self.spec.path();
        let seen = self.shared.event.value();
        let (attachment, position) = self.open(path)?;
        let watch = watch_region(attachment.region(), &self.shared.event);
        let liveness = Liveness::new(seen, watch);
        let discontinuity = self.totals.attaches > 0;
        self.position = Position { latest_only: self.latest_only, discontinuity, ..position };
        self.totals.attaches += 1;
        self.attached = Some(Attached { attachment, liveness });
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<(Attachment, Position), AttachError> {
        let lease = || Session::open(path, self.max_leases, self.start).map(|(s, p)| (Attachment::Lease(s), p));
        let snapshot = || Snapshot::open(path, self.start).map(|(s, p)| (Attachment::Snapshot(Box::new(s)), p));
        match self.access {
            Access::Lease => lease(),
            Access::Snapshot => snapshot(),
            Access::Auto => match lease() {
                Err(AttachError::Denied { .. } | AttachError::Full { .. } | AttachError::Stalled { .. }) => snapshot(),
                other => other,
            },
        }
    }

    fn detach(&mut self) {
        if let Some(attached) = self.attached.take() {
            self.totals = self.stats();
            self.position = Position::default();
            if let Attachment::Lease(session) = &attached.attachment {
                session.stop_reading();
            }
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

    /// Switches between reading in order and latest-only.
    pub fn set_latest_only(&mut self, latest_only: bool) {
        self.latest_only = latest_only;
        self.position.latest_only = latest_only;
    }

    /// For ending a wait from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller(self.shared.clone())
    }
}

impl Attached {
    /// Sleeps until there may be something to take; true when the producer is gone.
    fn wait(&mut self, position: &Position, signals: &Signals, deadline: Option<Instant>) -> Result<bool, Lie> {
        let seen = signals.event.value();
        if self.is_gone(seen) {
            return Ok(true);
        }
        if signals.cancelled.load(Ordering::Acquire) {
            return Ok(false);
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = [left, self.liveness.sleep()].into_iter().flatten().min();
        match self.attachment.wait(position, &signals.event, seen, timeout) {
            Wake::Fault => Err(Lie::Truncated),
            Wake::Timeout | Wake::Signal => Ok(false),
        }
    }

    fn is_gone(&mut self, seen: u32) -> bool {
        if self.attachment.is_closed() {
            return true;
        }
        self.liveness.is_due(seen) && !self.attachment.region().producer_lives()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.detach();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("region", &self.spec).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
