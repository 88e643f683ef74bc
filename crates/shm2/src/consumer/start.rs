//! The item that a consumer takes first, and the next one under latest-only.

use crate::description::Kind;
use crate::layout::CELLS;

/// Which frame a consumer receives first after an attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// The oldest one of the producer's [`history`](crate::producer::Builder::history): by default the newest frame in
    /// the ring.
    #[default]
    History,
    /// The oldest frame in the ring.
    Oldest,
    /// The next frame that is published.
    Next,
}

impl Start {
    /// Sequence of the first item. `kind_of` reads the kind in the cell of a sequence. The cell may already describe
    /// another item, which only changes the starting point.
    pub(super) fn first(self, oldest: u64, head: u64, history: u64, kind_of: impl Fn(u64) -> Option<Kind>) -> u64 {
        let next = head.saturating_add(1);
        match self {
            Self::History if history == 0 => next,
            Self::History => {
                // Events and ends between the frames are received as well, but do not count.
                let in_ring = next.saturating_sub(CELLS).max(oldest).max(1)..next;
                let is_frame = |sequence: &u64| kind_of(*sequence).is_none_or(|kind| kind == Kind::Frame);
                in_ring.clone().rev().filter(is_frame).nth(history.min(CELLS) as usize - 1).unwrap_or(in_ring.start)
            }
            Self::Oldest => oldest,
            Self::Next => next,
        }
    }
}

/// Finds the item to take under latest-only: the second newest of the waiting items that are not events. Items after it
/// are taken in order.
///
/// Each item is looked at once, however many takes it waits for: among the items that were looked at, at most one that
/// is not an event waits.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct LatestScan {
    /// The items below this sequence were looked at.
    end: u64,
    /// The one that is not an event among those that still wait.
    single: Option<u64>,
}

impl LatestScan {
    /// The sequence to take, at least `next`. `kind_of` as in [`Start::first`].
    pub(super) fn target(&mut self, next: u64, head: u64, kind_of: impl Fn(u64) -> Option<Kind>) -> u64 {
        let known = self.single.filter(|single| *single >= next);
        let end = head.saturating_add(1);
        let unseen = next.max(head.saturating_sub(CELLS)).max(self.end)..end;
        let mut found = unseen.rev().filter(|sequence| kind_of(*sequence) != Some(Kind::Event)).take(2);
        let (newest, second) = (found.next(), found.next());
        self.end = self.end.max(end);
        self.single = newest.or(known);
        match (newest, second.or(known)) {
            (Some(_), Some(second)) => second,
            _ => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule itself, without memory of earlier looks.
    fn second_newest(next: u64, head: u64, kind_of: impl Fn(u64) -> Option<Kind>) -> u64 {
        let waiting = next.max(head.saturating_sub(CELLS))..=head;
        waiting.rev().filter(|sequence| kind_of(*sequence) != Some(Kind::Event)).nth(1).unwrap_or(next)
    }

    proptest! {
        /// Also when items are taken in order in between, or retired.
        #[test]
        #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
        fn a_scan_with_memory_finds_what_a_full_scan_finds(
            events in proptest::collection::vec(any::<bool>(), 1..200),
            steps in proptest::collection::vec((0u64..20, 0u64..3), 1..60),
        ) {
            let kind_of = |sequence: u64| match events.get(sequence as usize) {
                Some(true) => Some(Kind::Event),
                _ => Some(Kind::Frame),
            };
            let (mut next, mut head, mut scan) = (1, 0, LatestScan::default());
            for (published, retired) in steps {
                head += published;
                let target = scan.target(next, head, kind_of);
                prop_assert_eq!(target, second_newest(next, head, kind_of));
                next = if target <= head { target + 1 } else { next };
                next = (next + retired).min(head + 1);
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn each_waiting_event_is_looked_at_once() {
        let looks = std::cell::Cell::new(0);
        let kind_of = |_| {
            looks.set(looks.get() + 1);
            Some(Kind::Event)
        };
        let mut scan = LatestScan::default();
        for next in 1..=4000 {
            assert_eq!(scan.target(next, 4000, kind_of), next);
        }
        assert_eq!(looks.get(), 4000);
    }
}
