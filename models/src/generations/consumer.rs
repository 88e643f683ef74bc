//! The steps of consumers.

use super::{CELLS, Claimed, Generations, Mutation, Read, State, Work};

impl Generations {
    pub(super) fn consume(&self, s: &mut State, who: usize) {
        let (m, c) = (&mut s.memory, &mut s.consumers[who]);
        let page = c.page as usize;
        let cell = m.cells[usize::from(c.next) % CELLS];
        let is_current = m.generation == c.generation;
        c.read = match c.read {
            Read::Idle if m.is_live && s.producer.work != Work::Dead => Read::CheckGeneration,
            Read::Idle => Read::Idle,
            Read::CheckGeneration => {
                c.generation = m.generation;
                Read::CheckLive
            }
            Read::CheckLive if m.is_live && is_current => Read::Claim,
            Read::CheckLive => Read::Idle,
            Read::Claim => match m.pages.iter().position(|page| page.lock.is_none()) {
                Some(free) => {
                    (m.pages[free].lock, m.pages[free].claimed) = (Some(who as u8), Claimed::Claiming);
                    c.page = free as u8;
                    Read::Fill
                }
                None => Read::Claim,
            },
            Read::Fill => {
                (m.pages[page].attached, m.pages[page].entry) = (who as u8 + 1, 0);
                c.next = m.oldest;
                Read::Enter
            }
            Read::Enter => {
                m.pages[page].claimed = Claimed::Reading;
                c.next = c.next.max(m.oldest);
                Read::Find
            }
            Read::Find if cell.0 == c.next => Read::Copy,
            Read::Find if cell.0 > c.next => Read::Lapped,
            Read::Find => Read::IdleHead,
            Read::Copy => {
                c.loaded = cell.1;
                Read::Lease
            }
            Read::Lease => {
                (m.pages[page].entry, m.pages[page].entry_extent) = (c.next, c.loaded);
                Read::Retired
            }
            Read::Retired if m.oldest <= c.next => Read::Current,
            Read::Retired => {
                m.pages[page].entry = 0;
                Read::Lapped
            }
            Read::Current if is_current || self.mutation == Mutation::HastyLease => {
                c.hold = Some((c.next, c.loaded));
                s.wrong_frame |= m.bytes[c.loaded as usize] != (c.generation, c.next);
                c.next += 1;
                Read::Find
            }
            Read::Current => {
                m.pages[page].entry = 0;
                Read::Ended
            }
            Read::IdleHead if m.head >= c.next => Read::IdleCell,
            Read::IdleHead if is_current => Read::Find,
            Read::IdleHead => Read::Ended,
            Read::IdleCell if cell.0 < c.next => Read::IdleGeneration,
            Read::IdleCell => Read::Find,
            Read::Lapped if !is_current => Read::Ended,
            Read::Lapped => {
                c.loaded = m.oldest;
                Read::LappedHead
            }
            Read::LappedHead if c.loaded > m.head + 1 || c.loaded <= c.next => Read::LappedGeneration,
            Read::LappedHead => {
                c.next = c.loaded;
                Read::Find
            }
            Read::IdleGeneration | Read::LappedGeneration => {
                s.false_violation |= is_current || self.mutation == Mutation::HastyViolation;
                Read::Ended
            }
            Read::Ended | Read::Gone => {
                let held = c.hold.is_some();
                m.pages[page].claimed = if held { Claimed::Holding } else { Claimed::Free };
                if !held {
                    m.pages[page].lock = None;
                }
                Read::Gone
            }
        };
    }

    pub(super) fn release(s: &mut State, who: usize) {
        let (m, c) = (&mut s.memory, &mut s.consumers[who]);
        let Some((sequence, _)) = c.hold.take() else { return };
        let page = &mut m.pages[c.page as usize];
        if m.generation == c.generation || page.entry == sequence {
            page.entry = 0;
        }
        if c.read == Read::Gone {
            (page.claimed, page.lock) = (Claimed::Free, None);
        }
    }
}
