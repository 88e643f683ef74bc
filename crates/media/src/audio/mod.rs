//! Raw audio.

mod format;

pub use format::{AudioFormat, SampleKind};

use crate::caps::{Caps, Structure};
use crate::error::{LayoutError, MediaError, clipped};
use crate::fields::Fields;
use crate::items::{self, AudioItem};
use crate::limits::MAX_CHANNELS;
use std::ops::Range;
use std::sync::Arc;

/// Most offsets in an error.
const SHOWN_OFFSETS: usize = 8;

/// Raw audio: `audio/x-raw`.
///
/// ```
/// use shm2_media::{AudioLayout, Media};
///
/// let caps = "audio/x-raw, format=S16LE, layout=interleaved, rate=48000, channels=2";
/// let Media::Audio(audio) = Media::from_caps(caps)? else { panic!("raw audio") };
/// assert_eq!((audio.rate, audio.channels, audio.layout), (48_000, 2, AudioLayout::Interleaved));
/// assert_eq!((audio.bytes_per_frame(), audio.samples(1920)), (4, 480));
/// # Ok::<_, shm2_media::MediaError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Audio {
    /// Format of the samples.
    pub format: AudioFormat,
    /// Samples per second of each channel, at least 1.
    pub rate: u32,
    /// Number of channels, at least 1.
    pub channels: u32,
    /// Positions of the channels as GStreamer's bits, lowest first: bit 0 front left, bit 1 front right. `None` where
    /// the caps have none; `Some(0)` for channels without positions.
    pub channel_mask: Option<u64>,
    /// Arrangement of the samples.
    pub layout: AudioLayout,
    item: Option<Arc<AudioItem>>,
    caps: Arc<Caps>,
}

/// How the samples of the channels are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AudioLayout {
    /// Sample by sample, the channels of each side by side. Caps without the field `layout` count as this one.
    #[default]
    Interleaved,
    /// Channel by channel, each in one piece.
    Planar,
}

impl AudioLayout {
    /// The name in caps.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interleaved => "interleaved",
            Self::Planar => "non-interleaved",
        }
    }
}

impl Audio {
    pub(crate) fn from_structure(structure: &Structure, caps: Arc<Caps>) -> Result<Self, MediaError> {
        let fields = Fields(structure);
        let name = fields.text("format")?;
        let unknown = || MediaError::UnknownFormat { media_type: clipped(structure.name()), format: clipped(name) };
        let layout = match structure.value("layout") {
            None => AudioLayout::Interleaved,
            Some(_) => match fields.text("layout")? {
                "interleaved" => AudioLayout::Interleaved,
                "non-interleaved" => AudioLayout::Planar,
                _ => return Err(fields.wrong("layout", "interleaved or non-interleaved")),
            },
        };
        let limited = |channels| match channels {
            1..=MAX_CHANNELS => Ok(channels),
            _ => Err(fields.wrong("channels", "1 to 16384")),
        };
        Ok(Self {
            format: AudioFormat::from_name(name).ok_or_else(unknown)?,
            rate: fields.positive("rate")?,
            channels: fields.positive("channels").and_then(limited)?,
            channel_mask: structure.value("channel-mask").and_then(crate::Value::as_bitmask),
            layout,
            item: None,
            caps,
        })
    }

    /// Bytes of one sample of every channel.
    pub fn bytes_per_frame(&self) -> u64 {
        u64::from(self.format.bytes()) * u64::from(self.channels)
    }

    /// Samples of each channel in a frame of so many bytes: the number that the frame's meta blob tells, or as many
    /// as there are whole ones.
    pub fn samples(&self, bytes: u64) -> u64 {
        self.item.as_ref().map_or(bytes / self.bytes_per_frame(), |item| item.samples)
    }

    /// Where a channel is in a frame of so many bytes: its samples for planar audio, all samples for interleaved
    /// audio. `None` for a channel that is not there, and for numbers that do not fit in memory.
    pub fn channel(&self, channel: u32, bytes: u64) -> Option<Range<usize>> {
        if channel >= self.channels {
            return None;
        }
        let samples = self.samples(bytes);
        let (start, length) = match self.layout {
            AudioLayout::Interleaved => (0, samples.checked_mul(self.bytes_per_frame())?),
            AudioLayout::Planar => {
                let length = samples.checked_mul(self.format.bytes().into())?;
                let offsets = self.item.as_ref().map_or(&[][..], |item| &item.offsets);
                let start = match offsets {
                    [] => length.checked_mul(channel.into())?,
                    offsets => *offsets.get(usize::try_from(channel).ok()?)?,
                };
                (start, length)
            }
        };
        Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(length)?).ok()?)
    }

    /// The parsed caps.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// This stream's description for one frame, with the layout of its meta blob.
    pub(crate) fn with_items(&self, meta: &[u8], bytes: u64) -> Result<Self, LayoutError> {
        let item = items::audio(meta)?;
        if let Some(item) = &item {
            self.check(item, bytes)?;
        }
        Ok(Self { item: item.map(Arc::new), ..self.clone() })
    }

    /// Checks that all samples are inside the frame, and that no two planes overlap.
    fn check(&self, item: &AudioItem, bytes: u64) -> Result<(), LayoutError> {
        let outside = |end: Option<u64>| match end {
            Some(end) if end <= bytes => Ok(()),
            end => Err(LayoutError::Outside { end: end.unwrap_or(u64::MAX), bytes }),
        };
        let count = item.offsets.len();
        let wanted = if self.layout == AudioLayout::Planar { self.channels as usize } else { 0 };
        if count > 0 && count != wanted {
            return Err(LayoutError::Planes { layout: count, caps: wanted });
        }
        let plane = item.samples.checked_mul(self.format.bytes().into());
        if count == 0 {
            return outside(plane.and_then(|plane| plane.checked_mul(self.channels.into())));
        }
        for offset in &item.offsets {
            outside(plane.and_then(|plane| plane.checked_add(*offset)))?;
        }
        let plane = plane.unwrap_or(u64::MAX);
        let mut sorted = item.offsets.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[1] - pair[0] < plane) {
            let offsets = item.offsets.iter().take(SHOWN_OFFSETS).copied().collect();
            return Err(LayoutError::Overlap { bytes: plane, offsets });
        }
        Ok(())
    }
}
