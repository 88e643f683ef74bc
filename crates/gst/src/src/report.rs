//! What the source reports: statistics, latency, and element messages. The element posts what the methods return.

use super::growth::Growth;
use super::waits::Change as Silence;
use crate::rate_limit::RateLimit;
use shm2::Access;
use shm2::consumer::{Change, ConsumerStats, WaitingFor};

/// A latency over an hour, in nanoseconds, is taken for an hour: the producer may have written anything.
const MAX_LATENCY: u64 = 3_600_000_000_000;

/// Bytes a second; memory that the processor caches is read several times as fast.
const SLOW: u64 = 500 << 20;

/// Counters since the element started.
#[derive(Debug, Default)]
pub(super) struct Report {
    consumer: ConsumerStats,
    zero_copied: u64,
    /// Frames that were copied into the layout of the caps.
    repacked: u64,
    /// Frames that were due during a pause.
    stale: u64,
    /// Repeated frames and gap events for `on-silence`.
    filled: u64,
    latency: u64,
    growth: Growth,
    /// The latency differs from that of the last message.
    is_latency_new: bool,
    latency_messages: RateLimit,
    stats_notifications: RateLimit,
}

impl Report {
    /// Takes over the consumer's counts after an item.
    pub(super) fn count_received(&mut self, consumer: &ConsumerStats, is_zero_copied: bool) {
        if self.consumer.attaches != consumer.attaches {
            self.growth = Growth::default();
        }
        self.consumer = *consumer;
        self.zero_copied += u64::from(is_zero_copied);
    }

    /// The frame that was received last was copied into the layout of the caps.
    pub(super) fn count_repacked(&mut self, was_zero_copied: bool) {
        self.zero_copied -= u64::from(was_zero_copied);
        self.repacked += 1;
    }

    pub(super) fn count_stale_frame(&mut self) {
        self.stale += 1;
    }

    pub(super) fn count_filled(&mut self) {
        self.filled += 1;
    }

    /// Sets the producer's latency in nanoseconds. True if a message about a change is due at `now_ns`, which is at most
    /// once a second: each message makes the pipeline query and distribute its latency.
    pub(super) fn set_latency(&mut self, latency: u64, now_ns: u64) -> bool {
        let latency = self.growth.limit(latency.min(MAX_LATENCY));
        self.is_latency_new |= std::mem::replace(&mut self.latency, latency) != latency;
        let is_due = self.is_latency_new && self.latency_messages.admits(now_ns);
        self.is_latency_new &= !is_due;
        if is_due && let Some(held) = self.growth.report(latency, now_ns) {
            self.latency = held;
        }
        is_due
    }

    pub(super) fn latency(&self) -> u64 {
        self.latency
    }

    /// True once a second, when a notification of `stats` is due.
    pub(super) fn is_stats_due(&mut self, now_ns: u64) -> bool {
        self.stats_notifications.admits(now_ns)
    }

    /// The value of the property `stats`.
    pub(super) fn stats(&self) -> gst::Structure {
        gst::Structure::builder("application/x-shm2-src-stats")
            .field("received", self.consumer.received)
            .field("zero-copied", self.zero_copied)
            .field("copied", self.consumer.copied)
            .field("repacked", self.repacked)
            .field("missed", self.consumer.missed)
            .field("skipped", self.consumer.skipped + self.stale)
            .field("skipped-old", self.consumer.skipped_old)
            .field("filled", self.filled)
            .field("attaches", self.consumer.attaches)
            .field("looks-found", self.consumer.looks_found)
            .field("looks-missed", self.consumer.looks_missed)
            .field("looked-ns", self.consumer.looked_ns)
            .build()
    }
}

/// The element message for an attach or a detach.
pub(super) fn change_message(change: &Change, shm_path: &str) -> gst::Structure {
    match change {
        Change::Attached { generation, access, .. } => gst::Structure::builder("shm2-attached")
            .field("shm-path", shm_path)
            .field("generation", *generation)
            .field("access", if *access == Access::Snapshot { "snapshot" } else { "lease" })
            .build(),
        _ => gst::Structure::builder("shm2-detached").field("shm-path", shm_path).build(),
    }
}

/// The element message for a wait of a second without a producer.
pub(super) fn waiting_message(waiting: &WaitingFor, shm_path: &str) -> gst::Structure {
    let text = waiting.to_string();
    gst::Structure::builder("shm2-waiting").field("shm-path", shm_path).field("text", text).build()
}

/// The element message for a silence that begins after so many nanoseconds, or ends.
pub(super) fn silence_message(change: Silence, timeout_ns: u64, shm_path: &str) -> gst::Structure {
    let (name, duration) = match change {
        Silence::Begun => ("shm2-silence", timeout_ns),
        Silence::Ended(duration) => ("shm2-silence-ended", duration),
    };
    gst::Structure::builder(name).field("shm-path", shm_path).field("duration", duration).build()
}

/// Read speed in MiB/s of a region that is mapped without a cache.
pub(super) fn uncached_read_speed(change: &Change) -> Option<u64> {
    match change {
        Change::Attached { read_speed, .. } => read_speed.filter(|speed| *speed < SLOW).map(|speed| speed >> 20),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_frames_count_as_skipped_and_repacked_ones_not_as_zero_copied() {
        gst::init().unwrap();
        let mut report = Report::default();
        let mut consumer = ConsumerStats::default();
        (consumer.received, consumer.skipped, consumer.attaches) = (7, 2, 1);
        report.count_received(&consumer, true);
        report.count_received(&consumer, true);
        report.count_repacked(true);
        report.count_stale_frame();
        let stats = report.stats();
        let fields = ["received", "zero-copied", "copied", "repacked", "missed", "skipped", "attaches"];
        assert_eq!(fields.map(|field| stats.get::<u64>(field).unwrap()), [7, 1, 0, 1, 0, 3, 1]);
    }

    #[test]
    fn a_latency_is_limited_and_reported_when_it_changes() {
        let mut report = Report::default();
        let mut set = |latency, seconds: u64| report.set_latency(latency, seconds * 1_000_000_000);
        assert_eq!([set(0, 5), set(5, 5), set(5, 9)], [false, true, false]);
        assert_eq!([set(6, 9), set(7, 9), set(7, 9), set(7, 10), set(7, 11)], [true, false, false, true, false]);
        assert_eq!([set(u64::MAX, 20), set(MAX_LATENCY, 21)], [true, false]);
        assert_eq!(report.latency(), MAX_LATENCY);
    }
}
