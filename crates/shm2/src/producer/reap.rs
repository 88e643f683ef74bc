//! Dead consumers: what they held is freed.

use super::lifecycle::Phase;
use super::shared::{Inner, Shared};
use crate::backend::{self, ProducerRegion};
use crate::error::SendError;
use crate::kill_points::point;
use crate::layout;
use crate::protocol;
use crate::sync::Ordering;

/// How often locks of consumers are probed while frames are about to be dropped.
const REAP_EVERY_NS: u64 = 1_000_000;

impl Shared {
    /// As [`reap`](Self::reap), but at most once a millisecond: a full arena must not cost system calls for every frame.
    /// An error when the memory is another producer's after that, which may have taken over while this one slept.
    pub(super) fn reap_before_drop(&self, inner: &mut Inner) -> Result<(), SendError> {
        let now = backend::monotonic_ns();
        if now.saturating_sub(inner.last_probe) < REAP_EVERY_NS {
            return Ok(());
        }
        inner.last_probe = now;
        self.reap(inner);
        self.advance_lifecycle(inner).map(|_| ())
    }

    /// Frees what dead consumers held, and sees whether snapshot consumers are attached. Returns how many leasing consumers
    /// are attached and alive.
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
            // A value that is none of the four breaks the protocol and counts as a reader's.
            let claimed = page.claimed.load(Ordering::Acquire);
            if claimed == layout::FREE {
                continue;
            }
            let by_heartbeat = claimed & layout::BY_HEARTBEAT != 0;
            let is_inherited = inner.ledger.is_inherited(index, page);
            let lives = match by_heartbeat {
                false => !self.clear_if_unlocked(index, claimed, page),
                true => {
                    inner.consumers.is_alive(index, claimed, page, self.settings.lease_time, is_inherited)
                        || !self.expel(index, claimed, page)
                }
            };
            // A consumer that is still attaching has no position yet: it does not count for a producer that waits for one.
            let is_attached = !matches!(layout::claim_state(claimed), layout::HOLDING | layout::CLAIMING);
            // Nor does one of the generation before, which may be dead or stopped: it attaches anew if it can.
            alive += usize::from(lives && is_attached && !is_inherited);
        }
        inner.ledger.snapshots = self.region.has_snapshots();
        alive
    }

    /// Frees what the owner of a page held if it is dead: its lock is free.
    fn clear_if_unlocked(&self, index: usize, claimed: u32, page: &layout::Page) -> bool {
        let dead = self.region.try_lock_page(index);
        if dead {
            point!("reap.locked");
            // Its owner may have left a moment ago, and one without a lock may have taken the page.
            protocol::clear_page(page, claimed);
            point!("reap.cleared");
            self.region.unlock_page(index);
        }
        dead
    }

    /// Expels a consumer whose heartbeat stands still, and frees what it held. The lock keeps consumers with locks away
    /// meanwhile, and the value stored first those without. An expelled consumer finds out at its next step.
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
