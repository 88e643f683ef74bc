//! The message in which one item of a region travels: a header, the stream's description if it is new, the item's metas.
//! The payload of the zenoh sample is the item's bytes; everything else is its attachment. `docs/zenoh.md` has the table.
//!
//! [`decode`] is the only way from bytes of the network to a [`Message`], and checks every length.

use shm2::layout::{MAX_CAPS, MAX_META};

/// First bytes of each header.
const MAGIC: [u8; 4] = *b"S2ZM";
/// Changes with each change of the header that an older reader would misread.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 152;
/// Stands for a time or a position that is not known, and for a description that is not included.
const NONE: u64 = u64::MAX;
const NO_CAPS: u32 = u32::MAX;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A frame of the region.
    Frame,
    /// The end of the stream.
    End,
    /// An event between frames.
    Event,
    /// Only the description of the stream: the answer to a query.
    Description,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Frame, Self::End, Self::Event, Self::Description];

    fn code(self) -> u8 {
        self as u8
    }
}

/// The numbers of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub kind: Kind,
    /// The stream is interrupted before this item.
    pub is_discontinuity: bool,
    /// Real time in nanoseconds at which this sender began; a later one replaces an earlier one.
    pub instance: u64,
    /// Number of the message in its instance, from 1.
    pub number: u64,
    /// Sequence of the item in its region.
    pub sequence: u64,
    /// Items that the sender has missed in its region since the instance began.
    pub missed: u64,
    /// Times, positions and flags, on the clocks of the sending host.
    pub info: shm2::FrameInfo,
    /// When the item was published, on the sender's monotonic clock.
    pub published: Option<u64>,
    /// The sender's clocks, read together.
    pub clocks: crate::clock::Pair,
    /// Number of the stream's description in its instance, from 1; 0 before the first one.
    pub stream: u32,
    /// Bytes of the payload; in a description those of the source region's arena.
    pub size: u64,
}

/// A stream's caps and blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream<'a> {
    /// The text that describes the stream.
    pub caps: &'a [u8],
    /// The stream's blob.
    pub blob: &'a [u8],
}

/// A checked message, without the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its numbers.
    pub header: Header,
    /// The stream's description, if the message has it.
    pub description: Option<Stream<'a>>,
    /// The item's metas, or the content of an event.
    pub meta: &'a [u8],
}

/// Why bytes of the network are not a message. `Version` is of an honest peer, the others are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is no attachment, or a short one.
    #[error("{0} bytes are too few for a header of {HEADER_BYTES}")]
    Short(usize),
    /// The first bytes are others.
    #[error("it does not begin with S2ZM")]
    Magic,
    /// The sender is of another version.
    #[error("it has version {0}, and this program reads version {VERSION}: use the same release on both hosts")]
    Version(u16),
    /// There is no such kind.
    #[error("its kind {0} is none of 0 to 3")]
    Kind(u8),
    /// A part is longer than a region takes.
    #[error("its {what} has {bytes} bytes, and a region takes {limit}")]
    Part {
        /// Name of the part.
        what: &'static str,
        /// Its bytes.
        bytes: u64,
        /// Most bytes.
        limit: u64,
    },
    /// The parts do not add up to the attachment.
    #[error("its parts have {parts} bytes, and {there} are there")]
    Length {
        /// Bytes of the parts.
        parts: u64,
        /// Bytes there.
        there: u64,
    },
    /// The payload has another size than the header says.
    #[error("its payload has {there} bytes, and its header says {said}")]
    Payload {
        /// Bytes there.
        there: u64,
        /// Bytes in the header.
        said: u64,
    },
    /// The frame is longer than this program accepts.
    #[error("its payload has {bytes} bytes, and {limit} are accepted: raise --size-limit if the source is trusted")]
    TooLarge {
        /// Bytes of the payload.
        bytes: u64,
        /// Most bytes.
        limit: u64,
    },
    /// The caps are not text.
    #[error("its caps are not text")]
    Caps,
    /// A number that counts from 1 is 0, or one is so high that counting on would overflow.
    #[error("its {0} is out of range")]
    Number(&'static str),
}

