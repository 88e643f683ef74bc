//! The lifecycle of a producer: from the generation that it begins to the end of its right to write.
//!
//! A plain region belongs to its producer alone, and its lifecycle has two states: live and closed. Memory that stays when
//! its producer goes (a kept region, a device of virtual machines) can be cleared by others: the firmware of a starting
//! guest may fill it with zeros. It can also be taken over: a producer that was paused for longer than its lease time may
//! find a successor. Both are seen by the generation in the header.
//!
//! ```text
//!              cleared                marks stayed intact
//!   Live ---------------> Recovering ----------------------> Live, in a new generation
//!    |  \                    |
//!    |   \ successor         | successor
//!    |    `----------------->+---> Superseded
//!    | close                                  \ close
//!    v                                         v
//!   Closed ---- upstream writes no more ----> Released
//! ```
//!
//! [`Lifecycle`] decides; it has no clock and touches no memory. `Shared` reads the header, asks it, and carries out the
//! [`Action`]: see `recovery`. [`inherit`] reads what the generation before left, [`takeover`] waits until its producer is
//! dead, [`close`] ends a generation.

mod close;
mod inherit;
mod recovery;
mod takeover;

pub(in crate::producer) use inherit::{Claims, Held, Past, claim, claims};
pub(in crate::producer) use takeover::{await_silence, tie_break};

use std::time::{Duration, Instant};

/// A generation number that is shown for so long is no stray write, if the heartbeat changes meanwhile.
const STRAY: Duration = Duration::from_millis(50);
/// Marks that stay intact for so long say that the clear is over.
const QUIET: Duration = Duration::from_millis(100);
/// What one look counts for at most: the process that clears may have been paused as well.
const LOOK: Duration = Duration::from_millis(25);
/// Consumers that were attached before a clear have attached again by then.
const REATTACH: Duration = Duration::from_millis(500);

/// The generation in which an operation began. Bytes that were written in another one are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl Epoch {
    /// The generation's number, as the header shows it.
    pub(in crate::producer) fn generation(self) -> u64 {
        self.0
    }
}

/// By what another producer in the same memory is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::producer) enum Exclusion {
    /// No other producer uses this memory before it is closed.
    Exclusive,
    /// The lock of a kept file: only a producer in another kernel can begin a generation there.
    Lock,
    /// Nothing but heartbeats: the memory of a device.
    Heartbeat,
}

/// What the header shows.
#[derive(Debug, Clone, Copy)]
pub(in crate::producer) struct Found {
    pub(in crate::producer) generation: u64,
    pub(in crate::producer) heartbeat: u64,
    /// The region says that its producer may run in another kernel.
    pub(in crate::producer) by_heartbeat: bool,
    /// The longer one of this producer's lease time and the one that the header shows.
    pub(in crate::producer) lease: Duration,
}

/// What `Shared` has to do before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::producer) enum Action {
    /// Nothing: the region shows this generation, which may be written.
    Proceed,
    /// The memory was cleared: choose a new generation, write the header's constants, place marks, then call
    /// [`Lifecycle::recover`].
    Recover,
    /// Compare the marks, then call [`Lifecycle::marks_checked`].
    CheckMarks,
    /// The clear goes on: write the constants and marks again, then call [`Lifecycle::marks_placed`].
    PlaceMarks,
    /// The clear is over: make the region complete and live.
    Resume,
    /// Write nothing now.
    Wait,
    /// Write nothing any more.
    Stop,
}

#[derive(Debug)]
enum State {
    Live,
    Recovering(Recovery),
    Closed,
    Released,
    Superseded,
}

/// The state as other threads see it without the mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::producer) enum Phase {
    /// Live or recovering.
    Open,
    /// Another producer has taken the memory over.
    Superseded,
    /// Closed; what upstream holds may still be written.
    Closed,
    /// Closed, and the next producer may use the memory.
    Released,
}

/// Progress of a recovery.
#[derive(Debug)]
struct Recovery {
    /// Where marks stand, as offsets in the region.
    marks: Vec<u64>,
    /// For how long they have stayed intact, by looks that count for [`LOOK`] at most.
    quiet: Duration,
    looked: Instant,
}

/// A generation that is not this producer's.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    generation: u64,
    /// The heartbeat that was seen with it first.
    heartbeat: u64,
    since: Instant,
}

/// Decides what a producer may do with its memory.
#[derive(Debug)]
pub(in crate::producer) struct Lifecycle {
    state: State,
    exclusion: Exclusion,
    generation: u64,
    suspect: Option<Suspect>,
    /// When the last recovery was over.
    resumed: Option<Instant>,
    /// Of a closed producer: its name may still lead to the memory, so a next producer may use it.
    may_be_reused: bool,
}

impl Lifecycle {
    pub(in crate::producer) fn new(generation: u64, exclusion: Exclusion) -> Self {
        Self { state: State::Live, exclusion, generation, suspect: None, resumed: None, may_be_reused: false }
    }

    /// The token of an operation that begins now.
    pub(in crate::producer) fn epoch(&self) -> Epoch {
        Epoch(self.generation)
    }

