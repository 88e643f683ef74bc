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

/// The sequence to take under latest-only, at least `next`: the second newest of the waiting items that are not events.
/// Items after it are taken in order. `kind_of` as in [`Start::first`].
pub(super) fn latest(next: u64, head: u64, kind_of: impl Fn(u64) -> Option<Kind>) -> u64 {
    let waiting = next.max(head.saturating_sub(CELLS))..head.saturating_add(1);
    let is_event = |sequence: &u64| kind_of(*sequence) == Some(Kind::Event);
    waiting.rev().filter(|sequence| !is_event(sequence)).nth(1).unwrap_or(next)
}
