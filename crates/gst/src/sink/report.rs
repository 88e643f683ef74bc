//! What the sink reports: statistics, and messages at a limited rate. The element posts what the methods return.

use super::publisher::{Path, Sent};
use crate::meta::Warning;
use crate::rate_limit::RateLimit;
use shm2::producer::ProducerStats;
use std::collections::BTreeSet;

/// Most names of which the sink warns.
const MAX_WARNED: usize = 100;

/// Counters since the element started.
#[derive(Debug, Default)]
pub(super) struct Report {
    zero_copied: u64,
    copied: u64,
    metas_dropped: u64,
    events_dropped: u64,
    clients: u32,
    /// Counts of the regions that were closed.
    closed: Totals,
    /// `dropped-oldest` of the open region when it was last reported.
    last_reported: u64,
    has_warned: bool,
    /// Frames that had an absolute time.
    timed: u32,
    has_warned_of_time: bool,
    /// Names of what was warned of.
    warned: BTreeSet<String>,
    drop_messages: RateLimit,
    stats_notifications: RateLimit,
}

/// Direction in which the number of clients changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientChange {
    Connected,
    Disconnected,
}

/// Counts that are summed over regions: with `shm-size=0` a larger region may replace a smaller one.
#[derive(Debug, Default, Clone, Copy)]
struct Totals {
    published: u64,
    dropped_oldest: u64,
    dropped_newest: u64,
    dropped_too_large: u64,
    wakes: u64,
}

impl Report {
    /// Counts a buffer that was published. True once a second, when a notification of `stats` is due.
    pub(super) fn count_sent(&mut self, sent: &Sent, now_ns: u64) -> bool {
        match sent.path {
            Path::ZeroCopy => self.zero_copied += 1,
            Path::Copy => self.copied += 1,
        }
        self.metas_dropped += sent.metas_dropped;
        self.events_dropped += u64::from(sent.is_description_dropped);
        self.stats_notifications.admits(now_ns)
    }

    /// Counts an event that could not be published as a whole.
    pub(super) fn count_dropped_event(&mut self) {
        self.events_dropped += 1;
    }

    /// Adds the final counts of a region.
    pub(super) fn region_closed(&mut self, region: &ProducerStats) {
        self.closed = self.closed.plus(region);
    }

    /// Sets the number of attached clients; returns the direction of a change.
    pub(super) fn set_clients(&mut self, clients: u32) -> Option<ClientChange> {
        let before = std::mem::replace(&mut self.clients, clients);
        match clients.cmp(&before) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(ClientChange::Connected),
            std::cmp::Ordering::Less => Some(ClientChange::Disconnected),
        }
    }

    pub(super) fn clients(&self) -> u32 {
        self.clients
    }

    /// The value of the property `stats`; `region` holds the counts of the open region.
    pub(super) fn stats(&self, region: &ProducerStats) -> gst::Structure {
        let totals = self.closed.plus(region);
        gst::Structure::builder("application/x-shm2-sink-stats")
            .field("published", totals.published)
            .field("zero-copied", self.zero_copied)
            .field("copied", self.copied)
            .field("metas-dropped", self.metas_dropped)
            .field("events-dropped", self.events_dropped)
            .field("dropped-oldest", totals.dropped_oldest)
            .field("dropped-newest", totals.dropped_newest)
            .field("dropped-too-large", totals.dropped_too_large)
            .field("wakes", totals.wakes)
            .field("num-clients", self.clients)
            .field("frames-ready", region.ready)
            .field("frames-held", region.held)
            .field("arena-bytes", region.arena_bytes)
            .field("arena-free-bytes", region.free_bytes)
            .build()
    }

    /// True for the first dropped frame since the start, which is worth a warning.
    pub(super) fn is_first_drop(&mut self) -> bool {
        !std::mem::replace(&mut self.has_warned, true)
    }

    /// True once: for the first frame without an absolute time, in a stream of such frames.
    pub(super) fn is_first_untimed(&mut self, has_time: bool) -> bool {
        self.timed = self.timed.saturating_add(u32::from(has_time));
        let is_untimed = !has_time && self.timed < crate::clock::TIMED_FRAMES;
        is_untimed && !std::mem::replace(&mut self.has_warned_of_time, true)
    }

    /// Those warnings whose names are new since the start.
    pub(super) fn new_warnings(&mut self, warnings: Vec<Warning>) -> Vec<Warning> {
        let mut is_new = |warning: &Warning| self.warned.len() < MAX_WARNED && self.warned.insert(warning.name.clone());
        warnings.into_iter().filter(|warning| is_new(warning)).collect()
    }

    /// [`drop_message`](Self::drop_message) if the open region dropped old frames since the last call.
    pub(super) fn drop_oldest_message(
        &mut self,
        region: &ProducerStats,
        shm_path: &str,
        now_ns: u64,
    ) -> Option<gst::Structure> {
        let before = std::mem::replace(&mut self.last_reported, region.dropped_oldest);
        if before < region.dropped_oldest { self.drop_message(region, shm_path, now_ns) } else { None }
    }

    /// The element message `shm2-dropped` with the drops so far, at most once a second.
    pub(super) fn drop_message(
        &mut self,
        region: &ProducerStats,
        shm_path: &str,
        now_ns: u64,
    ) -> Option<gst::Structure> {
        if !self.drop_messages.admits(now_ns) {
            return None;
        }
        let totals = self.closed.plus(region);
        let message = gst::Structure::builder("shm2-dropped")
            .field("shm-path", shm_path)
            .field("dropped-oldest", totals.dropped_oldest)
            .field("dropped-newest", totals.dropped_newest)
            .field("dropped-too-large", totals.dropped_too_large);
        Some(message.build())
    }
}

