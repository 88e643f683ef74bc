//! What a ring cell says about its frame: written from [`FrameInfo`], read back as a checked [`Description`].

use crate::error::Violation;
use crate::layout::*;
use crate::sync::{AtomicU64, Ordering};

/// What the sender says about a frame. All times are nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameInfo {
    /// Presentation time on the sender's own clock_map.
    pub pts: Option<u64>,
    /// Decoding time on the sender's own clock_map.
    pub dts: Option<u64>,
    /// How long the frame lasts.
    pub duration: Option<u64>,
    /// The frame's absolute time on the system's monotonic clock.
    pub time: Option<u64>,
    /// Media specific position of the frame's first unit (sample, byte, picture).
    pub offset: Option<u64>,
    /// Media specific position after its last unit.
    pub offset_end: Option<u64>,
    /// Free for the application; carried as it is.
    pub flags: u32,
    /// Latency of the sender's pipeline.
    pub latency: u64,
}

impl FrameInfo {
    /// No times, no flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a presentation time in nanoseconds.
    pub fn with_pts(mut self, pts: u64) -> Self {
        self.pts = Some(pts);
        self
    }
}

/// A range of the arena as a cell gives it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// Offset in the region.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What a cell stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Frame,
    End,
    Event,
}

impl Kind {
    fn code(self) -> u32 {
        match self {
            Self::Frame => KIND_FRAME,
            Self::End => KIND_END,
            Self::Event => KIND_EVENT,
        }
    }

    /// Of a cell's word for flags and kind.
    pub(crate) fn of(word: u64) -> Option<Self> {
        Self::from_code((word >> 32) as u32)
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        [Self::Frame, Self::End, Self::Event].into_iter().find(|kind| kind.code() == code)
    }
}

/// A cell's content. From a peer it is made only by [`Description::check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) kind: Kind,
    pub(crate) payload: Range,
    pub(crate) caps: Range,
    /// Bytes of the stream's blob, which follow the caps.
    pub(crate) stream: u64,
    /// Number of the caps, 0 for none.
    pub(crate) caps_id: u32,
    pub(crate) meta: Range,
    pub(crate) published_ns: u64,
    pub(crate) info: FrameInfo,
}

fn word(value: Option<u64>) -> u64 {
    value.unwrap_or(NONE)
}

fn option(word: u64) -> Option<u64> {
    (word != NONE).then_some(word)
}

impl Description {
    /// The cell's words; the sequence is left 0 for the caller to store last.
    fn words(&self) -> [u64; 16] {
        let mut words = [0; 16];
        words[W_OFFSET] = self.payload.offset;
        words[W_LENGTH] = self.payload.length;
        words[W_FLAGS_KIND] = u64::from(self.info.flags) | u64::from(self.kind.code()) << 32;
        words[W_PTS] = word(self.info.pts);
        words[W_PUBLISHED] = self.published_ns;
        words[W_TIME] = word(self.info.time);
        words[W_DURATION] = word(self.info.duration);
        words[W_DTS] = word(self.info.dts);
        words[W_MEDIA_OFFSET] = word(self.info.offset);
        words[W_MEDIA_OFFSET_END] = word(self.info.offset_end);
        words[W_CAPS_OFFSET] = self.caps.offset;
        words[W_CAPS_LENGTH_ID] = self.caps.length | u64::from(self.caps_id) << 32;
        words[W_META_OFFSET] = self.meta.offset;
        words[W_META_LENGTH] = self.meta.length | self.stream << 32;
        words[W_LATENCY] = self.info.latency;
        words
    }

    /// Fills a cell, all but its sequence.
    pub(crate) fn store(&self, cell: &Cell) {
        for (to, from) in cell.words.iter().zip(self.words()).skip(1) {
            // Relaxed: the sequence, stored afterwards with Release, publishes them.
            to.store(from, Ordering::Relaxed);
        }
    }

