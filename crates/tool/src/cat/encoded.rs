//! Encoded streams in the form in which players read them from a pipe.
//!
//! | stream | form | described in |
//! |---|---|---|
//! | H.264 as `avc`, H.265 as `hvc1` or `hev1` | byte stream with start codes, parameter sets first | ISO/IEC 14496-15 5.3.3, 8.3.3 |
//! | VP8, VP9, AV1 | IVF | the header of libvpx's `ivfenc` |
//! | AAC as `raw` | ADTS | ISO/IEC 13818-7 6.2 |
//! | others | as it is | |

use crate::Failure;
use shm2_media::{Encoded, Fraction};
use std::io::Write;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// How the units of a stream are written.
pub enum Form {
    AsItIs,
    /// Units that begin with their length, of so many bytes.
    StartCodes {
        length_bytes: usize,
    },
    /// Each unit after its size and its number.
    Ivf {
        next: u64,
    },
    /// Each unit after a header, which has the unit's length.
    Adts {
        header: [u8; 7],
    },
}

/// The form of a stream, and what is written before its first unit.
///
/// # Errors
/// When the decoder's data in the caps are cut off, or of a kind that the form cannot have.
pub fn begin(encoded: &Encoded) -> Result<(Form, Vec<u8>), Failure> {
    let data = encoded.codec_data.as_deref();
    let form = encoded.stream_format.as_deref().unwrap_or_default();
    let cut = || format!("codec_data of {} is cut off: write the units as they are with --raw", encoded.media_type);
    match (encoded.media_type.as_str(), form, data) {
        ("video/x-h264", "avc" | "avc3", Some(data)) => avc(data).ok_or_else(|| cut().into()),
        ("video/x-h265", "hvc1" | "hev1", Some(data)) => hevc(data).ok_or_else(|| cut().into()),
        ("video/x-vp8", ..) => Ok(ivf(encoded, *b"VP80")),
        ("video/x-vp9", ..) => Ok(ivf(encoded, *b"VP90")),
        ("video/x-av1", ..) => Ok(ivf(encoded, *b"AV01")),
        ("audio/mpeg", "raw", Some(data)) => {
            let header = adts(data).ok_or("this AAC has no ADTS form: write the units as they are with --raw")?;
            Ok((Form::Adts { header }, Vec::new()))
        }
        _ => Ok((Form::AsItIs, Vec::new())),
    }
}

/// Writes one unit.
///
/// # Errors
/// When the unit contradicts its form, and those of the output.
pub fn write(out: &mut impl Write, form: &mut Form, unit: &[u8]) -> Result<(), Failure> {
    match form {
        Form::AsItIs => out.write_all(unit)?,
        Form::StartCodes { length_bytes } => {
            let mut rest = unit;
            while !rest.is_empty() {
                let (nal, next) = counted(rest, *length_bytes).ok_or("a unit of the stream is cut off")?;
                out.write_all(&START_CODE)?;
                out.write_all(nal)?;
                rest = next;
            }
        }
        Form::Ivf { next } => {
            out.write_all(&u32::try_from(unit.len())?.to_le_bytes())?;
            out.write_all(&next.to_le_bytes())?;
            out.write_all(unit)?;
            *next += 1;
        }
        Form::Adts { header } => {
            let length = u16::try_from(unit.len() + header.len()).ok().filter(|length| *length < 1 << 13);
            let length = length.ok_or_else(|| format!("{} bytes do not fit an ADTS unit", unit.len()))?;
            let mut header = *header;
            header[3] |= (length >> 11) as u8;
            header[4] = (length >> 3) as u8;
            header[5] |= (length << 5) as u8;
            out.write_all(&header)?;
            out.write_all(unit)?;
        }
    }
    Ok(())
}

/// The part that a length of `length_bytes` bytes announces, and what follows it.
fn counted(bytes: &[u8], length_bytes: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(length_bytes)?;
    rest.split_at_checked(length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

/// An `AVCDecoderConfigurationRecord`: the sequence and picture parameter sets.
fn avc(data: &[u8]) -> Option<(Form, Vec<u8>)> {
    let length_bytes = usize::from(data.get(4)? & 3) + 1;
    let mut sets = Vec::new();
    let mut rest = data.get(5..)?;
    for mask in [0x1f, 0xff] {
        let (count, next) = rest.split_first()?;
        rest = parameter_sets(&mut sets, next, count & mask)?;
    }
    Some((Form::StartCodes { length_bytes }, sets))
}

/// An `HEVCDecoderConfigurationRecord`: arrays of parameter sets.
fn hevc(data: &[u8]) -> Option<(Form, Vec<u8>)> {
    let length_bytes = usize::from(data.get(21)? & 3) + 1;
    let mut sets = Vec::new();
    let mut rest = data.get(23..)?;
    for _ in 0..*data.get(22)? {
        let count = u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?]);
        rest = parameter_sets(&mut sets, rest.get(3..)?, u8::try_from(count).ok()?)?;
    }
    Some((Form::StartCodes { length_bytes }, sets))
}

