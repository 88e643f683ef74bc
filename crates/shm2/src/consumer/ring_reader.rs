//! Taking items from the ready ring, written once for every kind of access.
//!
//! A [`View`] defines how words of the region are read: [`Leasing`](super::leasing::Leasing) maps them and reads
//! atomics, [`Snapshots`](super::snapshots::Snapshots) copies them with `pread`. The orderings are inside the views.
//!
//! [`RingReader::take`] finds the next item, and the view protects its bytes: by a lease, or by a copy that a later
//! read of `oldest` confirms ([`RingReader::read_copy`]). An item that was retired in between is skipped.

use super::builder::Access;
use super::frame::{Item, Payload};
use super::position::Position;
use super::reader::{Reader, Step};
use super::take_error::{Cause, TakeError};
use crate::backend::{self, ConsumerRegion, Event, OpenRegion, Poll, Published, Wake};
use crate::description::{CapsRange, Description, Details, Kind, Range};
use crate::error::Violation;
use crate::header::RegionHeader;
use crate::kill_points::point;
use crate::layout::{self, CELLS, STATE_LIVE};
use crate::sync::{Ordering, fence};
use crate::waiter::Source;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Retries after being lapped before the caller checks for cancellation.
const LAPS: u32 = 64;
/// Bytes copied of items that were retired meanwhile, after which the caller checks for cancellation, too.
const LAP_BYTES: u64 = 32 << 20;
/// Largest payload that is taken without a look at the memory behind the region's file.
const UNCHECKED: u64 = 16 << 20;

/// How one kind of access reads a region and holds frames.
pub(super) trait View: fmt::Debug + Send + Sized + 'static {
    /// Why a word could not be read.
    type Fault: Into<TakeError>;
    /// The access in the public API.
    const ACCESS: Access;
    /// Whether a reader that is lapped twice in a row continues with the newest item, which is retired last, instead of
    /// the oldest.
    const SKIPS_TO_NEWEST: bool;

    fn region(&self) -> &OpenRegion;
    /// Sequence of the newest item. Later reads are not older than this one.
    fn head(&self) -> Result<u64, Self::Fault>;
    /// The oldest sequence that may still be taken. Later reads are not older than this one.
    fn oldest(&self) -> Result<u64, Self::Fault>;
    fn generation(&self) -> Result<u64, Self::Fault>;
    fn state(&self) -> Result<u32, Self::Fault>;
    /// The producer's heartbeat.
    fn heartbeat(&self) -> u64;
    /// Number of the beacon and the producer's monotonic clock in it; `None` while it is written.
    fn beacon(&self) -> Option<(u64, u64)>;
    /// The sequence in the cell of `sequence`. Later reads are not older than this one.
    fn published(&self, sequence: u64) -> Result<u64, Self::Fault>;
    /// Flags and kind in the cell of `sequence`. Only a hint, because the cell may describe another item.
    fn kind_word(&self, sequence: u64) -> Option<u64>;
    /// Copies the words of the cell of `sequence`, unconfirmed; the second half only if it may differ from `usual`.
    fn cell(&self, sequence: u64, usual: &Details, words: &mut [u64; 16]) -> Result<(), Self::Fault>;
    /// When item `sequence` was published; `None` if the time is not stored yet, or when another item is in its cell.
    fn published_ns(&self, sequence: u64) -> Option<u64>;
    /// Whether all words read before this belong to item `sequence`: it is not retired, and the generation is the same.
    fn confirm(&self, sequence: u64, generation: u64) -> Result<bool, Self::Fault>;
    /// A copy of a range of the region.
    fn copy(&self, range: Range, sequence: u64) -> Result<Vec<u8>, TakeError>;
    /// Whether the file was not truncated, so that no byte read before this is a zero in place of a lost page.
    fn is_whole(&self) -> bool;

    /// Protects the bytes of item `sequence`, whose words are in `ring.words`, by a lease or a copy, and describes them
    /// in `item`; false when it was retired meanwhile.
    fn read(ring: &mut RingReader<Self>, item: &mut Item, sequence: u64) -> Result<bool, TakeError>;
    /// Requests the cache lines that the next [`read`](Self::read) needs. Called when there is no item.
    fn prefetch(&mut self) {}

    /// Whether a frame taken before this may be returned; false after the producer expelled this consumer.
    fn is_attached(&self) -> bool {
        true
    }
    /// Whether no byte that was read through a mapping was lost by a truncation.
    fn is_intact(&self) -> bool {
        true
    }
    /// Shows this consumer's position to the producer.
    fn show_position(&self, _position: &Position) {}
    /// For waiting without a wake-up, where producer and consumer share no kernel.
    fn poll(&self) -> Option<&Poll>;
    /// Sleeps until `has_news`, until the event differs from `seen`, or for `timeout` at most.
    fn sleep(&self, has_news: &dyn Fn() -> bool, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake;
    /// As [`Reader::source`].
    fn source(&self) -> Arc<dyn Source>;
    /// Shows the producer that this consumer, or a thread for it, is about to sleep. Comes before the last look for news.
    fn announce_sleep(&self) {
        fence(Ordering::SeqCst);
    }
    /// As [`Reader::unnoticed_slice`].
    fn unnoticed_slice(&self) -> Option<Duration> {
        None
    }
    /// As [`Reader::withdraw_sleep`].
    fn withdraw_sleep(&self) {}
    /// Requests a keyframe of the producer; false if it cannot be told.
    fn request_keyframe(&self) -> bool;
    /// Ends a request that lasts until then.
    fn end_keyframe_request(&self) {}
    /// Detaches. Frames that the consumer handed out stay valid, but the producer need not wait for its cursor.
    fn stop_reading(&self) {}
}

