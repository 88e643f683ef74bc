//! State that a producer, its handles and its reservations share: the region, the ledger, the lifecycle.

use super::consumer_liveness::ConsumerLiveness;
use super::extents::ExtentId;
use super::keyframes::KeyframeRequests;
use super::ledger::Ledger;
use super::lifecycle::{Epoch, Lifecycle, Phase};
use super::name_state::NameState;
use super::settings::Settings;
use crate::backend::{Event, OwnedRegion, ProcessEvent, ProducerRegion, Watch};
use crate::description::CapsRange;
use crate::error::SendError;
use crate::heartbeat::{self, Heartbeat};
use crate::mapped::Memory;
use crate::sync::Ordering;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

pub(crate) struct Shared {
    pub(super) memory: Memory,
    pub(super) region: OwnedRegion,
    pub(super) settings: Settings,
    pub(super) arena: u64,
    pub(super) event: Arc<Event>,
    _watch: Option<Watch>,
    /// The lifecycle's phase, for readers without the mutex.
    phase: AtomicU8,
    cancelled: AtomicBool,
    pub(super) name: NameState,
    pub(super) checker: OnceLock<Arc<dyn Heartbeat>>,
    inner: Mutex<Inner>,
    /// Held while consumers are probed, by one thread at a time: the locks of two probes of this process would be one.
    /// Locked before `inner`; a thread that has `inner` only tries to lock it.
    pub(super) probing: Mutex<()>,
    pub(super) me: Weak<Self>,
}

/// The state behind the mutex.
pub(super) struct Inner {
    pub(super) ledger: Ledger,
    pub(super) lifecycle: Lifecycle,
    pub(super) caps: Option<CurrentCaps>,
    /// A copy of the caps' bytes, if others can clear the region's memory; written again after a recovery.
    pub(super) caps_copy: Option<Box<[u8]>>,
    pub(super) stats: Counters,
    /// Bytes published since frames were last retired.
    pub(super) fresh: u64,
    /// Time of the last probe of consumers, nanoseconds of the monotonic clock.
    pub(super) last_probe: u64,
    /// Time of the last beacon, nanoseconds of the monotonic clock.
    pub(super) last_beacon: u64,
    pub(super) consumers: ConsumerLiveness,
    pub(super) keyframes: KeyframeRequests,
    /// A thread of its own probes consumers.
    pub(super) probes_are_slow: bool,
    /// Leasing consumers that the last probe found attached and alive.
    pub(super) alive: usize,
}

/// The caps of every frame until the next change; holds one use of their extent.
#[derive(Clone, Copy)]
pub(super) struct CurrentCaps {
    pub(super) range: CapsRange,
    pub(super) extent: Option<ExtentId>,
}

#[derive(Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) dropped_newest: u64,
    pub(super) dropped_too_large: u64,
    pub(super) wakes: u64,
}

impl Shared {
    pub(super) fn new(
        memory: Memory,
        region: OwnedRegion,
        settings: Settings,
        generation: u64,
        mut ledger: Ledger,
        consumers: ConsumerLiveness,
    ) -> Arc<Self> {
        let keyframes = KeyframeRequests::since(ledger.pages(&memory));
        let arena = ledger.extents.bytes();
        let inner = Inner {
            ledger,
            lifecycle: Lifecycle::new(generation, settings.exclusion()),
            caps: None,
            caps_copy: None,
            stats: Counters::default(),
            fresh: 0,
            last_probe: 0,
            last_beacon: 0,
            consumers,
            keyframes,
            probes_are_slow: false,
            alive: 0,
        };
        let event = Arc::default();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            probing: Mutex::default(),
            _watch: region.watch(&event),
            memory,
            region,
            settings,
            arena,
            event,
            phase: AtomicU8::new(Phase::Open as u8),
            cancelled: AtomicBool::new(false),
            name: NameState::default(),
            checker: OnceLock::new(),
            inner: Mutex::new(inner),
        })
    }

    /// Starts the heartbeat of a kept region.
    pub(super) fn start_heartbeat(self: &Arc<Self>) -> io::Result<()> {
        if self.settings.keep_region {
            let heartbeat: Weak<dyn Heartbeat> = Arc::downgrade(self) as Weak<dyn Heartbeat>;
            heartbeat::start(heartbeat, self.settings.lease_time)?;
            // Consumers of the last generation may sleep, or wait for this one.
            self.wake(u64::MAX);
            self.region.notify_watchers();
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` with the mutex held, then drops the keeps of recycled frames without it.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.lock();
        let result = f(&mut inner);
        if inner.ledger.has_dropped() {
            let dropped = inner.ledger.take_dropped();
            drop(inner);
            drop(dropped);
        }
        result
    }

    /// Begins an operation; an error if this producer must not write now.
    #[inline]
    pub(super) fn enter(&self, inner: &mut Inner) -> Result<Epoch, SendError> {
        self.check()?;
        self.advance_lifecycle(inner)
    }

    /// As [`enter`](Self::enter), for an operation that does not hold the mutex afterwards.
    pub(super) fn epoch(&self) -> Result<Epoch, SendError> {
        self.with(|inner| self.enter(inner))
    }

    /// An error if this producer is closed or superseded, or its file truncated.
    #[inline]
    pub(super) fn check(&self) -> Result<(), SendError> {
        if self.phase() == Phase::Open && !self.memory.is_broken() { Ok(()) } else { Err(self.why_not()) }
    }

    #[cold]
    fn why_not(&self) -> SendError {
        let path = self.region.path().into();
        match self.phase() {
            Phase::Closed | Phase::Released => SendError::Closed,
            _ if self.memory.is_broken() => SendError::Truncated { path },
            _ => SendError::Superseded { path },
        }
    }

    #[inline]
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Superseded,
            2 => Phase::Closed,
            _ => Phase::Released,
        }
    }

    /// Whether the memory belongs to another producer, or may from now on.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.phase(), Phase::Superseded | Phase::Released)
    }

    /// Publishes the lifecycle's phase to [`phase`](Self::phase). Called after each change of the lifecycle that may
    /// change it.
    pub(super) fn sync_phase(&self, inner: &Inner) {
        self.phase.store(inner.lifecycle.phase() as u8, Ordering::Release);
    }

    pub(super) fn count_too_large(&self) {
        let mut inner = self.lock();
        inner.stats.dropped_too_large += 1;
        if self.is_mine(&inner) {
            self.memory.header().dropped_too_large.store(inner.stats.dropped_too_large, Ordering::Relaxed);
        }
    }

    pub(super) fn count_dropped_newest(&self) {
        let mut inner = self.lock();
        inner.stats.dropped_newest += 1;
        if self.is_mine(&inner) {
            self.memory.header().dropped_newest.store(inner.stats.dropped_newest, Ordering::Relaxed);
        }
    }

    /// While `cancelled`, blocking calls of this producer return `Cancelled`.
    pub(super) fn set_cancelled(&self, cancelled: bool) {
        self.cancelled.store(cancelled, Ordering::Release);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Frees one use of a reservation's extent.
    pub(super) fn drop_use(&self, id: ExtentId) {
        if !self.memory.is_here() {
            return;
        }
        self.lock().ledger.extents.drop_use(id);
        if self.phase() >= Phase::Closed {
            self.event.signal();
        }
    }
}