/// Appends `count` parameter sets with start codes; what follows them.
fn parameter_sets<'a>(sets: &mut Vec<u8>, mut rest: &'a [u8], count: u8) -> Option<&'a [u8]> {
    for _ in 0..count {
        let (set, next) = counted(rest, 2)?;
        sets.extend(START_CODE);
        sets.extend(set);
        rest = next;
    }
    Some(rest)
}

fn ivf(encoded: &Encoded, codec: [u8; 4]) -> (Form, Vec<u8>) {
    let side = |pixels: Option<u32>| u16::try_from(pixels.unwrap_or(0)).unwrap_or(0).to_le_bytes();
    let rate = encoded.frame_rate.filter(|rate| rate.numerator() > 0);
    let (numerator, denominator) = rate.map_or((30, 1), |rate: Fraction| (rate.numerator(), rate.denominator()));
    let mut header = Vec::from(*b"DKIF");
    header.extend([0_u16, 32].map(u16::to_le_bytes).concat());
    header.extend(codec);
    header.extend([side(encoded.width), side(encoded.height)].concat());
    header.extend([numerator, denominator, 0, 0].map(i32::to_le_bytes).concat());
    (Form::Ivf { next: 0 }, header)
}

/// The fixed part of ADTS headers for an `AudioSpecificConfig`, without the length.
fn adts(data: &[u8]) -> Option<[u8; 7]> {
    let [first, second, ..] = *data else { return None };
    let (object, channels) = (first >> 3, second >> 3 & 0xf);
    let frequency = (first & 7) << 1 | second >> 7;
    if !(1..=4).contains(&object) || frequency > 12 || !(1..=7).contains(&channels) {
        return None;
    }
    let profile = object - 1;
    Some([0xff, 0xf1, profile << 6 | frequency << 2 | channels >> 2, (channels & 3) << 6, 0, 0x1f, 0xfc])
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm2_media::Media;

    fn begun(caps: &str) -> Result<(Form, Vec<u8>), Failure> {
        let Media::Encoded(encoded) = Media::from_caps(caps).unwrap() else { panic!("{caps}") };
        begin(&encoded)
    }

    fn written(form: &mut Form, unit: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        write(&mut out, form, unit).map(|()| out)
    }

    #[test]
    fn units_with_lengths_get_start_codes_after_the_parameter_sets() {
        let caps = |data: &str| format!("video/x-h264, stream-format=avc, codec_data=(buffer){data}");
        let data = "0164001effe1000367420001000168";
        let (mut form, sets) = begun(&caps(data)).unwrap();
        assert_eq!(sets, [0, 0, 0, 1, 0x67, 0x42, 0, 0, 0, 0, 1, 0x68]);
        let unit = [0, 0, 0, 2, 9, 16, 0, 0, 0, 1, 0x65];
        assert_eq!(written(&mut form, &unit).unwrap(), [0, 0, 0, 1, 9, 16, 0, 0, 0, 1, 0x65]);
        for cut in [1, 5, 10] {
            assert!(written(&mut form, &unit[..cut]).is_err(), "{cut}");
        }
        for length in (2..data.len()).step_by(2) {
            assert!(begun(&caps(&data[..length])).is_err(), "{length}");
        }
    }

    #[test]
    fn units_of_aac_get_headers_with_their_length() {
        // AAC-LC, 48,000 Hz, two channels.
        let (mut form, before) =
            begun("audio/mpeg, mpegversion=4, stream-format=raw, codec_data=(buffer)1190").unwrap();
        assert!(before.is_empty());
        assert_eq!(written(&mut form, &[5; 100]).unwrap()[..7], [0xff, 0xf1, 0x4c, 0x80, 0x0d, 0x7f, 0xfc]);
        assert!(written(&mut form, &[5; 8192]).is_err());
        assert!(begun("audio/mpeg, mpegversion=4, stream-format=raw, codec_data=(buffer)ffff").is_err());
    }

    #[test]
    fn pictures_of_vp8_are_numbered() {
        let (mut form, header) = begun("video/x-vp8, width=640, height=360, framerate=25/1").unwrap();
        assert_eq!((&header[..16], header.len()), (&b"DKIF\0\0\x20\0VP80\x80\x02\x68\x01"[..], 32));
        written(&mut form, &[1]).unwrap();
        assert_eq!(written(&mut form, &[7; 3]).unwrap(), [3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7]);
    }
}