/// Reads the ring of one generation.
#[derive(Debug)]
pub(super) struct RingReader<V> {
    pub(super) view: V,
    pub(super) header: RegionHeader,
    /// Words of the cell that was last found, unchecked.
    pub(super) words: [u64; 16],
    /// Sequence of the item that was last taken; 0 before the first.
    last: u64,
    /// The last caps and blob, with their number.
    caps: Option<(u32, Arc<[u8]>)>,
    /// What most cells say under these caps.
    usual: Details,
}

enum Found {
    Nothing,
    Item,
    Lapped,
}

impl<V: View> RingReader<V> {
    pub(super) fn new(view: V, header: RegionHeader) -> Self {
        Self { view, header, words: [0; 16], last: 0, caps: None, usual: Details::default() }
    }

    /// Whether the region shows another generation, so that words read from it do not belong to this attachment.
    pub(super) fn is_other_generation(&self) -> bool {
        self.view.generation().is_ok_and(|generation| generation != self.header.generation)
    }

    pub(super) fn kind_of(&self, sequence: u64) -> Option<Kind> {
        self.view.kind_word(sequence).and_then(Kind::of)
    }

    #[inline]
    fn walk(&mut self, position: &mut Position, item: &mut Item) -> Result<Step, TakeError> {
        let (mut lap, mut copied, mut skipped) = (0, 0, 0);
        while lap < LAPS && copied < LAP_BYTES && skipped < 2 * CELLS {
            let sequence = self.target(position).map_err(Into::into)?;
            if sequence > layout::MAX_SEQUENCE {
                return Err(self.contradiction(sequence));
            }
            match self.find(sequence).map_err(Into::into)? {
                Found::Nothing => {
                    self.view.prefetch();
                    break;
                }
                Found::Lapped => {}
                Found::Item if position.published_since.is_some_and(|since| self.is_older(sequence, since)) => {
                    skipped += self.skip_old(position, sequence);
                    continue;
                }
                Found::Item => {
                    if V::read(self, item, sequence)? {
                        return Ok(self.step(position, sequence, item));
                    }
                    copied += self.words[layout::W_LENGTH].min(LAP_BYTES);
                }
            }
            if self.is_other_generation() {
                break;
            }
            self.skip_lapped(position, sequence, lap)?;
            lap += 1;
        }
        if skipped > 0 {
            self.view.show_position(position);
        }
        Ok(Step::Nothing)
    }

    /// Whether the item that was found is a frame that was published before `since`.
    fn is_older(&self, sequence: u64, since: u64) -> bool {
        let is_frame = Kind::of(self.words[layout::W_FLAGS_KIND]) == Some(Kind::Frame);
        is_frame && self.view.published_ns(sequence).is_some_and(|time| time < since)
    }

    /// Skips the frame `sequence`, which is too old, and the items before it, which are older, without their bytes.
    /// Returns the number of cells that it looked at.
    fn skip_old(&mut self, position: &mut Position, sequence: u64) -> u64 {
        let looked = (sequence - position.next).min(CELLS) + 1;
        let before = self.count_frames(position.next, sequence);
        position.skip_old(sequence, before + 1);
        looked
    }

    /// Number of frames from `first` up to `end`.
    fn count_frames(&self, first: u64, end: u64) -> u64 {
        let items = (first..end).rev().take(CELLS as usize);
        items.filter(|sequence| self.kind_of(*sequence) == Some(Kind::Frame)).count() as u64
    }

    /// The sequence to take: under latest-only the second newest when two or more wait.
    #[inline]
    fn target(&self, position: &mut Position) -> Result<u64, V::Fault> {
        let Some(scan) = &mut position.latest_only else { return Ok(position.next) };
        let head = self.view.head()?;
        Ok(scan.target(position.next, head, |sequence| self.kind_of(sequence)))
    }

