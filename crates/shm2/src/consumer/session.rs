//! One attachment to one generation of a region with the right to lease: frames are read in place.

mod hold;

pub(super) use hold::LeaseGuard;

use super::builder::{Settings, Start, latest};
use super::claim::claim;
use super::frame::{Frame, Payload};
use super::header::{Checked, check, check_generation};
use super::producer_liveness::Pulse;
use super::{Position, Step, TakeError};
use crate::backend::{self, ConsumerRegion, Event, OpenRegion, Poll, Wake};
use crate::description::{Description, Kind};
use crate::error::{AttachError, Violation};
use crate::heartbeat::{self, Beat};
use crate::kill_points::point;
use crate::layout::{self, STATE_LIVE, W_SEQUENCE};
use crate::mapped::{Memory, OwnPage};
use crate::name::Spec;
use crate::protocol;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Times that a consumer lets itself be lapped before it looks around.
pub(super) const LAPS: u32 = 64;

/// Shared by the consumer and every frame it holds: the page is given up when the last of them is gone.
#[derive(Debug)]
pub(super) struct Session {
    memory: Memory,
    page: OwnPage,
    region: OpenRegion,
    checked: Checked,
    /// Bit i: lease entry i is in use. Frames are dropped on any thread.
    in_use: AtomicU64,
    budget: usize,
    /// Payload and metas held in place, in bytes.
    held: AtomicU64,
    caps: Mutex<Option<(u32, Arc<[u8]>)>>,
    /// What the page's `claimed` shows, as long as the page is this session's.
    shown: AtomicU32,
    poll: Poll,
}

impl Session {
    pub(super) fn open(
        spec: &Spec,
        settings: &Settings,
        pulse: &mut Pulse,
    ) -> Result<(Arc<Self>, Position), AttachError> {
        let region = OpenRegion::open(spec, true)?;
        let path = spec.path();
        point!("attach.opened");
        if check(&region, settings.liveness)?.by_heartbeat && settings.prefers_snapshots() {
            return Err(AttachError::Denied { path: path.into() });
        }
        let memory = Memory::new(region.map(0, region.bytes() as usize, false)?);
        let checked = check_generation(&region, &memory, settings.liveness)?;
        if checked.by_heartbeat {
            // Before the look at the generation: a beat of another life is none of this one's.
            pulse.await_first_heartbeat(memory.header().heartbeat.load(Ordering::Acquire), &checked, path)?;
            if memory.header().generation.load(Ordering::Acquire) != checked.generation {
                return Err(AttachError::NoProducer { path: path.into() });
            }
        }
        let (page, shown) = claim(&region, &memory, &checked)?;
        point!("attach.claimed");
        let budget = settings.max_leases.min(checked.max_leases);
        let (in_use, shown) = (AtomicU64::new(0), AtomicU32::new(shown));
        let (held, caps) = (AtomicU64::new(0), Mutex::default());
        let session = Self { memory, page, region, checked, in_use, budget, held, caps, shown, poll: Poll::default() };
        let session = Arc::new(session);
        session.start_heartbeat()?;
        // Paused for longer than the lease time in the middle of its attach: it is as if it had not begun.
        let position = session.enter(settings.start).ok_or_else(|| AttachError::NoProducer { path: path.into() })?;
        point!("attach.entered");
        session.region.notify_watchers();
        Ok((session, position))
    }

    /// Shows life where no lock does, from now on.
    fn start_heartbeat(self: &Arc<Self>) -> Result<(), AttachError> {
        let Some(lease) = self.checked.lease.filter(|_| self.is_by_heartbeat()) else { return Ok(()) };
        let heart: Weak<Self> = Arc::downgrade(self);
        let (what, path) = ("start the heartbeat thread for", self.region.path().into());
        heartbeat::keep_beating(heart, lease).map_err(|source| AttachError::System { what, path, source })
    }

