//! The content of a ring cell: written from an [`Item`], read back as a checked [`Description`].

use crate::error::Violation;
use crate::layout::*;
use crate::sync::{AtomicU64, Ordering};

/// Times, positions and flags that a producer attaches to a frame. All times are nanoseconds.
///
/// ```
/// use shm2::FrameInfo;
///
/// let info = FrameInfo::new().with_pts(40_000_000);
/// assert_eq!((info.pts, info.duration, info.flags), (Some(40_000_000), None, 0));
/// let mut info = info;
/// info.duration = Some(20_000_000);
/// info.time = Some(shm2::monotonic_ns());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameInfo {
    /// Presentation time on the producer's own timeline.
    pub pts: Option<u64>,
    /// Decoding time on the producer's own timeline, up to 292 years before or after its zero: the first frames of a
    /// stream with reordered frames are decoded before they are due. −1 ns is not distinguishable from no time, and is
    /// sent as −2 ns.
    pub dts: Option<i64>,
    /// How long the frame lasts.
    pub duration: Option<u64>,
    /// The frame's absolute time on the system's monotonic clock.
    pub time: Option<u64>,
    /// Media specific position of the frame's first unit (sample, byte, picture).
    pub offset: Option<u64>,
    /// Media specific position after its last unit.
    pub offset_end: Option<u64>,
    /// Flags of the application, passed on unchanged.
    pub flags: u32,
    /// Latency of the producer's pipeline; 0 if unknown.
    pub latency: u64,
}

impl FrameInfo {
    /// Information without times, positions and flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the presentation time, in nanoseconds.
    pub fn with_pts(mut self, pts: u64) -> Self {
        self.pts = Some(pts);
        self
    }
}

/// A range of bytes of the region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// Offset in the region.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Kind of a ring item.
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

    /// The kind in a cell's word of flags and kind; `None` if there is no such kind.
    pub(crate) fn of(word: u64) -> Option<Self> {
        Self::from_code(kind_code(word))
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        [Self::Frame, Self::End, Self::Event].into_iter().find(|kind| kind.code() == code)
    }
}

/// The content of a cell before its sequence is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) kind: Kind,
    pub(crate) payload: Range,
    pub(crate) meta: Range,
    pub(crate) caps: CapsRange,
    pub(crate) info: &'a FrameInfo,
}

/// Range of the text that describes the stream. The stream's blob follows right after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CapsRange {
    /// Changes with the text; 0 for no caps.
    pub(crate) id: u32,
    pub(crate) text: Range,
    /// Bytes of the blob.
    pub(crate) blob: u64,
}

impl CapsRange {
    /// From the words of a cell or of the header: the text's offset, its length with the number, the blob's length.
    pub(crate) fn of_words(offset: u64, length_id: u64, blob: u64) -> Self {
        Self { id: (length_id >> 32) as u32, text: Range { offset, length: length_id & 0xffff_ffff }, blob }
    }

    /// The range of text and blob together.
    pub(crate) fn whole(self) -> Range {
        Range { length: self.text.length + self.blob, ..self.text }
    }

    /// Whether the lengths are allowed, and all bytes are inside an arena of `arena_bytes`.
    pub(crate) fn is_valid(self, arena_bytes: u64) -> bool {
        self.text.length <= MAX_CAPS && self.blob <= MAX_META && in_arena(self.whole(), arena_bytes)
    }
}

