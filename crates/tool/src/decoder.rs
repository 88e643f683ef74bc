//! Pictures of frames that only GStreamer can read: encoded ones, and raw formats that shm2-media does not convert.

use super::Failure;
use gst::prelude::*;
use shm2::{Access, Consumer, Frame, ReceiveError};
use shm2_media::{RgbPicture, is_delta};
use std::time::{Duration, Instant};

/// Time between two looks for a picture while no frame comes.
const STEP: Duration = Duration::from_millis(20);
/// Time without a frame after which the decoder is to give what it has.
const IDLE: Duration = Duration::from_millis(500);

/// The next picture of the region's stream. A keyframe is requested, and frames are decoded up to the first picture.
///
/// # Errors
/// When there is no picture within `timeout`, and what GStreamer says.
pub fn next_picture(region: &str, timeout: Duration) -> Result<RgbPicture, Failure> {
    let mut consumer = Consumer::builder(region)?.access(Access::Snapshot).attach(Some(timeout))?;
    consumer.request_keyframe();
    let end = Instant::now() + timeout;
    let mut decoder = None;
    loop {
        if decoder.is_none() && Instant::now() >= end {
            break;
        }
        let frame = match consumer.next(Some(end.saturating_duration_since(Instant::now()).min(IDLE))) {
            Ok(frame) => frame,
            Err(ReceiveError::TimedOut) if decoder.is_none() => continue,
            Err(ReceiveError::TimedOut | ReceiveError::EndOfStream) => break,
            Err(error) => return Err(error.into()),
        };
        if decoder.is_none() && is_delta(frame.info().flags) {
            consumer.request_keyframe();
            continue;
        }
        let decoder = match &decoder {
            Some(decoder) => decoder,
            None => decoder.insert(Decoder::new(frame.caps().map_or(b"", |(_, text)| text))?),
        };
        decoder.push(&frame)?;
        if let Some(picture) = decoder.picture(Duration::ZERO)? {
            return Ok(picture);
        }
    }
    let decoder = decoder.ok_or_else(|| format!("no keyframe came within {timeout:?}: try a longer --timeout"))?;
    decoder.finish();
    let picture = decoder.picture(timeout)?;
    picture.ok_or_else(|| "the frames that came are no whole picture: try a longer --timeout".into())
}

/// A decoder that is fed with the frames of a stream until it gives a picture.
struct Decoder {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Decoder {
    /// Begins with the caps of the stream.
    ///
    /// # Errors
    /// When GStreamer cannot be used, or does not know the caps.
    fn new(caps: &[u8]) -> Result<Self, Failure> {
        gst::init()?;
        let text = String::from_utf8_lossy(caps);
        let caps: gst::Caps = text.parse().map_err(|_| format!("GStreamer does not know the caps {text}"))?;
        if !caps.is_fixed() {
            return Err(format!("the caps do not describe one stream: {text}").into());
        }
        let line = "appsrc name=in format=time ! decodebin ! videoconvert ! video/x-raw,format=RGB ! \
                    appsink name=out sync=false max-buffers=1";
        let pipeline = gst::parse::launch(line)?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "GStreamer made no pipeline")?;
        let part = |name| pipeline.by_name(name).ok_or("GStreamer made no such element");
        let source = part("in")?.downcast::<gst_app::AppSrc>().map_err(|_| "appsrc is another element")?;
        let sink = part("out")?.downcast::<gst_app::AppSink>().map_err(|_| "appsink is another element")?;
        source.set_caps(Some(&caps));
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self { pipeline, source, sink })
    }

    /// Decodes one frame more.
    ///
    /// # Errors
    /// What GStreamer says when it cannot decode the stream.
    fn push(&self, frame: &Frame) -> Result<(), Failure> {
        let mut buffer = gst::Buffer::from_slice(frame.to_vec());
        let (info, writable) = (frame.info(), buffer.make_mut());
        writable.set_pts(info.pts.map(gst::ClockTime::from_nseconds));
        self.source.push_buffer(buffer).map_err(|_| self.failure())?;
        Ok(())
    }

    /// Tells the decoder that no frame follows.
    fn finish(&self) {
        let _ = self.source.end_of_stream();
    }

    /// The first picture; `None` when there is none within `time`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    fn picture(&self, time: Duration) -> Result<Option<RgbPicture>, Failure> {
        let end = Instant::now() + time;
        loop {
            let step = gst::ClockTime::try_from(STEP).ok();
            if let Some(sample) = self.sink.try_pull_sample(step) {
                return picture_of(&sample).map(Some);
            }
            if let Some(error) = self.error() {
                return Err(error);
            }
            if Instant::now() >= end || self.sink.is_eos() {
                return Ok(None);
            }
        }
    }

    fn failure(&self) -> Failure {
        self.error().unwrap_or_else(|| "GStreamer takes no more frames".into())
    }

    fn error(&self) -> Option<Failure> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        let gst::MessageView::Error(error) = message.view() else { return None };
        Some(format!("GStreamer cannot decode the stream: {}", error.error()).into())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Copies the rows without their padding.
fn picture_of(sample: &gst::Sample) -> Result<RgbPicture, Failure> {
    let info = gst_video::VideoInfo::from_caps(sample.caps().ok_or("a picture without caps")?)?;
    let buffer = sample.buffer().ok_or("a picture without bytes")?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)?;
    let stride = usize::try_from(info.stride()[0])?;
    let row = 3 * info.width() as usize;
    let rows = frame.plane_data(0)?.chunks(stride).take(info.height() as usize);
    let bytes = rows.flat_map(|line| line.get(..row).unwrap_or_default()).copied().collect();
    Ok(RgbPicture { width: info.width(), height: info.height(), bytes })
}
