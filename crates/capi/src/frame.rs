//! Received frames.

#![expect(unsafe_code, reason = "exports names of C")]

use crate::boundary::{Buffer, Handle, Outcome, Place, call, known, value};
use crate::fork;
use crate::status::{Failure, Status};
use crate::stream::{Stream, described};
use shm2_media::Media;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, OnceLock};

/// No time, no position.
pub(crate) const NONE: u64 = u64::MAX;
/// No decoding time.
pub(crate) const NO_DTS: i64 = i64::MIN;

/// `shm2_frame`.
pub struct Frame {
    fork_depth: u32,
    pub(crate) frame: shm2::Frame,
    pub(crate) stream: Option<Arc<Stream>>,
    /// The description of the stream with the layout of this frame.
    media: OnceLock<Outcome<Media>>,
}

impl Handle for Frame {
    const NAME: &'static str = "frame";

    fn fork_depth(&self) -> u32 {
        self.fork_depth
    }
}

impl Frame {
    pub(crate) fn new(frame: shm2::Frame, stream: Option<Arc<Stream>>) -> Self {
        Self { fork_depth: fork::depth(), frame, stream, media: OnceLock::new() }
    }

    /// What the bytes of this frame mean.
    pub(crate) fn media(&self) -> Outcome<&Media> {
        let describe = || {
            let stream = described(self.stream.as_ref())?;
            Ok(stream.media.for_frame(self.frame.meta(), self.frame.len() as u64)?)
        };
        self.media.get_or_init(describe).as_ref().map_err(Clone::clone)
    }

    /// The address of byte `offset`.
    pub(crate) fn address(&self, offset: u64) -> *const u8 {
        // Only an address: who reads from it has checked that it is inside the frame.
        self.frame.as_ptr().wrapping_add(offset as usize)
    }

    pub(crate) fn truncated() -> Failure {
        Failure::new(
            Status::Truncated,
            "the file of the region was truncated while the frame was in use: bytes are lost",
        )
    }
}

fn get<T>(frame: Option<&Frame>, neutral: T, read: impl FnOnce(&Frame) -> T) -> T {
    value(neutral, || Ok(read(known(frame)?)))
}

/// Bytes with their size, `NULL` for none.
fn bytes(frame: Option<&Frame>, size: Place<'_, usize>, read: impl FnOnce(&Frame) -> &[u8]) -> *const c_void {
    let bytes = get(frame, (std::ptr::null(), 0), |frame| {
        let bytes = read(frame);
        let address = if bytes.is_empty() { std::ptr::null() } else { bytes.as_ptr() };
        (address, bytes.len())
    });
    if let Some(size) = size {
        size.write(bytes.1);
    }
    bytes.0.cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_free(frame: Option<Box<Frame>>) {
    value((), || {
        drop(frame);
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_data(frame: Option<&Frame>) -> *const c_void {
    get(frame, std::ptr::null(), |frame| frame.frame.as_ptr().cast())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_size(frame: Option<&Frame>) -> usize {
    get(frame, 0, |frame| frame.frame.len())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_read(frame: Option<&Frame>, offset: usize, mut to: Buffer, size: usize) -> Status {
    call(|| {
        let frame = known(frame)?;
        let to = to.slice(size, "to")?;
        let length = frame.frame.len();
        if offset.checked_add(size).is_none_or(|end| end > length) {
            let text = format!("{size} bytes from {offset} are outside a frame of {length} bytes");
            return Err(Failure::invalid(text));
        }
        if frame.frame.read_at(offset, to) { Ok(()) } else { Err(Frame::truncated()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_check(frame: Option<&Frame>) -> Status {
    call(|| if known(frame)?.frame.read_at(0, &mut []) { Ok(()) } else { Err(Frame::truncated()) })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_sequence(frame: Option<&Frame>) -> u64 {
    get(frame, 0, |frame| frame.frame.sequence())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_missed(frame: Option<&Frame>) -> u64 {
    get(frame, 0, |frame| frame.frame.missed())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_is_discontinuity(frame: Option<&Frame>) -> bool {
    get(frame, false, |frame| frame.frame.is_discontinuity())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_is_event(frame: Option<&Frame>) -> bool {
    get(frame, false, |frame| frame.frame.is_event())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_is_delta(frame: Option<&Frame>) -> bool {
    get(frame, false, |frame| shm2_media::is_delta(frame.frame.info().flags))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_is_leased(frame: Option<&Frame>) -> bool {
    get(frame, false, |frame| frame.frame.is_leased())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_pts(frame: Option<&Frame>) -> u64 {
    get(frame, NONE, |frame| frame.frame.info().pts.unwrap_or(NONE))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_dts(frame: Option<&Frame>) -> i64 {
    get(frame, NO_DTS, |frame| frame.frame.info().dts.unwrap_or(NO_DTS))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_duration(frame: Option<&Frame>) -> u64 {
    get(frame, NONE, |frame| frame.frame.info().duration.unwrap_or(NONE))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_time(frame: Option<&Frame>) -> u64 {
    get(frame, NONE, |frame| frame.frame.info().time.unwrap_or(NONE))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_published(frame: Option<&Frame>) -> u64 {
    get(frame, NONE, |frame| frame.frame.published_ns().unwrap_or(NONE))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_offset(frame: Option<&Frame>) -> u64 {
    get(frame, NONE, |frame| frame.frame.info().offset.unwrap_or(NONE))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_offset_end(frame: Option<&Frame>) -> u64 {
    get(frame, NONE, |frame| frame.frame.info().offset_end.unwrap_or(NONE))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_latency(frame: Option<&Frame>) -> u64 {
    get(frame, 0, |frame| frame.frame.info().latency)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_flags(frame: Option<&Frame>) -> u32 {
    get(frame, 0, |frame| frame.frame.info().flags)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_caps(frame: Option<&Frame>, size: Place<'_, usize>) -> *const c_char {
    let (text, length) = get(frame, (std::ptr::null(), 0), |frame| match &frame.stream {
        Some(stream) => (stream.text_pointer(), stream.caps().len()),
        None => (std::ptr::null(), 0),
    });
    if let Some(size) = size {
        size.write(length);
    }
    text.cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_caps_number(frame: Option<&Frame>) -> u32 {
    get(frame, 0, |frame| frame.stream.as_ref().map_or(0, |stream| stream.number))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_stream_blob(frame: Option<&Frame>, size: Place<'_, usize>) -> *const c_void {
    bytes(frame, size, |frame| frame.frame.stream_blob())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_frame_meta(frame: Option<&Frame>, size: Place<'_, usize>) -> *const c_void {
    bytes(frame, size, |frame| frame.frame.meta())
}