    /// Makes the claimed page valid, and only then visible.
    /// `None` when the page was taken away meanwhile.
    fn enter(&self, start: Start) -> Option<Position> {
        let page = self.page.words();
        let relaxed = Ordering::Relaxed;
        if !self.is_by_heartbeat() {
            // A page that is free is clear; one of a dead owner may not be.
            for lease in &page.leases {
                protocol::release(&lease.sequence);
            }
            page.lease_count.store(0, relaxed);
        }
        for counter in [&page.received, &page.missed, &page.skipped, &page.copied] {
            counter.store(0, relaxed);
        }
        page.pid.store(backend::process_id(), relaxed);
        page.attached_ns.store(backend::monotonic_ns(), relaxed);
        let header = self.memory.header();
        let oldest = header.oldest.load(Ordering::Acquire);
        let head = header.head.load(Ordering::Acquire);
        let next = start.first(oldest, head, self.checked.history, |sequence| self.kind_of(sequence));
        page.cursor.store(next, relaxed);
        heartbeat::advance(&page.heartbeat);
        let claiming = self.shown.load(relaxed);
        let shown = claiming - layout::CLAIMING + layout::READING;
        self.shown.store(shown, relaxed);
        match self.is_by_heartbeat() {
            true if !protocol::enter_if_mine(&page.claimed, claiming, shown) => return None,
            true => {}
            false => protocol::enter(&page.claimed, shown),
        }
        // What was retired before the page was seen is not missed: this consumer was not there yet.
        let next = next.max(header.oldest.load(Ordering::Acquire));
        page.cursor.store(next, Ordering::Release);
        Some(Position { next, ..Position::default() })
    }

    pub(super) fn region(&self) -> &OpenRegion {
        &self.region
    }

    pub(super) fn generation(&self) -> u64 {
        self.checked.generation
    }

    pub(super) fn checked(&self) -> &Checked {
        &self.checked
    }

    /// Number and time of the producer's beacon; `None` before the first, and while one is written.
    pub(super) fn beacon(&self) -> Option<(u64, u64)> {
        let header = self.memory.header();
        let number = header.beacon_sequence.load(Ordering::Acquire);
        let time = header.beacon_monotonic_ns.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let again = header.beacon_sequence.load(Ordering::Relaxed);
        (number == again && number != 0 && number.is_multiple_of(2)).then_some((number, time))
    }

    /// The next frame, if it is there.
    pub(super) fn take(self: &Arc<Self>, position: &mut Position) -> Result<Step, TakeError> {
        if !self.owns_page() {
            // After a wipe nobody owns a page, and another life begins.
            return if self.is_other_generation() { Ok(Step::Nothing) } else { Err(TakeError::Expelled) };
        }
        let step = self.take_mapped(position);
        match () {
            () if self.is_broken() => Err(TakeError::Truncated),
            // What looked like a lie was the next life.
            () if step.is_err() && self.is_other_generation() => Ok(Step::Nothing),
            // An end has no bytes that could have changed.
            () if self.owns_page() || matches!(step, Ok(Step::EndOfStream)) => step,
            () => {
                if let Ok(Step::Frame(frame)) = step {
                    // Taken, but lost before it could be given out.
                    position.lose(&frame);
                }
                if self.is_other_generation() { Ok(Step::Nothing) } else { Err(TakeError::Expelled) }
            }
        }
    }

    fn is_by_heartbeat(&self) -> bool {
        self.shown.load(Ordering::Relaxed) & layout::BY_HEARTBEAT != 0
    }

    /// Whether the page is still this session's: with a lock always, without one as long as the heart beat in time.
    fn owns_page(&self) -> bool {
        !self.is_by_heartbeat()
            || self.page.words().claimed.load(Ordering::Acquire) == self.shown.load(Ordering::Relaxed)
    }

    /// A sequence with this owner's number.
    fn signed(&self, sequence: u64) -> u64 {
        protocol::signed(sequence, self.shown.load(Ordering::Relaxed) >> 16)
    }

    /// Shows another state of the page.
    fn show(&self, state: u32) {
        let shown = self.shown.load(Ordering::Relaxed);
        let next = if state == layout::FREE { state } else { shown - layout::claim_state(shown) + state };
        let claimed = &self.page.words().claimed;
        if !self.is_by_heartbeat() && !self.is_other_generation() {
            // SYNC: page-claimed
            claimed.store(next, Ordering::Release);
            self.shown.store(next, Ordering::Relaxed);
        } else if protocol::take_page(claimed, shown, next) {
            self.shown.store(next, Ordering::Relaxed);
        }
    }

