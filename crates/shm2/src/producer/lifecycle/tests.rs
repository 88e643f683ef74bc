//! Random histories of a lifecycle, compared with a model of the memory that other programs write.

use super::*;
use proptest::prelude::*;

/// What happens between two operations.
#[derive(Debug, Clone)]
enum Event {
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The memory is filled with zeros.
    Clear,
    /// Some marks are overwritten.
    Disturb,
    /// The generation is overwritten, by a producer on another kernel or by a stray write.
    Write(u64),
    /// The heartbeat of that producer changes.
    Beat,
    Close,
    UpstreamDone,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0u64..60).prop_map(Event::Wait),
        1 => (500u64..5000).prop_map(Event::Wait),
        1 => Just(Event::Clear),
        1 => Just(Event::Disturb),
        1 => (1u64..4).prop_map(|n| Event::Write(1_000_000 + n)),
        2 => Just(Event::Beat),
        1 => Just(Event::Close),
        1 => Just(Event::UpstreamDone),
    ]
}

const LEASE: Duration = Duration::from_millis(400);

struct World {
    lifecycle: Lifecycle,
    now: Instant,
    generation: u64,
    heartbeat: u64,
    by_heartbeat: bool,
    marks_intact: bool,
    /// Generations of this producer.
    own: Vec<u64>,
    /// Time at which the marks were last placed or disturbed.
    quiet_since: Instant,
    /// The foreign generation in the header, since when, and whether the heartbeat has changed since.
    foreign_since: Option<(u64, Instant, bool)>,
}

impl World {
    fn new(exclusion: Exclusion) -> Self {
        let now = Instant::now();
        let lifecycle = Lifecycle::new(1, exclusion);
        let (own, marks_intact, foreign_since) = (vec![1], true, None);
        Self {
            lifecycle,
            now,
            generation: 1,
            heartbeat: 0,
            by_heartbeat: true,
            marks_intact,
            own,
            quiet_since: now,
            foreign_since,
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Wait(ms) => self.now += Duration::from_millis(*ms),
            Event::Clear => (self.generation, self.by_heartbeat, self.marks_intact) = (0, false, false),
            Event::Disturb => self.marks_intact = false,
            Event::Write(number) => (self.generation, self.by_heartbeat) = (*number, true),
            Event::Beat => {
                self.heartbeat += 1;
                if let Some((.., has_beaten)) = &mut self.foreign_since {
                    *has_beaten = true;
                }
            }
            Event::Close => {
                let was_open = self.lifecycle.phase() <= Phase::Superseded;
                assert_eq!(self.lifecycle.close(), was_open, "only the first close counts");
                self.lifecycle.set_may_be_reused(!self.lifecycle.is_exclusive());
            }
            Event::UpstreamDone if self.lifecycle.phase() >= Phase::Closed => self.lifecycle.release(),
            Event::UpstreamDone => {}
        }
        if self.own.contains(&self.generation) || self.generation == 0 {
            self.foreign_since = None;
        } else if self.foreign_since.is_none_or(|(number, ..)| number != self.generation) {
            self.foreign_since = Some((self.generation, self.now, false));
        }
    }

    fn choose_generation(&mut self) -> u64 {
        let generation = self.own.len() as u64 + 1;
        self.own.push(generation);
        generation
    }

