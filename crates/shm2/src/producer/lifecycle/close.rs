//! The end of a producer's life: consumers are told, the name is given up, and what upstream must not write again is
//! kept from it as long as somebody reads it.
//!
//! Memory of its own stays as it is for as long as anybody likes. Memory that the next producer will use (a kept region)
//! is given up, by giving up the liveness lock, as soon as upstream cannot write into it any more. From then on nothing
//! in it is written here.

use crate::backend::{ProcessEvent, ProducerRegion};
use crate::kill_points::point;
use crate::producer::shared::{Inner, Shared};
use crate::protocol;
use crate::sync::Ordering;
use std::sync::Arc;
use std::time::Duration;

/// How often a closed producer looks whether its consumers are through, besides when one of them leaves.
const LINGER_EVERY: Duration = Duration::from_millis(500);

impl Shared {
    /// Whether the memory may belong to another producer by now.
    pub(in crate::producer) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.taken_over.load(Ordering::Acquire)
    }

    /// Tells consumers that this life of the region is over and gives its name up. Only the first call does anything.
    pub(in crate::producer) fn close(self: &Arc<Self>) {
        if !self.memory.is_here() || self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.with(|inner| self.keep_life(inner).map(|()| protocol::close(&self.memory.header().state))).ok();
        point!("close.state");
        // Who still leads to this file may begin a life in it: then nothing may be written here after this one's end.
        let may_be_found = !self.region.remove_name();
        self.shared_memory.store(may_be_found, Ordering::Release);
        point!("close.unlinked");
        if !self.is_over() {
            self.wake(u64::MAX);
        }
        self.event.signal();
        if !may_be_found {
            self.end_generation();
        }
        if !self.is_finished() {
            self.linger();
        }
    }

    /// Shows everybody that this producer is no more. In a kept region the next one may write from here on.
    fn end_generation(&self) {
        self.over.store(self.may_be_found(), Ordering::Release);
        self.region.end_generation();
        point!("close.unlocked");
        self.region.notify_watchers();
    }

    /// Whether nothing that user code attached to frames is needed any more. In a kept region, ends the life when
    /// upstream has given back its memory.
    fn is_finished(&self) -> bool {
        self.with(|inner| {
            if self.may_be_found() {
                if !self.is_over() && !self.upstream_may_write(inner) {
                    if self.settings.keep_region && self.is_mine(inner) {
                        // No beat gives this: where no lock tells, the next producer need not wait.
                        self.memory.header().heartbeat.store(0, Ordering::Release);
                    }
                    self.end_generation();
                }
                if self.is_over() {
                    inner.ledger.drop_unheld_keeps(&self.memory);
                }
                return self.is_over() && !inner.ledger.keeps_anything();
            }
            self.reap(inner);
            inner.ledger.collect_all(&self.memory);
            !inner.ledger.keeps_anything()
        })
    }

    fn may_be_found(&self) -> bool {
        self.shared_memory.load(Ordering::Acquire)
    }

    fn upstream_may_write(&self, inner: &Inner) -> bool {
        inner.ledger.upstream_may_write(inner.caps.and_then(|caps| caps.extent))
    }

    /// Frames that somebody still reads or holds may have memory that upstream would write again: what keeps it from
    /// that is dropped when the last consumer is through, by a thread of its own.
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
