//! Requests of consumers for a frame that depends on no other.
//!
//! A leasing consumer counts its requests in its page. A snapshot consumer, which cannot write, holds a lock for as long
//! as it waits for the frame; a probe of the consumers detects that lock.

use crate::layout::{PAGES, Page};
use crate::sync::Ordering;
use std::time::{Duration, Instant};

/// A lock that is held for this long counts as another request; after each for twice as long, up to a limit: its owner
/// may be paused.
const REPEAT: Duration = Duration::from_secs(1);
const LONGEST_REPEAT: Duration = Duration::from_secs(60);

/// What is known of the requests.
pub(super) struct KeyframeRequests {
    /// The last count of each page.
    seen: [u32; PAGES],
    /// When the lock of snapshot consumers was counted, and when it counts again, while it is held.
    locked: Option<(Instant, Duration)>,
    total: u64,
}

impl KeyframeRequests {
    /// No request since now; what `pages` show is of a previous generation.
    pub(super) fn since<'m>(pages: impl Iterator<Item = (usize, &'m Page)>) -> Self {
        let mut new = Self { seen: [0; PAGES], locked: None, total: 0 };
        new.count(pages);
        Self { total: 0, ..new }
    }

    /// Counts what the pages show; returns the number of all requests so far. Several requests of one consumer since the
    /// last call are one.
    pub(super) fn count<'m>(&mut self, pages: impl Iterator<Item = (usize, &'m Page)>) -> u64 {
        for (index, page) in pages {
            // Relaxed: only compared with its previous value.
            let count = page.keyframe_requests.load(Ordering::Relaxed);
            self.total += u64::from(std::mem::replace(&mut self.seen[index], count) != count);
        }
        self.total
    }

    /// Notes whether a snapshot consumer holds the lock at `now`.
    pub(super) fn observe_lock(&mut self, is_held: bool, now: Instant) {
        self.locked = match self.locked {
            _ if !is_held => None,
            Some((counted, repeat)) if now.duration_since(counted) < repeat => Some((counted, repeat)),
            before => {
                self.total += 1;
                Some((now, before.map_or(REPEAT, |(_, repeat)| (repeat * 2).min(LONGEST_REPEAT))))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_a_request_at_once_and_then_less_and_less_often() {
        let (mut requests, begun) = (KeyframeRequests::since(std::iter::empty()), Instant::now());
        let mut after = |ms, is_held| {
            requests.observe_lock(is_held, begun + Duration::from_millis(ms));
            requests.total
        };
        assert_eq!([after(0, false), after(1, true), after(2, true), after(999, true)], [0, 1, 1, 1]);
        assert_eq!([after(1001, true), after(2900, true), after(3001, true), after(7000, true)], [2, 2, 3, 3]);
        assert_eq!([after(7001, false), after(7003, true), after(7900, true), after(8003, true)], [3, 4, 4, 5]);
    }
}
