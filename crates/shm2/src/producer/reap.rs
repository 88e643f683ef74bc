//! Detecting dead consumers and freeing what they held.

use super::lifecycle::Phase;
use super::shared::{Inner, Shared};
use crate::backend::{self, ProducerRegion};
use crate::error::SendError;
use crate::kill_points::point;
use crate::layout;
use crate::protocol;
use crate::sync::Ordering;

/// Shortest interval between probes of consumers before frames are dropped.
const REAP_EVERY_NS: u64 = 1_000_000;

impl Shared {
    /// As [`reap`](Self::reap), but at most once a millisecond, so that a full arena does not cost system calls for
    /// every frame. An error if another producer owns the memory after that: it may have taken over while this one was
    /// paused.
    pub(super) fn reap_before_drop(&self, inner: &mut Inner) -> Result<(), SendError> {
        let now = backend::monotonic_ns();
        if now.saturating_sub(inner.last_probe) < REAP_EVERY_NS {
            return Ok(());
        }
        inner.last_probe = now;
        self.reap(inner);
        self.advance_lifecycle(inner).map(|_| ())
    }

    /// Frees what dead consumers held, and updates whether snapshot consumers are attached. Returns the number of
    /// leasing consumers that are attached and alive.
    pub(super) fn reap(&self, inner: &mut Inner) -> usize {
        // A closed producer does not recover.
        let may_write = match inner.lifecycle.phase() {
            Phase::Open => self.advance_lifecycle(inner).is_ok(),
            _ => self.is_mine(inner),
        };
        if !may_write {
            return 0;
        }
        let mut alive = 0;
        for (index, page) in inner.ledger.pages(&self.memory) {
            // An undefined value breaks the protocol and counts as a reader's.
            let claimed = page.claimed.load(Ordering::Acquire);
            if claimed == layout::FREE {
                continue;
            }
            let by_heartbeat = claimed & layout::BY_HEARTBEAT != 0;
            let is_inherited = inner.ledger.is_inherited(index, page);
            let is_alive = match by_heartbeat {
                false => !self.clear_if_unlocked(index, claimed, page),
                true => {
                    inner.consumers.is_alive(index, claimed, page, self.settings.lease_time, is_inherited)
                        || !self.expel(index, claimed, page)
                }
            };
            // A consumer that is still attaching has no position yet, so it does not count as attached.
            let is_attached = !matches!(layout::claim_state(claimed), layout::HOLDING | layout::CLAIMING);
            // A consumer of the previous generation may be dead or stopped; it counts when it has attached again.
            alive += usize::from(is_alive && is_attached && !is_inherited);
        }
        inner.ledger.snapshots = self.region.has_snapshots();
        alive
    }

    /// Frees what the owner of a page held if its lock is free, which means that it is dead. Returns whether it is
    /// dead.
    fn clear_if_unlocked(&self, index: usize, claimed: u32, page: &layout::Page) -> bool {
        let dead = self.region.try_lock_page(index);
        if dead {
            point!("reap.locked");
            // The owner may have detached a moment ago, and a consumer without a lock may have taken the page.
            protocol::clear_page(page, claimed);
            point!("reap.cleared");
            self.region.unlock_page(index);
        }
        dead
    }

    /// Expels a consumer whose heartbeat stands still, and frees what it held. Meanwhile the lock excludes consumers
    /// with locks, and the value stored first excludes those without. An expelled consumer detects that at its next
    /// step.
    fn expel(&self, index: usize, claimed: u32, page: &layout::Page) -> bool {
        if !self.region.has_locks() {
            return protocol::clear_page(page, claimed);
        }
        let locked = self.region.try_lock_page(index);
        if locked {
            protocol::clear_page(page, claimed);
            self.region.unlock_page(index);
        }
        locked
    }
}
