//! Deadlines of the source while it waits for an item. All times are nanoseconds of the monotonic clock.

/// Shortest interval of looks for a producer, in nanoseconds.
const SHORTEST_LOOK: u64 = 100_000_000;
/// Time without a producer after which the source reports that it waits.
const REPORT_AFTER: u64 = 1_000_000_000;

/// Time limits as the properties have them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Longest wait for a producer; `u64::MAX` for no limit.
    pub(super) connection_timeout: u64,
    /// Longest wait for an item of an attached producer; 0 for no limit.
    pub(super) silence_timeout: u64,
}

/// A deadline that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// No producer has come for a second.
    ReportAbsence,
    /// No producer has come in time.
    NoProducer,
    /// The producer is alive and has sent nothing for the time of silence.
    Silence,
}

/// A silence begins, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Begun,
    /// With its duration.
    Ended(u64),
}

/// Begin and reports of the present wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Begin of the wait for a producer; `None` while attached.
    absent_since: Option<u64>,
    is_absence_reported: bool,
    /// Last item, or attach.
    active_ns: u64,
    is_silent: bool,
    /// Begin and end of silences that were not reported yet.
    changes: Vec<Change>,
}

impl Waits {
    /// Takes over whether the source is attached now, and when it attached last.
    pub(super) fn observe(&mut self, is_attached: bool, attached_ns: u64, now: u64) {
        if is_attached {
            (self.absent_since, self.is_absence_reported) = (None, false);
            self.active_ns = self.active_ns.max(attached_ns);
        } else {
            self.absent_since.get_or_insert(now);
        }
    }

    /// Earliest time at which something may be due.
    pub(super) fn deadline(&self, limits: Limits, now: u64) -> Option<u64> {
        let silence = Some(limits.silence_timeout).filter(|limit| *limit > 0);
        let Some(since) = self.absent_since else {
            return silence.filter(|_| !self.is_silent).map(|limit| self.active_ns.saturating_add(limit));
        };
        let limit = Some(limits.connection_timeout).filter(|limit| *limit != u64::MAX);
        let report = (!self.is_absence_reported).then(|| since.saturating_add(REPORT_AFTER));
        // A producer that comes during the wait may be silent from its start.
        let look = silence.map(|limit| now.saturating_add(limit.max(SHORTEST_LOOK)));
        [limit.map(|limit| since.saturating_add(limit)), report, look].into_iter().flatten().min()
    }

    /// What is due, once each.
    pub(super) fn due(&mut self, limits: Limits, now: u64) -> Option<Due> {
        let Some(since) = self.absent_since else {
            let is_over = limits.silence_timeout > 0 && now >= self.active_ns.saturating_add(limits.silence_timeout);
            let is_new = is_over && !std::mem::replace(&mut self.is_silent, true);
            self.changes.extend(is_new.then_some(Change::Begun));
            return is_new.then_some(Due::Silence);
        };
        let waited = now.saturating_sub(since);
        if limits.connection_timeout != u64::MAX && waited >= limits.connection_timeout {
            self.absent_since = None;
            return Some(Due::NoProducer);
        }
        let is_due = waited >= REPORT_AFTER && !std::mem::replace(&mut self.is_absence_reported, true);
        is_due.then_some(Due::ReportAbsence)
    }

    /// An item came.
    pub(super) fn item(&mut self, now: u64) {
        self.end_silence(now);
        self.active_ns = now;
    }

    /// The producer is gone.
    pub(super) fn end_silence(&mut self, now: u64) {
        if std::mem::take(&mut self.is_silent) {
            self.changes.push(Change::Ended(now.saturating_sub(self.active_ns)));
        }
    }

    /// The wait was cancelled; another one begins anew.
    pub(super) fn cancel(&mut self) {
        self.absent_since = None;
    }

    /// Whether [`take_changes`](Self::take_changes) would return any.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What was not reported yet.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connection_timeout: u64::MAX, silence_timeout: 100 * MS };
    const MS: u64 = 1_000_000;

    #[test]
    fn each_silence_is_due_once_and_ends_with_an_item_or_the_producer() {
        let mut waits = Waits::default();
        waits.observe(true, 1_000 * MS, 1_000 * MS);
        assert_eq!((waits.deadline(LIMITS, 1_000 * MS), waits.due(LIMITS, 1_099 * MS)), (Some(1_100 * MS), None));
        assert_eq!([1_100 * MS, 1_200 * MS].map(|now| waits.due(LIMITS, now)), [Some(Due::Silence), None]);
        assert_eq!((waits.deadline(LIMITS, 1_200 * MS), waits.take_changes()), (None, vec![Change::Begun]));
        waits.item(1_300 * MS);
        assert_eq!(waits.take_changes(), [Change::Ended(300 * MS)]);
        assert_eq!(
            (waits.deadline(LIMITS, 1_300 * MS), waits.due(LIMITS, 1_400 * MS)),
            (Some(1_400 * MS), Some(Due::Silence))
        );
        waits.end_silence(1_500 * MS);
        waits.observe(false, 1_000 * MS, 1_500 * MS);
        assert_eq!(
            (waits.take_changes(), waits.due(LIMITS, 1_700 * MS)),
            (vec![Change::Begun, Change::Ended(200 * MS)], None)
        );
        assert_eq!(waits.deadline(LIMITS, 1_700 * MS), Some(1_800 * MS));
        waits.observe(true, 1_750 * MS, 1_800 * MS);
        assert_eq!(
            (waits.deadline(LIMITS, 1_800 * MS), waits.due(LIMITS, 1_850 * MS)),
            (Some(1_850 * MS), Some(Due::Silence))
        );
    }

    #[test]
    fn a_wait_for_a_producer_is_reported_once_and_ends_in_time() {
        const SECOND: u64 = 1_000_000_000;
        let limits = Limits { connection_timeout: 3 * SECOND, silence_timeout: 0 };
        let mut waits = Waits::default();
        for now in [SECOND, 2 * SECOND - 1] {
            waits.observe(false, 0, now);
            assert_eq!((waits.deadline(limits, now), waits.due(limits, now)), (Some(2 * SECOND), None));
        }
        assert_eq!(waits.due(limits, 2 * SECOND), Some(Due::ReportAbsence));
        assert_eq!((waits.deadline(limits, 2 * SECOND), waits.due(limits, 3 * SECOND)), (Some(4 * SECOND), None));
        assert_eq!(waits.due(limits, 4 * SECOND), Some(Due::NoProducer));
        waits.observe(false, 0, 5 * SECOND);
        assert_eq!(waits.deadline(limits, 5 * SECOND), Some(8 * SECOND), "another wait");
    }
}