impl Item<'_> {
    /// The cell's words. The sequence is 0; the caller stores it after these.
    #[inline]
    fn words(&self) -> [u64; 16] {
        let word = |value: Option<u64>| value.unwrap_or(NONE);
        let mut words = [0; 16];
        words[W_OFFSET] = self.payload.offset;
        words[W_LENGTH] = self.payload.length;
        words[W_FLAGS_KIND] = u64::from(self.info.flags) | u64::from(self.kind.code()) << 32 | self.details();
        words[W_PTS] = word(self.info.pts);
        words[W_PUBLISHED] = NONE;
        words[W_TIME] = word(self.info.time);
        words[W_DURATION] = word(self.info.duration);
        words[W_DTS] = self.info.dts.map_or(NONE, |dts| if dts == -1 { -2 } else { dts } as u64);
        words[W_MEDIA_OFFSET] = word(self.info.offset);
        words[W_MEDIA_OFFSET_END] = word(self.info.offset_end);
        words[W_CAPS_OFFSET] = self.caps.text.offset;
        words[W_CAPS_LENGTH_ID] = self.caps.text.length | u64::from(self.caps.id) << 32;
        words[W_META_OFFSET] = self.meta.offset;
        words[W_META_LENGTH] = self.meta.length | self.caps.blob << 32;
        words[W_LATENCY] = self.info.latency;
        words
    }

    /// [`DETAILS`] if a reader needs the second half of the cell.
    #[inline]
    fn details(&self) -> u64 {
        let FrameInfo { dts, offset, offset_end, latency, .. } = *self.info;
        let is_plain = dts.is_none() && offset.is_none() && offset_end.is_none() && latency == 0;
        if is_plain && self.meta.length == 0 { 0 } else { DETAILS }
    }

    /// Stores every word of a cell except the sequence.
    #[inline]
    pub(crate) fn store(&self, cell: &Cell) {
        let words = self.words();
        // A consumer that polls reads the line of the sequence, so the words of that line are stored last.
        for word in (1..words.len()).rev() {
            // Relaxed: the sequence, stored afterwards with Release, publishes them.
            cell.words[word].store(words[word], Ordering::Relaxed);
        }
    }
}

/// What the second half of a cell says of an item without [`DETAILS`] under the caps that a reader knows, so that it
/// need not be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Details {
    caps_length_id: u64,
    words: [u64; 16 - W_DETAILS],
}

impl Details {
    /// Under the caps of a cell.
    pub(crate) fn under(caps: &[u64; 16]) -> Self {
        let mut words = [NONE; 16];
        words[W_CAPS_OFFSET] = caps[W_CAPS_OFFSET];
        words[W_META_LENGTH] = caps[W_META_LENGTH] & !0xffff_ffff;
        (words[W_META_OFFSET], words[W_LATENCY]) = (0, 0);
        let words = std::array::from_fn(|i| words[W_DETAILS + i]);
        Self { caps_length_id: caps[W_CAPS_LENGTH_ID], words }
    }

    #[inline]
    fn applies_to(&self, words: &[u64; 16]) -> bool {
        words[W_FLAGS_KIND] & DETAILS == 0 && words[W_CAPS_LENGTH_ID] == self.caps_length_id
    }
}

impl Default for Details {
    /// Without caps.
    fn default() -> Self {
        Self::under(&[0; 16])
    }
}

/// Words of a cell whose ranges are all inside the arena. [`Description::check`] is the only way to make one from a
/// peer's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Description([u64; 16]);

impl Description {
    /// Copies a cell's words; the second half only if it may differ from `usual`. They are valid only if a lease or a
    /// later read of `oldest` confirms them.
    #[inline]
    pub(crate) fn copy(cell: &Cell, usual: &Details, words: &mut [u64; 16]) {
        // Relaxed: the Acquire load of the sequence came before.
        let load = |i: usize| AtomicU64::load(&cell.words[i], Ordering::Relaxed);
        for (i, word) in words[..W_DETAILS].iter_mut().enumerate() {
            *word = load(i);
        }
        if usual.applies_to(words) {
            words[W_DETAILS..].copy_from_slice(&usual.words);
        } else {
            for (i, word) in words[W_DETAILS..].iter_mut().enumerate() {
                *word = load(W_DETAILS + i);
            }
        }
    }