    /// One operation, as `Shared` carries it out. True when it may write.
    fn operate(&mut self) -> bool {
        let found = Found {
            generation: self.generation,
            heartbeat: self.heartbeat,
            by_heartbeat: self.by_heartbeat,
            lease: LEASE,
        };
        let before = self.lifecycle.phase();
        let action = self.lifecycle.observe(&found, self.now);
        self.check(before, action);
        match action {
            Action::Proceed => return true,
            Action::Recover => {
                self.generation = self.choose_generation();
                (self.by_heartbeat, self.marks_intact, self.quiet_since) = (true, true, self.now);
                self.foreign_since = None;
                self.lifecycle.recover(self.generation, vec![64], self.now);
            }
            Action::CheckMarks => match self.lifecycle.marks_checked(self.marks_intact, self.now) {
                Action::Resume => {
                    assert!(self.marks_intact, "resumed during a clear");
                    assert!(self.now - self.quiet_since >= QUIET, "resumed too early");
                    assert!(self.lifecycle.consumers_may_return(self.now));
                    return true;
                }
                Action::PlaceMarks => {
                    assert!(!self.marks_intact);
                    (self.marks_intact, self.quiet_since) = (true, self.now);
                    self.lifecycle.marks_placed(vec![64], self.now);
                }
                Action::Wait => {}
                other => panic!("{other:?} after a check of the marks"),
            },
            Action::Wait | Action::Stop => {}
            Action::PlaceMarks | Action::Resume => panic!("{action:?} without a check of the marks"),
        }
        false
    }

    fn check(&self, before: Phase, action: Action) {
        let exclusive = self.lifecycle.is_exclusive();
        if before != Phase::Open {
            assert_eq!(action, Action::Stop, "a producer that is {before:?} must not write");
        } else if exclusive {
            assert_eq!(action, Action::Proceed, "others cannot end the generation of a plain region");
        } else if action == Action::Proceed || action == Action::CheckMarks {
            assert_eq!(
                self.generation,
                self.lifecycle.epoch().generation(),
                "it must write in its own generation only"
            );
        } else if action == Action::Stop {
            let is_alive = self.foreign_since.is_some_and(|(.., has_beaten)| has_beaten);
            let by_lock = self.lifecycle.exclusion == Exclusion::Lock;
            assert!(self.generation != 0 && (is_alive || !by_lock), "it stopped without a successor");
        }
    }
}

proptest! {
    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn a_lifecycle_keeps_its_invariants_in_any_history(
        exclusion in prop_oneof![Just(Exclusion::Exclusive), Just(Exclusion::Lock), Just(Exclusion::Heartbeat)],
        history in proptest::collection::vec(event(), 1..200),
    ) {
        let mut world = World::new(exclusion);
        let mut phase = Phase::Open;
        for event in &history {
            world.apply(event);
            world.operate();
            prop_assert!(world.lifecycle.phase() >= phase, "a phase must not return");
            phase = world.lifecycle.phase();
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn after_a_clear_a_producer_is_live_again_as_soon_as_the_marks_stay_intact(
        history in proptest::collection::vec(event(), 0..50),
    ) {
        let mut world = World::new(Exclusion::Lock);
        for event in history.iter().filter(|event| !matches!(event, Event::Close | Event::Write(_))) {
            world.apply(event);
            world.operate();
        }
        world.apply(&Event::Clear);
        let checks = (0..).take_while(|_| {
            let is_live = world.operate();
            world.apply(&Event::Wait(LOOK.as_millis() as u64));
            !is_live
        });
        // One operation detects the clear; further ones check the marks until they have been intact for long enough.
        prop_assert!(checks.count() <= 2 + (QUIET.as_millis() / LOOK.as_millis()) as usize);
    }
}

#[test]
fn a_generation_with_a_heartbeat_is_a_successors_and_one_without_is_a_stray_write() {
    for (beats, expected) in [(true, Action::Stop), (false, Action::Recover)] {
        let mut world = World::new(Exclusion::Lock);
        world.apply(&Event::Write(77));
        let mut last = Action::Wait;
        for _ in 0..20 {
            let found = Found { generation: 77, heartbeat: world.heartbeat, by_heartbeat: true, lease: LEASE };
            last = world.lifecycle.observe(&found, world.now);
            if last != Action::Wait {
                break;
            }
            world.apply(&Event::Wait(30));
            if beats {
                world.apply(&Event::Beat);
            }
        }
        assert_eq!(last, expected);
    }
}
