//! Metas of broadcast video. Words are u32 unless stated otherwise.
//!
//! Kind 8, closed captions: type, then the bytes. Kind 9, a time code: rate as numerator and denominator, flags, hours,
//! minutes, seconds, frames, field count, then the last daily jam as text in ISO 8601 or no text. Kind 10, the active
//! format: field, standard, value. Kind 11, bars: field, 1 for letterbox or 0 for pillarbox, first and second size.
//! Values that this GStreamer does not know are skipped.

use crate::caps::plain_text;
use crate::items::Reader;
use gst::glib::{self, translate::IntoGlib};
use gst_video::{
    ValidVideoTimeCode, VideoAFDMeta, VideoAFDSpec, VideoAFDValue, VideoBarMeta, VideoCaptionMeta, VideoCaptionType,
    VideoTimeCodeFlags, VideoTimeCodeMeta,
};

const CAPTIONS: [VideoCaptionType; 4] = [
    VideoCaptionType::Cea608Raw,
    VideoCaptionType::Cea608S3341a,
    VideoCaptionType::Cea708Raw,
    VideoCaptionType::Cea708Cdp,
];
const STANDARDS: [VideoAFDSpec; 3] = [VideoAFDSpec::DvbEtsi, VideoAFDSpec::AtscA53, VideoAFDSpec::SmpteSt20161];
const FORMATS: [VideoAFDValue; 11] = [
    VideoAFDValue::Unavailable,
    VideoAFDValue::_169TopAligned,
    VideoAFDValue::_149TopAligned,
    VideoAFDValue::GreaterThan169,
    VideoAFDValue::_43Full169Full,
    VideoAFDValue::_43Full43Pillar,
    VideoAFDValue::_169Letter169Full,
    VideoAFDValue::_149Letter149Pillar,
    VideoAFDValue::_43Full149Center,
    VideoAFDValue::_169Letter149Center,
    VideoAFDValue::_169Letter43Center,
];

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The value whose number GStreamer gives as `code`.
fn known<T: Copy + IntoGlib<GlibType = i32>>(all: &[T], code: u32) -> Option<T> {
    all.iter().copied().find(|value| i32::try_from(code) == Ok(value.into_glib()))
}

pub(super) fn caption(meta: &VideoCaptionMeta) -> Vec<u8> {
    let mut bytes = words(&[meta.caption_type().into_glib() as u32]);
    bytes.extend(meta.data());
    bytes
}

pub(super) fn add_caption(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let mut reader = Reader(bytes);
    let kind = known(&CAPTIONS, reader.u32()?);
    if let Some(kind) = kind.filter(|_| !reader.is_empty()) {
        VideoCaptionMeta::add(buffer, kind, reader.0);
    }
    Some(())
}

pub(super) fn time_code(meta: &VideoTimeCodeMeta) -> Vec<u8> {
    let tc = meta.tc();
    let rate = [tc.fps().numer() as u32, tc.fps().denom() as u32, tc.flags().bits()];
    let time = [tc.hours(), tc.minutes(), tc.seconds(), tc.frames(), tc.field_count()];
    let mut bytes = words(&[&rate[..], &time[..]].concat());
    let jam = tc.latest_daily_jam().and_then(|jam| jam.format("%Y-%m-%dT%H:%M:%S.%f%:z").ok());
    bytes.extend(jam.iter().flat_map(|text| text.as_bytes()));
    bytes
}

pub(super) fn add_time_code(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let mut reader = Reader(bytes);
    let mut words = [0; 8];
    for word in &mut words {
        *word = reader.u32()?;
    }
    let jam = plain_text(reader.0)?;
    if let Some(tc) = valid_time_code(words, jam) {
        VideoTimeCodeMeta::add(buffer, &tc);
    }
    Some(())
}

fn valid_time_code(words: [u32; 8], jam: &str) -> Option<ValidVideoTimeCode> {
    let [numerator, denominator, flags, hours, minutes, seconds, frames, fields] = words;
    let positive = |word| i32::try_from(word).ok().filter(|word| *word > 0);
    let rate = gst::Fraction::new(positive(numerator)?, positive(denominator)?);
    let jam = match jam {
        "" => None,
        text => Some(glib::DateTime::from_iso8601(text, None).ok()?),
    };
    let flags = VideoTimeCodeFlags::from_bits_truncate(flags);
    ValidVideoTimeCode::new(rate, jam.as_ref(), flags, hours, minutes, seconds, frames, fields).ok()
}

/// A field's number, if GStreamer accepts it.
fn field(word: u32) -> Option<u8> {
    u8::try_from(word).ok().filter(|field| *field <= 1)
}

pub(super) fn active_format(meta: &VideoAFDMeta) -> Vec<u8> {
    words(&[meta.field().into(), meta.spec().into_glib() as u32, meta.afd().into_glib() as u32])
}

pub(super) fn add_active_format(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let mut reader = Reader(bytes);
    let field = field(reader.u32()?);
    let (standard, format) = (known(&STANDARDS, reader.u32()?), known(&FORMATS, reader.u32()?));
    if let (Some(field), Some(standard), Some(format)) = (field, standard, format)
        // DVB defines no such value.
        && (standard, format) != (VideoAFDSpec::DvbEtsi, VideoAFDValue::Unavailable)
    {
        VideoAFDMeta::add(buffer, field, standard, format);
    }
    Some(())
}

pub(super) fn bars(meta: &VideoBarMeta) -> Vec<u8> {
    words(&[meta.field().into(), meta.is_letterbox().into(), meta.bar_data1(), meta.bar_data2()])
}

pub(super) fn add_bars(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let mut reader = Reader(bytes);
    let field = field(reader.u32()?);
    let (is_letterbox, first, second) = (reader.u32()? != 0, reader.u32()?, reader.u32()?);
    if let Some(field) = field {
        VideoBarMeta::add(buffer, field, is_letterbox, first, second);
    }
    Some(())
}
