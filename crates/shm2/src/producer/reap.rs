//! Dead consumers: what they held comes back.

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
    /// Says whether the life still goes on after that: who slept meanwhile must not make room in a successor's memory.
    pub(super) fn reap_before_drop(&self, inner: &mut Inner) -> Result<(), SendError> {
        let now = backend::monotonic_ns();
        if now.saturating_sub(inner.last_probe) < REAP_EVERY_NS {
            return Ok(());
        }
        inner.last_probe = now;
        self.reap(inner);
        self.keep_life(inner)
    }

    /// Ends what dead consumers held, and sees whether snapshot consumers are there. Returns living leasing consumers.
    pub(super) fn reap(&self, inner: &mut Inner) -> usize {
        // A closed producer begins no life.
        let goes_on = match self.closed.load(Ordering::Acquire) {
            true => self.is_mine(inner),
            false => !self.is_over() && self.keep_life(inner).is_ok(),
        };
        if !goes_on {
            return 0;
        }
        let mut alive = 0;
        for (index, page) in inner.ledger.pages(&self.memory) {
            // A value that is none of the four is a lie and treated as a reader's.
            let claimed = page.claimed.load(Ordering::Acquire);
            if claimed == layout::FREE {
                continue;
            }
            let by_heartbeat = claimed & layout::BY_HEARTBEAT != 0;
            let is_inherited = inner.ledger.is_inherited(index, page);
            let lives = match by_heartbeat {
                false => !self.clear_if_unlocked(index, claimed, page),
                true => {
                    inner.hearts.is_alive(index, claimed, page, self.settings.lease_time, is_inherited)
                        || !self.evict(index, claimed, page)
                }
            };
            // Who is still coming has no place in the stream yet: whoever waits for a consumer must not begin.
            let is_attached = !matches!(layout::claim_state(claimed), layout::HOLDING | layout::CLAIMING);
            // Nor has one of the life before, who may be dead or stopped: it attaches anew if it can.
            alive += usize::from(lives && is_attached && !is_inherited);
        }
        inner.ledger.snapshots = self.region.has_snapshots();
        alive
    }

    /// Ends what the owner of a page held if it is dead, which is when it has no lock.
    fn clear_if_unlocked(&self, index: usize, claimed: u32, page: &layout::Page) -> bool {
        let dead = self.region.try_lock_page(index);
        if dead {
            point!("reap.locked");
            // Its owner may have left a moment ago, and one without a lock have come.
            protocol::clear_page(page, claimed);
            point!("reap.cleared");
            self.region.unlock_page(index);
        }
        dead
    }

    /// Ends what a consumer held that shows no life. The lock keeps those with locks away meanwhile, and the value stored
    /// first those without. It finds out when it comes back.
    fn evict(&self, index: usize, claimed: u32, page: &layout::Page) -> bool {
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
