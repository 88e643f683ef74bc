//! Kind 6, where the samples of raw audio stand: samples u64, then, for audio whose channels are apart, for each channel
//! the offset u64 of its first sample.

use super::Reader;
use gst_audio::{AudioInfo, AudioLayout, AudioMeta};

pub(super) fn bytes(meta: &AudioMeta) -> Vec<u8> {
    let mut bytes = (meta.samples() as u64).to_le_bytes().to_vec();
    meta.offsets().iter().for_each(|offset| bytes.extend((*offset as u64).to_le_bytes()));
    bytes
}

/// Adds the meta if all of its samples lie in the buffer; `None` for any other.
pub(super) fn add(buffer: &mut gst::BufferRef, bytes: &[u8], audio: &AudioInfo) -> Option<()> {
    let mut reader = Reader(bytes);
    let samples = reader.u64()?;
    let mut offsets = Vec::new();
    while !reader.0.is_empty() && offsets.len() < audio.channels() as usize {
        offsets.push(reader.u64()?);
    }
    if !reader.0.is_empty() || !fits(audio, samples, &offsets, buffer.size() as u64) {
        return None;
    }
    let offsets: Vec<_> = offsets.into_iter().map(|offset| offset as usize).collect();
    AudioMeta::add(buffer, audio, samples as usize, &offsets).ok().map(drop)
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
        }
    }
}