/// The attachment of a message.
pub fn encode(header: &Header, description: Option<Stream<'_>>, meta: &[u8]) -> Vec<u8> {
    let Stream { caps, blob } = description.unwrap_or(Stream { caps: &[], blob: &[] });
    let mut bytes = Vec::with_capacity(HEADER_BYTES + caps.len() + blob.len() + meta.len());
    let info = &header.info;
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([header.kind.code(), u8::from(header.is_discontinuity)]);
    let option = |word: Option<u64>| word.unwrap_or(NONE);
    let words = [
        header.instance,
        header.number,
        header.sequence,
        header.missed,
        option(info.pts),
        info.dts.map_or(NONE, |dts| if dts == -1 { -2 } else { dts } as u64),
        option(info.duration),
        option(info.time),
        option(header.published),
        option(info.offset),
        option(info.offset_end),
        info.latency,
        header.clocks.monotonic,
        header.clocks.realtime,
        header.size,
    ];
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    let caps_bytes = description.map_or(NO_CAPS, |stream| stream.caps.len() as u32);
    for word in [info.flags, header.stream, caps_bytes, blob.len() as u32, meta.len() as u32, 0] {
        bytes.extend(word.to_le_bytes());
    }
    [caps, blob, meta].iter().for_each(|part| bytes.extend(*part));
    bytes
}

/// Checks an attachment and the length of its payload; payloads have at most `limit` bytes.
///
/// # Errors
/// [`Malformed`]: the first check that failed.
pub fn decode(attachment: &[u8], payload_bytes: u64, limit: u64) -> Result<Message<'_>, Malformed> {
    let Some((head, rest)) = attachment.split_at_checked(HEADER_BYTES) else {
        return Err(Malformed::Short(attachment.len()));
    };
    let mut reader = Reader(head);
    if reader.take() != MAGIC {
        return Err(Malformed::Magic);
    }
    let version = u16::from_le_bytes(reader.take());
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let [code, bits] = reader.take();
    let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code).ok_or(Malformed::Kind(code))?;
    let header = reader.header(kind, bits & 1 != 0);
    let [flags, stream, caps_bytes, blob_bytes, meta_bytes, _] = std::array::from_fn(|_| reader.u32());
    let header = Header { info: with_flags(header.info, flags), stream, ..header };
    let has_caps = caps_bytes != NO_CAPS;
    let parts = [if has_caps { caps_bytes } else { 0 }, blob_bytes, meta_bytes].map(u64::from);
    for (what, bytes, limit) in
        [("caps", parts[0], MAX_CAPS), ("stream blob", parts[1], MAX_META), ("meta blob", parts[2], MAX_META)]
    {
        if bytes > limit {
            return Err(Malformed::Part { what, bytes, limit });
        }
    }
    let sum = parts.iter().sum();
    if sum != rest.len() as u64 {
        return Err(Malformed::Length { parts: sum, there: rest.len() as u64 });
    }
    check_numbers(&header)?;
    check_payload(&header, payload_bytes, limit)?;
    let (caps, rest) = rest.split_at(parts[0] as usize);
    let (blob, meta) = rest.split_at(parts[1] as usize);
    if std::str::from_utf8(caps).is_err() || caps.contains(&0) {
        return Err(Malformed::Caps);
    }
    Ok(Message { header, description: has_caps.then_some(Stream { caps, blob }), meta })
}

fn with_flags(mut info: shm2::FrameInfo, flags: u32) -> shm2::FrameInfo {
    info.flags = flags;
    info
}

fn check_numbers(header: &Header) -> Result<(), Malformed> {
    const HIGHEST: u64 = 1 << 62;
    let numbers = [("number", header.number), ("instance", header.instance), ("count of missed items", header.missed)];
    let clocks = [("monotonic clock", header.clocks.monotonic), ("real-time clock", header.clocks.realtime)];
    if let Some((what, _)) = numbers.into_iter().chain(clocks).find(|(_, value)| *value > HIGHEST) {
        return Err(Malformed::Number(what));
    }
    match header.kind {
        Kind::Frame | Kind::Event | Kind::End if header.number == 0 => Err(Malformed::Number("number")),
        Kind::Frame | Kind::Event if header.stream == 0 => Err(Malformed::Number("number of its description")),
        _ => Ok(()),
    }
}

fn check_payload(header: &Header, there: u64, limit: u64) -> Result<(), Malformed> {
    let said = match header.kind {
        Kind::Frame => header.size,
        // Its size is the source's arena.
        Kind::Description | Kind::End | Kind::Event => 0,
    };
    if there != said {
        return Err(Malformed::Payload { there, said });
    }
    if there > limit { Err(Malformed::TooLarge { bytes: there, limit }) } else { Ok(()) }
}

