//! Owners of a page without a lock: leases by exchanges of signed entries, and their expulsion (docs/protocol.md
//! section 22).
//!
//! **Steps.** Each load, store and exchange is one step. The consumer: from `consumer/claim.rs` `claim`,
//! `owner_number`; from `consumer/ownership.rs` `Heartbeating` (`enter`, `owns`, `lease`, `release`, `show`) and
//! `Locked` (`enter`, `lease`, `release`); from `protocol.rs` `take_page`, `take_entry`, `confirm`, `release_if_mine`,
//! `enter_if_mine`, `hold`. The producer: from `producer/reap.rs` `begin_probes`, `probe`, `end_probes`; from
//! `protocol.rs` `clear_unlocked`, `retire`, `held_in`; from `producer/ledger.rs` `retire`, `recycle`, `holds`.
//!
//! **Environment.** A pause is any number of steps of others between two steps of one. The producer may expel an owner
//! at any moment, as if its heartbeat had stood still. Owners die at any step. In one form a consumer with a lock wants
//! the same page; in the other a producer that was paused while it expels continues beside its successor, where no
//! locks exist.
//!
//! **Properties.** See [`Owners::properties`].
//!
//! **Bounds.** One page with one entry and one item; two claims without a lock, numbered modulo 3. Beside a lock: one
//! owner dies, one expulsion. With two producers: two expulsions. The long form has two items, and one death and two
//! expulsions in both.
//!
//! **Not modelled.** Plain stores of an owner that has lost its page: offset, length, cursor, counters. The entry of an
//! owner that lost its page and died before it removed the entry stays until the page is expelled or locked again; its
//! successor copies in its place. Times: that a heartbeat in time prevents the expulsion.

mod steps;

use stateright::{Model, Property};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    None,
    /// A consumer does not look again whether it owns the page after it stored the entry.
    UncheckedOwner,
    /// A consumer reads `oldest` before it stores the entry.
    EarlyConfirm,
    /// A lease is ended by a plain store.
    PlainRelease,
    /// An expulsion ends every lease of the page.
    PlainClear,
    /// Entries and pages do not show the owner.
    Unsigned,
    /// An expulsion ends no lease.
    NoClear,
    /// The entries of owners that have lost the page count as held.
    CountsLost,
    /// A consumer with a lock takes the page without regard to an owner without one.
    BlindLock,
    /// The producer frees what it retired without a look at the page.
    NoScan,
}

/// No owner by heartbeat has it: the number that the page shows while it is cleared, and of owners with a lock.
const NO_OWNER: u8 = 0;

/// The word `claimed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Claimed {
    Free,
    Claiming { owner: u8 },
    Reading { owner: u8 },
    LockClaiming,
    LockReading,
}

