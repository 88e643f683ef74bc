//! The steps of producers.

use super::{Begin, CELLS, Claimed, EXTENTS, Generations, Memory, Mutation, PAGES, Producer, State, Work};

pub(super) fn producer(generation: u8, left: u8, work: Work) -> Producer {
    let claims = [(Claimed::Free, 0); PAGES];
    let (ring, limbo, inherited, found) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Producer { work, generation, first: 1, left, oldest: 1, next: 1, ring, limbo, inherited, claims, found }
}

impl Generations {
    /// The steps that begin a generation, in their order.
    fn order(&self) -> Vec<Begin> {
        use Begin::*;
        let mut order = vec![Close, Generation, First, Oldest, Cell(0), Cell(1), Dead(0), Dead(1)];
        order.extend([Leases(0), Leases(1), Claims, Head, Live]);
        let mut put = |step: Begin, before: Begin| {
            order.retain(|other| *other != step);
            let at = order.iter().position(|other| *other == before).expect("a step of the order");
            order.insert(at, step);
        };
        match self.mutation {
            Mutation::LateGeneration => put(Generation, Cell(0)),
            Mutation::EarlyCells => {
                put(First, Generation);
                put(Cell(0), Generation);
                put(Cell(1), Generation);
            }
            Mutation::EarlyLeases => {
                put(Leases(0), Generation);
                put(Leases(1), Generation);
            }
            Mutation::NoLeases => order.retain(|step| !matches!(step, Leases(_))),
            Mutation::EarlyClaims => put(Claims, Close),
            _ => {}
        }
        order
    }

    fn first_sequence(&self, memory: &Memory) -> u8 {
        let newest = match self.mutation {
            Mutation::HeadOnly => memory.head,
            _ => memory.cells.iter().fold(memory.head, |newest, cell| newest.max(cell.0)),
        };
        let allowed = if self.mutation == Mutation::StrictOldest { 1 } else { 2 };
        if memory.oldest > newest + allowed { 1 } else { memory.oldest.max(newest + 1) }
    }

    fn begin(&self, s: &mut State, step: Begin) {
        let (m, p) = (&mut s.memory, &mut s.producer);
        match step {
            Begin::Close => m.is_live = false,
            Begin::Generation => m.generation = p.generation,
            Begin::First => {
                p.first = self.first_sequence(m);
                s.reused_sequence |= p.first <= s.used;
            }
            Begin::Oldest => m.oldest = p.first,
            Begin::Cell(index) => m.cells[index as usize].0 = 0,
            Begin::Dead(page) => {
                let page = &mut m.pages[page as usize];
                if page.claimed != Claimed::Free && page.lock.is_none() {
                    (page.entry, page.claimed) = (0, Claimed::Free);
                }
            }
            Begin::Leases(index) => {
                let page = &m.pages[index as usize];
                if page.claimed != Claimed::Free && page.entry != 0 {
                    p.inherited.push((index, page.entry, page.entry_extent));
                }
            }
            Begin::Claims => p.claims = m.pages.map(|page| (page.claimed, page.attached)),
            Begin::Head => m.head = p.first - 1,
            Begin::Live => {
                m.is_live = true;
                (p.oldest, p.next) = (p.first, p.first);
            }
        }
        // The last moment at which the claims must not have been noted yet, also if a mutation notes them before.
        let noted = if self.mutation == Mutation::EarlyClaims { Begin::Leases(1) } else { Begin::Claims };
        if step == noted {
            s.consumers.iter_mut().for_each(|c| c.is_inherited |= c.read.is_attached());
        }
    }

    pub(super) fn produce(&self, s: &mut State) {
        let order = self.order();
        s.producer.work = match s.producer.work {
            Work::Dead => {
                s.generations -= 1;
                let generation = s.producer.generation + 1;
                s.producer = producer(generation, self.items, Work::Begin(0));
                return;
            }
            Work::Begin(at) => {
                self.begin(s, order[at as usize]);
                if usize::from(at) + 1 == order.len() { Work::Idle } else { Work::Begin(at + 1) }
            }
            Work::Cell(extent) => {
                s.memory.cells[usize::from(s.producer.next) % CELLS].1 = extent;
                Work::Sequence(extent)
            }
            Work::Sequence(extent) => {
                let next = s.producer.next;
                s.reused_sequence |= next <= s.used;
                s.used = s.used.max(next);
                s.memory.cells[usize::from(next) % CELLS].0 = next;
                Work::Head(extent)
            }
            Work::Head(extent) => {
                s.memory.head = s.producer.next;
                s.producer.ring.push((s.producer.next, extent));
                s.producer.next += 1;
                Work::Idle
            }
            Work::Scan(page) if usize::from(page) < PAGES => {
                let page_words = &s.memory.pages[page as usize];
                if page_words.claimed != Claimed::Free && page_words.entry != 0 {
                    s.producer.found.push(page_words.entry);
                }
                Work::Scan(page + 1)
            }
            Work::Scan(_) => {
                let found = std::mem::take(&mut s.producer.found);
                s.producer.limbo.retain(|(sequence, _)| found.contains(sequence));
                let pages = &s.memory.pages;
                s.producer.inherited.retain(|(page, value, _)| {
                    let page = &pages[*page as usize];
                    page.claimed != Claimed::Free && page.entry == *value
                });
                Work::Idle
            }
            Work::Idle => Work::Idle,
        };
    }

    pub(super) fn retire(s: &mut State) {
        if s.producer.ring.is_empty() {
            // Only what earlier generations left is looked at again.
            s.producer.work = Work::Scan(0);
            return;
        }
        let retired = s.producer.ring.remove(0);
        s.producer.limbo.push(retired);
        s.producer.oldest = retired.0 + 1;
        s.memory.oldest = s.producer.oldest;
        s.producer.work = Work::Scan(0);
    }

    pub(super) fn publish(s: &mut State) {
        let p = &mut s.producer;
        let used = p.ring.iter().chain(&p.limbo).map(|(_, extent)| *extent);
        let used: Vec<u8> = used.chain(p.inherited.iter().map(|(_, _, extent)| *extent)).collect();
        let Some(extent) = (0..EXTENTS as u8).find(|extent| !used.contains(extent)) else { return };
        s.memory.bytes[extent as usize] = (p.generation, p.next);
        s.changed_held |= s.consumers.iter().any(|c| c.hold.is_some_and(|(_, held)| held == extent));
        s.kept_out |= !p.inherited.is_empty();
        (p.left, p.work) = (p.left - 1, Work::Cell(extent));
    }
}
