//! Whether the producer of a region is alive, as seen by a consumer.
//!
//! By its lock: the consumer probes the lock at each change of the region's file and several times after it, because a
//! file watch reports a process's exit before its locks end. By its heartbeat, where producer and consumer share no
//! kernel: the heartbeat must change within the lease time, and a consumer attaches only after it has observed a
//! change.

use super::reader::Reader;
use crate::backend::{ChangeWatch, ConsumerRegion, Watch};
use crate::error::AttachError;
use crate::header::RegionHeader;
use crate::heartbeat::HeartbeatMonitor;
use std::path::Path;
use std::time::{Duration, Instant};

/// Interval at which a consumer checks for the first heartbeat of a producer without a lock.
pub(super) const HEARTBEAT_PROBE: Duration = Duration::from_millis(50);
const UNWATCHED_PROBE: Duration = Duration::from_millis(250);
const FIRST_PROBE: Duration = Duration::from_micros(200);
const LAST_PROBE: Duration = Duration::from_millis(100);

/// Generation and heartbeat that an attaching consumer first observed, kept from one attempt to the next.
#[derive(Debug, Default)]
pub(super) struct FirstHeartbeat(Option<(u64, u64)>);

impl FirstHeartbeat {
    /// An error until the heartbeat of this generation has changed. `heartbeat` is what the header shows now.
    pub(super) fn await_change(
        &mut self,
        heartbeat: u64,
        header: &RegionHeader,
        path: &Path,
    ) -> Result<(), AttachError> {
        let now = (header.generation, heartbeat);
        match self.0 {
            // The observation stays, for another attempt if this one fails.
            Some((generation, beat)) if generation == now.0 && beat != now.1 => Ok(()),
            _ => {
                self.0 = Some(now);
                Err(AttachError::NoProducer { path: path.into() })
            }
        }
    }
}

/// Decides when to probe the producer of one attachment, and probes it.
#[derive(Debug)]
pub(super) struct ProducerLiveness {
    source: Source,
    /// The event's value at the last probe for a change.
    seen: u32,
    /// Time of the next probe without a change, and the interval to the one after it.
    next: Option<(Instant, Duration)>,
}

/// What shows that the producer is alive.
#[derive(Debug)]
enum Source {
    /// Its lock; the watch reports changes of the region's file.
    Lock(Option<Watch>),
    Heartbeat(HeartbeatMonitor, Duration),
}

impl ProducerLiveness {
    /// `seen` is the event's value before the attach. `lease` is the lease time if liveness is by heartbeat.
    pub(super) fn new(reader: &dyn Reader, lease: Option<Duration>, seen: u32, watch: Option<Watch>) -> Self {
        let source = match lease {
            None => Source::Lock(watch),
            Some(lease) => Source::Heartbeat(HeartbeatMonitor::new(reader.heartbeat()), lease),
        };
        Self { source, seen, next: Some((Instant::now(), FIRST_PROBE)) }
    }

    /// Whether a probe is due; sets the time of the next one.
    pub(super) fn is_due(&mut self, seen: u32) -> bool {
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
        let is_watched = matches!(&self.source, Source::Lock(Some(watch)) if watch.is_alive());
        self.next = match step {
            step if step <= LAST_PROBE => Some((now + step, 2 * step)),
            _ if is_watched => None,
            step => Some((now + UNWATCHED_PROBE, step)),
        };
        true
    }

    /// Makes the next probe due at once.
    pub(super) fn stay_due(&mut self) {
        self.next = Some((Instant::now(), FIRST_PROBE));
    }

    /// Where no watch reports the producer's end: probes it at intervals.
    pub(super) fn keep_probing(&mut self) {
        self.next = self.next.or_else(|| Some((Instant::now() + UNWATCHED_PROBE, UNWATCHED_PROBE)));
    }

    /// Longest sleep before the next probe.
    pub(super) fn sleep(&self) -> Option<Duration> {
        self.next.map(|(due, _)| due.saturating_duration_since(Instant::now()))
    }

    /// Probes the producer now.
    pub(super) fn is_alive(&mut self, reader: &dyn Reader) -> bool {
        match &mut self.source {
            Source::Lock(_) => reader.region().producer_lives(),
            Source::Heartbeat(observed, lease) => observed.is_alive(reader.heartbeat(), *lease),
        }
    }
}
