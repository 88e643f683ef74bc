//! Holds a producer's latency that grows with each report of it. Frames that come back to the producer, through a mixer
//! and other programs, add the latency that this source reports to that of the producer: it has no true value.

/// Rises in a row after which the latency counts as growing without end.
const RISES: u32 = 5;
/// Time in nanoseconds within which a rise follows the one before it.
const INTERVAL: u64 = 3_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Growth {
    /// The latency that was reported last, and when.
    reported: Option<(u64, u64)>,
    rises: u32,
    /// The latency before the first rise of the row.
    base: u64,
    held: Option<u64>,
}

impl Growth {
    /// The latency to report for that of the producer.
    pub(super) fn limit(&mut self, latency: u64) -> u64 {
        self.held = self.held.filter(|held| latency > *held);
        self.held.unwrap_or(latency)
    }

    /// A latency is reported. Returns the latency to report instead when the latency is held from now on.
    pub(super) fn report(&mut self, latency: u64, now_ns: u64) -> Option<u64> {
        let before = self.reported.replace((latency, now_ns));
        let rise = before.filter(|(last, at)| latency > *last && now_ns.saturating_sub(*at) <= INTERVAL);
        let Some((last, _)) = rise else {
            self.rises = 0;
            return None;
        };
        if self.rises == 0 {
            self.base = last;
        }
        self.rises += 1;
        if self.rises >= RISES {
            (self.rises, self.held) = (0, Some(self.base));
        }
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_latency_that_grows_with_each_report_is_held_until_it_falls() {
        let mut growth = Growth::default();
        let reports = [60, 110, 160, 210, 260, 310].iter().zip(0..);
        let held: Vec<_> = reports.map(|(latency, at)| growth.report(*latency, at * SECOND)).collect();
        assert_eq!(held, [None, None, None, None, None, Some(60)]);
        assert_eq!([310, 110, 40, 110].map(|latency| growth.limit(latency)), [60, 60, 40, 110]);
    }

    #[test]
    fn rises_with_pauses_or_falls_between_them_are_reported() {
        let mut growth = Growth::default();
        assert!((0..20).all(|step| growth.report(step, step * 4 * SECOND).is_none()));
        let mut growth = Growth::default();
        assert!((0..20).all(|step| growth.report(step % 5, step * SECOND).is_none()));
    }
}
