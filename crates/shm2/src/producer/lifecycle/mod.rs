//! The lifecycle of a producer: from the generation that it begins to the end of its right to write.
//!
//! A plain region belongs to its producer alone, and its lifecycle has two states: live and closed. Memory that
//! outlasts its producer (a kept region, a device of virtual machines) can be cleared by other programs: the firmware
//! of a starting guest may fill it with zeros. Another producer, the *successor*, can also take it over when this one
//! was paused for longer than its lease time. The producer detects both by the generation in the header.
//!
//! ```text
//!              cleared                marks stayed intact
//!   Live ---------------> Recovering ----------------------> Live, in a new generation
//!    |  \                    |
//!    |   \ successor         | successor
//!    |    `----------------->+---> Superseded
//!    | close                                  \ close
//!    v                                         v
//!   Closed ------ upstream is done ---------> Released
//! ```
//!
//! [`Lifecycle`] decides; it has no clock and does not access the region. `Shared` reads the header, calls
//! [`Lifecycle::observe`], and carries out the [`Action`]: see `recovery`. [`takeover`] waits until the previous
//! producer is dead, [`inherit`] reads what its generation left, [`close`] ends a generation.

mod close;
mod inherit;
mod recovery;
mod takeover;

pub(in crate::producer) use inherit::{Claims, Inheritance, InheritedLease, claim, claims};
pub(in crate::producer) use takeover::{await_silence, tie_break};

use std::time::{Duration, Instant};

/// A foreign generation that is shown for this long, while the heartbeat changes, is a successor's and no stray write.
const STRAY: Duration = Duration::from_millis(50);
/// A clear is over when the marks have stayed intact for this long.
const QUIET: Duration = Duration::from_millis(100);
/// The longest interval between two checks of the marks that counts in full. A longer one may be a pause of the whole
/// machine, in which the clearing process was paused as well.
const LOOK: Duration = Duration::from_millis(25);
/// Time after a recovery within which consumers that were attached before attach again.
const REATTACH: Duration = Duration::from_millis(500);

/// Token for the generation in which an operation began. Bytes that were written in another generation are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl Epoch {
    /// The generation's number, as the header shows it.
    pub(in crate::producer) fn generation(self) -> u64 {
        self.0
    }
}

/// What excludes another producer from the same memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::producer) enum Exclusion {
    /// No other producer uses this memory before it is closed.
    Exclusive,
    /// The lock of a kept file: only a producer on another kernel can begin a generation in this memory.
    Lock,
    /// Heartbeats alone: the memory of a device.
    Heartbeat,
}

/// Values that the header shows.
#[derive(Debug, Clone, Copy)]
pub(in crate::producer) struct Found {
    pub(in crate::producer) generation: u64,
    pub(in crate::producer) heartbeat: u64,
    /// The header says that the producer may run on another kernel.
    pub(in crate::producer) by_heartbeat: bool,
    /// The longer one of this producer's lease time and the header's.
    pub(in crate::producer) lease: Duration,
}

/// What `Shared` must do before an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::producer) enum Action {
    /// Nothing: the region shows this producer's generation, and the operation may write.
    Proceed,
    /// The memory was cleared: choose a new generation, write the header's constants, place marks, then call
    /// [`Lifecycle::recover`].
    Recover,
    /// Compare the marks, then call [`Lifecycle::marks_checked`].
    CheckMarks,
    /// The clear is still in progress: write the constants and marks again, then call [`Lifecycle::marks_placed`].
    PlaceMarks,
    /// The clear is over: make the region complete and live.
    Resume,
    /// Do not write now.
    Wait,
    /// Do not write any more.
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

/// The state, as other threads read it without the mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::producer) enum Phase {
    /// Live or recovering.
    Open,
    /// Another producer has taken the memory over.
    Superseded,
    /// Closed; upstream may still write into its reservations.
    Closed,
    /// Closed, and the next producer may use the memory.
    Released,
}

