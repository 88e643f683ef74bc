//! The steps of consumers and producers.

use super::{Claimed, Mutation, NO_OWNER, Owners, PRODUCER, State, Step, Work};

impl Owners {
    pub(super) fn number(&self, claims: u8) -> u8 {
        if self.mutation == Mutation::Unsigned { 1 } else { claims % self.numbers + 1 }
    }

    pub(super) fn consume(&self, s: &mut State, who: usize) {
        let mut c = s.consumers[who];
        let signed = (c.next, c.owner);
        let is_confirmed = s.oldest <= c.next;
        c.step = match c.step {
            Step::Idle if !c.by_lock => {
                if s.claimed == Claimed::Free {
                    Step::Number
                } else {
                    Step::Idle
                }
            }
            Step::Idle if s.lock.is_none() => {
                s.lock = Some(who);
                Step::Take
            }
            Step::Idle => Step::Idle,
            Step::Number => {
                c.owner = self.number(s.claims);
                s.claims += 1;
                Step::Take
            }
            Step::Take if c.by_lock => {
                let is_free = s.claimed.owner().is_none() || self.mutation == Mutation::BlindLock;
                if is_free {
                    s.claimed = Claimed::LockClaiming;
                }
                if is_free { Step::Enter } else { Step::Unlock }
            }
            Step::Take if s.claimed == Claimed::Free => {
                s.claimed = Claimed::Claiming { owner: c.owner };
                Step::Enter
            }
            Step::Take => Step::Gone,
            Step::Enter if c.by_lock => {
                (s.entry, s.claimed) = ((0, NO_OWNER), Claimed::LockReading);
                Step::Next
            }
            Step::Enter if s.claimed == (Claimed::Claiming { owner: c.owner }) => {
                s.claimed = Claimed::Reading { owner: c.owner };
                Step::Next
            }
            Step::Enter => Step::Gone,
            Step::Next => {
                c.next += 1;
                c.confirmed = s.oldest <= c.next;
                if c.next > self.items {
                    Step::Leave
                } else if s.owns(&c) {
                    Step::Entry
                } else {
                    Step::Gone
                }
            }
            Step::Entry if c.by_lock => {
                s.entry = signed;
                Step::Confirm
            }
            Step::Entry if s.exchange((0, NO_OWNER), signed) => Step::Confirm,
            Step::Entry => Step::Next,
            Step::Confirm if is_confirmed || (self.mutation == Mutation::EarlyConfirm && c.confirmed) => Step::Owns,
            Step::Confirm => Step::Undo,
            Step::Owns if s.owns(&c) || self.mutation == Mutation::UncheckedOwner => {
                c.holds = true;
                Step::Held
            }
            Step::Owns => Step::Undo,
            Step::Undo | Step::Held => {
                c.holds = false;
                if c.by_lock || self.mutation == Mutation::PlainRelease {
                    s.entry = (0, NO_OWNER);
                } else {
                    s.exchange(signed, (0, NO_OWNER));
                }
                Step::Next
            }
            Step::Leave if c.by_lock => {
                s.claimed = Claimed::Free;
                Step::Unlock
            }
            Step::Leave => {
                if s.claimed == (Claimed::Reading { owner: c.owner }) {
                    s.claimed = Claimed::Free;
                }
                Step::Gone
            }
            Step::Unlock => {
                s.lock = None;
                Step::Gone
            }
            Step::Gone | Step::Dead => c.step,
        };
        s.consumers[who] = c;
    }

    pub(super) fn produce(&self, s: &mut State, which: usize) {
        s.producers[which] = match s.producers[which] {
            Work::Idle => Work::Idle,
            Work::ScanPage if s.claimed == Claimed::Free || self.mutation == Mutation::NoScan => {
                Work::Recycle { held: 0 }
            }
            Work::ScanPage => Work::ScanEntry,
            Work::ScanEntry => Work::ScanOwner { found: s.entry },
            Work::ScanOwner { found } => Work::Recycle { held: s.held_in(found, self.mutation) },
            Work::Recycle { held } => {
                let free = |sequence: &u8| *sequence != held;
                let recycled: Vec<u8> = s.limbo.iter().copied().filter(free).collect();
                s.limbo.retain(|sequence| !free(sequence));
                s.overwritten |= s.consumers.iter().any(|c| c.holds && recycled.contains(&c.next));
                Work::Idle
            }
            Work::Before { seen } => Work::Expel { seen, before: s.entry },
            Work::Expel { seen, before } if s.claimed == seen => {
                s.claimed = Claimed::Claiming { owner: NO_OWNER };
                for c in s.consumers.iter_mut().filter(|c| !c.by_lock && seen.owner() == Some(c.owner)) {
                    // What it accepts from here on must be refused or protected.
                    c.holds = false;
                }
                Work::Find { seen, before }
            }
            Work::Expel { .. } => Work::Unlock,
            Work::Find { seen, before } => {
                let (found, owner) = (s.entry, seen.owner().unwrap_or(NO_OWNER));
                let ends = found == before || (owner != NO_OWNER && found.1 == owner);
                match found.0 != 0 && (ends || self.mutation == Mutation::PlainClear) {
                    true if self.mutation != Mutation::NoClear => Work::Clear { found },
                    _ => Work::Free,
                }
            }
            Work::Clear { found } => {
                if self.mutation == Mutation::PlainClear {
                    s.entry = (0, NO_OWNER);
                } else {
                    s.exchange(found, (0, NO_OWNER));
                }
                Work::Free
            }
            Work::Free => {
                if s.claimed == (Claimed::Claiming { owner: NO_OWNER }) {
                    s.claimed = Claimed::Free;
                }
                Work::Unlock
            }
            Work::Unlock => {
                s.lock.take_if(|owner| *owner == PRODUCER);
                Work::Idle
            }
        };
    }
}
