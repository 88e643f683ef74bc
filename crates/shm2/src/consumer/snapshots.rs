//! Access by snapshots, for a consumer that trusts no peer and has no write permission. Frames are copied with `pread`,
//! so that a truncated file causes an error and never a signal.
//!
//! A cell is read twice: first its sequence, then all words, so that no word is older than the sequence. Then `oldest`
//! is read, so that no word is newer. A read of `oldest` after the payload confirms the payload in the same way.

use super::builder::Access;
use super::frame::Item;
use super::ring_reader::{RingReader, View};
use super::take_error::{Cause, TakeError};
use crate::backend::{ConsumerRegion, Event, OpenRegion, Poll, Wake};
use crate::description::{Details, Range};
use crate::layout::{self, Header};
use crate::mapped::WakeWord;
use crate::sync::{AtomicU32, Ordering, fence};
use crate::waiter::Source;
use std::io;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time after an attach until the producer certainly knows of a snapshot consumer. Until then the consumer wakes every
/// [`UNNOTICED_SLICE`].
const UNNOTICED: Duration = Duration::from_millis(600);
const UNNOTICED_SLICE: Duration = Duration::from_millis(20);

/// The view of a snapshot consumer.
#[derive(Debug)]
pub(super) struct Snapshots {
    file: Arc<SnapshotFile>,
    since: Instant,
    /// For waiting without a wake-up, where producer and consumer share no kernel.
    poll: Option<Poll>,
}

/// The region's file, shared with a thread that waits for the consumer.
#[derive(Debug)]
struct SnapshotFile {
    region: OpenRegion,
    wake: WakeWord,
}

impl SnapshotFile {
    fn u64_at(&self, offset: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.region.read_exact(&mut bytes, offset as u64)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// See [`View::source`].
#[derive(Debug)]
struct SnapshotSource {
    file: Arc<SnapshotFile>,
    is_polled: bool,
}

impl Source for SnapshotSource {
    fn address(&self) -> Option<NonNull<AtomicU32>> {
        (!self.is_polled).then(|| self.file.wake.address())
    }

    fn value(&self) -> Option<u32> {
        let offset = if self.is_polled { offset_of!(Header, head) } else { WakeWord::offset() as usize };
        let value = self.file.u64_at(offset).ok()? as u32;
        fence(Ordering::SeqCst);
        Some(value)
    }
}

/// A word cannot be read, because the region's file was truncated.
#[derive(Debug)]
pub(super) struct Truncated;

impl From<io::Error> for Truncated {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<Truncated> for TakeError {
    fn from(_: Truncated) -> Self {
        Cause::Truncated.into()
    }
}

impl Snapshots {
    pub(super) fn new(region: OpenRegion, wake: WakeWord) -> Self {
        Self { file: Arc::new(SnapshotFile { region, wake }), since: Instant::now(), poll: None }
    }

    /// Starts the time in which the producer learns of this consumer. `poll` as the field.
    pub(super) fn mark_attached(&mut self, poll: Option<Poll>) {
        self.since = Instant::now();
        self.poll = poll;
    }

    /// A word of the region.
    pub(super) fn u64_at(&self, offset: usize) -> io::Result<u64> {
        self.file.u64_at(offset)
    }

    /// A word of the region. Later reads are not older than this one.
    fn acquire(&self, offset: usize) -> Result<u64, Truncated> {
        let word = self.u64_at(offset)?;
        fence(Ordering::Acquire);
        Ok(word)
    }
}

impl View for Snapshots {
    type Fault = Truncated;
    const ACCESS: Access = Access::Snapshot;
    const SKIPS_TO_NEWEST: bool = true;

    fn region(&self) -> &OpenRegion {
        &self.file.region
    }

    fn head(&self) -> Result<u64, Truncated> {
        self.acquire(offset_of!(Header, head))
    }

    fn oldest(&self) -> Result<u64, Truncated> {
        self.acquire(offset_of!(Header, oldest))
    }

    fn generation(&self) -> Result<u64, Truncated> {
        self.acquire(offset_of!(Header, generation))
    }

    fn state(&self) -> Result<u32, Truncated> {
        Ok(self.acquire(offset_of!(Header, state))? as u32)
    }

    fn heartbeat(&self) -> u64 {
        self.u64_at(offset_of!(Header, heartbeat)).unwrap_or_default()
    }

    fn beacon(&self) -> Option<(u64, u64)> {
        let read = |offset| self.acquire(offset).ok();
        let number = read(offset_of!(Header, beacon_sequence))?;
        let time = read(offset_of!(Header, beacon_monotonic_ns))?;
        let again = read(offset_of!(Header, beacon_sequence))?;
        (number == again).then_some((number, time))
    }

    fn published(&self, sequence: u64) -> Result<u64, Truncated> {
        let found = self.u64_at(layout::cell_offset(sequence) as usize)?;
        // SYNC: frame-published
        fence(Ordering::Acquire);
        Ok(found)
    }

    fn kind_word(&self, sequence: u64) -> Option<u64> {
        self.u64_at(layout::cell_offset(sequence) as usize + layout::W_FLAGS_KIND * 8).ok()
    }

    fn cell(&self, sequence: u64, _usual: &Details, words: &mut [u64; 16]) -> Result<(), Truncated> {
        let mut bytes = [0; layout::CELL_BYTES as usize];
        self.file.region.read_exact(&mut bytes, layout::cell_offset(sequence))?;
        *words = layout::cell_words(&bytes);
        Ok(())
    }

    fn published_ns(&self, sequence: u64) -> Option<u64> {
        let cell = layout::cell_offset(sequence) as usize;
        // Without the item the word may have the time of the one before.
        if self.acquire(cell).ok()? != sequence {
            return None;
        }
        let time = self.acquire(cell + layout::W_PUBLISHED * 8).ok()?;
        (time != layout::NONE && self.u64_at(cell).ok()? == sequence).then_some(time)
    }

    fn confirm(&self, sequence: u64, generation: u64) -> Result<bool, Truncated> {
        fence(Ordering::SeqCst);
        const FROM: usize = offset_of!(Header, generation);
        const TO: usize = offset_of!(Header, oldest) + 8;
        let mut bytes = [0; TO - FROM];
        self.file.region.read_exact(&mut bytes, FROM as u64)?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at - FROM + i]));
        Ok(word(FROM) == generation && word(TO - 8) <= sequence)
    }