    /// Copies a cell's words; they mean something only if a lease or a later look at `oldest` confirms them.
    pub(crate) fn copy(cell: &Cell) -> [u64; 16] {
        // Relaxed: the Acquire load of the sequence came before.
        std::array::from_fn(|i| AtomicU64::load(&cell.words[i], Ordering::Relaxed))
    }

    /// Checks a private copy of a cell's words against an arena of `arena_bytes`.
    pub(crate) fn check(words: &[u64; 16], sequence: u64, arena_bytes: u64) -> Result<Self, Violation> {
        let code = (words[W_FLAGS_KIND] >> 32) as u32;
        let kind = Kind::from_code(code).ok_or(Violation::Kind { sequence, kind: code })?;
        let payload = Range { offset: words[W_OFFSET], length: words[W_LENGTH] };
        if !in_arena(payload, arena_bytes) {
            return Err(Violation::Payload { sequence, offset: payload.offset, length: payload.length });
        }
        let caps = Range { offset: words[W_CAPS_OFFSET], length: words[W_CAPS_LENGTH_ID] & 0xffff_ffff };
        let stream = words[W_META_LENGTH] >> 32;
        let described = Range { length: caps.length + stream, ..caps };
        if caps.length > MAX_CAPS || stream > MAX_META || !in_arena(described, arena_bytes) {
            return Err(Violation::Caps { sequence, offset: caps.offset, length: caps.length });
        }
        let meta = Range { offset: words[W_META_OFFSET], length: words[W_META_LENGTH] & 0xffff_ffff };
        if meta.length > MAX_META || !in_arena(meta, arena_bytes) {
            return Err(Violation::Meta { sequence, offset: meta.offset, length: meta.length });
        }
        Ok(Self {
            kind,
            payload,
            caps,
            stream,
            caps_id: (words[W_CAPS_LENGTH_ID] >> 32) as u32,
            meta,
            published_ns: words[W_PUBLISHED],
            info: info(words),
        })
    }
}

fn info(words: &[u64; 16]) -> FrameInfo {
    FrameInfo {
        pts: option(words[W_PTS]),
        dts: option(words[W_DTS]),
        duration: option(words[W_DURATION]),
        time: option(words[W_TIME]),
        offset: option(words[W_MEDIA_OFFSET]),
        offset_end: option(words[W_MEDIA_OFFSET_END]),
        flags: words[W_FLAGS_KIND] as u32,
        latency: words[W_LATENCY],
    }
}

/// Whether a range that a peer wrote lies in the arena. An empty one may stand anywhere.
pub(crate) fn in_arena(range: Range, arena_bytes: u64) -> bool {
    range.length == 0
        || (range.offset >= ARENA_OFFSET
            && range.length <= arena_bytes
            && range.offset - ARENA_OFFSET <= arena_bytes - range.length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_cell_holds_the_checked_ranges_lie_in_the_arena(
            words in any::<[u64; 16]>(), small in any::<bool>(), arena in 64u64..1 << 30,
        ) {
            let words = if small { words.map(|w| w % (2 * arena)) } else { words };
            if let Ok(d) = Description::check(&words, 1, arena) {
                let described = Range { length: d.caps.length + d.stream, ..d.caps };
                for range in [d.payload, described, d.meta] {
                    prop_assert!(range.length == 0
                        || (range.offset >= ARENA_OFFSET && range.offset + range.length <= ARENA_OFFSET + arena));
                }
            }
        }

        #[test]
        fn a_description_comes_back_as_it_went(
            pts in proptest::option::of(0..NONE), flags in any::<u32>(), length in 0u64..4096, caps_id in any::<u32>(),
        ) {
            let range = Range { offset: ARENA_OFFSET + 64, length };
            let sent = Description {
                kind: Kind::from_code(flags % 3).unwrap(), payload: range, caps: range, stream: length / 2, caps_id, meta: range, published_ns: 5,
                info: FrameInfo { pts, flags, latency: 7, time: pts, ..FrameInfo::new() },
            };
            prop_assert_eq!(Description::check(&sent.words(), 1, 1 << 20), Ok(sent));
        }
    }
}
