//! Which item a consumer takes first, and which next under latest-only.

use crate::description::Kind;
use crate::layout::CELLS;

/// Which frame comes first after an attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// The producer's `history`: by default the newest frame in the ring.
    #[default]
    History,
    /// The oldest frame in the ring.
    Oldest,
    /// The next frame that is published.
    Next,
}

impl Start {
    /// `kind_of` reads the kind in the cell of a sequence. The cell may describe another item by then, which only moves
    /// the starting point.
    pub(super) fn first(self, oldest: u64, head: u64, history: u64, kind_of: impl Fn(u64) -> Option<Kind>) -> u64 {
        let next = head.saturating_add(1);
        match self {
            Self::History if history == 0 => next,
            Self::History => {
                // Events and ends do not count, but come along.
                let there = next.saturating_sub(CELLS).max(oldest).max(1)..next;
                let is_frame = |sequence: &u64| kind_of(*sequence).is_none_or(|kind| kind == Kind::Frame);
                there.clone().rev().filter(is_frame).nth(history.min(CELLS) as usize - 1).unwrap_or(there.start)
            }
            Self::Oldest => oldest,
            Self::Next => next,
        }
    }
}

/// Under latest-only the sequence to take, at least `next`: of what waits the second newest that is no event, together
/// with what follows it. `kind_of` as in [`Start::first`].
pub(super) fn latest(next: u64, head: u64, kind_of: impl Fn(u64) -> Option<Kind>) -> u64 {
    let waiting = next.max(head.saturating_sub(CELLS))..head.saturating_add(1);
    let is_event = |sequence: &u64| kind_of(*sequence) == Some(Kind::Event);
    waiting.rev().filter(|sequence| !is_event(sequence)).nth(1).unwrap_or(next)
}
