//! Detecting dead consumers and freeing what they held.
//!
//! A probe of a page's lock is a system call whose cost grows with the number of locks on the region's file, and a
//! process that may only read can take any number of them. So a producer whose probes have become slow no longer makes
//! them between two frames: a thread of its own makes them, without the mutex, until they are quick again.

use super::lifecycle::{Phase, claim};
use super::shared::{Inner, Shared};
use crate::backend::{self, ProducerRegion};
use crate::error::SendError;
use crate::kill_points::point;
use crate::layout;
use crate::protocol;
use std::sync::{PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

/// Shortest interval between probes of consumers before frames are dropped.
const REAP_EVERY_NS: u64 = 1_000_000;
/// Time of all probes together above which a thread of its own makes them. Below half of it they are quick again.
const SLOW: Duration = Duration::from_micros(500);
/// That thread's interval, and the least number of times that a pause is longer than the probes before it.
const APART_EVERY: Duration = Duration::from_millis(250);
const PAUSES: u32 = 20;

/// A claimed page, and what is known of its owner.
struct Probe {
    index: usize,
    /// The page's claim when the probe began.
    claim: (u32, u64),
    /// Its owner attached to a previous generation.
    is_inherited: bool,
    owner: Owner,
}

/// What the locks show of snapshot consumers.
#[derive(Clone, Copy)]
struct SnapshotLocks {
    are_attached: bool,
    request_keyframe: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Not probed yet; its lock decides.
    ByLock,
    /// Its heartbeat stands still; it is expelled unless another consumer locks the page.
    Silent,
    Alive,
    /// Dead, but the page cannot be locked: a process that may only read holds a lock of its own on it.
    Dead,
    /// Dead, and the page is locked until it is cleared.
    Locked,
}

impl Shared {
    /// As [`reap`](Self::reap), but at most once a millisecond, so that a full arena does not cost system calls for
    /// every frame. An error if another producer owns the memory after that: it may have taken over while this one was
    /// paused.
    pub(super) fn reap_before_drop(&self, inner: &mut Inner) -> Result<(), SendError> {
        let now = backend::monotonic_ns();
        if now.saturating_sub(inner.last_probe) < REAP_EVERY_NS {
            return Ok(());
        }
        self.reap(inner, now);
        self.advance_lifecycle(inner).map(|_| ())
    }

    /// Frees what dead consumers held, and updates whether snapshot consumers are attached. Does nothing while another
    /// thread is at it, or while probes are slow.
    pub(super) fn reap(&self, inner: &mut Inner, now: u64) {
        let probing = match self.probing.try_lock() {
            Ok(probing) => probing,
            Err(TryLockError::Poisoned(probing)) => probing.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        inner.last_probe = now;
        if inner.probes_are_slow {
            return;
        }
        let begun = Instant::now();
        let mut probes = self.begin_probes(inner);
        let snapshots = self.probe(&mut probes);
        self.end_probes(inner, &probes, snapshots);
        self.unlock_pages(&probes);
        drop(probing);
        if begun.elapsed() > SLOW {
            let me = self.me.clone();
            let thread = std::thread::Builder::new().name("shm2-probe".into()).spawn(move || probe_apart(&me));
            inner.probes_are_slow = thread.is_ok();
        }
    }

    /// As [`reap`](Self::reap), without the mutex while system calls are made, and also while probes are slow. Returns
    /// the number of leasing consumers that are attached and alive.
    pub(super) fn reap_apart(&self) -> usize {
        let probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut probes = self.begin_probes(&mut self.lock());
        let snapshots = self.probe(&mut probes);
        let alive = self.end_probes(&mut self.lock(), &probes, snapshots);
        self.unlock_pages(&probes);
        drop(probing);
        // Drops keeps, which are user code, without any lock.
        self.with(|_| alive)
    }

    /// The number of leasing consumers that are attached and alive: of a new probe, or of the last one while probes are
    /// slow, so that no caller waits for them.
    pub(super) fn count_alive(&self) -> usize {
        let last = self.with(|inner| inner.probes_are_slow.then_some(inner.alive));
        last.unwrap_or_else(|| self.reap_apart())
    }

    /// Whether this producer may change pages. A closed producer does not recover.
    fn may_reap(&self, inner: &mut Inner) -> bool {
        match inner.lifecycle.phase() {
            Phase::Open => self.advance_lifecycle(inner).is_ok(),
            _ => self.is_mine(inner),
        }
    }

    fn begin_probes(&self, inner: &mut Inner) -> Vec<Probe> {
        if !self.may_reap(inner) {
            return Vec::new();
        }
        let pages = inner.ledger.pages(&self.memory).map(|(index, page)| (index, page, claim(page)));
        // An undefined value breaks the protocol and counts as a reader's.
        let claimed = pages.filter(|(_, _, (claimed, _))| *claimed != layout::FREE);
        let probe = claimed.map(|(index, page, claim)| {
            let is_inherited = inner.ledger.is_inherited(index, page);
            let by_heartbeat = claim.0 & layout::BY_HEARTBEAT != 0;
            let mut is_alive =
                || inner.consumers.is_alive(index, claim.0, page, self.settings.lease_time, is_inherited);
            let owner = match by_heartbeat {
                false => Owner::ByLock,
                true if is_alive() => Owner::Alive,
                true => Owner::Silent,
            };
            Probe { index, claim, is_inherited, owner }
        });
        probe.collect()
    }

    /// Probes the locks of the pages and of snapshot consumers.
    fn probe(&self, probes: &mut [Probe]) -> SnapshotLocks {
        for probe in probes {
            // Meanwhile the lock excludes consumers with locks from the page of a silent owner, and the value that is
            // stored first excludes those without. Where no locks can be seen, an owner by lock counts as alive.
            let has_locks = self.region.has_locks();
            probe.owner = match probe.owner {
                Owner::Silent if !has_locks => Owner::Locked,
                Owner::ByLock | Owner::Silent if self.region.try_lock_page(probe.index) => Owner::Locked,
                Owner::ByLock if !self.region.has_page_owner(probe.index) => Owner::Dead,
                _ => Owner::Alive,
            };
        }
        let are_attached = self.region.has_snapshots();
        SnapshotLocks { are_attached, request_keyframe: are_attached && self.region.has_keyframe_request() }
    }

    /// Frees what the owners of locked pages held; returns the number of consumers that are attached and alive.
    fn end_probes(&self, inner: &mut Inner, probes: &[Probe], snapshots: SnapshotLocks) -> usize {
        if !self.may_reap(inner) {
            return 0;
        }
        let mut alive = 0;
        for Probe { index, claim, is_inherited, owner } in probes {
            let page = self.memory.page(*index);
            let mut is_alive = *owner == Owner::Alive;
            match owner {
                Owner::Locked => {
                    point!("reap.locked");
                    // The owner may have detached a moment ago, and a consumer without a lock may have taken the page.
                    let cleared = protocol::clear_page(page, claim.0);
                    is_alive = !cleared && !self.region.has_locks();
                    point!("reap.cleared");
                }
                Owner::Dead => inner.ledger.mark_dead(*index, *claim),
                _ => {}
            }
            if *owner != Owner::Dead {
                inner.ledger.mark_alive(*index);
            }
            // A consumer that is still attaching has no position yet, so it does not count as attached.
            let is_attached = !matches!(layout::claim_state(claim.0), layout::HOLDING | layout::CLAIMING);
            // A consumer of the previous generation may be dead or stopped; it counts when it has attached again.
            alive += usize::from(is_alive && is_attached && !is_inherited);
        }
        inner.keyframes.observe_lock(snapshots.request_keyframe, Instant::now());
        let is_first = snapshots.are_attached && !inner.ledger.snapshots;
        inner.ledger.snapshots = snapshots.are_attached;
        if is_first {
            // It may sleep already, and items that came in between woke nobody.
            self.wake(0);
        }
        inner.alive = alive;
        alive
    }

    fn unlock_pages(&self, probes: &[Probe]) {
        if self.region.has_locks() {
            let locked = probes.iter().filter(|probe| probe.owner == Owner::Locked);
            locked.for_each(|probe| self.region.unlock_page(probe.index));
        }
    }
}

/// Makes the probes of one producer until they are quick again, or the producer is gone.
fn probe_apart(producer: &Weak<Shared>) {
    loop {
        let Some(shared) = producer.upgrade() else { return };
        let begun = Instant::now();
        shared.reap_apart();
        let took = begun.elapsed();
        if took < SLOW / 2 || shared.phase() != Phase::Open {
            shared.lock().probes_are_slow = false;
            return;
        }
        drop(shared);
        std::thread::sleep(APART_EVERY.max(took * PAUSES));
    }
}
