//! Closing a producer: the header shows the close, the region's name is removed, and the keeps of frames are dropped
//! only when no consumer reads them any more, because upstream may write those bytes afterwards.
//!
//! The memory of a plain region stays unchanged as long as consumers map it. Memory that the next producer will use (a
//! kept region) is released, by unlocking the liveness lock, as soon as upstream cannot write into it any more. After
//! that this producer writes nothing into it.

use super::Phase;
use crate::backend::{ProcessEvent, ProducerRegion};
use crate::kill_points::point;
use crate::producer::shared::{Inner, Shared};
use crate::protocol;
use crate::sync::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Interval at which a closed producer checks whether consumers still hold frames, besides at each detach of one.
const LINGER_EVERY: Duration = Duration::from_millis(500);
/// Time after the close for which frames stay for snapshot consumers. These hold nothing: after it a consumer that is
/// still copying a frame finds it retired.
const SNAPSHOT_GRACE: Duration = Duration::from_secs(2);

impl Shared {
    /// Shows consumers that this generation is over, and removes the region's name. Only the first call has an effect.
    pub(in crate::producer) fn close(self: &Arc<Self>) {
        if !self.memory.is_here() || !self.with(|inner| self.close_state(inner)) {
            return;
        }
        point!("close.state");
        // If the name may still lead to this memory, another producer may begin a generation in it.
        let may_be_reused = !self.region.remove_name();
        self.with(|inner| inner.lifecycle.set_may_be_reused(may_be_reused));
        point!("close.unlinked");
        if self.phase() != Phase::Released {
            self.wake(u64::MAX);
        }
        self.event.signal();
        if !may_be_reused {
            self.with(|inner| self.release(inner));
        }
        if !self.is_finished(false) {
            self.linger();
        }
    }

    /// Closes the lifecycle and shows it in the header; false if it was closed before.
    fn close_state(&self, inner: &mut Inner) -> bool {
        let is_writable = self.advance_lifecycle(inner).is_ok();
        let is_first = inner.lifecycle.close();
        self.sync_phase(inner);
        if is_first && is_writable {
            protocol::close(&self.memory.header().state);
        }
        is_first
    }

    /// Ends the liveness lock and the heartbeat. The next producer may use memory that may be reused.
    fn release(&self, inner: &mut Inner) {
        inner.lifecycle.release();
        self.sync_phase(inner);
        self.region.end_generation();
        point!("close.unlocked");
        self.region.notify_watchers();
    }

    /// Whether no frame has a keep any more. Releases memory that may be reused when upstream has dropped its
    /// reservations. With `ignore_snapshots`, frames do not wait for snapshot consumers any more.
    fn is_finished(&self, ignore_snapshots: bool) -> bool {
        self.reap_apart();
        self.with(|inner| {
            if !inner.lifecycle.may_be_reused() {
                inner.ledger.snapshots &= !ignore_snapshots;
                inner.ledger.collect_all(&self.memory);
                return !inner.ledger.keeps_anything();
            }
            if inner.lifecycle.phase() != Phase::Released && !self.upstream_may_write(inner) {
                if self.settings.keep_region && self.is_mine(inner) {
                    // No live producer shows 0, so the next one need not wait where there is no lock.
                    self.memory.header().heartbeat.store(0, Ordering::Release);
                }
                self.release(inner);
            }
            let is_released = inner.lifecycle.phase() == Phase::Released;
            if is_released {
                inner.ledger.drop_unheld_keeps(&self.memory);
            }
            is_released && !inner.ledger.keeps_anything()
        })
    }

    fn upstream_may_write(&self, inner: &Inner) -> bool {
        inner.ledger.upstream_may_write(inner.caps.and_then(|caps| caps.extent))
    }

    /// Starts a thread that drops the keeps of frames when no consumer reads them any more. Until then upstream must
    /// not write their bytes.
    fn linger(self: &Arc<Self>) {
        let shared = self.clone();
        let wait = move || {
            let closed = Instant::now();
            loop {
                let seen = shared.event.value();
                if shared.is_finished(closed.elapsed() >= SNAPSHOT_GRACE) {
                    return;
                }
                shared.event.wait(seen, Some(LINGER_EVERY));
            }
        };
        // If no thread can be started, the keeps stay until the process ends, which is safe.
        let _ = std::thread::Builder::new().name("shm2-linger".into()).spawn(wait);
    }
}