impl Totals {
    fn plus(self, region: &ProducerStats) -> Self {
        Self {
            published: self.published + region.published,
            dropped_oldest: self.dropped_oldest + region.dropped_oldest,
            dropped_newest: self.dropped_newest + region.dropped_newest,
            dropped_too_large: self.dropped_too_large + region.dropped_too_large,
            wakes: self.wakes + region.wakes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn region(published: u64, dropped_oldest: u64) -> ProducerStats {
        let mut stats = ProducerStats::default();
        (stats.published, stats.dropped_oldest) = (published, dropped_oldest);
        stats
    }

    #[test]
    fn counts_are_summed_over_replaced_regions() {
        gst::init().unwrap();
        let mut report = Report::default();
        let sent = |path, metas_dropped, is_description_dropped| Sent {
            path,
            metas_dropped,
            warnings: Vec::new(),
            is_description_dropped,
        };
        assert!(report.count_sent(&sent(Path::ZeroCopy, 2, true), SECOND));
        assert!(!report.count_sent(&sent(Path::Copy, 0, false), 2 * SECOND - 1), "too early");
        report.count_dropped_event();
        report.region_closed(&region(5, 1));
        let stats = report.stats(&region(3, 0));
        let fields = ["published", "dropped-oldest", "zero-copied", "copied", "metas-dropped", "events-dropped"];
        assert_eq!(fields.map(|field| stats.get::<u64>(field).unwrap()), [8, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn each_name_is_warned_of_once() {
        let mut report = Report::default();
        let warning = |name: &str| Warning { name: name.into(), text: "text".into() };
        assert_eq!(report.new_warnings(vec![warning("a"), warning("b"), warning("a")]), [warning("a"), warning("b")]);
        assert_eq!(report.new_warnings(vec![warning("a"), warning("c")]), [warning("c")]);
    }

    #[test]
    fn drop_messages_are_limited_to_one_a_second() {
        gst::init().unwrap();
        let mut report = Report::default();
        assert!(report.drop_oldest_message(&region(9, 0), "/x", SECOND).is_none(), "no drop");
        let message = report.drop_oldest_message(&region(9, 4), "/x", 2 * SECOND).unwrap();
        assert_eq!((message.name().as_str(), message.get("dropped-oldest")), ("shm2-dropped", Ok(4u64)));
        assert!(report.drop_oldest_message(&region(9, 5), "/x", 2 * SECOND + 1).is_none(), "too early");
        assert!(report.drop_oldest_message(&region(9, 5), "/x", 4 * SECOND).is_none(), "no further drop");
        assert!(report.drop_message(&region(9, 5), "/x", 4 * SECOND).is_some());
        assert!(report.is_first_drop() && !report.is_first_drop());
    }

    #[test]
    fn a_change_of_the_clients_has_a_direction() {
        let mut report = Report::default();
        assert_eq!(report.set_clients(0), None);
        assert_eq!(report.set_clients(2), Some(ClientChange::Connected));
        assert_eq!(report.set_clients(1), Some(ClientChange::Disconnected));
        assert_eq!(report.clients(), 1);
    }
}
