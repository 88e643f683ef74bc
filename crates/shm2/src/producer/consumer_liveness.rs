//! Whether consumers without a lock are alive: each must change its heartbeat within the lease time, judged by the
//! producer's own clock. One that does not loses its page, and finds out at its next step.

use crate::heartbeat::HeartbeatMonitor;
use crate::layout::{PAGES, Page};
use crate::sync::Ordering;
use std::time::Duration;

/// What is known of each page's heartbeat, and of which claim it is.
pub(super) struct ConsumerLiveness {
    known: [Option<(u32, HeartbeatMonitor)>; PAGES],
    /// The lease time of the generation before: consumers that attached to it keep its pace.
    inherited: Duration,
}

impl ConsumerLiveness {
    /// Nothing is known yet but the lease time of the generation before.
    pub(super) fn new(inherited: Duration) -> Self {
        Self { known: [None; PAGES], inherited }
    }

    /// Whether the heartbeat of a page's owner has changed within `lease`. `claimed` is the page's word as read just now:
    /// another number in it is another owner. An owner that `is_inherited` keeps the pace of the generation before.
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
        let (_, mut observed) = known.unwrap_or((claimed, HeartbeatMonitor::new(value)));
        let lease = if is_inherited { lease.max(self.inherited) } else { lease };
        let alive = observed.is_alive(value, lease);
        self.known[index] = alive.then_some((claimed, observed));
        alive
    }
}
