//! A consumer's position in its generation, and its counters there.

use super::start::LatestScan;
use crate::description::Kind;

/// The next item to take, and counts of those before it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Position {
    /// Sequence of the next item.
    pub(super) next: u64,
    /// Under latest-only: what is known of the items from `next` on.
    pub(super) latest_only: Option<LatestScan>,
    /// Frames taken.
    pub(super) received: u64,
    /// Items that were retired before they could be taken.
    pub(super) missed: u64,
    /// The part of `missed` that the next frame must report.
    pub(super) missed_before_next: u64,
    /// Time of the producer's monotonic clock before which a frame was published that is skipped for its age.
    pub(super) published_since: Option<u64>,
    /// Frames skipped under latest-only, or for their age.
    pub(super) skipped: u64,
    /// The part of `skipped` for their age.
    pub(super) skipped_old: u64,
    /// Frames that were copied.
    pub(super) copied: u64,
    /// The next frame is the first after an attach that was not the consumer's first, or after frames that were too old.
    pub(super) discontinuity: bool,
    /// Calls of a polling consumer that found nothing.
    pub(super) idle: u32,
}

/// The break in the stream before a frame.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Gap {
    pub(super) missed: u64,
    pub(super) is_discontinuity: bool,
}

impl Position {
    /// The gap that the frame just taken reports. An event reports none; the frame after it does.
    pub(super) fn take_gap(&mut self, kind: Kind) -> Gap {
        if kind != Kind::Frame {
            return Gap::default();
        }
        let missed = std::mem::take(&mut self.missed_before_next);
        Gap { missed, is_discontinuity: std::mem::take(&mut self.discontinuity) || missed > 0 }
    }

    /// Counts an item that was taken, and moves to the next one.
    pub(super) fn advance(&mut self, sequence: u64, kind: Kind, is_copy: bool) {
        let is_frame = u64::from(kind == Kind::Frame);
        self.next = sequence + 1;
        self.received += is_frame;
        self.copied += if is_copy { is_frame } else { 0 };
    }

    /// Skips the items up to `sequence`, of which so many are frames that are too old.
    pub(super) fn skip_old(&mut self, sequence: u64, frames: u64) {
        self.next = sequence + 1;
        self.skipped += frames;
        self.skipped_old += frames;
        self.discontinuity = true;
    }

    /// Counts the item that was taken last as missed, because it was lost before it reached the caller.
    pub(super) fn lose(&mut self, kind: Kind) {
        self.received -= u64::from(kind == Kind::Frame);
        self.missed = self.missed.saturating_add(1);
        self.missed_before_next = self.missed_before_next.saturating_add(1);
    }

    /// Moves to `sequence`, and counts the items before it as missed.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        let gone = sequence.saturating_sub(self.next);
        self.missed = self.missed.saturating_add(gone);
        self.missed_before_next = self.missed_before_next.saturating_add(gone);
        self.next = self.next.max(sequence);
    }
}
