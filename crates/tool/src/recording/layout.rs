//! The bytes of a message: a head of 88 bytes, the metas, the payload. `docs/shm2.md` has the table.

use shm2::FrameInfo;

/// Bytes of the head that this version writes.
pub const HEAD: usize = 88;

const PTS: u8 = 1;
const DTS: u8 = 1 << 1;
const DURATION: u8 = 1 << 2;
const TIME: u8 = 1 << 3;
const OFFSET: u8 = 1 << 4;
const OFFSET_END: u8 = 1 << 5;
const DISCONTINUITY: u8 = 1 << 6;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Frame = 0,
    Event = 1,
    End = 2,
}

/// What precedes metas and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    /// Times and flags. `time` is of the real-time clock.
    pub info: FrameInfo,
    pub is_discontinuity: bool,
    pub sequence: u64,
    pub missed: u64,
}

impl Head {
    pub fn new(kind: Kind) -> Self {
        Self { kind, info: FrameInfo::new(), is_discontinuity: false, sequence: 0, missed: 0 }
    }

    /// Puts the head and the metas at the end of `message`.
    pub fn append_to(&self, message: &mut Vec<u8>, meta: &[u8]) {
        let FrameInfo { pts, dts, duration, time, offset, offset_end, flags, latency, .. } = self.info;
        let bits = [
            (pts.is_some(), PTS),
            (dts.is_some(), DTS),
            (duration.is_some(), DURATION),
            (time.is_some(), TIME),
            (offset.is_some(), OFFSET),
            (offset_end.is_some(), OFFSET_END),
            (self.is_discontinuity, DISCONTINUITY),
        ];
        let bits = bits.iter().filter(|(is_set, _)| *is_set).fold(0, |bits, (_, bit)| bits | bit);
        message.extend([self.kind as u8, bits, HEAD as u8, 0]);
        message.extend(flags.to_le_bytes());
        let dts = dts.map(|dts| dts as u64);
        for word in [pts, dts, duration, time, offset, offset_end] {
            message.extend(word.unwrap_or(0).to_le_bytes());
        }
        for word in [latency, self.sequence, self.missed] {
            message.extend(word.to_le_bytes());
        }
        // A meta has 1 MiB at most.
        message.extend((meta.len() as u64).to_le_bytes());
        message.extend(meta);
    }
}

/// A message that was taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    pub head: Head,
    pub meta: &'a [u8],
    pub payload: &'a [u8],
}

/// Takes a message apart. `None` if it is too short or of an unknown kind.
pub fn parse(message: &[u8]) -> Option<Parts<'_>> {
    let (head, _) = message.split_at_checked(HEAD)?;
    let &[kind, bits, low, high, ..] = head else { return None };
    let kind = [Kind::Frame, Kind::Event, Kind::End].into_iter().find(|known| *known as u8 == kind)?;
    // A later version may have a longer head.
    let length = usize::from(u16::from_le_bytes([low, high]));
    let rest = message.get(length..).filter(|_| length >= HEAD)?;
    let word = |index: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[8 + 8 * index + byte]));
    let optional = |bit: u8, index: usize| (bits & bit != 0).then(|| word(index));
    let mut info = FrameInfo::new();
    info.flags = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    info.pts = optional(PTS, 0);
    info.dts = optional(DTS, 1).map(|dts| dts as i64);
    info.duration = optional(DURATION, 2);
    info.time = optional(TIME, 3);
    info.offset = optional(OFFSET, 4);
    info.offset_end = optional(OFFSET_END, 5);
    info.latency = word(6);
    let (meta, payload) = rest.split_at_checked(usize::try_from(word(9)).ok()?)?;
    let is_discontinuity = bits & DISCONTINUITY != 0;
    Some(Parts { head: Head { kind, info, is_discontinuity, sequence: word(7), missed: word(8) }, meta, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_a_short_one_is_refused() {
        let mut full = FrameInfo::new();
        full.pts = Some(u64::MAX - 1);
        full.dts = Some(-40);
        (full.duration, full.time, full.offset, full.offset_end) = (Some(0), Some(2), Some(3), Some(u64::MAX));
        (full.flags, full.latency) = (u32::MAX, 5);
        for (kind, info) in [(Kind::Frame, full), (Kind::Event, FrameInfo::new()), (Kind::End, full)] {
            let head = Head { kind, info, is_discontinuity: kind == Kind::Event, sequence: 7, missed: 8 };
            let mut message = Vec::new();
            head.append_to(&mut message, b"meta");
            assert_eq!(message.len(), HEAD + 4);
            for cut in 0..message.len() {
                assert_eq!(parse(&message[..cut]), None, "{cut}");
            }
            message.extend(b"payload");
            assert_eq!(parse(&message), Some(Parts { head, meta: b"meta", payload: b"payload" }));
            message[2] = HEAD as u8 - 1;
            assert_eq!(parse(&message), None, "a head that is too short");
            (message[2], message[0]) = (HEAD as u8, 9);
            assert_eq!(parse(&message), None, "an unknown kind");
        }
    }
}