    /// Checks a private copy of a cell's words against an arena of `arena_bytes`.
    #[inline]
    pub(crate) fn check(words: &[u64; 16], sequence: u64, arena_bytes: u64) -> Result<Self, Violation> {
        let mut description = Self(*words);
        // The word may have changed since the caller compared it.
        description.0[W_SEQUENCE] = sequence;
        let code = kind_code(words[W_FLAGS_KIND]);
        if Kind::from_code(code).is_none() {
            return Err(Violation::Kind { sequence, kind: code });
        }
        let payload = description.payload();
        if !in_arena(payload, arena_bytes) {
            return Err(Violation::Payload { sequence, offset: payload.offset, length: payload.length });
        }
        let caps = description.caps();
        if !caps.is_valid(arena_bytes) {
            return Err(Violation::Caps { sequence, offset: caps.text.offset, length: caps.text.length });
        }
        let meta = description.meta();
        if meta.length > MAX_META || !in_arena(meta, arena_bytes) {
            return Err(Violation::Meta { sequence, offset: meta.offset, length: meta.length });
        }
        Ok(description)
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.0[W_SEQUENCE]
    }

    pub(crate) fn kind(&self) -> Kind {
        // Checked: the words hold one of the kinds.
        Kind::of(self.0[W_FLAGS_KIND]).unwrap_or(Kind::Frame)
    }

    pub(crate) fn payload(&self) -> Range {
        Range { offset: self.0[W_OFFSET], length: self.0[W_LENGTH] }
    }

    pub(crate) fn meta(&self) -> Range {
        Range { offset: self.0[W_META_OFFSET], length: self.0[W_META_LENGTH] & 0xffff_ffff }
    }

    pub(crate) fn caps(&self) -> CapsRange {
        CapsRange::of_words(self.0[W_CAPS_OFFSET], self.0[W_CAPS_LENGTH_ID], self.0[W_META_LENGTH] >> 32)
    }

    /// `None` if it was not stored yet, or not read.
    pub(crate) fn published_ns(&self) -> Option<u64> {
        (self.0[W_PUBLISHED] != NONE).then_some(self.0[W_PUBLISHED])
    }

    pub(crate) fn set_published_ns(&mut self, time: Option<u64>) {
        self.0[W_PUBLISHED] = time.unwrap_or(NONE);
    }

    pub(crate) fn info(&self) -> FrameInfo {
        let option = |word: u64| (word != NONE).then_some(word);
        FrameInfo {
            pts: option(self.0[W_PTS]),
            dts: option(self.0[W_DTS]).map(|dts| dts as i64),
            duration: option(self.0[W_DURATION]),
            time: option(self.0[W_TIME]),
            offset: option(self.0[W_MEDIA_OFFSET]),
            offset_end: option(self.0[W_MEDIA_OFFSET_END]),
            flags: self.0[W_FLAGS_KIND] as u32,
            latency: self.0[W_LATENCY],
        }
    }
}