    /// Copies the words of item `sequence`, if its cell holds it.
    #[inline]
    fn find(&mut self, sequence: u64) -> Result<Found, V::Fault> {
        let found = self.view.published(sequence)?;
        if found == sequence {
            self.view.cell(sequence, &self.usual, &mut self.words)?;
            return Ok(Found::Item);
        }
        Ok(if found < sequence { Found::Nothing } else { Found::Lapped })
    }

    #[inline]
    fn step(&mut self, position: &mut Position, sequence: u64, item: &mut Item) -> Step {
        if sequence != position.next {
            position.skipped += self.count_frames(position.next, sequence);
        }
        let kind = item.description.kind();
        self.last = sequence;
        position.advance(sequence, kind, matches!(item.payload, Payload::Owned(_)));
        self.view.show_position(position);
        if kind == Kind::End {
            item.discard();
            return Step::EndOfStream;
        }
        Step::Item(kind)
    }

    /// Item `sequence` is retired: moves to a later item. A newer sequence in the cell and a refused lease both mean
    /// that `oldest` was raised above it before.
    fn skip_lapped(&self, position: &mut Position, sequence: u64, lap: u32) -> Result<(), TakeError> {
        let oldest = self.view.oldest().map_err(Into::into)?;
        let head = self.view.head().map_err(Into::into)?;
        if oldest > head.saturating_add(1) || oldest <= sequence {
            return Err(Violation::Ring { oldest, head, expected: sequence }.into());
        }
        position.skip_to(if V::SKIPS_TO_NEWEST && lap > 0 { head.max(oldest) } else { oldest });
        self.view.show_position(position);
        Ok(())
    }

    fn contradiction(&self, expected: u64) -> TakeError {
        match (self.view.oldest(), self.view.head()) {
            (Ok(oldest), Ok(head)) => Violation::Ring { oldest, head, expected }.into(),
            (Err(fault), _) | (_, Err(fault)) => fault.into(),
        }
    }

    /// An error for an item that is longer than all memory behind the region's file. A copy of such a hole costs its
    /// reader memory that its producer does not pay.
    #[inline]
    pub(super) fn check_backed(&self, item: &Description) -> Result<(), Violation> {
        let (sequence, length) = (item.sequence(), item.payload().length);
        if length <= UNCHECKED {
            return Ok(());
        }
        let backed = self.view.region().backed_bytes();
        if backed < length { Err(Violation::NotBacked { sequence, length, backed }) } else { Ok(()) }
    }

    /// Takes a private copy of item `sequence`; false if the item was retired before the copy was complete.
    pub(super) fn read_copy(&mut self, item: &mut Item, sequence: u64) -> Result<bool, TakeError> {
        if !self.view.confirm(sequence, self.header.generation).map_err(Into::into)? {
            return Ok(false);
        }
        item.description = Description::check(&self.words, sequence, self.header.arena_bytes)?;
        self.check_backed(&item.description)?;
        point!("snapshot.cell");
        item.payload = Payload::Owned(self.view.copy(item.description.payload(), sequence)?);
        item.meta = self.view.copy(item.description.meta(), sequence)?;
        self.update_caps(item)?;
        if item.description.published_ns().is_none() {
            item.description.set_published_ns(self.view.published_ns(sequence));
        }
        point!("snapshot.copied");
        if !self.view.confirm(sequence, self.header.generation).map_err(Into::into)? {
            self.forget_caps();
            return Ok(false);
        }
        if self.view.is_whole() { Ok(true) } else { Err(Cause::Truncated.into()) }
    }

    /// Copies the metas and, if their number has changed, the caps of a leased item. Comes before the checks that end
    /// [`take`](Reader::take), which cover these copies as well. If there is no memory for one, the frame has none.
    #[inline]
    pub(super) fn copy_description(&mut self, item: &mut Item) {
        let meta = item.description.meta();
        item.meta = match meta.length {
            // Not those of an item that was copied before, and retired meanwhile.
            0 => Vec::new(),
            _ => self.view.copy(meta, item.description.sequence()).unwrap_or_default(),
        };
        if self.update_caps(item).is_err() {
            // Those in the cache are of another number.
            self.forget_caps();
            item.caps = None;
        }
    }

    #[cold]
    fn forget_caps(&mut self) {
        (self.caps, self.usual) = (None, Details::default());
    }

    /// Gives the item its caps; copies them if their number has changed.
    #[inline]
    fn update_caps(&mut self, item: &mut Item) -> Result<(), TakeError> {
        let caps @ CapsRange { id, .. } = item.description.caps();
        if id == 0 {
            item.caps = None;
            return Ok(());
        }
        if self.caps.as_ref().is_none_or(|(known, _)| *known != id) {
            self.caps = Some((id, self.view.copy(caps.whole(), item.description.sequence())?.into()));
            self.usual = Details::under(&self.words);
        }
        item.caps = self.caps.as_ref().map(|(_, text)| text.clone());
        Ok(())
    }