    /// Whether a new life began in this very memory.
    fn is_other_generation(&self) -> bool {
        // Relaxed: asked after the full fence of a lease, which orders it; elsewhere the next look will tell.
        self.memory.header().generation.load(Ordering::Relaxed) != self.checked.generation
    }

    /// Sequence of this life's first item.
    pub(super) fn first(&self) -> u64 {
        self.checked.first
    }

    /// For a session without locks: what its producer's heart shows, and how long it may rest.
    pub(super) fn producer_heartbeat(&self) -> Option<(u64, Duration)> {
        let lease = self.checked.lease.filter(|_| self.is_by_heartbeat())?;
        Some((self.memory.header().heartbeat.load(Ordering::Relaxed), lease))
    }

    /// Whether a part of the file that was looked at is gone.
    fn is_broken(&self) -> bool {
        self.memory.is_broken() || self.page.is_broken()
    }

    fn take_mapped(self: &Arc<Self>, position: &mut Position) -> Result<Step, TakeError> {
        for _ in 0..LAPS {
            let sequence = self.target(position);
            if sequence > layout::MAX_SEQUENCE {
                return Err(self.contradiction(sequence).into());
            }
            let cell = self.memory.cell(sequence);
            let found = protocol::published(&cell.words[W_SEQUENCE]);
            if found < sequence {
                return Ok(Step::Nothing);
            }
            if found == sequence {
                let words = Description::copy(cell);
                if let Some(step) = self.read(position, sequence, &words)? {
                    return Ok(step);
                }
            }
            if self.is_other_generation() {
                return Ok(Step::Nothing);
            }
            self.lapped(position, sequence)?;
        }
        // Lapped all the time: the caller looks whether it was cancelled and comes back.
        Ok(Step::Nothing)
    }

    /// The sequence to take: under latest-only the second newest when two or more wait.
    fn target(&self, position: &Position) -> u64 {
        if !position.latest_only {
            return position.next;
        }
        let head = self.memory.header().head.load(Ordering::Acquire);
        latest(position.next, head, |sequence| self.kind_of(sequence))
    }

    /// What stands in the cell of a sequence, which may be another's by now.
    fn kind_of(&self, sequence: u64) -> Option<Kind> {
        // Relaxed: only a hint where to go on.
        Kind::of(self.memory.cell(sequence).words[layout::W_FLAGS_KIND].load(Ordering::Relaxed))
    }

    /// Leases or copies the frame; `None` when it was retired meanwhile.
    fn read(
        self: &Arc<Self>,
        position: &mut Position,
        sequence: u64,
        words: &[u64; 16],
    ) -> Result<Option<Step>, TakeError> {
        let bytes = words[layout::W_LENGTH].saturating_add(words[layout::W_META_LENGTH] & 0xffff_ffff);
        let Some(slot) = self.acquire_slot(bytes) else { return self.read_copy(position, sequence, words) };
        point!("lease.slot");
        let lease = &self.page.words().leases[slot];
        let describe = || {
            // Relaxed: the lease's fence orders them before any scan that could matter.
            lease.offset.store(words[layout::W_OFFSET], Ordering::Relaxed);
            lease.length.store(words[layout::W_LENGTH], Ordering::Relaxed);
        };
        let oldest = &self.memory.header().oldest;
        let hold = LeaseGuard { session: self.clone(), slot, sequence, bytes };
        let held = if self.is_by_heartbeat() {
            let signed = self.signed(sequence);
            let taken = protocol::take_entry(&lease.sequence, signed);
            if taken {
                describe();
            } else if self.owns_page() {
                // One that lost this page wrote there, and will take it back when it sees that. Until then: a copy.
                return self.read_copy(position, sequence, words);
            }
            taken && protocol::confirm(&lease.sequence, oldest, sequence, signed) && self.owns_page()
        } else {
            describe();
            protocol::hold(&lease.sequence, oldest, sequence)
        };
        if !held || self.is_other_generation() {
            return Ok(None);
        }
        point!("lease.held");
        let description = Description::check(words, sequence, self.checked.arena_bytes)?;
        let (caps, meta) = (self.caps(&description), self.meta(&description));
        let address = self.memory.pointer(description.payload.offset, description.payload.length);
        let payload = Payload::Leased { hold, address: address.unwrap_or(NonNull::dangling()) };
        Ok(Some(self.step(position, sequence, description, payload, caps, meta)))
    }

