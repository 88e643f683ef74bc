//! A limit for lines of the log that clients cause: each connection causes one or two.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Lines of one kind in one period.
const MOST: u64 = 20;
/// Length of a period, which begins with a line.
const PERIOD: Duration = Duration::from_secs(10);

/// Counts the lines of each kind; further ones are left out, and a summary follows at the end of the period.
#[derive(Debug, Default)]
pub struct LogLimit {
    since: Option<Instant>,
    lines: BTreeMap<&'static str, u64>,
}

impl LogLimit {
    /// Whether a line of this kind is to be logged now.
    pub fn permits(&mut self, kind: &'static str, now: Instant) -> bool {
        if self.deadline().is_none() && self.since.is_some_and(|since| now >= since + PERIOD) {
            // Nothing was left out in that period.
            self.end();
        }
        self.since.get_or_insert(now);
        let count = self.lines.entry(kind).or_default();
        *count += 1;
        *count <= MOST
    }

    /// When [`summary`](Self::summary) is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let has_more = self.lines.values().any(|count| *count > MOST);
        self.since.filter(|_| has_more).map(|since| since + PERIOD)
    }

    /// Ends a period that is over: the line to log if lines were left out.
    pub fn summary(&mut self, now: Instant) -> Option<String> {
        self.since.filter(|since| now >= *since + PERIOD)?;
        self.end()
    }

    /// Ends the period at once.
    pub fn end(&mut self) -> Option<String> {
        self.since = None;
        let lines = std::mem::take(&mut self.lines);
        let more = lines.into_iter().filter(|(_, count)| *count > MOST);
        let parts: Vec<_> = more.map(|(kind, count)| format!("{} times {kind:?}", count - MOST)).collect();
        let seconds = PERIOD.as_secs();
        (!parts.is_empty()).then(|| format!("lines left out in the last {seconds} s: {}", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_above_the_limit_are_counted_for_each_kind_and_summed_up_once() {
        let (mut limit, begun) = (LogLimit::default(), Instant::now());
        let logged = (0..1000).filter(|_| limit.permits("connected", begun)).count();
        assert_eq!(logged, 20);
        assert!(limit.permits("disconnected", begun), "another kind");
        assert_eq!(limit.deadline(), Some(begun + PERIOD));
        assert_eq!(limit.summary(begun + PERIOD / 2), None);
        let text = limit.summary(begun + PERIOD).unwrap();
        assert_eq!(text, "lines left out in the last 10 s: 980 times \"connected\"");
        assert_eq!((limit.deadline(), limit.summary(begun + 5 * PERIOD)), (None, None));
        assert!(limit.permits("connected", begun + 6 * PERIOD), "the next period");
        assert_eq!(limit.summary(begun + 7 * PERIOD), None);
        let logged = (0..20).filter(|_| limit.permits("connected", begun + 8 * PERIOD)).count();
        assert!(logged == 20 && limit.permits("connected", begun + 90 * PERIOD), "after a pause without a summary");
    }
}