/// The first word of a lease entry: sequence and owner; a sequence of 0 is a free entry.
type Entry = (u8, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    Number,
    Take,
    Enter,
    Next,
    Entry,
    Confirm,
    Owns,
    Undo,
    Held,
    Leave,
    Unlock,
    Gone,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Consumer {
    by_lock: bool,
    step: Step,
    owner: u8,
    next: u8,
    /// Result of a check that came too early.
    confirmed: bool,
    /// It holds `next`, and was not expelled since it accepted the hold.
    holds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Work {
    Idle,
    ScanPage,
    ScanEntry,
    ScanOwner { found: Entry },
    Recycle { held: u8 },
    Before { seen: Claimed },
    Expel { seen: Claimed, before: Entry },
    Find { seen: Claimed, before: Entry },
    Clear { found: Entry },
    Free,
    Unlock,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    claimed: Claimed,
    claims: u8,
    entry: Entry,
    /// Owner of the page's lock: a consumer, or `PRODUCER`.
    lock: Option<usize>,
    oldest: u8,
    /// Retired and not yet free.
    limbo: Vec<u8>,
    producers: Vec<Work>,
    consumers: Vec<Consumer>,
    expulsions: u8,
    deaths: u8,
    overwritten: bool,
}

const PRODUCER: usize = usize::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Consume(usize),
    Leave(usize),
    Die(usize),
    Produce(usize),
    Retire,
    Expel(usize),
}

struct Owners {
    mutation: Mutation,
    /// Owner numbers that exist.
    numbers: u8,
    claims: usize,
    items: u8,
    expulsions: u8,
    deaths: u8,
    /// Locks exist, and one producer; else there are two producers.
    has_locks: bool,
    /// Consumers with a lock.
    lockers: usize,
}

impl Claimed {
    /// The owner's number, where the owner has no lock.
    fn owner(self) -> Option<u8> {
        match self {
            Claimed::Claiming { owner } | Claimed::Reading { owner } => Some(owner),
            _ => None,
        }
    }
}

impl State {
    fn owns(&self, consumer: &Consumer) -> bool {
        match consumer.by_lock {
            true => true,
            false => self.claimed == Claimed::Reading { owner: consumer.owner },
        }
    }

    /// As `held_in`: the sequence that the entry holds, 0 for none.
    fn held_in(&self, found: Entry, mutation: Mutation) -> u8 {
        let counts_lost = mutation == Mutation::CountsLost;
        match self.claimed.owner() {
            Some(owner) if owner != NO_OWNER && found.1 != owner && !counts_lost => 0,
            Some(_) => found.0,
            // With the owner's bits it is no sequence that was used.
            None if found.1 != NO_OWNER && !counts_lost => 0,
            None => found.0,
        }
    }

    fn exchange(&mut self, from: Entry, to: Entry) -> bool {
        let is_same = self.entry == from;
        if is_same {
            self.entry = to;
        }
        is_same
    }
}

impl Owners {
    /// Begins an expulsion, if there is an owner without a lock.
    fn expel(&self, s: &mut State, which: usize) -> bool {
        if s.claimed.owner().is_none() || (self.has_locks && s.lock.is_some()) {
            return false;
        }
        if self.has_locks {
            s.lock = Some(PRODUCER);
        }
        s.producers[which] = Work::Before { seen: s.claimed };
        true
    }

    fn at_rest(&self, s: &State) -> bool {
        let is_over = |c: &Consumer| matches!(c.step, Step::Gone | Step::Dead | Step::Idle);
        s.consumers.iter().all(is_over) && s.producers.iter().all(|work| *work == Work::Idle)
    }

    /// Whether a producer that works alone gets back the page, the entry and every frame, also the frames while the
    /// next owner has the page.
    fn comes_back(&self, s: &State) -> bool {
        let mut s = s.clone();
        let run = |s: &mut State| (0..12).for_each(|_| self.produce(s, 0));
        let is_expelled = self.expel(&mut s, 0);
        if is_expelled {
            run(&mut s);
        }
        let is_back = s.claimed.owner().is_none();
        let left = s.entry;
        let is_left = |c: &Consumer| c.step == Step::Dead && left == (c.next, c.owner);
        // Where no expulsion follows, the entry of an owner that died without the page stays.
        let is_free = left.0 == 0 || (!is_expelled && s.consumers.iter().any(is_left));
        s.limbo.extend(s.oldest..=self.items);
        s.claimed = Claimed::Reading { owner: self.number(s.claims) };
        s.producers[0] = Work::ScanPage;
        run(&mut s);
        is_back && is_free && s.limbo.is_empty()
    }
}

impl Model for Owners {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let consumer =
            |by_lock| Consumer { by_lock, step: Step::Idle, owner: NO_OWNER, next: 0, confirmed: false, holds: false };
        let mut consumers = vec![consumer(false); self.claims];
        consumers.extend(vec![consumer(true); self.lockers]);
        vec![State {
            claimed: Claimed::Free,
            claims: 0,
            entry: (0, NO_OWNER),
            lock: None,
            oldest: 1,
            limbo: Vec::new(),
            producers: vec![Work::Idle; if self.has_locks { 1 } else { 2 }],
            consumers,
            expulsions: self.expulsions,
            deaths: self.deaths,
            overwritten: false,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        for (who, c) in s.consumers.iter().enumerate() {
            // Consumers are alike: they begin in order.
            let has_begun = who == 0 || c.by_lock || s.consumers[who - 1].step != Step::Idle;
            if has_begun && !matches!(c.step, Step::Gone | Step::Dead) {
                actions.push(Action::Consume(who));
            }
            if c.step == Step::Next {
                actions.push(Action::Leave(who));
            }
            if s.deaths > 0 && !c.by_lock && !matches!(c.step, Step::Idle | Step::Gone | Step::Dead) {
                actions.push(Action::Die(who));
            }
        }
        for (which, work) in s.producers.iter().enumerate() {
            match work {
                Work::Idle if s.expulsions > 0 => actions.push(Action::Expel(which)),
                Work::Idle => {}
                _ => actions.push(Action::Produce(which)),
            }
        }
        if s.producers[0] == Work::Idle && s.oldest <= self.items {
            actions.push(Action::Retire);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut s = before.clone();
        match action {
            Action::Consume(who) => self.consume(&mut s, who),
            Action::Leave(who) => s.consumers[who].step = Step::Leave,
            Action::Die(who) => {
                (s.consumers[who].step, s.consumers[who].holds) = (Step::Dead, false);
                s.deaths -= 1;
            }
            Action::Produce(which) => self.produce(&mut s, which),
            Action::Retire => {
                s.limbo.push(s.oldest);
                s.oldest += 1;
                s.producers[0] = Work::ScanPage;
            }
            Action::Expel(which) => {
                if !self.expel(&mut s, which) {
                    return None;
                }
                s.expulsions -= 1;
            }
        }
        (s != *before).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("accepted holds are protected", |_, s: &State| !s.overwritten),
            Property::always("no hold is taken away", |_, s: &State| {
                let is_there = |c: &Consumer| s.entry == (c.next, c.owner);
                s.consumers.iter().all(|c| !c.holds || !s.owns(c) || is_there(c))
            }),
            Property::always("page, entry and frames come back", |model: &Self, s: &State| {
                !model.at_rest(s) || model.comes_back(s)
            }),
            Property::sometimes("an expelled owner ends its lease in another's page", |_, s: &State| {
                let undoes = |c: &Consumer| !c.by_lock && c.step == Step::Undo && s.entry == (c.next, c.owner);
                let others = s.claimed.owner().is_some_and(|owner| owner != NO_OWNER);
                others && s.consumers.iter().any(|c| undoes(c) && !s.owns(c))
            }),
        ]
    }
}

/// Beside a consumer with a lock, or of two producers.
fn owners(has_locks: bool, mutation: Mutation) -> Owners {
    let lockers = usize::from(has_locks);
    let (expulsions, deaths) = if has_locks { (1, 1) } else { (2, 0) };
    Owners { mutation, numbers: 3, claims: 2, items: 1, expulsions, deaths, has_locks, lockers }
}

#[test]
fn expelled_owners_neither_take_nor_keep_holds() {
    for has_locks in [true, false] {
        let mut model = owners(has_locks, Mutation::None);
        if crate::is_long() {
            (model.items, model.expulsions, model.deaths) = (2, 2, 1);
        }
        crate::holds(if has_locks { "owners beside a lock" } else { "owners of two producers" }, model);
    }
}

#[test]
fn each_weakened_owner_is_caught() {
    use Mutation::*;
    let caught = [
        (true, UncheckedOwner, "accepted holds are protected"),
        (true, EarlyConfirm, "accepted holds are protected"),
        (true, PlainRelease, "no hold is taken away"),
        (false, PlainClear, "no hold is taken away"),
        (true, Unsigned, "no hold is taken away"),
        (true, NoClear, "page, entry and frames come back"),
        (true, CountsLost, "page, entry and frames come back"),
        (true, BlindLock, "accepted holds are protected"),
        (true, NoScan, "accepted holds are protected"),
    ];
    for (has_locks, mutation, property) in caught {
        crate::fails(&format!("owners, {mutation:?}"), owners(has_locks, mutation), property);
    }
}

/// A limit, which docs/protocol.md names: after as many claims as there are numbers, an owner that was paused for all of
/// them finds its own number again.
#[test]
fn a_number_that_returns_is_taken_for_the_own() {
    let model = Owners { claims: 4, expulsions: 1, deaths: 0, lockers: 0, ..owners(true, Mutation::None) };
    crate::fails("owners, one claim more than numbers", model, "no hold is taken away");
}