    /// Beyond the lease budget: a private copy, valid only if the frame was not retired before the copy was done.
    fn read_copy(&self, position: &mut Position, sequence: u64, words: &[u64; 16]) -> Result<Option<Step>, TakeError> {
        let checked = Description::check(words, sequence, self.checked.arena_bytes);
        if self.is_retired(sequence) {
            return Ok(None);
        }
        let description = checked?;
        let (caps, meta) = (self.caps(&description), self.meta(&description));
        let payload = self.memory.copy_to_vec(description.payload.offset, description.payload.length);
        let payload = payload.ok_or(TakeError::TooLarge { sequence, length: description.payload.length })?;
        if self.is_retired(sequence) {
            self.caps.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Ok(None);
        }
        position.copied += u64::from(description.kind == Kind::Frame);
        self.page.words().copied.store(position.copied, Ordering::Relaxed);
        Ok(Some(self.step(position, sequence, description, Payload::Owned(payload), caps, meta)))
    }

    /// Everything read before this was true of the frame if the answer is no.
    fn is_retired(&self, sequence: u64) -> bool {
        fence(Ordering::SeqCst);
        self.memory.header().oldest.load(Ordering::Acquire) > sequence || self.is_other_generation()
    }

    fn step(
        &self,
        position: &mut Position,
        sequence: u64,
        description: Description,
        payload: Payload,
        caps: Option<Arc<[u8]>>,
        meta: Vec<u8>,
    ) -> Step {
        let passed = (position.next..sequence).rev().take(layout::CELLS as usize);
        position.skipped += passed.filter(|passed| self.kind_of(*passed) == Some(Kind::Frame)).count() as u64;
        position.next = sequence + 1;
        position.received += u64::from(description.kind == Kind::Frame);
        let page = self.page.words();
        page.received.store(position.received, Ordering::Relaxed);
        page.skipped.store(position.skipped, Ordering::Relaxed);
        page.cursor.store(position.next, Ordering::Release);
        point!("lease.cursor");
        self.signal_space();
        if description.kind == Kind::End {
            return Step::EndOfStream;
        }
        Step::Frame(Frame::new(sequence, description, payload, caps, meta, position))
    }

    /// `sequence` is gone: goes on with the oldest that is left. Both a newer cell and a refused lease mean that `oldest`
    /// was raised above it before.
    fn lapped(&self, position: &mut Position, sequence: u64) -> Result<(), TakeError> {
        let header = self.memory.header();
        let oldest = header.oldest.load(Ordering::Acquire);
        let head = header.head.load(Ordering::Acquire);
        if oldest > head.saturating_add(1) || oldest <= sequence {
            return Err(Violation::Ring { oldest, head, expected: sequence }.into());
        }
        position.skip_to(oldest);
        let page = self.page.words();
        page.missed.store(position.missed, Ordering::Relaxed);
        page.cursor.store(position.next, Ordering::Release);
        Ok(())
    }

    /// To be asked when nothing is there: the newest sequence is stored after its cell, so a cell that lags behind it is
    /// a lie, and one for which this consumer would wait in vain.
    pub(super) fn check_idle(&self, position: &Position) -> Result<(), TakeError> {
        let sequence = self.target(position);
        // SYNC: frame-published
        let head = self.memory.header().head.load(Ordering::Acquire);
        let lags = head >= sequence && protocol::published(&self.memory.cell(sequence).words[W_SEQUENCE]) < sequence;
        // Asked last: a new life empties the cells.
        if lags && !self.is_other_generation() { Err(self.contradiction(sequence).into()) } else { Ok(()) }
    }

    fn contradiction(&self, expected: u64) -> Violation {
        let header = self.memory.header();
        let (oldest, head) = (header.oldest.load(Ordering::Acquire), header.head.load(Ordering::Acquire));
        Violation::Ring { oldest, head, expected }
    }

