//! Whether the producer of a region is alive, as a consumer sees it.
//!
//! By its lock: probed at each change of the region's file and some times after it, because the watch of a file reports
//! before the locks are gone. By its heartbeat, where producer and consumer share no kernel: it must change within the
//! lease time, and a consumer attaches only after it saw it change.

use super::ring_reader::Reader;
use crate::backend::{ChangeWatch, ConsumerRegion, Watch};
use crate::error::AttachError;
use crate::header::RegionHeader;
use crate::heartbeat::HeartbeatMonitor;
use std::path::Path;
use std::time::{Duration, Instant};

const UNWATCHED_PROBE: Duration = Duration::from_millis(250);
const FIRST_PROBE: Duration = Duration::from_micros(200);
const LAST_PROBE: Duration = Duration::from_millis(100);

/// What an attaching consumer saw of a region's heartbeat, kept from one attempt to the next.
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
            // It stays, for another way to attach if this one fails.
            Some((generation, beat)) if generation == now.0 && beat != now.1 => Ok(()),
            _ => {
                self.0 = Some(now);
                Err(AttachError::NoProducer { path: path.into() })
            }
        }
    }
}

/// Decides when to probe the producer of one attachment, and what the answer is.
#[derive(Debug)]
pub(super) struct ProducerLiveness {
    sign: Sign,
    /// The event's value at the last change that was looked into.
    seen: u32,
    /// When to probe next without a change, and how long after that again.
    next: Option<(Instant, Duration)>,
}

/// By what the producer shows that it is alive.
#[derive(Debug)]
enum Sign {
    /// Its lock; the watch reports changes of the region's file.
    Lock(Option<Watch>),
    Heartbeat(HeartbeatMonitor, Duration),
}

impl ProducerLiveness {
    /// `seen` is the event's value before the attachment was made. `lease`: the heartbeat tells, with this lease time.
    pub(super) fn new(reader: &dyn Reader, lease: Option<Duration>, seen: u32, watch: Option<Watch>) -> Self {
        let sign = match lease {
            None => Sign::Lock(watch),
            Some(lease) => Sign::Heartbeat(HeartbeatMonitor::new(reader.heartbeat()), lease),
        };
        Self { sign, seen, next: Some((Instant::now(), FIRST_PROBE)) }
    }

    /// Whether it is time to probe; plans the next time.
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
        let is_watched = matches!(&self.sign, Sign::Lock(Some(watch)) if watch.is_alive());
        self.next = match step {
            step if step <= LAST_PROBE => Some((now + step, 2 * step)),
            _ if is_watched => None,
            step => Some((now + UNWATCHED_PROBE, step)),
        };
        true
    }

    /// Longest sleep before the next probe.
    pub(super) fn sleep(&self) -> Option<Duration> {
        self.next.map(|(due, _)| due.saturating_duration_since(Instant::now()))
    }

    /// Probes now.
    pub(super) fn is_alive(&mut self, reader: &dyn Reader) -> bool {
        match &mut self.sign {
            Sign::Lock(_) => reader.region().producer_lives(),
            Sign::Heartbeat(observed, lease) => observed.is_alive(reader.heartbeat(), *lease),
        }
    }
}
