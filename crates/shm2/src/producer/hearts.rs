//! Whether consumers without a lock live: each must change its heartbeat within the lease time, judged by the producer's
//! own clock. One that does not loses its page, and finds out when it comes back.

use crate::heartbeat::Observed;
use crate::layout::{PAGES, Page};
use crate::sync::Ordering;
use std::time::Duration;

/// What is known of each page's heart, and of which claim it is.
pub(super) struct Hearts([Option<(u32, Observed)>; PAGES]);

impl Default for Hearts {
    fn default() -> Self {
        Self([None; PAGES])
    }
}

impl Hearts {
    /// Whether the owner of a page has beaten within `lease`. `claimed` is what the page showed just now: another number
    /// in it is another owner.
    pub(super) fn is_alive(&mut self, index: usize, claimed: u32, page: &Page, lease: Duration) -> bool {
        // Relaxed: only its change counts.
        let value = page.heartbeat.load(Ordering::Relaxed);
        let known = self.0[index].take().filter(|(claim, _)| claim >> 16 == claimed >> 16);
        let (_, mut observed) = known.unwrap_or((claimed, Observed::new(value)));
        let alive = observed.is_alive(value, lease);
        self.0[index] = alive.then_some((claimed, observed));
        alive
    }
}