    /// The result of a take after this consumer lost its page.
    fn lost_page(&self) -> Result<Step, TakeError> {
        // After a clear no consumer owns a page, but another generation begins.
        if self.is_other_generation() { Ok(Step::Nothing) } else { Err(Cause::Expelled.into()) }
    }

    /// The result of a take that failed, or after which the region is not what it was at the attach.
    #[cold]
    fn doubtful(
        &self,
        step: Result<Step, TakeError>,
        position: &mut Position,
        item: &mut Item,
    ) -> Result<Step, TakeError> {
        match step {
            _ if !self.view.is_intact() => {
                item.discard();
                Err(Cause::Truncated.into())
            }
            Err(error) if error.cause() == Cause::Truncated => Err(error),
            // The apparent violation was the beginning of the next generation.
            Err(_) if self.is_other_generation() => Ok(Step::Nothing),
            Err(_) if !self.view.is_attached() => Err(Cause::Expelled.into()),
            Ok(Step::Item(kind)) if !self.view.is_attached() => {
                position.lose(kind);
                item.discard();
                self.lost_page()
            }
            Ok(Step::Nothing) if !self.view.is_attached() => self.lost_page(),
            step => step,
        }
    }
}

impl<V: View> Reader for RingReader<V> {
    #[inline]
    fn take(&mut self, position: &mut Position, item: &mut Item) -> Result<Step, TakeError> {
        if !self.view.is_attached() {
            return self.lost_page();
        }
        match self.walk(position, item) {
            Ok(step) if self.view.is_intact() && self.view.is_attached() => Ok(step),
            step => self.doubtful(step, position, item),
        }
    }

    fn wait(&self, position: &Position, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake {
        let has_news = || self.has_news(position);
        let Some(poll) = self.view.poll() else { return self.view.sleep(&has_news, event, seen, timeout) };
        poll.wait(event, seen, timeout, self.last(), &has_news)
    }

    fn withdraw_sleep(&self) {
        self.view.withdraw_sleep();
    }

    fn source(&self) -> Arc<dyn Source> {
        self.view.source()
    }

    fn arm(&self, position: &Position) -> Option<u32> {
        let value = self.view.source().value()?;
        self.view.announce_sleep();
        (!self.has_news(position)).then_some(value)
    }

    fn unnoticed_slice(&self) -> Option<Duration> {
        self.view.unnoticed_slice()
    }

    fn has_news(&self, position: &Position) -> bool {
        let next = position.next;
        // An unreadable region is news as well: the next take reports it.
        self.view.published(next).map_or(true, |found| found >= next) || self.is_closed()
    }

    fn last(&self) -> Option<Published> {
        let sequence = self.last;
        let time = || self.view.published_ns(sequence);
        (sequence != 0).then(time).flatten().map(|ns| Published { sequence, ns })
    }

    fn has_item_since(&self, position: &Position, age: Duration) -> bool {
        let next = position.next;
        let is_there = !self.header.has_other_clock && self.view.published(next).is_ok_and(|found| found >= next);
        let published = || self.view.published_ns(next).unwrap_or(u64::MAX);
        is_there && u128::from(backend::monotonic_ns().saturating_sub(published())) >= age.as_nanos()
    }

    /// `head` is stored after the cell, so a cell that is older than `head` says breaks the protocol, and this consumer
    /// would wait for it for ever.
    fn check_idle(&self, position: &Position) -> Result<(), TakeError> {
        let sequence = position.next;
        // SYNC: frame-published
        let head = self.view.head().map_err(Into::into)?;
        let lags = head >= sequence && self.view.published(sequence).map_err(Into::into)? < sequence;
        // Checked last, because a new generation empties the cells.
        if lags && !self.is_other_generation() { Err(self.contradiction(sequence)) } else { Ok(()) }
    }

    fn is_closed(&self) -> bool {
        self.view.state().is_ok_and(|state| state != STATE_LIVE) || self.is_other_generation()
    }

    fn request_keyframe(&self) -> bool {
        let is_told = self.view.request_keyframe();
        if is_told {
            self.view.region().notify_watchers();
        }
        is_told
    }

    fn end_keyframe_request(&self) {
        self.view.end_keyframe_request();
    }

    fn stop_reading(&self) {
        self.view.stop_reading();
    }

    fn access(&self) -> Access {
        V::ACCESS
    }

    fn region(&self) -> &OpenRegion {
        self.view.region()
    }

    fn header(&self) -> &RegionHeader {
        &self.header
    }

    fn heartbeat(&self) -> u64 {
        self.view.heartbeat()
    }

    fn beacon(&self) -> Option<(u64, u64)> {
        self.view.beacon().filter(|(number, _)| *number != 0 && number % 2 == 0)
    }
}
