//! Reserving arena memory and freeing space according to the policy for a full region.

use super::ledger::Record;
use super::lifecycle::Phase;
use super::reservation::{Grant, Reservation};
use super::settings::FullPolicy;
use super::shared::{Inner, Shared};
use crate::backend::ProducerRegion;
use crate::error::SendError;
use crate::kill_points::point;
use crate::layout;
use crate::protocol;
use crate::sync::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Unread frames above which a blocked producer pauses for [`BACKLOG_NAP`], so that consumers free more than one frame.
const BACKLOG: u64 = 256;
const BACKLOG_NAP: Duration = Duration::from_micros(50);
/// Bytes published after which read frames are retired before the next reservation: small enough to reuse memory while it
/// is in the cache, large enough to spread the cost over many small frames.
const COLLECT_AFTER: u64 = 256 * 1024;
/// Large frames that are retired together: one look at the consumers' pages serves them all.
const COLLECT_FRAMES: u64 = 4;
/// The part of the arena after which frames are retired in any case, before memory is short.
const COLLECT_PART: u64 = 4;
/// Longest sleep of a blocked producer before it checks all consumers again.
pub(super) const SPACE_SLICE: Duration = Duration::from_millis(10);

impl Shared {
    /// Reserves memory for a frame; under `block` this waits. A failure counts as a dropped frame.
    #[inline]
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, SendError> {
        self.reserve_after(bytes, Duration::ZERO)
    }

    /// As [`reserve`](Self::reserve), for a frame that has `waited` already.
    #[inline]
    pub(super) fn reserve_after(self: &Arc<Self>, bytes: u64, waited: Duration) -> Result<Reservation, SendError> {
        self.reserve_uncounted_after(bytes, waited).map_err(|error| self.count_failure(error))
    }

    /// Counts a frame that is dropped because its memory could not be reserved.
    #[cold]
    pub(super) fn count_failure(&self, error: SendError) -> SendError {
        match error {
            SendError::Full { .. } | SendError::Recovering | SendError::TimedOut { .. } => self.count_dropped_newest(),
            SendError::TooLarge { .. } => self.count_too_large(),
            _ => {}
        }
        error
    }

    /// As [`reserve`](Self::reserve) for bytes that do not count as a frame: caps, metas, events.
    pub(super) fn reserve_uncounted(self: &Arc<Self>, bytes: u64) -> Result<Reservation, SendError> {
        self.reserve_uncounted_after(bytes, Duration::ZERO)
    }

    #[inline]
    fn reserve_uncounted_after(self: &Arc<Self>, bytes: u64, mut waited: Duration) -> Result<Reservation, SendError> {
        let grant = self.retry(bytes, &mut waited, || self.find_free(bytes)).map_err(|error| *error)?;
        Ok(Reservation::new(self.clone(), grant, bytes, waited))
    }

    /// Reserves `bytes` without waiting.
    pub(super) fn try_reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, SendError> {
        let grant = self.find_free(bytes).map_err(|error| *error)?;
        Ok(Reservation::new(self.clone(), grant, bytes, Duration::ZERO))
    }

    /// Finds memory for `bytes` without waiting.
    #[inline]
    fn find_free(&self, bytes: u64) -> Result<Grant, Box<SendError>> {
        match self.with(|inner| self.grant_free(inner, bytes).map_err(Box::new))? {
            Some(grant) => {
                point!("reserve.taken");
                Ok(grant)
            }
            None => self.make_free(bytes).map_err(Box::new),
        }
    }

    /// Finds memory for `bytes`, at the cost of older frames if the policy allows it.
    #[cold]
    fn make_free(&self, bytes: u64) -> Result<Grant, SendError> {
        // Another attempt follows after `with` has dropped a step's keeps, because these may be reservations whose drop
        // frees space.
        if let Some(grant) = self.grant(&mut self.lock(), bytes, false)? {
            return Ok(grant);
        }
        // A consumer may take a lease in between; then the last step is tried again.
        for step in 0..6 {
            if !self.with(|inner| self.free_space(inner, step, bytes)) {
                break;
            }
            if let Some(grant) = self.grant(&mut self.lock(), bytes, false)? {
                return Ok(grant);
            }
        }
        if let Some(grant) = self.grant(&mut self.lock(), bytes, true)? {
            return Ok(grant);
        }
        let shortage = self.with(|inner| inner.ledger.extents.shortage(bytes));
        Err(SendError::Full { bytes, shortage })
    }