/// Progress of a recovery.
#[derive(Debug)]
struct Recovery {
    /// Offsets of the marks in the region.
    marks: Vec<u64>,
    /// For how long the marks have stayed intact. Each check adds [`LOOK`] at most.
    quiet: Duration,
    /// Time of the last check.
    looked: Instant,
}

/// A generation in the header that is not this producer's.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    generation: u64,
    /// The heartbeat when it was first observed.
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
    /// End of the last recovery.
    resumed: Option<Instant>,
    /// After the close: the region's name may still lead to this memory, so the next producer may use it.
    may_be_reused: bool,
}

impl Lifecycle {
    pub(in crate::producer) fn new(generation: u64, exclusion: Exclusion) -> Self {
        Self { state: State::Live, exclusion, generation, suspect: None, resumed: None, may_be_reused: false }
    }

    /// Token of an operation that begins now.
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

    /// Whether an operation may proceed in a region that shows `generation` without a call of
    /// [`observe`](Self::observe).
    #[inline]
    pub(in crate::producer) fn is_live_in(&self, generation: u64) -> bool {
        generation == self.generation && self.suspect.is_none() && matches!(self.state, State::Live)
    }

    /// Decides what the values in the header mean for an operation.
    pub(in crate::producer) fn observe(&mut self, found: &Found, now: Instant) -> Action {
        if self.phase() != Phase::Open {
            return Action::Stop;
        }
        if self.is_exclusive() {
            return Action::Proceed;
        }
        if found.generation == self.generation {
            // If the foreign generation appears again, its time starts again.
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

    /// Whether the generation found is a successor's (true), or left by a clear or a stray write (false). `None` while
    /// that is undecided.
    fn is_successor(&mut self, found: &Found, now: Instant) -> Option<bool> {
        match self.exclusion {
            _ if found.generation == 0 => return Some(false),
            Exclusion::Heartbeat => return Some(true),
            // This producer holds the lock, so a successor can only run on another kernel.
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

    /// Begins the recovery after a clear: `generation` is this producer's from now on, and `marks` are in place.
    pub(in crate::producer) fn recover(&mut self, generation: u64, marks: Vec<u64>, now: Instant) {
        self.suspect = None;
        self.generation = generation;
        self.state = State::Recovering(Recovery { marks, quiet: Duration::ZERO, looked: now });
    }

    /// Offsets of the marks; empty unless it is recovering.
    pub(in crate::producer) fn marks(&self) -> &[u64] {
        if let State::Recovering(recovery) = &self.state { &recovery.marks } else { &[] }
    }

    /// Continues the recovery after a check of the marks. `are_intact`: no mark has changed.
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

    /// New marks are in place; the time for which they must stay intact starts again.
    pub(in crate::producer) fn marks_placed(&mut self, marks: Vec<u64>, now: Instant) {
        if let State::Recovering(recovery) = &mut self.state {
            *recovery = Recovery { marks, quiet: Duration::ZERO, looked: now };
        }
    }

    /// Whether consumers that were attached before a clear may not have attached again yet.
    pub(in crate::producer) fn consumers_may_return(&self, now: Instant) -> bool {
        self.resumed.is_some_and(|resumed| now.saturating_duration_since(resumed) <= REATTACH)
    }

    /// Closes the producer; false if it was closed before.
    pub(in crate::producer) fn close(&mut self) -> bool {
        match self.state {
            State::Closed | State::Released => return false,
            State::Live | State::Recovering(_) => self.state = State::Closed,
            // The successor already writes into the memory.
            State::Superseded => self.state = State::Released,
        }
        true
    }

    /// Sets, after [`close`](Self::close), whether the region's name may still lead to this memory.
    pub(in crate::producer) fn set_may_be_reused(&mut self, may_be_reused: bool) {
        self.may_be_reused = may_be_reused;
    }

    pub(in crate::producer) fn may_be_reused(&self) -> bool {
        self.may_be_reused
    }

    /// Upstream no longer writes: the next producer may use memory that may be reused.
    pub(in crate::producer) fn release(&mut self) {
        if self.may_be_reused {
            self.state = State::Released;
        }
    }
}

#[cfg(test)]
mod tests;
