//! What the bytes of a frame mean: descriptions of video, audio and encoded frames, planes and channels.

#![expect(unsafe_code, reason = "exports names of C")]

use crate::boundary::{Buffer, Outcome, Structure, call, known, value};
use crate::frame::Frame;
use crate::status::{Failure, Status};
use crate::stream::{Described, Texts, described};
use shm2_media::{Audio, AudioLayout, ByteOrder, Media, SampleKind, Video};
use std::ffi::{CString, c_char, c_void};
use std::ptr::null;

/// `shm2_media_kind`.
const NO_MEDIA: u32 = 0;
const VIDEO: u32 = 1;
const AUDIO: u32 = 2;
const ENCODED: u32 = 3;
const TEXT: u32 = 4;
const OTHER: u32 = 5;

/// `shm2_video`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VideoForC {
    format: *const c_char,
    width: u32,
    height: u32,
    visible_x: u32,
    visible_y: u32,
    visible_width: u32,
    visible_height: u32,
    stored_width: u32,
    stored_height: u32,
    rate_numerator: i32,
    rate_denominator: i32,
    aspect_numerator: i32,
    aspect_denominator: i32,
    planes: u32,
    color_range: u32,
    color_matrix: u32,
    color_transfer: u32,
    color_primaries: u32,
    colorimetry: *const c_char,
    interlace_mode: *const c_char,
    frame_bytes: u64,
}

/// `shm2_plane`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlaneForC {
    data: *const u8,
    offset: u64,
    stride: u64,
    row_bytes: u64,
    rows: u32,
    element_bytes: u32,
    element_pixels: u32,
    tile_columns: u32,
    tile_rows: u32,
    tile_row_bytes: u32,
    tile_height: u32,
    tile_bytes: u32,
}

/// `shm2_audio`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AudioForC {
    format: *const c_char,
    rate: u32,
    channels: u32,
    is_planar: u32,
    sample_kind: u32,
    sample_bytes: u32,
    sample_bits: u32,
    is_big_endian: u32,
    has_channel_mask: u32,
    channel_mask: u64,
    samples: u64,
}

/// `shm2_channel`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ChannelForC {
    data: *const u8,
    step: u64,
    samples: u64,
}

/// `shm2_encoded`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EncodedForC {
    codec: *const c_char,
    profile: *const c_char,
    level: *const c_char,
    stream_format: *const c_char,
    alignment: *const c_char,
    width: u32,
    height: u32,
    rate_numerator: i32,
    rate_denominator: i32,
    rate: u32,
    channels: u32,
    codec_data: *const c_void,
    codec_data_size: usize,
}

/// Plane `index` of a picture whose first byte is at the address that `address` gives for offset 0.
pub(crate) fn plane(video: &Video, index: u32, address: impl Fn(u64) -> *const u8) -> Outcome<PlaneForC> {
    let planes = video.planes();
    let plane = planes.get(index as usize).ok_or_else(|| {
        let (format, count) = (video.format.name(), planes.len());
        Failure::invalid(format!("plane {index} is not there: {format} has {count}, counted from 0"))
    })?;
    let tiles = plane.tiles;
    let of_tiles = |value: fn(&shm2_media::Tiles) -> u32| tiles.as_ref().map_or(0, value);
    Ok(PlaneForC {
        data: address(plane.offset),
        offset: plane.offset,
        stride: plane.stride,
        row_bytes: plane.row_bytes,
        rows: plane.rows,
        element_bytes: plane.element_bytes,
        element_pixels: plane.element_pixels,
        tile_columns: of_tiles(|tiles| tiles.columns),
        tile_rows: of_tiles(|tiles| tiles.rows),
        tile_row_bytes: of_tiles(|tiles| tiles.row_bytes),
        tile_height: of_tiles(|tiles| tiles.height),
        tile_bytes: of_tiles(|tiles| tiles.bytes),
    })
}

fn stream(frame: &Frame) -> Outcome<&Described> {
    described(frame.stream.as_ref())
}

fn video(frame: &Frame) -> Outcome<&Video> {
    match frame.media()? {
        Media::Video(video) => Ok(video),
        _ => Err(stream(frame)?.other_than("raw video")),
    }
}

