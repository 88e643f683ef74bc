//! One attachment of a consumer that trusts nobody and needs no right to write: frames are copied out with `pread`, so
//! that a truncated file is an error, never a signal.
//!
//! A cell is read twice: once for its sequence, then whole, so that no word is older than the sequence; then `oldest`
//! is read, so that no word is newer. The same look at `oldest` after the payload confirms the payload.

use super::builder::{Settings, latest};
use super::frame::{Frame, Payload};
use super::header::{Checked, check};
use super::producer_liveness::Pulse;
use super::session::LAPS;
use super::{Position, Step, TakeError};
use crate::backend::{ConsumerRegion, Event, OpenRegion, Poll, Wake};
use crate::description::{Description, Kind, Range};
use crate::error::{AttachError, Violation};
use crate::kill_points::point;
use crate::layout::{self, Header, STATE_LIVE};
use crate::mapped::WakeWord;
use crate::name::Spec;
use crate::sync::{Ordering, fence};
use std::mem::offset_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Until the producer has surely noticed that snapshot consumers exist, look by the clock.
const UNNOTICED: Duration = Duration::from_millis(600);
const UNNOTICED_SLICE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Snapshot {
    region: OpenRegion,
    wake: WakeWord,
    checked: Checked,
    since: Instant,
    caps: Option<(u32, Arc<[u8]>)>,
    poll: Poll,
}

/// A frame was retired while it was read, or the file is too short.
enum Failure {
    Retired,
    /// A new life began in this very file.
    OtherGeneration,
    Take(TakeError),
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Take(TakeError::Truncated)
    }
}

impl Snapshot {
    pub(super) fn open(spec: &Spec, settings: &Settings, pulse: &mut Pulse) -> Result<(Self, Position), AttachError> {
        let region = OpenRegion::open(spec, false)?;
        let (path, start, liveness) = (spec.path(), settings.start, settings.liveness);
        check(&region, liveness)?;
        let wake = WakeWord::new(region.map(0, WakeWord::BYTES, false)?);
        let absent = || AttachError::NoProducer { path: path.into() };
        let mut new = Self {
            checked: check(&region, liveness)?,
            region,
            wake,
            since: Instant::now(),
            caps: None,
            poll: Poll::default(),
        };
        if new.is_closed() {
            return Err(absent());
        }
        // Once more: what was read at first may be of the life before, or of two.
        new.checked = check(&new.region, liveness)?;
        if new.read_word(offset_of!(Header, state))? as u32 != STATE_LIVE {
            return Err(absent());
        }
        if new.is_other_generation() {
            return Err(absent());
        }
        if new.checked.by_heartbeat {
            pulse.await_first_heartbeat(new.read_word(offset_of!(Header, heartbeat))?, &new.checked, path)?;
            // A beat of another life is none of this one's.
            fence(Ordering::Acquire);
            if new.is_other_generation() {
                return Err(absent());
            }
        }
        let (oldest, head) = (new.read_word(offset_of!(Header, oldest))?, new.read_word(offset_of!(Header, head))?);
        let next = start.first(oldest, head, new.checked.history, |sequence| new.kind_of(sequence));
        // Whoever waits for a consumer may send from here on: its place is chosen.
        new.region.show_presence().map_err(|source| AttachError::System { what: "lock", path: path.into(), source })?;
        point!("snapshot.shown");
        // What was retired before it was seen is not missed: this consumer was not there yet.
        let next = next.max(new.read_word(offset_of!(Header, oldest))?);
        new.since = Instant::now();
        new.region.notify_watchers();
        Ok((new, Position { next, ..Position::default() }))
    }

