//! Raw audio formats, as data.

use crate::video::ByteOrder::{self, Big, Little};
use SampleKind::{Float, Signed, Unsigned};
use std::fmt::{self, Debug, Display, Formatter};

/// A raw audio format that GStreamer knows, up to version 1.28.
///
/// ```
/// use shm2_media::{AudioFormat, ByteOrder, SampleKind};
///
/// let format = AudioFormat::from_name("S24_32LE").expect("GStreamer knows it");
/// assert_eq!((format.kind(), format.bytes(), format.bits()), (SampleKind::Signed, 4, 24));
/// assert_eq!(format.byte_order(), Some(ByteOrder::Little));
/// ```
#[derive(Clone, Copy)]
pub struct AudioFormat(&'static Entry);

/// What the bits of a sample are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SampleKind {
    /// A signed integer; silence is 0.
    Signed,
    /// An unsigned integer; silence is the middle of the range.
    Unsigned,
    /// A floating-point number from -1.0 to 1.0; silence is 0.0.
    Float,
}

impl AudioFormat {
    /// All formats.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        FORMATS.iter().map(Self)
    }

    /// The format with this name in caps; names are case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        FORMATS.iter().find(|entry| entry.name == name).map(Self)
    }

    /// The name in caps, such as `S16LE`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// What the bits of a sample are.
    pub fn kind(self) -> SampleKind {
        self.0.kind
    }

    /// Order of the bytes of a sample; `None` for samples of one byte.
    pub fn byte_order(self) -> Option<ByteOrder> {
        self.0.order
    }

    /// Bytes of a sample.
    pub fn bytes(self) -> u32 {
        self.0.bytes.into()
    }

    /// Bits of a sample that are used: the lower ones of its bytes.
    pub fn bits(self) -> u32 {
        self.0.bits.into()
    }
}

impl PartialEq for AudioFormat {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for AudioFormat {}

impl Debug for AudioFormat {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Display for AudioFormat {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

struct Entry {
    name: &'static str,
    kind: SampleKind,
    order: Option<ByteOrder>,
    bytes: u8,
    bits: u8,
}

const fn row(name: &'static str, kind: SampleKind, order: Option<ByteOrder>, bytes: u8, bits: u8) -> Entry {
    Entry { name, kind, order, bytes, bits }
}

static FORMATS: &[Entry] = &[
    row("S8", Signed, None, 1, 8),
    row("U8", Unsigned, None, 1, 8),
    row("S16LE", Signed, Some(Little), 2, 16),
    row("S16BE", Signed, Some(Big), 2, 16),
    row("U16LE", Unsigned, Some(Little), 2, 16),
    row("U16BE", Unsigned, Some(Big), 2, 16),
    row("S24_32LE", Signed, Some(Little), 4, 24),
    row("S24_32BE", Signed, Some(Big), 4, 24),
    row("U24_32LE", Unsigned, Some(Little), 4, 24),
    row("U24_32BE", Unsigned, Some(Big), 4, 24),
    row("S32LE", Signed, Some(Little), 4, 32),
    row("S32BE", Signed, Some(Big), 4, 32),
    row("U32LE", Unsigned, Some(Little), 4, 32),
    row("U32BE", Unsigned, Some(Big), 4, 32),
    row("S24LE", Signed, Some(Little), 3, 24),
    row("S24BE", Signed, Some(Big), 3, 24),
    row("U24LE", Unsigned, Some(Little), 3, 24),
    row("U24BE", Unsigned, Some(Big), 3, 24),
    row("S20LE", Signed, Some(Little), 3, 20),
    row("S20BE", Signed, Some(Big), 3, 20),
    row("U20LE", Unsigned, Some(Little), 3, 20),
    row("U20BE", Unsigned, Some(Big), 3, 20),
    row("S18LE", Signed, Some(Little), 3, 18),
    row("S18BE", Signed, Some(Big), 3, 18),
    row("U18LE", Unsigned, Some(Little), 3, 18),
    row("U18BE", Unsigned, Some(Big), 3, 18),
    row("F32LE", Float, Some(Little), 4, 32),
    row("F32BE", Float, Some(Big), 4, 32),
    row("F64LE", Float, Some(Little), 8, 64),
    row("F64BE", Float, Some(Big), 8, 64),
    // Since 1.28.
    row("S20_32LE", Signed, Some(Little), 4, 20),
    row("S20_32BE", Signed, Some(Big), 4, 20),
    row("U20_32LE", Unsigned, Some(Little), 4, 20),
    row("U20_32BE", Unsigned, Some(Big), 4, 20),
];
