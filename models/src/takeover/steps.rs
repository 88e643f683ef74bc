//! The steps of a producer.

use super::{Content, Mutation, Producer, State, Step, Takeover};

impl Takeover {
    pub(super) fn step(&self, s: &mut State, p: usize) {
        use Step::*;
        let Producer { keeps, step, old, own } = s.producers[p];
        let file = |file: Option<usize>| file.expect("a step with a file");
        let try_lock = |lock: &mut Option<usize>| *lock.get_or_insert(p) == p;
        let is_locked = |s: &State| s.files[file(old)].liveness.is_some_and(|owner| owner != p);
        let compares = self.mutation != Mutation::NoComparison;
        let mut next =
            match step {
                Idle if keeps => AdoptOpen,
                Idle => ClearOpen,
                AdoptOpen | ClearOpen => {
                    s.producers[p].old = s.name;
                    match (s.name, step) {
                        (Some(_), AdoptOpen) => AdoptTakeover,
                        (Some(_), _) => ClearProbe,
                        (None, AdoptOpen) if self.mutation == Mutation::RemovesPrepared => ClearOpen,
                        (None, AdoptOpen) => Make,
                        (None, _) if own.is_some() => Link,
                        (None, _) => Make,
                    }
                }
                AdoptTakeover if try_lock(&mut s.files[file(old)].takeover) => AdoptCompare,
                AdoptTakeover => return s.drop_old(p, AdoptOpen),
                AdoptCompare if compares && s.name != old => return s.drop_old(p, AdoptOpen),
                AdoptCompare if self.mutation == Mutation::UnlockedEarly => AdoptUnlock,
                AdoptCompare => AdoptLiveness,
                AdoptLiveness if try_lock(&mut s.files[file(old)].liveness) => {
                    if self.mutation == Mutation::UnlockedEarly { Begin } else { AdoptUnlock }
                }
                AdoptLiveness => return s.end(p, Busy),
                AdoptUnlock => {
                    s.files[file(old)].takeover = None;
                    if self.mutation == Mutation::UnlockedEarly { AdoptLiveness } else { Begin }
                }
                Begin => {
                    (s.producers[p].own, s.producers[p].old) = (old, None);
                    s.files[file(old)].content = Content::Kept;
                    Live
                }
                ClearProbe if is_locked(s) => return s.end(p, Busy),
                ClearProbe => ClearRead,
                ClearRead => match s.files[file(old)].content {
                    Content::Kept => return s.end(p, RefusedKept),
                    Content::Empty if keeps && self.mutation != Mutation::RemovesPrepared => return s.end(p, Busy),
                    _ if self.mutation == Mutation::NoTakeoverLock => ClearCompare,
                    _ => ClearTakeover,
                },
                ClearTakeover if try_lock(&mut s.files[file(old)].takeover) => ClearCompare,
                ClearTakeover => return s.drop_old(p, ClearOpen),
                ClearCompare if compares && s.name != old => return s.drop_old(p, ClearOpen),
                ClearCompare if self.mutation == Mutation::NoSecondProbe => ClearUnlink,
                ClearCompare => ClearProbeAgain,
                ClearProbeAgain if is_locked(s) => return s.end(p, Busy),
                ClearProbeAgain => ClearUnlink,
                ClearUnlink => {
                    s.unlink(p);
                    ClearClose
                }
                ClearClose => return s.drop_old(p, if own.is_some() { Link } else { Make }),
                Make => {
                    let content = if keeps { Content::Kept } else { Content::Plain };
                    let is_locked = self.mutation != Mutation::LinkedEarly;
                    s.producers[p].own = Some(s.new_file(content, is_locked.then_some(p)));
                    Link
                }
                Link if s.name.is_none() || self.mutation == Mutation::Renamed => {
                    s.removed_live |= s.name.is_some_and(|file| s.files[file].liveness.is_some());
                    s.name = own;
                    s.tidy();
                    if self.mutation == Mutation::LinkedEarly { LateLock } else { Live }
                }
                Link => ClearOpen,
                LateLock => {
                    s.files[file(own)].liveness = Some(p);
                    Live
                }
                Live if keeps => End,
                Live => CloseTakeover,
                CloseTakeover if try_lock(&mut s.files[file(own)].takeover) => CloseCompare,
                CloseTakeover => End,
                CloseCompare if s.name != own && self.mutation != Mutation::ClosedBlindly => CloseUnlock,
                CloseCompare => CloseUnlink,
                CloseUnlink => {
                    s.unlink(p);
                    CloseUnlock
                }
                CloseUnlock => {
                    s.files[file(own)].takeover = None;
                    End
                }
                End => return s.end(p, Gone),
                Busy | RefusedKept | Gone => step,
            };
        std::mem::swap(&mut s.producers[p].step, &mut next);
        s.disturbed |= step == Live;
    }
}
