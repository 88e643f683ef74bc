//! Taking over a region's name, as the Linux backend does it (docs/protocol.md sections 8 and 21).
//!
//! **Steps.** Each system call is one step: open the path, probe and take the liveness byte, read the header, take the
//! takeover byte, compare the inode, unlink, close; make a file with the liveness byte locked, link it; for a kept
//! region the locks of a file that exists; and the same for the close. From `backend/linux/takeover.rs`: `try_clear`,
//! `try_lock`, `clear_name`, `adopt`; from `backend/linux/create.rs`: `create_region`, `Draft::new`, `Draft::install`;
//! from `backend/linux/producer_region.rs`: `remove_name`, `end_generation`.
//!
//! **Environment.** Any process is killed at any step, which ends its locks and frees a file without a name. The number
//! of a freed file is given to the next one, as a file system does. At the start the path has no file, an empty one, a
//! dead producer's, or a dead producer's that is kept. Once a user removes the name by hand, and once another program
//! makes an empty file at the path.
//!
//! **Properties.** See [`Takeover::properties`].
//!
//! **Bounds.** Two producers, each kept or not, three in the long form; two kills, one removal, one preparation. Retries
//! have no limit, where the code has 100.
//!
//! **Not modelled.** A removal by hand between the comparison of the inode and the unlink, which no system call can
//! exclude. Errors of the file system. Files that are no region.

mod steps;

use stateright::{Model, Property};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    None,
    /// The inode is not compared while the takeover byte is locked.
    NoComparison,
    /// The liveness byte is not probed again while the takeover byte is locked.
    NoSecondProbe,
    /// A removal does not lock the takeover byte.
    NoTakeoverLock,
    /// A producer that adopts a file unlocks the takeover byte before it locks the liveness byte.
    UnlockedEarly,
    /// The file is linked before its liveness byte is locked.
    LinkedEarly,
    /// The new file replaces what is at the path, as a rename does.
    Renamed,
    /// A close does not compare the inode.
    ClosedBlindly,
    /// A producer that keeps its region removes an empty file.
    RemovesPrepared,
}