fn audio(frame: &Frame) -> Outcome<&Audio> {
    match frame.media()? {
        Media::Audio(audio) => Ok(audio),
        _ => Err(stream(frame)?.other_than("raw audio")),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_media_kind(frame: Option<&Frame>) -> u32 {
    value(NO_MEDIA, || {
        let frame = known(frame)?;
        // Caps that are missing or cannot be described are no error here.
        Ok(match stream(frame).map(|stream| &stream.media) {
            Err(_) => NO_MEDIA,
            Ok(Media::Video(_)) => VIDEO,
            Ok(Media::Audio(_)) => AUDIO,
            Ok(Media::Encoded(_)) => ENCODED,
            Ok(Media::Text(_)) => TEXT,
            Ok(_) => OTHER,
        })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_media_type(frame: Option<&Frame>) -> *const c_char {
    value(null(), || Ok(stream(known(frame)?)?.media_type.as_ptr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_video(frame: Option<&Frame>, mut to: Structure<VideoForC>, size: usize) -> Status {
    call(|| {
        let frame = known(frame)?;
        to.check(size, "video")?;
        let video = video(frame)?;
        let Texts::Video { format, colorimetry, interlace_mode } = &stream(frame)?.texts else {
            return Err(stream(frame)?.other_than("raw video"));
        };
        let ((stored_width, stored_height), visible) = (video.stored_size(), video.visible());
        let [color_range, color_matrix, color_transfer, color_primaries] = video.colorimetry.numbers();
        let content = VideoForC {
            format: format.as_ptr(),
            width: video.width,
            height: video.height,
            visible_x: visible.x,
            visible_y: visible.y,
            visible_width: visible.width,
            visible_height: visible.height,
            stored_width,
            stored_height,
            rate_numerator: video.frame_rate.numerator(),
            rate_denominator: video.frame_rate.denominator(),
            aspect_numerator: video.pixel_aspect_ratio.numerator(),
            aspect_denominator: video.pixel_aspect_ratio.denominator(),
            planes: video.planes().len() as u32,
            color_range,
            color_matrix,
            color_transfer,
            color_primaries,
            colorimetry: colorimetry.as_ptr(),
            interlace_mode: interlace_mode.as_ptr(),
            frame_bytes: video.size(),
        };
        to.fill(size, &content, "video")
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_plane(
    frame: Option<&Frame>,
    index: u32,
    mut to: Structure<PlaneForC>,
    size: usize,
) -> Status {
    call(|| {
        let frame = known(frame)?;
        to.check(size, "plane")?;
        to.fill(size, &plane(video(frame)?, index, |offset| frame.address(offset))?, "plane")
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_to_rgb(frame: Option<&Frame>, mut to: Buffer, stride: usize, size: usize) -> Status {
    call(|| {
        let frame = known(frame)?;
        let to = to.slice(size, "to")?;
        let video = video(frame)?;
        let (rows, row) = (video.visible().height as usize, 3 * video.visible().width as usize);
        let stride = if stride == 0 { row } else { stride };
        let needed = rows.saturating_sub(1).checked_mul(stride).and_then(|before| before.checked_add(row));
        if stride < row || needed.is_none_or(|needed| needed > size) {
            let text = format!("{size} bytes with a stride of {stride} do not hold {rows} rows of {row} bytes");
            return Err(Failure::invalid(text));
        }
        // The conversion takes a slice, so the bytes are copied first: a hostile producer could change them.
        let picture = video.to_rgb(&frame.frame.to_vec())?;
        for (to, from) in to.chunks_mut(stride).zip(picture.bytes.chunks_exact(row.max(1))) {
            to[..row].copy_from_slice(from);
        }
        if frame.frame.read_at(0, &mut []) { Ok(()) } else { Err(Frame::truncated()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_audio(frame: Option<&Frame>, mut to: Structure<AudioForC>, size: usize) -> Status {
    call(|| {
        let frame = known(frame)?;
        to.check(size, "audio")?;
        let audio = audio(frame)?;
        let Texts::Audio { format } = &stream(frame)?.texts else {
            return Err(stream(frame)?.other_than("raw audio"));
        };
        let content = AudioForC {
            format: format.as_ptr(),
            rate: audio.rate,
            channels: audio.channels,
            is_planar: u32::from(audio.layout == AudioLayout::Planar),
            sample_kind: match audio.format.kind() {
                SampleKind::Signed => 0,
                SampleKind::Unsigned => 1,
                SampleKind::Float => 2,
            },
            sample_bytes: audio.format.bytes(),
            sample_bits: audio.format.bits(),
            is_big_endian: u32::from(audio.format.byte_order() == Some(ByteOrder::Big)),
            has_channel_mask: u32::from(audio.channel_mask.is_some()),
            channel_mask: audio.channel_mask.unwrap_or(0),
            samples: audio.samples(frame.frame.len() as u64),
        };
        to.fill(size, &content, "audio")
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_channel(
    frame: Option<&Frame>,
    index: u32,
    mut to: Structure<ChannelForC>,
    size: usize,
) -> Status {
    call(|| {
        let frame = known(frame)?;
        to.check(size, "channel")?;
        let audio = audio(frame)?;
        let length = frame.frame.len();
        let range = audio.channel(index, length as u64).filter(|range| range.end <= length).ok_or_else(|| {
            let channels = audio.channels;
            Failure::invalid(format!("channel {index} is not there: the frame has {channels}, counted from 0"))
        })?;
        let sample = u64::from(audio.format.bytes());
        let (first, step) = match audio.layout {
            AudioLayout::Planar => (0, sample),
            AudioLayout::Interleaved => (sample * u64::from(index), audio.bytes_per_frame()),
        };
        let samples = audio.samples(length as u64);
        let content = ChannelForC { data: frame.address(range.start as u64 + first), step, samples };
        to.fill(size, &content, "channel")
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_encoded(frame: Option<&Frame>, mut to: Structure<EncodedForC>, size: usize) -> Status {
    call(|| {
        let frame = known(frame)?;
        to.check(size, "encoded")?;
        let stream = stream(frame)?;
        let (Media::Encoded(encoded), Texts::Encoded(texts)) = (&stream.media, &stream.texts) else {
            return Err(stream.other_than("encoded"));
        };
        let optional = |text: &Option<CString>| text.as_ref().map_or(null(), |text| text.as_ptr());
        let rate = encoded.frame_rate.map_or((0, 0), |rate| (rate.numerator(), rate.denominator()));
        let data = encoded.codec_data.as_deref().unwrap_or_default();
        let content = EncodedForC {
            codec: texts.codec.as_ptr(),
            profile: optional(&texts.profile),
            level: optional(&texts.level),
            stream_format: optional(&texts.stream_format),
            alignment: optional(&texts.alignment),
            width: encoded.width.unwrap_or(0),
            height: encoded.height.unwrap_or(0),
            rate_numerator: rate.0,
            rate_denominator: rate.1,
            rate: encoded.rate.unwrap_or(0),
            channels: encoded.channels.unwrap_or(0),
            codec_data: if data.is_empty() { null() } else { data.as_ptr().cast() },
            codec_data_size: data.len(),
        };
        to.fill(size, &content, "encoded")
    })
}
