//! Kind 6, layout of raw audio: number of samples u64, then, for audio with one plane per channel, for each channel the
//! offset u64 of its first sample. Kind 7, clipping at the start and the end: unit u32 (0 nanoseconds, 1 samples), the
//! two amounts u64.

use crate::items::Reader;
use gst::format::{Default as Samples, GenericFormattedValue};
use gst_audio::{AudioClippingMeta, AudioInfo, AudioLayout, AudioMeta};

/// The item of a meta that agrees with the caps and the buffer's size, or else the reason why it does not.
pub(super) fn form(meta: &AudioMeta, size: usize, audio: &AudioInfo) -> Result<Vec<u8>, String> {
    let offsets: Vec<_> = meta.offsets().iter().map(|offset| *offset as u64).collect();
    let shape = |info: &AudioInfo| (info.layout(), info.channels(), info.width());
    let (theirs, own, samples) = (meta.info(), audio, meta.samples() as u64);
    if shape(theirs) != shape(own) || !fits(own, samples, &offsets, size as u64) {
        let (format, channels, layout) = (theirs.format(), theirs.channels(), theirs.layout());
        return Err(format!(
            "GstAudioMeta ({format}, {channels} channels, {layout:?}, {samples} samples, offsets {offsets:?}) does not \
             fit the caps ({}, {} channels, {:?}) or the frame's {size} bytes",
            own.format(),
            own.channels(),
            own.layout()
        ));
    }
    let mut bytes = samples.to_le_bytes().to_vec();
    offsets.iter().for_each(|offset| bytes.extend(offset.to_le_bytes()));
    Ok(bytes)
}

/// Adds the meta; `None` unless all of its samples are in the buffer.
pub(super) fn add(buffer: &mut gst::BufferRef, bytes: &[u8], audio: &AudioInfo) -> Option<()> {
    let mut reader = Reader(bytes);
    let samples = reader.u64()?;
    let mut offsets = Vec::new();
    while !reader.is_empty() && offsets.len() < audio.channels() as usize {
        offsets.push(reader.u64()?);
    }
    if !reader.is_empty() || !fits(audio, samples, &offsets, buffer.size() as u64) {
        return None;
    }
    let offsets: Vec<_> = offsets.into_iter().map(|offset| offset as usize).collect();
    AudioMeta::add(buffer, audio, samples as usize, &offsets).ok().map(drop)
}

/// `None` for a clipping in units that no decoder uses.
pub(super) fn clipping(meta: &AudioClippingMeta) -> Option<Vec<u8>> {
    let format: u32 = match meta.start().format() {
        gst::Format::Time => 0,
        gst::Format::Default => 1,
        _ => return None,
    };
    let amount = |value: GenericFormattedValue| u64::try_from(value.value()).ok();
    let mut bytes = format.to_le_bytes().to_vec();
    bytes.extend(amount(meta.start())?.to_le_bytes());
    bytes.extend(amount(meta.end())?.to_le_bytes());
    Some(bytes)
}

pub(super) fn add_clipping(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let mut reader = Reader(bytes);
    let (format, start, end) = (reader.u32()?, reader.u64()?, reader.u64()?);
    match format {
        0 => {
            let (start, end) = (gst::ClockTime::try_from(start).ok()?, gst::ClockTime::try_from(end).ok()?);
            AudioClippingMeta::add(buffer, start, end);
        }
        1 => {
            AudioClippingMeta::add(buffer, Samples::try_from(start).ok()?, Samples::try_from(end).ok()?);
        }
        _ => return None,
    }
    Some(())
}

fn fits(audio: &AudioInfo, samples: u64, offsets: &[u64], size: u64) -> bool {
    if audio.layout() == AudioLayout::Interleaved {
        return offsets.is_empty() && samples.checked_mul(audio.bpf().into()).is_some_and(|bytes| bytes <= size);
    }
    let Some(plane) = samples.checked_mul((audio.width() / 8).into()) else { return false };
    match offsets {
        [] => plane.checked_mul(audio.channels().into()).is_some_and(|bytes| bytes <= size),
        offsets => {
            offsets.len() == audio.channels() as usize
                && offsets.iter().all(|offset| offset.checked_add(plane).is_some_and(|end| end <= size))
                && are_apart(offsets, plane)
        }
    }
}

/// Whether no two planes overlap: GStreamer takes such a meta for a programming error.
fn are_apart(offsets: &[u64], plane: u64) -> bool {
    let mut sorted = offsets.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[1] - pair[0] >= plane)
}
