//! Generations that follow each other in one memory, with producers that are killed at any step (docs/protocol.md
//! section 21).
//!
//! **Steps.** Each store and each load that another process may come between is one step. The producer: from
//! `producer/lifecycle/inherit.rs` `end_previous`, `first_sequence`, `inherited_leases`, `claims`, `is_held`; from
//! `producer/builder.rs` `begin_generation`; from `producer/publish.rs` `fill`; from `producer/ledger.rs` `retire`,
//! `recycle`, `holds`, `is_inherited`; from `backend/linux/producer_region.rs` `clear_dead`. The consumer, with a lock:
//! from `consumer/attach.rs` `check_mapped`, `enter_page`; from `consumer/claim.rs` `claim_by_lock`; from
//! `consumer/ring_reader.rs` `find`, `skip_lapped`, `check_idle`, `take`; from `protocol.rs` `hold`, `release`.
//!
//! **Environment.** The producer is killed at any step, and the next one begins a generation: the kept file's lock
//! admits one at a time. Consumers may be stopped between any two steps. One is killed.
//!
//! **Properties.** See [`Generations::properties`].
//!
//! **Bounds.** Three generations of two items with one consumer that may be killed, and two generations of one item
//! with two consumers; each consumer attaches once, and holds one frame. Two cells, three extents, two pages. The long
//! form has one generation more.
//!
//! **Not modelled.** Cleared memory and recovery; owners by heartbeat (see `owners`); counters that contradict each
//! other (then the first sequence is 1 again). A consumer that attaches while the claims are noted is attached to the
//! previous generation, and may count as one of the new generation until its next step: see
//! `a_reader_that_is_late_may_count_until_its_next_step`.

mod consumer;
mod producer;

use producer::producer;
use stateright::{Model, Property};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    None,
    /// The generation is stored after `oldest`.
    LateGeneration,
    /// The cells are emptied before the generation is stored.
    EarlyCells,
    /// The lease entries are read before the generation is stored and `oldest` is raised.
    EarlyLeases,
    /// The lease entries are not read.
    NoLeases,
    /// The first sequence is one above `head`; the cells are not read.
    HeadOnly,
    /// `oldest` may be one above the newest sequence at most. A producer killed after the cells were emptied leaves it
    /// two above.
    StrictOldest,
    /// A consumer does not compare the generation before it reports a violation.
    HastyViolation,
    /// A consumer does not compare the generation after it stored its lease.
    HastyLease,
    /// The claims are noted before the generation is stored.
    EarlyClaims,
    /// No deliberate error: readers that come after the claims were noted count in the property, too.
    CountsLate,
}

const CELLS: usize = 2;
const EXTENTS: usize = 3;
const PAGES: usize = 2;

/// Values of `claimed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Claimed {
    Free,
    Claiming,
    Reading,
    Holding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Page {
    claimed: Claimed,
    /// Stands for `attached_ns`: the consumer's number; 0 for none.
    attached: u8,
    lock: Option<u8>,
    entry: u8,
    entry_extent: u8,
}