    pub(in crate::producer) fn phase(&self) -> Phase {
        match self.state {
            State::Live | State::Recovering(_) => Phase::Open,
            State::Superseded => Phase::Superseded,
            State::Closed => Phase::Closed,
            State::Released => Phase::Released,
        }
    }

    pub(in crate::producer) fn is_exclusive(&self) -> bool {
        self.exclusion == Exclusion::Exclusive
    }

    pub(in crate::producer) fn is_recovering(&self) -> bool {
        matches!(self.state, State::Recovering(_))
    }

    /// Whether an operation may proceed in a region that shows `generation`, without a closer look.
    #[inline]
    pub(in crate::producer) fn is_settled(&self, generation: u64) -> bool {
        generation == self.generation && self.suspect.is_none() && matches!(self.state, State::Live)
    }

    /// Judges what the header shows.
    pub(in crate::producer) fn observe(&mut self, found: &Found, now: Instant) -> Action {
        if self.phase() != Phase::Open {
            return Action::Stop;
        }
        if self.is_exclusive() {
            return Action::Proceed;
        }
        if found.generation == self.generation {
            // A number that comes back after this one is judged anew.
            self.suspect = None;
            return if self.is_recovering() { Action::CheckMarks } else { Action::Proceed };
        }
        self.state = State::Live;
        match self.is_successor(found, now) {
            None => Action::Wait,
            Some(false) => Action::Recover,
            Some(true) => {
                self.state = State::Superseded;
                Action::Stop
            }
        }
    }

    /// Whether the number found is a successor's, or what a clear or a stray write left. `None` as long as that is open.
    fn is_successor(&mut self, found: &Found, now: Instant) -> Option<bool> {
        match self.exclusion {
            _ if found.generation == 0 => return Some(false),
            Exclusion::Heartbeat => return Some(true),
            // With the lock of this producer only one in another kernel can be there.
            _ if !found.by_heartbeat => return Some(false),
            _ => {}
        }
        let first = Suspect { generation: found.generation, heartbeat: found.heartbeat, since: now };
        let suspect = *self.suspect.get_or_insert(first);
        if suspect.generation != found.generation {
            self.suspect = Some(first);
            return None;
        }
        match now.saturating_duration_since(suspect.since) {
            elapsed if elapsed > STRAY && found.heartbeat != suspect.heartbeat => Some(true),
            elapsed if elapsed > found.lease => Some(false),
            _ => None,
        }
    }

    /// The memory was cleared: from here on `generation` is this producer's, and `marks` are in place.
    pub(in crate::producer) fn recover(&mut self, generation: u64, marks: Vec<u64>, now: Instant) {
        self.suspect = None;
        self.generation = generation;
        self.state = State::Recovering(Recovery { marks, quiet: Duration::ZERO, looked: now });
    }

    /// Offsets of the marks; none unless it is recovering.
    pub(in crate::producer) fn marks(&self) -> &[u64] {
        if let State::Recovering(recovery) = &self.state { &recovery.marks } else { &[] }
    }

    /// `are_intact`: every mark still stands.
    pub(in crate::producer) fn marks_checked(&mut self, are_intact: bool, now: Instant) -> Action {
        let State::Recovering(recovery) = &mut self.state else { return Action::Wait };
        recovery.quiet += now.saturating_duration_since(recovery.looked).min(LOOK);
        recovery.looked = now;
        if !are_intact {
            return Action::PlaceMarks;
        }
        if recovery.quiet < QUIET {
            return Action::Wait;
        }
        self.state = State::Live;
        self.resumed = Some(now);
        Action::Resume
    }

    /// Marks stand again; the time in which they must stay intact starts anew.
    pub(in crate::producer) fn marks_placed(&mut self, marks: Vec<u64>, now: Instant) {
        if let State::Recovering(recovery) = &mut self.state {
            *recovery = Recovery { marks, quiet: Duration::ZERO, looked: now };
        }
    }

    /// Whether consumers that were attached before a clear may not have come back yet.
    pub(in crate::producer) fn consumers_may_return(&self, now: Instant) -> bool {
        self.resumed.is_some_and(|resumed| now.saturating_duration_since(resumed) <= REATTACH)
    }

    /// Closes; false when it was closed before.
    pub(in crate::producer) fn close(&mut self) -> bool {
        match self.state {
            State::Closed | State::Released => return false,
            State::Live | State::Recovering(_) => self.state = State::Closed,
            // The successor writes there already.
            State::Superseded => self.state = State::Released,
        }
        true
    }

    /// After [`close`](Self::close): whether the region's name may still lead to this memory.
    pub(in crate::producer) fn set_may_be_reused(&mut self, may_be_reused: bool) {
        self.may_be_reused = may_be_reused;
    }

    pub(in crate::producer) fn may_be_reused(&self) -> bool {
        self.may_be_reused
    }

    /// Upstream writes no more: memory that may be reused is the next producer's from here on.
    pub(in crate::producer) fn release(&mut self) {
        if self.may_be_reused {
            self.state = State::Released;
        }
    }
}

#[cfg(test)]
mod tests;