    fn caps(&self, description: &Description) -> Option<Arc<[u8]>> {
        if description.caps_id == 0 {
            return None;
        }
        let mut cached = self.caps.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.as_ref().is_none_or(|(id, _)| *id != description.caps_id) {
            let length = description.caps.length + description.stream;
            let text = self.memory.copy_to_vec(description.caps.offset, length)?;
            *cached = Some((description.caps_id, text.into()));
        }
        cached.as_ref().map(|(_, text)| text.clone())
    }

    fn meta(&self, description: &Description) -> Vec<u8> {
        if description.meta.length == 0 {
            return Vec::new();
        }
        self.memory.copy_to_vec(description.meta.offset, description.meta.length).unwrap_or_default()
    }

    /// A free lease entry within the budget, for a frame of `bytes`. However slow this consumer is, two thirds of the arena
    /// are left for the others.
    fn acquire_slot(&self, bytes: u64) -> Option<usize> {
        // Relaxed: only this thread adds; what a dropped frame takes off a moment later costs one copy.
        let held = self.held.load(Ordering::Relaxed).saturating_add(bytes);
        if held > self.checked.arena_bytes / 3 {
            return None;
        }
        // Relaxed: only this thread sets bits; a bit that a dropped frame clears a moment later costs one copy.
        let slot = (!self.in_use.load(Ordering::Relaxed)).trailing_zeros() as usize;
        if slot >= self.budget {
            return None;
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.in_use.fetch_or(1 << slot, Ordering::Acquire);
        let count = &self.page.words().lease_count;
        if count.load(Ordering::Relaxed) as usize <= slot {
            // Never less: without a lock it may be another's page by now.
            count.fetch_max(slot as u32 + 1, Ordering::Relaxed);
        }
        Some(slot)
    }

    /// Wakes a producer that waits for room. Costs nothing unless the region's policy is to block.
    fn signal_space(&self) {
        if self.checked.blocks && protocol::space_is_needed(&self.memory.header().producer_waits) {
            let space = &self.page.words().space;
            space.fetch_add(1, Ordering::Release);
            self.region.wake_producer(space);
        }
    }

    /// Sleeps until something is published after `position`, the event is signalled, or the time is over.
    pub(super) fn wait(&self, position: &Position, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake {
        if self.checked.by_heartbeat {
            return self.poll.wait(event, seen, timeout, &|| self.has_news(position));
        }
        let header = self.memory.header();
        let expected = header.wake.load(Ordering::Acquire);
        protocol::announce_sleep(&self.page.words().ticket);
        if self.has_news(position) {
            return Wake::Signal;
        }
        self.region.wait(NonNull::from(&header.wake), expected, (event, seen), timeout)
    }

    /// Whether the next frame is there, or the region was closed.
    pub(super) fn has_news(&self, position: &Position) -> bool {
        let sequence = self.target(position);
        protocol::published(&self.memory.cell(sequence).words[W_SEQUENCE]) >= sequence || self.is_closed()
    }

    /// Whether the producer said that it closes, or another one lives in this memory. Any state that cannot be counts as
    /// closed.
    pub(super) fn is_closed(&self) -> bool {
        self.memory.header().state.load(Ordering::Acquire) != STATE_LIVE || self.is_other_generation()
    }

    /// The consumer itself is gone: frames that it handed out may live on, but nothing waits for its reading.
    pub(super) fn stop_reading(&self) {
        if !self.memory.is_here() || !self.owns_page() {
            return;
        }
        self.page.words().cursor.store(u64::MAX, Ordering::Release);
        self.show(layout::HOLDING);
        point!("detach.stopped");
        self.signal_space();
        self.region.notify_watchers();
    }
}

impl Beat for Session {
    fn beat(&self) -> bool {
        if self.memory.is_here() && self.owns_page() {
            heartbeat::advance(&self.page.words().heartbeat);
        }
        false
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.memory.is_here() {
            return;
        }
        self.show(layout::FREE);
        point!("detach.freed");
        self.signal_space();
        if !self.is_by_heartbeat() {
            self.region.unclaim(self.page.index());
        }
    }
}
