//! Whether consumers without a lock live: each must change its heartbeat within the lease time, judged by the producer's
//! own clock. One that does not loses its page, and finds out when it comes back.

use crate::heartbeat::Observed;
use crate::layout::{PAGES, Page};
use crate::sync::Ordering;
use std::time::Duration;

/// What is known of each page's heart, and of which claim it is.
pub(super) struct Hearts {
    known: [Option<(u32, Observed)>; PAGES],
    /// The lease time of the life before: those who attached then beat at its pace.
    inherited: Duration,
}

impl Hearts {
    /// With nothing known yet, but for the lease time of the life before.
    pub(super) fn new(inherited: Duration) -> Self {
        Self { known: [None; PAGES], inherited }
    }

    /// Whether the owner of a page has beaten within `lease`. `claimed` is what the page showed just now: another number
    /// in it is another owner. One who `is_inherited` beats at the pace of the life before.
    pub(super) fn is_alive(
        &mut self,
        index: usize,
        claimed: u32,
        page: &Page,
        lease: Duration,
        is_inherited: bool,
    ) -> bool {
        // Relaxed: only its change counts.
        let value = page.heartbeat.load(Ordering::Relaxed);
        let known = self.known[index].take().filter(|(claim, _)| claim >> 16 == claimed >> 16);
        let (_, mut observed) = known.unwrap_or((claimed, Observed::new(value)));
        let lease = if is_inherited { lease.max(self.inherited) } else { lease };
        let alive = observed.is_alive(value, lease);
        self.known[index] = alive.then_some((claimed, observed));
        alive
    }
}