/// Takes numbers from a header, whose length was checked; a read beyond its end yields zeros.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *first
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn option(&mut self) -> Option<u64> {
        Some(self.u64()).filter(|word| *word != NONE)
    }

    /// The words of 64 bits; stream and flags follow them.
    fn header(&mut self, kind: Kind, is_discontinuity: bool) -> Header {
        let [instance, number, sequence, missed] = std::array::from_fn(|_| self.u64());
        let mut info = shm2::FrameInfo::new();
        info.pts = self.option();
        info.dts = self.option().map(|dts| dts as i64);
        info.duration = self.option();
        info.time = self.option();
        let published = self.option();
        info.offset = self.option();
        info.offset_end = self.option();
        info.latency = self.u64();
        let clocks = crate::clock::Pair { monotonic: self.u64(), realtime: self.u64() };
        let size = self.u64();
        Header { kind, is_discontinuity, instance, number, sequence, missed, info, published, clocks, stream: 0, size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mut info = shm2::FrameInfo::new().with_pts(7);
        (info.dts, info.time, info.flags, info.latency) = (Some(-40), Some(9), 0x2000, 3);
        let clocks = crate::clock::Pair { monotonic: 5, realtime: 6 };
        Header {
            kind: Kind::Frame,
            is_discontinuity: true,
            instance: 1,
            number: 2,
            sequence: 3,
            missed: 4,
            info,
            published: None,
            clocks,
            stream: 8,
            size: 10,
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let stream = Some(Stream { caps: b"video/x-raw", blob: b"blob" });
        let bytes = encode(&header(), stream, b"meta");
        assert_eq!(decode(&bytes, 10, 10), Ok(Message { header: header(), description: stream, meta: b"meta" }));
        let plain = encode(&header(), None, b"");
        assert_eq!(plain.len(), HEADER_BYTES);
        assert_eq!(decode(&plain, 10, 10), Ok(Message { header: header(), description: None, meta: b"" }));
    }

    #[test]
    fn each_check_has_its_error() {
        let good = encode(&header(), Some(Stream { caps: b"c", blob: b"" }), b"m");
        let changed = |at: usize, value: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + value.len()].copy_from_slice(value);
            bytes
        };
        let error = |bytes: &[u8]| decode(bytes, 10, 10).unwrap_err();
        assert_eq!(error(&good[..151]), Malformed::Short(151));
        assert_eq!(error(&changed(0, b"X")), Malformed::Magic);
        assert_eq!(error(&changed(4, &[2])), Malformed::Version(2));
        assert_eq!(error(&changed(6, &[4])), Malformed::Kind(4));
        assert!(matches!(error(&changed(16, &[0; 8])), Malformed::Number("number")));
        assert!(matches!(error(&changed(8, &[0xff; 8])), Malformed::Number("instance")));
        assert!(matches!(error(&changed(132, &[0; 4])), Malformed::Number("number of its description")));
        assert!(matches!(error(&changed(136, &[0, 0, 2, 0])), Malformed::Part { what: "caps", .. }));
        assert!(matches!(error(&changed(140, &[0xff; 4])), Malformed::Part { what: "stream blob", .. }));
        assert!(matches!(error(&changed(144, &[2])), Malformed::Length { parts: 3, there: 2 }));
        assert!(matches!(error(&changed(HEADER_BYTES, &[0xff])), Malformed::Caps));
        assert_eq!(decode(&good, 11, 100), Err(Malformed::Payload { there: 11, said: 10 }));
        assert_eq!(decode(&good, 10, 9), Err(Malformed::TooLarge { bytes: 10, limit: 9 }));
    }

    #[test]
    fn no_bytes_of_the_network_make_it_panic() {
        let good = encode(&header(), Some(Stream { caps: b"video/x-raw", blob: b"x" }), b"meta");
        let mut rng = shm2_testing::Rng::with_seed(shm2_testing::seed());
        for _ in 0..100_000 {
            let mut bytes = good.clone();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            if let Ok(message) = decode(&bytes, 10, 1 << 20) {
                let stream = message.description.unwrap_or(Stream { caps: b"", blob: b"" });
                assert_eq!(HEADER_BYTES + stream.caps.len() + stream.blob.len() + message.meta.len(), bytes.len());
            }
        }
    }
}