    /// Reserves `bytes` if that drops no frame and leaves free space for two more of this size.
    pub(super) fn reserve_spare(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let grant = self.with(|inner| self.grant_free(inner, bytes)).ok()??;
        let reservation = Reservation::new(self.clone(), grant, bytes, Duration::ZERO);
        let free_bytes = self.lock().ledger.extents.free_bytes();
        (free_bytes >= bytes.saturating_mul(2)).then_some(reservation)
    }

    /// One step towards free space; false when no further step can free any.
    fn free_space(&self, inner: &mut Inner, step: u32, bytes: u64) -> bool {
        // In a kept region the next producer may write from the end of this one on.
        let is_closed = self.phase() >= Phase::Closed;
        if is_closed || self.advance_lifecycle(inner).is_err() || self.reap_before_drop(inner).is_err() {
            return false;
        }
        if step == 0 {
            inner.ledger.collect(&self.memory);
            return true;
        }
        let limit = self.expendable(inner);
        inner.ledger.drop_for_bytes(&self.memory, bytes, limit)
    }

    /// Bytes after which read frames are retired, with frames of `bytes`.
    #[inline]
    fn collect_after(&self, bytes: u64) -> u64 {
        COLLECT_AFTER.max((COLLECT_FRAMES * bytes).min(self.arena / COLLECT_PART))
    }

    /// The usual case: there is free space. Retires read frames every now and then, so that their memory is reused while
    /// it is in the cache. `None` without free space, and when keeps must be dropped first, because they
    /// may hold memory of the arena.
    #[inline]
    fn grant_free(&self, inner: &mut Inner, bytes: u64) -> Result<Option<Grant>, SendError> {
        if !inner.ledger.extents.could_hold(bytes) {
            self.enter(inner)?;
            return Err(SendError::TooLarge { bytes, arena: self.arena });
        }
        if inner.fresh >= self.collect_after(bytes) {
            self.enter(inner)?;
            inner.fresh = 0;
            inner.ledger.collect(&self.memory);
            if inner.ledger.has_dropped() {
                return Ok(None);
            }
        }
        self.grant(inner, bytes, false)
    }

    /// Reserves `bytes` of one free range; `None` if no free range is that long. `is_last_resort` as in
    /// [`Extents::reserve`](super::extents::Extents::reserve).
    #[inline]
    fn grant(&self, inner: &mut Inner, bytes: u64, is_last_resort: bool) -> Result<Option<Grant>, SendError> {
        let epoch = self.enter(inner)?;
        if bytes == 0 {
            return Ok(Some(Grant { extent: None, offset: layout::ARENA_OFFSET, epoch }));
        }
        let Some((id, offset)) = inner.ledger.extents.reserve(bytes, is_last_resort) else { return Ok(None) };
        self.own_line(offset);
        Ok(Some(Grant { extent: Some(id), offset, epoch }))
    }

    /// Frames below this sequence may be dropped to free space: all under `drop-oldest`, else those that every consumer
    /// has read.
    pub(super) fn expendable(&self, inner: &mut Inner) -> u64 {
        match self.settings.policy {
            FullPolicy::DropOldest => inner.ledger.next(),
            FullPolicy::DropNewest | FullPolicy::Block { .. } => inner.ledger.read_by_all(&self.memory),
        }
    }

