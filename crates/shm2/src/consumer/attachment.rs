//! An attachment of either kind, and whether its producer still lives.

use super::clock_map::ClockMap;
use super::frame::Frame;
use super::session::Session;
use super::snapshot::Snapshot;
use super::{Position, Signals, Step, TakeError};
use crate::backend::{self, ChangeWatch, ConsumerRegion, Event, OpenRegion, ProcessEvent, Wake, Watch};
use crate::heartbeat::Observed;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) enum Attachment {
    Lease(Arc<Session>),
    Snapshot(Box<Snapshot>),
}

impl Attachment {
    pub(super) fn region(&self) -> &OpenRegion {
        match self {
            Self::Lease(session) => session.region(),
            Self::Snapshot(snapshot) => snapshot.region(),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        match self {
            Self::Lease(session) => session.generation(),
            Self::Snapshot(snapshot) => snapshot.generation(),
        }
    }

    /// Sequence of this life's first item.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Lease(session) => session.first(),
            Self::Snapshot(snapshot) => snapshot.first(),
        }
    }

    fn has_other_clock(&self) -> bool {
        match self {
            Self::Lease(session) => session.checked().has_other_clock,
            Self::Snapshot(snapshot) => snapshot.checked().has_other_clock,
        }
    }

    /// The producer's beacon: its number, and what the producer's clock showed. `None` while it is written.
    fn beacon(&self) -> Option<(u64, u64)> {
        match self {
            Self::Lease(session) => session.beacon(),
            Self::Snapshot(snapshot) => snapshot.beacon(),
        }
    }

    /// Where no lock tells of the producer: what its heart shows, and how long it may rest.
    fn producer_heartbeat(&self) -> Option<(u64, Duration)> {
        match self {
            Self::Lease(session) => session.producer_heartbeat(),
            Self::Snapshot(snapshot) => snapshot.producer_heartbeat(),
        }
    }

    pub(super) fn take(&mut self, position: &mut Position) -> Result<Step, TakeError> {
        match self {
            Self::Lease(session) => session.take(position),
            Self::Snapshot(snapshot) => snapshot.take(position),
        }
    }

    pub(super) fn wait(&self, position: &Position, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake {
        match self {
            Self::Lease(session) => session.wait(position, event, seen, timeout),
            Self::Snapshot(snapshot) => snapshot.wait(position, event, seen, timeout),
        }
    }

    pub(super) fn check_idle(&self, position: &Position) -> Result<(), TakeError> {
        match self {
            Self::Lease(session) => session.check_idle(position),
            Self::Snapshot(snapshot) => snapshot.check_idle(position),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Lease(session) => session.is_closed(),
            Self::Snapshot(snapshot) => snapshot.is_closed(),
        }
    }
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
pub(super) struct Attached {
    pub(super) attachment: Attachment,
    liveness: Liveness,
    heart: Option<Observed>,
    /// Where the producer's clock is another one: what is known of it, and the last beacon seen.
    clock_map: Option<(ClockMap, u64)>,
}

impl Attached {
    /// `seen` is the event's value before the attachment was made.
    pub(super) fn new(attachment: Attachment, seen: u32, watch: Option<Watch>) -> Self {
        let heart = attachment.producer_heartbeat();
        // Without locks only time tells.
        let watch = watch.filter(|_| heart.is_none());
        let clock_map = attachment.has_other_clock().then(Default::default);
        let heart = heart.map(|(value, _)| Observed::new(value));
        Self { attachment, liveness: Liveness::new(seen, watch), heart, clock_map }
    }

    /// Learns about the producer's clock from a frame that was just taken.
    pub(super) fn observe_clock(&mut self, frame: &Frame) {
        let Some((clock_map, last)) = &mut self.clock_map else { return };
        let now = backend::monotonic_ns();
        clock_map.add(frame.published_ns(), now);
        // A consumer that lags sees frames late, but the newest beacon is as fresh for it as for any other.
        if let Some((number, time)) = self.attachment.beacon().filter(|(number, _)| number != last) {
            *last = number;
            clock_map.add(time, now);
        }
    }

    pub(super) fn to_local(&self, time: u64) -> u64 {
        self.clock_map.as_ref().map_or(time, |(clock_map, _)| clock_map.to_local(time))
    }

    /// Sleeps until there may be something to take; true when the producer is gone.
    pub(super) fn wait(
        &mut self,
        position: &Position,
        signals: &Signals,
        deadline: Option<Instant>,
    ) -> Result<bool, TakeError> {
        let seen = signals.event.value();
        if self.is_gone(seen) {
            return Ok(true);
        }
        if signals.cancelled.load(Ordering::Acquire) {
            return Ok(false);
        }
        self.attachment.check_idle(position)?;
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = [left, self.liveness.sleep()].into_iter().flatten().min();
        match self.attachment.wait(position, &signals.event, seen, timeout) {
            Wake::Fault => Err(TakeError::Truncated),
            Wake::Timeout | Wake::Signal => Ok(false),
            Wake::Gone => Ok(!self.producer_lives()),
        }
    }

    pub(super) fn is_gone(&mut self, seen: u32) -> bool {
        if self.attachment.is_closed() {
            return true;
        }
        self.liveness.is_due(seen) && !self.producer_lives()
    }

    pub(super) fn producer_lives(&mut self) -> bool {
        match (self.attachment.producer_heartbeat(), &mut self.heart) {
            (Some((value, lease)), Some(heart)) => heart.is_alive(value, lease),
            _ => self.attachment.region().producer_lives(),
        }
    }
}
