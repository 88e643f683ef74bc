//! Limits notifications and messages to one a second.

/// Admits one event a second.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RateLimit {
    last_ns: u64,
}

impl RateLimit {
    const INTERVAL_NS: u64 = 1_000_000_000;

    /// True if the last admitted event is at least a second old at `now_ns`, a time of the monotonic clock.
    pub(crate) fn admits(&mut self, now_ns: u64) -> bool {
        let is_due = now_ns.saturating_sub(self.last_ns) >= Self::INTERVAL_NS;
        if is_due {
            self.last_ns = now_ns;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_a_second_is_admitted() {
        let mut limit = RateLimit::default();
        let admitted = [5_000_000_000, 5_999_999_999, 6_000_000_000, 6_500_000_000, 9_000_000_000];
        assert_eq!(admitted.map(|now| limit.admits(now)), [true, false, true, false, true]);
    }
}