    /// Under the policy `block`, repeats `attempt` while it finds no free space, and sleeps in between. The time limit
    /// is that of a frame with all its parts, so the time that it has `waited` counts, and is added to. The error is
    /// behind a pointer, so that a result is returned in registers: a result in memory would be loaded behind the stores
    /// to the ring, and wait for them.
    #[inline]
    pub(super) fn retry<T>(
        &self,
        bytes: u64,
        waited: &mut Duration,
        mut attempt: impl FnMut() -> Result<T, Box<SendError>>,
    ) -> Result<T, Box<SendError>> {
        let first = attempt();
        match self.settings.policy {
            FullPolicy::Block { timeout } if is_full(&first) => self.retry_blocking(bytes, timeout, waited, attempt),
            _ => first,
        }
    }

    #[cold]
    fn retry_blocking<T>(
        &self,
        bytes: u64,
        timeout: Option<Duration>,
        waited: &mut Duration,
        attempt: impl FnMut() -> Result<T, Box<SendError>>,
    ) -> Result<T, Box<SendError>> {
        let begun = Instant::now();
        let left = timeout.map(|timeout| timeout.saturating_sub(*waited));
        let result = self.retry_until(bytes, left.and_then(|left| begun.checked_add(left)), attempt);
        *waited += begun.elapsed();
        result
    }

    fn retry_until<T>(
        &self,
        bytes: u64,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Result<T, Box<SendError>>,
    ) -> Result<T, Box<SendError>> {
        loop {
            if self.is_cancelled() {
                return Err(Box::new(SendError::Cancelled));
            }
            if self.has_backlog() {
                // Consumers have enough unread frames to read on during this pause, and free more than one.
                std::thread::sleep(BACKLOG_NAP);
            }
            let expected = self.space_words();
            self.set_waiting(true);
            // Checked before the last attempt, so that space that was freed in time counts.
            let is_late = deadline.is_some_and(|d| Instant::now() >= d);
            let again = attempt();
            let is_done = !is_full(&again);
            let hopeless = expected.is_empty() && !self.is_recovering();
            match () {
                () if is_done || hopeless || is_late => {}
                () => self.sleep_for_space(&expected),
            }
            self.set_waiting(false);
            if is_done || hopeless {
                return again;
            }
            if is_late {
                return Err(Box::new(SendError::TimedOut { bytes }));
            }
        }
    }

    /// Sleeps until one of the space words changes, for [`SPACE_SLICE`] at most.
    pub(super) fn sleep_for_space(&self, expected: &[(&AtomicU32, u32)]) {
        match expected {
            [] => std::thread::sleep(SPACE_SLICE),
            words => self.region.wait_for_space(words, SPACE_SLICE),
        }
    }

    /// Shows consumers whether they must signal freed space.
    pub(super) fn set_waiting(&self, waits: bool) {
        let inner = self.lock();
        let word = &self.memory.header().producer_waits;
        match waits {
            _ if !self.is_mine(&inner) => {}
            true => protocol::announce_need(word),
            false => word.store(0, Ordering::Relaxed),
        }
    }

    /// The space words of all consumers that may free space, with their values.
    pub(super) fn space_words(&self) -> Vec<(&AtomicU32, u32)> {
        let mut inner = self.lock();
        let active = |page: &layout::Page| page.claimed.load(Ordering::Acquire) != layout::FREE;
        let pages = inner.ledger.pages(&self.memory);
        let words =
            pages.filter(|(i, page)| active(page) && !inner.ledger.is_dead(*i, page)).map(|(_, page)| &page.space);
        words.map(|word| (word, word.load(Ordering::Acquire))).collect()
    }

    fn has_backlog(&self) -> bool {
        let mut inner = self.lock();
        let next = inner.ledger.next();
        next - inner.ledger.read_by_all(&self.memory) >= BACKLOG
    }

    /// Frees the extents and the keep of a record that was not published.
    pub(super) fn give_back(&self, record: Record) {
        let mut inner = self.lock();
        for id in [record.payload, record.meta].into_iter().flatten() {
            inner.ledger.extents.drop_use(id);
        }
        drop(inner);
        drop(record.keep);
    }
}

/// Whether an attempt may succeed later.
fn is_full<T>(result: &Result<T, Box<SendError>>) -> bool {
    matches!(result, Err(error) if matches!(**error, SendError::Full { .. } | SendError::Recovering))
}