    /// A word of the header, for the attach.
    fn read_word(&self, offset: usize) -> Result<u64, AttachError> {
        let path = self.region.path();
        self.u64_at(offset).map_err(|source| AttachError::System { what: "read", path: path.into(), source })
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

    /// Where only heartbeats tell: what the producer's heart shows, and how long it may rest.
    pub(super) fn producer_heartbeat(&self) -> Option<(u64, Duration)> {
        let lease = self.checked.lease.filter(|_| self.checked.by_heartbeat)?;
        Some((self.u64_at(offset_of!(Header, heartbeat)).unwrap_or_default(), lease))
    }

    /// As `Session::beacon`.
    pub(super) fn beacon(&self) -> Option<(u64, u64)> {
        let read = |offset| self.u64_at(offset).ok();
        let number = read(offset_of!(Header, beacon_sequence))?;
        fence(Ordering::Acquire);
        let time = read(offset_of!(Header, beacon_monotonic_ns))?;
        fence(Ordering::Acquire);
        let again = read(offset_of!(Header, beacon_sequence))?;
        (number == again && number != 0 && number.is_multiple_of(2)).then_some((number, time))
    }

    pub(super) fn take(&mut self, position: &mut Position) -> Result<Step, TakeError> {
        for lap in 0..LAPS {
            let sequence = self.target(position).map_err(|_| TakeError::Truncated)?;
            match self.try_take(position, sequence) {
                Ok(step) => return Ok(step),
                Err(Failure::Take(_)) if self.is_other_generation() => return Ok(Step::Nothing),
                Err(Failure::Take(violation)) => return Err(violation),
                Err(Failure::OtherGeneration) => return Ok(Step::Nothing),
                Err(Failure::Retired) if self.is_other_generation() => return Ok(Step::Nothing),
                Err(Failure::Retired) => match self.lapped(position, sequence, lap) {
                    Err(_) if self.is_other_generation() => return Ok(Step::Nothing),
                    outcome => outcome?,
                },
            }
        }
        Ok(Step::Nothing)
    }

    /// The sequence to take: under latest-only the second newest when two or more wait.
    fn target(&self, position: &Position) -> std::io::Result<u64> {
        if !position.latest_only {
            return Ok(position.next);
        }
        let head = self.u64_at(offset_of!(Header, head))?;
        Ok(latest(position.next, head, |sequence| self.kind_of(sequence)))
    }

    /// As `Session::kind_of`.
    fn kind_of(&self, sequence: u64) -> Option<Kind> {
        let kind = layout::cell_offset(sequence) as usize + layout::W_FLAGS_KIND * 8;
        self.u64_at(kind).ok().and_then(Kind::of)
    }

    fn try_take(&mut self, position: &mut Position, sequence: u64) -> Result<Step, Failure> {
        if sequence > layout::MAX_SEQUENCE {
            return Err(Failure::Take(Violation::Ring { oldest: 0, head: 0, expected: sequence }.into()));
        }
        match self.sequence_at(sequence)? {
            found if found < sequence => return Ok(Step::Nothing),
            found => {
                // SYNC: frame-published
                fence(Ordering::Acquire);
                if found > sequence {
                    return Err(Failure::Retired);
                }
            }
        }
        let mut bytes = [0; layout::CELL_BYTES as usize];
        self.region.read_exact(&mut bytes, layout::cell_offset(sequence))?;
        let words: [u64; 16] = std::array::from_fn(|w| u64::from_le_bytes(std::array::from_fn(|i| bytes[w * 8 + i])));
        self.confirm(sequence)?;
        let description = Description::check(&words, sequence, self.checked.arena_bytes)
            .map_err(|violation| Failure::Take(violation.into()))?;
        point!("snapshot.cell");
        let payload = self.bytes(description.payload, sequence)?;
        let meta = self.bytes(description.meta, sequence)?;
        let caps = self.caps(&description, sequence)?;
        point!("snapshot.copied");
        if let Err(failure) = self.confirm(sequence) {
            self.caps = None;
            return Err(failure);
        }
        if !self.region.is_whole() {
            // A read at the same time may have found zeros in place of pages.
            return Err(Failure::Take(TakeError::Truncated));
        }
        let passed = (position.next..sequence).rev().take(layout::CELLS as usize);
        position.skipped += passed.filter(|passed| self.kind_of(*passed) == Some(Kind::Frame)).count() as u64;
        position.next = sequence + 1;
        position.received += u64::from(description.kind == Kind::Frame);
        position.copied += u64::from(description.kind == Kind::Frame);
        if description.kind == Kind::End {
            return Ok(Step::EndOfStream);
        }
        Ok(Step::Frame(Frame::new(sequence, description, Payload::Owned(payload), caps, meta, position)))
    }

    /// What was read so far belongs to `sequence`, or it was retired.
    fn confirm(&self, sequence: u64) -> Result<(), Failure> {
        fence(Ordering::SeqCst);
        const FROM: usize = offset_of!(Header, generation);
        const TO: usize = offset_of!(Header, oldest) + 8;
        let mut bytes = [0; TO - FROM];
        self.region.read_exact(&mut bytes, FROM as u64)?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at - FROM + i]));
        if word(FROM) != self.checked.generation {
            return Err(Failure::OtherGeneration);
        }
        if word(TO - 8) <= sequence { Ok(()) } else { Err(Failure::Retired) }
    }

    fn bytes(&self, range: Range, sequence: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let length = range.length;
        bytes
            .try_reserve_exact(length as usize)
            .map_err(|_| Failure::Take(TakeError::TooLarge { sequence, length }))?;
        bytes.resize(length as usize, 0);
        if !bytes.is_empty() {
            self.region.read_exact(&mut bytes, range.offset)?;
        }
        Ok(bytes)
    }

    fn caps(&mut self, description: &Description, sequence: u64) -> Result<Option<Arc<[u8]>>, Failure> {
        if description.caps_id == 0 {
            return Ok(None);
        }
        if self.caps.as_ref().is_none_or(|(id, _)| *id != description.caps_id) {
            let length = description.caps.length + description.stream;
            let whole = Range { length, ..description.caps };
            self.caps = Some((description.caps_id, self.bytes(whole, sequence)?.into()));
        }
        Ok(self.caps.as_ref().map(|(_, text)| text.clone()))
    }

    /// `sequence` is gone. At first the oldest that is left comes next; whoever is overtaken again and again takes the
    /// newest, which stays longest.
    fn lapped(&self, position: &mut Position, sequence: u64, lap: u32) -> Result<(), TakeError> {
        let read = |offset| self.u64_at(offset).map_err(|_| TakeError::Truncated);
        let oldest = read(offset_of!(Header, oldest))?;
        let head = read(offset_of!(Header, head))?;
        if oldest > head.saturating_add(1) || oldest <= sequence {
            return Err(Violation::Ring { oldest, head, expected: sequence }.into());
        }
        position.skip_to(if lap == 0 { oldest } else { head.max(oldest) });
        Ok(())
    }

    pub(super) fn wait(&self, position: &Position, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake {
        if self.checked.by_heartbeat {
            return self.poll.wait(event, seen, timeout, &|| self.has_news(position).unwrap_or(true));
        }
        let Ok(expected) = self.u64_at(WakeWord::offset() as usize) else { return Wake::Fault };
        fence(Ordering::SeqCst);
        match self.has_news(position) {
            Ok(false) => {}
            Ok(true) => return Wake::Signal,
            Err(_) => return Wake::Fault,
        }
        let slice = (self.since.elapsed() < UNNOTICED).then_some(UNNOTICED_SLICE);
        let limited = [timeout, slice].into_iter().flatten().min();
        match self.region.wait(self.wake.address(), expected as u32, (event, seen), limited) {
            Wake::Timeout if limited != timeout => Wake::Signal,
            other => other,
        }
    }

    /// As `Session::check_idle`.
    pub(super) fn check_idle(&self, position: &Position) -> Result<(), TakeError> {
        let read = |offset| self.u64_at(offset).map_err(|_| TakeError::Truncated);
        let sequence = self.target(position).map_err(|_| TakeError::Truncated)?;
        let head = read(offset_of!(Header, head))?;
        // SYNC: frame-published
        fence(Ordering::Acquire);
        // The life asked last: a new one empties the cells.
        if head >= sequence && read(layout::cell_offset(sequence) as usize)? < sequence && !self.is_other_generation() {
            return Err(Violation::Ring { oldest: read(offset_of!(Header, oldest))?, head, expected: sequence }.into());
        }
        Ok(())
    }

    fn has_news(&self, position: &Position) -> std::io::Result<bool> {
        let sequence = self.target(position)?;
        Ok(self.sequence_at(sequence)? >= sequence || self.is_closed())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.u64_at(offset_of!(Header, state)).is_ok_and(|word| word as u32 != STATE_LIVE) || self.is_other_generation()
    }

    fn is_other_generation(&self) -> bool {
        self.u64_at(offset_of!(Header, generation)).is_ok_and(|word| word != self.checked.generation)
    }

    /// Sequence of this life's first item.
    pub(super) fn first(&self) -> u64 {
        self.checked.first
    }

    fn sequence_at(&self, sequence: u64) -> std::io::Result<u64> {
        self.u64_at(layout::cell_offset(sequence) as usize)
    }

    fn u64_at(&self, offset: usize) -> std::io::Result<u64> {
        let mut bytes = [0; 8];
        self.region.read_exact(&mut bytes, offset as u64)?;
        Ok(u64::from_le_bytes(bytes))
    }
}
