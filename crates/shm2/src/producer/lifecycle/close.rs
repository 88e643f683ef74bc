//! Closing a producer: consumers are told, the name is removed, and what upstream must not write again is kept from it as
//! long as a consumer reads it.
//!
//! Memory of its own stays as it is for as long as consumers like. Memory that the next producer will use (a kept region)
//! is released, by giving up the liveness lock, as soon as upstream cannot write into it any more. From then on nothing in
//! it is written here.

use super::Phase;
use crate::backend::{ProcessEvent, ProducerRegion};
use crate::kill_points::point;
use crate::producer::shared::{Inner, Shared};
use crate::protocol;
use crate::sync::Ordering;
use std::sync::Arc;
use std::time::Duration;

/// How often a closed producer checks whether its consumers are through, besides when one of them leaves.
const LINGER_EVERY: Duration = Duration::from_millis(500);

impl Shared {
    /// Tells consumers that this generation is over and removes the region's name. Only the first call does anything.
    pub(in crate::producer) fn close(self: &Arc<Self>) {
        if !self.memory.is_here() || !self.with(|inner| self.close_state(inner)) {
            return;
        }
        point!("close.state");
        // Where the name may still lead to this memory, another producer may begin a generation in it.
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
        if !self.is_finished() {
            self.linger();
        }
    }

    /// False when it was closed before.
    fn close_state(&self, inner: &mut Inner) -> bool {
        let is_writable = self.advance_lifecycle(inner).is_ok();
        let is_first = inner.lifecycle.close();
        self.sync_phase(inner);
        if is_first && is_writable {
            protocol::close(&self.memory.header().state);
        }
        is_first
    }

    /// Gives up the sign of life. Memory that may be reused is the next producer's from here on.
    fn release(&self, inner: &mut Inner) {
        inner.lifecycle.release();
        self.sync_phase(inner);
        self.region.end_generation();
        point!("close.unlocked");
        self.region.notify_watchers();
    }

    /// Whether nothing that user code attached to frames is needed any more. Releases memory that may be reused when
    /// upstream has given its part back.
    fn is_finished(&self) -> bool {
        self.with(|inner| {
            if !inner.lifecycle.may_be_reused() {
                self.reap(inner);
                inner.ledger.collect_all(&self.memory);
                return !inner.ledger.keeps_anything();
            }
            if inner.lifecycle.phase() != Phase::Released && !self.upstream_may_write(inner) {
                if self.settings.keep_region && self.is_mine(inner) {
                    // No heartbeat has this value: where no lock tells, the next producer need not wait.
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

    /// Upstream may own the memory of frames that consumers still read: what keeps upstream from writing it is dropped when
    /// the last consumer is through, by a thread of its own.
    fn linger(self: &Arc<Self>) {
        let shared = self.clone();
        let wait = move || {
            loop {
                let seen = shared.event.value();
                if shared.is_finished() {
                    return;
                }
                shared.event.wait(seen, Some(LINGER_EVERY));
            }
        };
        // Without a thread the region stays as it is until the process ends, which is safe.
        let _ = std::thread::Builder::new().name("shm2-linger".into()).spawn(wait);
    }
}
