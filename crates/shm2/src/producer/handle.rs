//! The part of a producer that other threads use.

use super::lifecycle::Phase;
use super::reservation::Reservation;
use super::shared::Shared;
use crate::backend::{ProcessEvent, ProducerRegion, Wake};
use crate::error::SendError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a producer did so far, and what its memory is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Items published: frames and ends of stream.
    pub published: u64,
    /// Frames retired before every attached consumer had read them.
    pub dropped_oldest: u64,
    /// New frames not taken for lack of free space.
    pub dropped_newest: u64,
    /// Frames that could never fit.
    pub dropped_too_large: u64,
    /// Times that the producer woke sleeping consumers.
    pub wakes: u64,
    /// Frames in the ring.
    pub ready: u64,
    /// Retired frames that a consumer still holds.
    pub held: u64,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Bytes in no reservation and no frame. Free and used bytes always add up to the arena.
    pub free_bytes: u64,
    /// Bytes in reservations and frames, each extent once.
    pub used_bytes: u64,
}

/// A part of a producer for other threads. Keeps the region mapped, but does not keep it open.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Arena memory without waiting and without counting a drop.
    ///
    /// # Errors
    /// [`SendError::Full`] when there is none even after the oldest frames were dropped (under `drop-oldest`).
    pub fn try_reserve(&self, bytes: usize) -> Result<Reservation, SendError> {
        self.shared.try_reserve(bytes as u64)
    }

    /// Leasing consumers that are attached now. Frees what dead ones held.
    pub fn consumers(&self) -> usize {
        self.shared.with(|inner| {
            let alive = self.shared.reap(inner);
            if self.shared.is_mine(inner) {
                inner.ledger.collect(&self.shared.memory);
            }
            alive
        })
    }

    /// Whether any snapshot consumer is attached now.
    pub fn has_snapshot_consumers(&self) -> bool {
        self.shared.region.has_snapshots()
    }

    /// Whether frames can still be sent.
    ///
    /// # Errors
    /// As for a frame, but for those that pass: no free space, and a recovery.
    pub fn check(&self) -> Result<(), SendError> {
        match self.shared.epoch() {
            Ok(_) | Err(SendError::Recovering) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the producer closed the region.
    pub fn is_closed(&self) -> bool {
        self.shared.phase() >= Phase::Closed
    }

    /// A number that changes whenever a consumer attaches or detaches.
    pub fn changes(&self) -> u32 {
        self.shared.event.value()
    }

    /// Waits until [`changes`](Self::changes) differs from `seen`; false when the time is over. Where the system ran
    /// out of file watches no change is reported, so give a time limit.
    pub fn wait_change(&self, seen: u32, timeout: Option<Duration>) -> bool {
        self.shared.event.wait(seen, timeout) != Wake::Timeout
    }

    /// Ends a [`wait_change`](Self::wait_change) of another thread.
    pub fn signal(&self) {
        self.shared.event.signal();
    }

    /// While true, calls that wait under [`FullPolicy::Block`](super::FullPolicy::Block) return [`SendError::Cancelled`] within 10 ms.
    pub fn set_cancelled(&self, cancelled: bool) {
        self.shared.set_cancelled(cancelled);
    }

    /// Counts one new frame that the caller dropped for lack of free space.
    pub fn count_dropped(&self) {
        self.shared.count_dropped_newest();
    }

    /// What happened so far.
    pub fn stats(&self) -> ProducerStats {
        let inner = self.shared.lock();
        ProducerStats {
            published: inner.ledger.next() - 1,
            dropped_oldest: inner.ledger.dropped_oldest,
            dropped_newest: inner.stats.dropped_newest,
            dropped_too_large: inner.stats.dropped_too_large,
            wakes: inner.stats.wakes,
            ready: inner.ledger.ready(),
            held: inner.ledger.in_limbo() as u64,
            arena_bytes: self.shared.arena,
            free_bytes: inner.ledger.extents.free_bytes(),
            used_bytes: inner.ledger.extents.used_bytes(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("path", &self.shared.region.path()).finish_non_exhaustive()
    }
}
