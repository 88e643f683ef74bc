//! Where a consumer is in its generation, and what it has counted there.

use crate::description::Kind;

/// The next item to take, and counts of those before it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Position {
    /// Sequence of the next item.
    pub(super) next: u64,
    pub(super) latest_only: bool,
    /// Frames taken.
    pub(super) received: u64,
    /// Items that were retired before they could be taken.
    pub(super) missed: u64,
    /// Those of them that the next frame must report.
    pub(super) missed_before_next: u64,
    /// Frames passed over under latest-only.
    pub(super) skipped: u64,
    /// Frames that were copied.
    pub(super) copied: u64,
    /// The next frame is the first after an attach that was not the consumer's first.
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
    /// What the frame that was just taken reports. An event reports nothing: the frame after it does.
    pub(super) fn take_gap(&mut self, kind: Kind) -> Gap {
        if kind != Kind::Frame {
            return Gap::default();
        }
        let missed = std::mem::take(&mut self.missed_before_next);
        Gap { missed, is_discontinuity: std::mem::take(&mut self.discontinuity) || missed > 0 }
    }

    /// Counts an item that was taken, and goes on behind it.
    pub(super) fn advance(&mut self, sequence: u64, kind: Kind, is_copy: bool) {
        let is_frame = u64::from(kind == Kind::Frame);
        self.next = sequence + 1;
        self.received += is_frame;
        self.copied += if is_copy { is_frame } else { 0 };
    }

    /// The item that was taken last was lost before the caller got it.
    pub(super) fn lose(&mut self, kind: Kind) {
        self.received -= u64::from(kind == Kind::Frame);
        self.missed = self.missed.saturating_add(1);
        self.missed_before_next = self.missed_before_next.saturating_add(1);
    }

    /// Goes on at `sequence`; the items before it are gone.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        let gone = sequence.saturating_sub(self.next);
        self.missed = self.missed.saturating_add(gone);
        self.missed_before_next = self.missed_before_next.saturating_add(gone);
        self.next = self.next.max(sequence);
    }
}