    fn copy(&self, range: Range, sequence: u64) -> Result<Vec<u8>, TakeError> {
        let (mut bytes, length) = (Vec::new(), range.length);
        // A length beyond the address space is more than can be reserved.
        let count = usize::try_from(length).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(count).map_err(|_| Cause::TooLarge { sequence, length })?;
        bytes.resize(count, 0);
        if !bytes.is_empty() {
            self.file.region.read_exact(&mut bytes, range.offset).map_err(|_| Cause::Truncated)?;
        }
        Ok(bytes)
    }

    fn is_whole(&self) -> bool {
        self.file.region.is_whole()
    }

    fn read(ring: &mut RingReader<Self>, item: &mut Item, sequence: u64) -> Result<bool, TakeError> {
        ring.read_copy(item, sequence)
    }

    fn request_keyframe(&self) -> bool {
        self.file.region.show_keyframe_request(true)
    }

    fn end_keyframe_request(&self) {
        self.file.region.show_keyframe_request(false);
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::new(SnapshotSource { file: self.file.clone(), is_polled: self.poll.is_some() })
    }

    fn unnoticed_slice(&self) -> Option<Duration> {
        (self.since.elapsed() < UNNOTICED).then_some(UNNOTICED_SLICE)
    }

    fn poll(&self) -> Option<&Poll> {
        self.poll.as_ref()
    }

    fn sleep(&self, has_news: &dyn Fn() -> bool, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake {
        let Ok(expected) = self.u64_at(WakeWord::offset() as usize) else { return Wake::Fault };
        fence(Ordering::SeqCst);
        if has_news() {
            return Wake::Signal;
        }
        let limited = [timeout, self.unnoticed_slice()].into_iter().flatten().min();
        match self.file.region.wait(self.file.wake.address(), expected as u32, (event, seen), limited) {
            Wake::Timeout if limited != timeout => Wake::Signal,
            other => other,
        }
    }
}
