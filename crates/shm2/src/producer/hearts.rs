//! Whether consumers without a lock live: each must change its heartbeat within the lease time, judged by the producer's
//! own clock. One that does not loses its page, and finds out when it comes back.

use crate::heartbeat::Observed;
use crate::layout::{FREE, PAGES, Page};
use crate::mapped::Memory;
use crate::sync::Ordering;
use std::time::Duration;

/// What each page showed when a life ended: the claim, and when its owner attached.
pub(super) type Claims = [(u32, u64); PAGES];

/// The claims that stand in `memory` now.
pub(super) fn claims(memory: &Memory) -> Claims {
    std::array::from_fn(|index| {
        let page = memory.page(index);
        let claimed = page.claimed.load(Ordering::Acquire);
        (claimed, page.attached_ns.load(Ordering::Relaxed))
    })
}

/// What is known of each page's heart, and of which claim it is.
pub(super) struct Hearts {
    known: [Option<(u32, Observed)>; PAGES],
    /// The lease time of the life before: those who attached then beat at its pace.
    inherited: Duration,
    /// What their pages showed.
    claims: Claims,
}

impl Hearts {
    /// With nothing known yet, but for claims of the life before and their lease time.
    pub(super) fn new(inherited: Duration, claims: Claims) -> Self {
        Self { known: [None; PAGES], inherited, claims }
    }

    /// Whether the owner of a page attached to the life before.
    pub(super) fn is_inherited(&self, index: usize, claimed: u32, page: &Page) -> bool {
        let (before, attached_ns) = self.claims[index];
        // Relaxed: whoever shows that it reads has stored its time before.
        before != FREE && before >> 16 == claimed >> 16 && attached_ns == page.attached_ns.load(Ordering::Relaxed)
    }

    /// Whether the owner of a page has beaten within `lease`. `claimed` is what the page showed just now: another number
    /// in it is another owner.
    pub(super) fn is_alive(&mut self, index: usize, claimed: u32, page: &Page, lease: Duration) -> bool {
        // Relaxed: only its change counts.
        let value = page.heartbeat.load(Ordering::Relaxed);
        let known = self.known[index].take().filter(|(claim, _)| claim >> 16 == claimed >> 16);
        let (_, mut observed) = known.unwrap_or((claimed, Observed::new(value)));
        let lease = if self.is_inherited(index, claimed, page) { lease.max(self.inherited) } else { lease };
        let alive = observed.is_alive(value, lease);
        self.known[index] = alive.then_some((claimed, observed));
        alive
    }
}
