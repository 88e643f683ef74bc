//! Encoded live streams, for the tests that run real encoders and muxers.

use crate::common::{Pipeline, have};
use gst::prelude::*;

pub const VIDEO: &str = "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 !";
pub const AUDIO: &str =
    "audiotestsrc is-live=true samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2 ! audioconvert !";

/// Whether all elements of a part of a pipeline exist on this machine.
pub fn exist(part: &str) -> bool {
    let elements = part.split(" ! ").filter_map(|element| element.split_whitespace().next());
    let elements: Vec<_> = elements.filter(|name| !name.contains('/')).collect();
    have(&elements)
}

/// The first error on the bus, without a wait.
pub fn error(pipeline: &Pipeline) -> Option<String> {
    let message = pipeline.0.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    let gst::MessageView::Error(error) = message.view() else { return None };
    Some(format!("{}: {:?}", error.error(), error.debug()))
}