const FILES: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Content {
    Unused,
    Empty,
    Plain,
    Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct File {
    content: Content,
    liveness: Option<usize>,
    takeover: Option<usize>,
    /// Its name was removed by hand.
    orphaned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    AdoptOpen,
    AdoptTakeover,
    AdoptCompare,
    AdoptLiveness,
    AdoptUnlock,
    Begin,
    ClearOpen,
    ClearProbe,
    ClearRead,
    ClearTakeover,
    ClearCompare,
    ClearProbeAgain,
    ClearUnlink,
    ClearClose,
    Make,
    Link,
    LateLock,
    Live,
    CloseTakeover,
    CloseCompare,
    CloseUnlink,
    CloseUnlock,
    End,
    Busy,
    RefusedKept,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Producer {
    keeps: bool,
    step: Step,
    /// The file found at the path, open.
    old: Option<usize>,
    own: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    name: Option<usize>,
    files: [File; FILES],
    producers: Vec<Producer>,
    kills: u8,
    removals: u8,
    preparations: u8,
    /// A producer was killed or closed, or the environment changed the path.
    disturbed: bool,
    removed_live: bool,
    removed_prepared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Run(usize),
    Kill(usize),
    RemoveByHand,
    Prepare,
}

struct Takeover {
    producers: usize,
    mutation: Mutation,
}

impl State {
    fn new(at_path: Option<Content>, keeps: &[bool]) -> Self {
        let unused = File { content: Content::Unused, liveness: None, takeover: None, orphaned: false };
        let mut files = [unused; FILES];
        files[0].content = at_path.unwrap_or(Content::Unused);
        let idle = |keeps: &bool| Producer { keeps: *keeps, step: Step::Idle, old: None, own: None };
        Self {
            name: at_path.map(|_| 0),
            files,
            producers: keeps.iter().map(idle).collect(),
            kills: 2,
            removals: 1,
            preparations: 1,
            disturbed: false,
            removed_live: false,
            removed_prepared: false,
        }
    }

    /// A file that has no name and is not open.
    fn new_file(&mut self, content: Content, liveness: Option<usize>) -> usize {
        let is_open = |file| self.producers.iter().any(|p| p.old == Some(file) || p.own == Some(file));
        let free = (0..FILES).find(|file| self.name != Some(*file) && !is_open(*file));
        let file = free.expect("a file for each that can be open");
        self.files[file] = File { content, liveness, takeover: None, orphaned: false };
        file
    }

    /// Closes a file, which ends the producer's locks on it.
    fn close(&mut self, producer: usize, file: Option<usize>) {
        let Some(file) = file.map(|file| &mut self.files[file]) else { return };
        for lock in [&mut file.liveness, &mut file.takeover] {
            lock.take_if(|owner| *owner == producer);
        }
    }

    fn end(&mut self, producer: usize, step: Step) {
        let Producer { old, own, .. } = self.producers[producer];
        self.close(producer, old);
        self.close(producer, own);
        let ended = &mut self.producers[producer];
        (ended.old, ended.own, ended.step) = (None, None, step);
        self.tidy();
    }

    /// Closes the file found at the path, and continues.
    fn drop_old(&mut self, producer: usize, step: Step) {
        self.close(producer, self.producers[producer].old);
        let producer = &mut self.producers[producer];
        (producer.old, producer.step) = (None, step);
        self.tidy();
    }

    /// Forgets files that cannot be reached any more, so that equal states are equal.
    fn tidy(&mut self) {
        for file in 0..FILES {
            let is_open = self.producers.iter().any(|p| p.old == Some(file) || p.own == Some(file));
            if self.name != Some(file) && !is_open {
                self.files[file] = File { content: Content::Unused, liveness: None, takeover: None, orphaned: false };
            }
        }
    }

    fn unlink(&mut self, producer: usize) {
        let Some(file) = self.name.take() else { return };
        self.removed_live |= self.files[file].liveness.is_some_and(|owner| owner != producer);
        self.removed_prepared |= self.producers[producer].keeps && self.files[file].content == Content::Empty;
        self.tidy();
    }

    fn is_owner(&self, producer: &Producer) -> bool {
        producer.step == Step::Live && producer.own.is_some_and(|file| !self.files[file].orphaned)
    }

    fn has_step(&self, step: Step) -> bool {
        self.producers.iter().any(|producer| producer.step == step)
    }

    fn at_rest(&self) -> bool {
        use Step::*;
        self.producers.iter().all(|p| matches!(p.step, Live | Busy | RefusedKept | Gone))
    }
}

impl Takeover {
    /// Whether a producer that starts alone gets the name, or is refused what it may not have.
    fn next_gets_the_name(&self, s: &State) -> bool {
        [false, true].into_iter().all(|keeps| {
            let mut alone = s.clone();
            alone.producers.push(Producer { keeps, step: Step::Idle, old: None, own: None });
            let last = alone.producers.len() - 1;
            for _ in 0..20 {
                match alone.producers[last].step {
                    Step::Live => return alone.name == alone.producers[last].own,
                    Step::RefusedKept => return !keeps,
                    Step::Busy => return false,
                    _ => self.step(&mut alone, last),
                }
            }
            false
        })
    }
}

impl Model for Takeover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let paths = [None, Some(Content::Empty), Some(Content::Plain), Some(Content::Kept)];
        let kinds = (0..=self.producers).map(|kept| (0..self.producers).map(|p| p < kept).collect::<Vec<_>>());
        kinds.flat_map(|keeps| paths.map(|path| State::new(path, &keeps))).collect()
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        use Step::*;
        for (p, producer) in s.producers.iter().enumerate() {
            if !matches!(producer.step, Busy | RefusedKept | Gone) {
                actions.push(Action::Run(p));
                if s.kills > 0 && producer.step != Idle {
                    actions.push(Action::Kill(p));
                }
            }
        }
        let removing = [ClearProbeAgain, ClearUnlink, CloseUnlink];
        if s.removals > 0 && s.name.is_some() && !s.producers.iter().any(|p| removing.contains(&p.step)) {
            actions.push(Action::RemoveByHand);
        }
        if s.preparations > 0 && s.name.is_none() {
            actions.push(Action::Prepare);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut s = before.clone();
        s.disturbed |= !matches!(action, Action::Run(_));
        match action {
            Action::Run(p) => self.step(&mut s, p),
            Action::Kill(p) => {
                s.kills -= 1;
                s.end(p, Step::Gone);
            }
            Action::RemoveByHand => {
                s.removals -= 1;
                let file = s.name.take()?;
                s.files[file].orphaned = true;
                s.tidy();
            }
            Action::Prepare => {
                s.preparations -= 1;
                s.name = Some(s.new_file(Content::Empty, None));
            }
        }
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one owner", |_, s: &State| s.producers.iter().filter(|p| s.is_owner(p)).count() <= 1),
            Property::always("live names stay", |_, s: &State| !s.removed_live),
            Property::always("an owner has its name", |_, s: &State| {
                s.producers.iter().filter(|p| s.is_owner(p)).all(|p| p.own == s.name)
            }),
            Property::always("prepared files stay for those that keep", |_, s: &State| !s.removed_prepared),
            Property::always("one of those that start at once gets the name", |_, s: &State| {
                let refused = s.producers.iter().all(|p| p.step == Step::RefusedKept);
                s.disturbed || !s.at_rest() || refused || s.producers.iter().any(|p| s.is_owner(p))
            }),
            Property::always("the next producer gets the name", |model: &Self, s: &State| {
                let is_live = s.producers.iter().any(|p| p.step == Step::Live);
                !s.at_rest() || is_live || model.next_gets_the_name(s)
            }),
            Property::sometimes("a name is cleared after a kill", |_, s: &State| {
                s.kills < 2 && s.has_step(Step::ClearClose)
            }),
            Property::sometimes("a file is adopted after a kill", |_, s: &State| {
                s.kills < 2 && s.has_step(Step::Begin)
            }),
        ]
    }
}

#[test]
fn a_name_has_one_owner_whatever_is_killed() {
    let producers = if crate::is_long() { 3 } else { 2 };
    crate::holds("takeover", Takeover { producers, mutation: Mutation::None });
}

#[test]
fn each_weakened_takeover_is_caught() {
    use Mutation::*;
    let caught = [
        (NoComparison, "live names stay"),
        (NoSecondProbe, "live names stay"),
        (NoTakeoverLock, "live names stay"),
        (UnlockedEarly, "an owner has its name"),
        (LinkedEarly, "one owner"),
        (Renamed, "live names stay"),
        (ClosedBlindly, "live names stay"),
        (RemovesPrepared, "prepared files stay for those that keep"),
    ];
    for (mutation, property) in caught {
        crate::fails(&format!("takeover, {mutation:?}"), Takeover { producers: 2, mutation }, property);
    }
}