/// Whether a range that a peer wrote is inside the arena. An empty range may have any offset.
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

    /// Every combination of the values at which a check could go wrong, against arithmetic that cannot overflow.
    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn ranges_at_every_limit_are_checked_without_overflow() {
        for arena in [64, 1 << 20, 1 << 32, MAX_REGION] {
            let edges = [0, ARENA_OFFSET, arena, ARENA_OFFSET + arena, MAX_CAPS, MAX_META, 1 << 32, 1 << 63, u64::MAX];
            let values = edges.into_iter().flat_map(|at| [at.wrapping_sub(1), at, at.wrapping_add(1)]);
            let is_inside = |offset: u64, length: u64| {
                let (offset, length) = (u128::from(offset), u128::from(length));
                let (start, end) = (u128::from(ARENA_OFFSET), u128::from(ARENA_OFFSET + arena));
                length == 0 || (offset >= start && offset + length <= end)
            };
            for (offset, length) in values.clone().flat_map(|o| values.clone().map(move |l| (o, l))) {
                let mut words = [0; 16];
                (words[W_OFFSET], words[W_LENGTH]) = (offset, length);
                assert_eq!(Description::check(&words, 1, arena).is_ok(), is_inside(offset, length));
                let (low, high) = (length & 0xffff_ffff, length >> 32);
                let mut words = [0; 16];
                (words[W_META_OFFSET], words[W_META_LENGTH]) = (offset, low);
                let fits = low <= MAX_META && is_inside(offset, low);
                assert_eq!(Description::check(&words, 1, arena).is_ok(), fits, "{offset} {low}");
                let mut words = [0; 16];
                (words[W_CAPS_OFFSET], words[W_CAPS_LENGTH_ID], words[W_META_LENGTH]) = (offset, low, high << 32);
                let fits = low <= MAX_CAPS && high <= MAX_META && is_inside(offset, low + high);
                assert_eq!(Description::check(&words, 1, arena).is_ok(), fits, "{offset} {low} {high}");
            }
        }
    }

    #[test]
    fn no_other_kind_is_accepted_than_the_three() {
        for kind in (0..300).chain((0..32).map(|bit| 1 << bit)).chain([u32::MAX]) {
            let mut words = [0; 16];
            words[W_FLAGS_KIND] = u64::from(kind) << 32 | 0xffff_ffff;
            // The highest bit is not of the kind.
            let is_known = [KIND_FRAME, KIND_END, KIND_EVENT].contains(&(kind & !(1 << 31)));
            assert_eq!(Description::check(&words, 1, 64).is_ok(), is_known, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn the_checked_ranges_of_any_cell_are_inside_the_arena(
            words in any::<[u64; 16]>(), small in any::<bool>(), arena in 64u64..1 << 30,
        ) {
            let words = if small { words.map(|w| w % (2 * arena)) } else { words };
            if let Ok(d) = Description::check(&words, 1, arena) {
                for range in [d.payload(), d.caps().whole(), d.meta()] {
                    prop_assert!(range.length == 0
                        || (range.offset >= ARENA_OFFSET && range.offset + range.length <= ARENA_OFFSET + arena));
                }
            }
        }

        #[test]
        fn a_description_has_the_sequence_for_which_it_was_checked(sequence in any::<u64>(), changed in any::<u64>()) {
            let words = std::array::from_fn(|word| if word == W_SEQUENCE { changed } else { 0 });
            prop_assert_eq!(Description::check(&words, sequence, 1 << 20).map(|d| d.sequence()), Ok(sequence));
        }

        #[test]
        fn a_description_is_read_as_it_was_written(
            pts in proptest::option::of(0..NONE), flags in any::<u32>(), length in 0u64..4096, id in any::<u32>(),
        ) {
            let range = Range { offset: ARENA_OFFSET + 64, length };
            let info = FrameInfo { pts, flags, latency: 7, time: pts, ..FrameInfo::new() };
            let kind = Kind::from_code(flags % 3).unwrap();
            let caps = CapsRange { id, text: range, blob: length / 2 };
            let item = Item { kind, payload: range, meta: range, caps, info: &info };
            let read = Description::check(&item.words(), 1, 1 << 20).unwrap();
            prop_assert_eq!((read.kind(), read.payload(), read.meta(), read.caps()), (kind, range, range, caps));
            prop_assert_eq!((read.published_ns(), read.info()), (None, info));
        }

        /// Whatever an item says, the copy is the same as of all words.
        #[test]
        fn a_copy_that_leaves_out_the_details_is_equal_to_a_whole_one(
            dts in proptest::option::of(-5..5i64), offset in proptest::option::of(0..3u64),
            offset_end in proptest::option::of(0..3u64), latency in 0..2u64, meta in 0..2u64, id in 0..3u32,
            blob in 0..2u64,
        ) {
            let cell = Cell { words: std::array::from_fn(|_| AtomicU64::new(77)) };
            let at = |length| Range { offset: ARENA_OFFSET + 64, length };
            let caps = |id| CapsRange { id, text: at(u64::from(id)), blob };
            let info = FrameInfo { dts, offset, offset_end, latency, ..FrameInfo::new() };
            let item = Item { kind: Kind::Frame, payload: at(9), meta: at(meta), caps: caps(id), info: &info };
            item.store(&cell);
            let words = |usual: &Details| {
                let mut words = [5; 16];
                Description::copy(&cell, usual, &mut words);
                words[W_SEQUENCE] = 0;
                words
            };
            let known = Item { meta: at(1), caps: caps(1), ..item }.words();
            let mut whole = item.words();
            if meta == 0 {
                // An empty range may have any offset.
                whole[W_META_OFFSET] = words(&Details::under(&known))[W_META_OFFSET];
            }
            prop_assert_eq!(words(&Details::under(&known)), whole);
        }
    }
}