/// The item whose bytes an extent has: generation and sequence.
type Bytes = (u8, u8);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Memory {
    is_live: bool,
    generation: u8,
    head: u8,
    oldest: u8,
    /// Sequence and extent.
    cells: [(u8, u8); CELLS],
    pages: [Page; PAGES],
    bytes: [Bytes; EXTENTS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Begin {
    Close,
    Generation,
    First,
    Oldest,
    Cell(u8),
    Dead(u8),
    Leases(u8),
    Claims,
    Head,
    Live,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Work {
    Dead,
    Begin(u8),
    Idle,
    Cell(u8),
    Sequence(u8),
    Head(u8),
    Scan(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Producer {
    work: Work,
    generation: u8,
    first: u8,
    left: u8,
    oldest: u8,
    next: u8,
    ring: Vec<(u8, u8)>,
    limbo: Vec<(u8, u8)>,
    /// Page, value of the entry, extent.
    inherited: Vec<(u8, u8, u8)>,
    claims: [(Claimed, u8); PAGES],
    found: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Read {
    Idle,
    CheckGeneration,
    CheckLive,
    Claim,
    Fill,
    Enter,
    Find,
    Copy,
    Lease,
    Retired,
    Current,
    IdleHead,
    IdleCell,
    IdleGeneration,
    Lapped,
    LappedHead,
    LappedGeneration,
    Ended,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Consumer {
    read: Read,
    page: u8,
    generation: u8,
    next: u8,
    /// What it last loaded: an extent, or `oldest`.
    loaded: u8,
    /// Sequence and extent of the frame that it holds.
    hold: Option<(u8, u8)>,
    /// It was attached when the claims were noted.
    is_inherited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    memory: Memory,
    producer: Producer,
    consumers: Vec<Consumer>,
    generations: u8,
    kills: u8,
    /// The highest sequence that any cell had.
    used: u8,
    changed_held: bool,
    wrong_frame: bool,
    false_violation: bool,
    reused_sequence: bool,
    inherited_counts: bool,
    kept_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Produce,
    Retire,
    Publish,
    KillProducer,
    Consume(usize),
    Release(usize),
    KillConsumer(usize),
}

struct Generations {
    generations: u8,
    /// Published in each.
    items: u8,
    consumers: usize,
    /// Consumers that are killed.
    kills: u8,
    mutation: Mutation,
}

impl Generations {
    /// Whether a page that counts as attached is that of a reader of an earlier generation.
    fn counts_inherited(&self, s: &State) -> bool {
        let Producer { work, claims, generation, .. } = &s.producer;
        let is_open = !matches!(work, Work::Dead | Work::Begin(_));
        let counts = |index: usize| {
            let (page, (before, since)) = (&s.memory.pages[index], claims[index]);
            let is_inherited = before != Claimed::Free && since == page.attached;
            page.claimed == Claimed::Reading && page.lock.is_some() && !is_inherited
        };
        is_open
            && s.consumers.iter().any(|c| {
                let matters = c.is_inherited || self.mutation == Mutation::CountsLate;
                let is_owner = s.memory.pages[c.page as usize].lock == Some(c.number(s));
                matters && is_owner && c.generation != *generation && counts(c.page as usize)
            })
    }
}

impl Read {
    /// Whether its page shows that it reads.
    fn is_attached(self) -> bool {
        use Read::*;
        !matches!(self, Idle | CheckGeneration | CheckLive | Claim | Fill | Enter | Gone)
    }
}

impl Consumer {
    fn number(&self, s: &State) -> u8 {
        s.consumers.iter().position(|c| std::ptr::eq(c, self)).unwrap_or_default() as u8
    }
}

impl Model for Generations {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let page = Page { claimed: Claimed::Free, attached: 0, lock: None, entry: 0, entry_extent: 0 };
        let memory = Memory {
            is_live: true,
            generation: 1,
            head: 0,
            oldest: 1,
            cells: [(0, 0); CELLS],
            pages: [page; PAGES],
            bytes: [(0, 0); EXTENTS],
        };
        let (read, hold) = (Read::Idle, None);
        let consumer = Consumer { read, page: 0, generation: 0, next: 0, loaded: 0, hold, is_inherited: false };
        vec![State {
            memory,
            producer: producer(1, self.items, Work::Idle),
            consumers: vec![consumer; self.consumers],
            generations: self.generations - 1,
            kills: self.kills,
            used: 0,
            changed_held: false,
            wrong_frame: false,
            false_violation: false,
            reused_sequence: false,
            inherited_counts: false,
            kept_out: false,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        match s.producer.work {
            Work::Dead if s.generations == 0 => {}
            Work::Idle => {
                let has_cell = usize::from(s.producer.next - s.producer.oldest) < CELLS;
                if s.producer.left > 0 && has_cell {
                    actions.push(Action::Publish);
                }
                if !(s.producer.ring.is_empty() && s.producer.limbo.is_empty() && s.producer.inherited.is_empty()) {
                    actions.push(Action::Retire);
                }
            }
            _ => actions.push(Action::Produce),
        }
        if s.producer.work != Work::Dead && s.generations > 0 {
            actions.push(Action::KillProducer);
        }
        for (who, c) in s.consumers.iter().enumerate() {
            if c.read != Read::Gone && !(c.read == Read::Current && c.hold.is_some()) {
                // One lease a page: it takes the next item after it released this one.
                if c.hold.is_none() || !matches!(c.read, Read::Copy | Read::Lease) {
                    actions.push(Action::Consume(who));
                }
            }
            if c.hold.is_some() {
                actions.push(Action::Release(who));
            }
            if s.kills > 0 && !matches!(c.read, Read::Idle | Read::Gone) {
                actions.push(Action::KillConsumer(who));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut s = before.clone();
        match action {
            Action::Produce => self.produce(&mut s),
            Action::Retire => Self::retire(&mut s),
            Action::Publish => Self::publish(&mut s),
            Action::KillProducer => {
                s.producer = producer(s.producer.generation, 0, Work::Dead);
            }
            Action::Consume(who) => self.consume(&mut s, who),
            Action::Release(who) => Self::release(&mut s, who),
            Action::KillConsumer(who) => {
                s.kills -= 1;
                let c = &mut s.consumers[who];
                (c.read, c.hold) = (Read::Gone, None);
                for page in &mut s.memory.pages {
                    page.lock.take_if(|owner| usize::from(*owner) == who);
                }
            }
        }
        s.inherited_counts |= self.counts_inherited(&s);
        (s != *before).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("held bytes do not change", |_, s: &State| !s.changed_held),
            Property::always("a frame is the one described", |_, s: &State| !s.wrong_frame),
            Property::always("no false violation", |_, s: &State| !s.false_violation),
            Property::always("sequences are used once", |_, s: &State| !s.reused_sequence),
            Property::always("inherited readers do not count", |_, s: &State| !s.inherited_counts),
            Property::sometimes("the last generation keeps bytes out", |model: &Self, s: &State| {
                s.kept_out && s.producer.generation == model.generations
            }),
        ]
    }
}

#[test]
fn generations_follow_each_other_whatever_is_killed() {
    let mutation = Mutation::None;
    let bounds: &[(u8, u8, usize, u8)] = match crate::is_long() {
        false => &[(3, 2, 1, 1), (2, 1, 2, 0)],
        true => &[(4, 2, 1, 1), (3, 1, 2, 1)],
    };
    for &(generations, items, consumers, kills) in bounds {
        let model = Generations { generations, items, consumers, kills, mutation };
        crate::holds(&format!("{generations} generations, {consumers} consumers"), model);
    }
}

#[test]
fn each_weakened_generation_is_caught() {
    use Mutation::*;
    let caught = [
        (LateGeneration, "no false violation"),
        (EarlyCells, "no false violation"),
        (EarlyLeases, "held bytes do not change"),
        (NoLeases, "held bytes do not change"),
        (HeadOnly, "sequences are used once"),
        (StrictOldest, "sequences are used once"),
        (HastyViolation, "no false violation"),
        (HastyLease, "a frame is the one described"),
        (EarlyClaims, "inherited readers do not count"),
    ];
    for (mutation, property) in caught {
        let model = Generations { generations: 3, items: 2, consumers: 1, kills: 0, mutation };
        crate::fails(&format!("generations, {mutation:?}"), model, property);
    }
}

/// A limit, which docs/protocol.md names: its page shows no generation, so it counts until it has compared it.
#[test]
fn a_reader_that_is_late_may_count_until_its_next_step() {
    let model = Generations { generations: 2, items: 1, consumers: 1, kills: 0, mutation: Mutation::CountsLate };
    crate::fails("generations, late readers", model, "inherited readers do not count");
}
