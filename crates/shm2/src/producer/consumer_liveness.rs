//! Liveness of consumers without a lock: each must change its heartbeat within the lease time, measured by the
//! producer's clock. A consumer that does not is expelled, and detects that at its next step.

use crate::heartbeat::HeartbeatMonitor;
use crate::layout::{PAGES, Page};
use crate::sync::Ordering;
use std::time::Duration;

/// The last observed heartbeat of each page, with the claim to which it belongs.
pub(super) struct ConsumerLiveness {
    known: [Option<(u32, HeartbeatMonitor)>; PAGES],
    /// The lease time of the previous generation, which consumers that attached to that generation use.
    inherited: Duration,
}

impl ConsumerLiveness {
    /// No heartbeat observed yet; `inherited` is the lease time of the previous generation.
    pub(super) fn new(inherited: Duration) -> Self {
        Self { known: [None; PAGES], inherited }
    }

    /// Whether the heartbeat of a page's owner has changed within `lease`. `claimed` is the current value of the page's
    /// word; a different number in it means a different owner. For an owner that `is_inherited`, a longer lease time of
    /// the previous generation counts.
    pub(super) fn is_alive(
        &mut self,
        index: usize,
        claimed: u32,
        page: &Page,
        lease: Duration,
        is_inherited: bool,
    ) -> bool {
        // Relaxed: only compared with its previous value.
        let value = page.heartbeat.load(Ordering::Relaxed);
        let known = self.known[index].take().filter(|(claim, _)| claim >> 16 == claimed >> 16);
        let (_, mut observed) = known.unwrap_or((claimed, HeartbeatMonitor::new(value)));
        let lease = if is_inherited { lease.max(self.inherited) } else { lease };
        let alive = observed.is_alive(value, lease);
        self.known[index] = alive.then_some((claimed, observed));
        alive
    }
}
