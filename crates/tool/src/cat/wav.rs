//! Raw audio as a RIFF file with the sizes of a stream without an end.

use crate::Failure;
use shm2_media::{Audio, AudioLayout, SampleKind};
use std::io::Write;

/// Bytes of a sample in a wav file, and the number of its kind there: 1 for integers, 3 for floating point.
fn sample_of(audio: &Audio) -> Result<(u16, u16), Failure> {
    let name = audio.format.name();
    let bytes = audio.format.bytes() as u16;
    match audio.format.kind() {
        SampleKind::Float if name.ends_with("LE") => Ok((bytes, 3)),
        SampleKind::Signed if name.ends_with("LE") => Ok((bytes, 1)),
        SampleKind::Unsigned if name == "U8" => Ok((bytes, 1)),
        _ => Err(format!("{name} cannot be written as wav: convert it with audioconvert, or use --raw").into()),
    }
}

/// RIFF with the sizes that stand for a stream without an end.
pub fn header(audio: &Audio) -> Result<Vec<u8>, Failure> {
    let (bytes, kind) = sample_of(audio)?;
    let channels = u16::try_from(audio.channels).ok();
    let sizes = channels.and_then(|channels| Some((channels, bytes.checked_mul(channels)?)));
    let too_many = || format!("{} channels do not fit wav: write the bytes with --raw", audio.channels);
    let (channels, block) = sizes.ok_or_else(too_many)?;
    let mut header = Vec::from(*b"RIFF");
    header.extend(u32::MAX.to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    header.extend([kind, channels].map(u16::to_le_bytes).concat());
    header.extend([audio.rate, audio.rate.saturating_mul(block.into())].map(u32::to_le_bytes).concat());
    header.extend([block, 8 * bytes].map(u16::to_le_bytes).concat());
    header.extend(b"data");
    header.extend(u32::MAX.to_le_bytes());
    Ok(header)
}

pub fn write(out: &mut impl Write, audio: &Audio, bytes: &[u8]) -> Result<(), Failure> {
    let length = bytes.len() as u64;
    let channel = |number| audio.channel(number, length).and_then(|range| bytes.get(range)).unwrap_or_default();
    if audio.layout == AudioLayout::Interleaved {
        return Ok(out.write_all(channel(0))?);
    }
    let size = audio.format.bytes() as usize;
    let channels: Vec<_> = (0..audio.channels).map(channel).collect();
    for sample in 0..audio.samples(length) as usize {
        for channel in &channels {
            out.write_all(channel.get(sample * size..(sample + 1) * size).unwrap_or_default())?;
        }
    }
    Ok(())
}
