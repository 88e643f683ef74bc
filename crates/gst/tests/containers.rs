//! Containers that a consumer begins to read in mid-stream: it needs the head of the stream first.

mod common;
#[path = "common/streams.rs"]
mod streams;

use common::Pipeline;
use shm2_testing::{TempRegion, until};
use streams::{AUDIO, VIDEO, error, exist};

const OGG: &str = "oggmux max-delay=0 max-page-delay=0";
const VP8: &str = "vp8enc deadline=1 keyframe-max-dist=10";
const H264: &str = "x264enc tune=zerolatency key-int-max=10";

/// Source, encoder and muxer, and what decodes them.
fn containers() -> Vec<(&'static str, String, &'static str)> {
    vec![
        (VIDEO, format!("{VP8} ! webmmux streamable=true"), "decodebin"),
        (VIDEO, format!("{VP8} ! matroskamux streamable=true"), "decodebin"),
        (AUDIO, "opusenc ! matroskamux streamable=true".into(), "decodebin"),
        (VIDEO, format!("theoraenc keyframe-force=8 ! {OGG}"), "decodebin"),
        (AUDIO, format!("opusenc ! {OGG}"), "decodebin"),
        (AUDIO, format!("vorbisenc ! {OGG}"), "decodebin"),
        (AUDIO, format!("flacenc blocksize=1152 ! {OGG}"), "decodebin"),
        (VIDEO, format!("{H264} ! mpegtsmux"), "decodebin"),
        // Its demultiplexer waits six seconds for a stream of sound before decodebin gives a pad.
        (VIDEO, format!("{H264} ! flvmux streamable=true"), "flvdemux ! h264parse ! avdec_h264"),
    ]
}

#[test]
fn a_late_consumer_decodes_a_container() {
    for_each_container(|producer, stream, consumer| {
        let producer = Pipeline::playing(producer);
        until(stream, || producer.stat("sink", "published") >= 30);
        (producer, Pipeline::playing(consumer))
    });
}

#[test]
fn a_consumer_that_waits_for_its_producer_decodes_a_container() {
    for_each_container(|producer, _, consumer| {
        let consumer = Pipeline::playing(consumer);
        (Pipeline::playing(producer), consumer)
    });
}

/// Starts both pipelines of each container, and waits for decoded buffers.
fn for_each_container(start: impl Fn(&str, &str, &str) -> (Pipeline, Pipeline) + Sync) {
    common::init();
    // The demultiplexer of Ogg causes critical warnings of its own, in a pipeline without these elements, too.
    gst::glib::log_set_always_fatal(gst::glib::LogLevels::LEVEL_ERROR);
    std::thread::scope(|scope| {
        for (source, stream, decoder) in containers() {
            let start = &start;
            if exist(&stream) && exist(decoder) {
                scope.spawn(move || is_decoded(source, &stream, decoder, start));
            }
        }
    });
}

fn is_decoded(source: &str, stream: &str, decoder: &str, start: impl Fn(&str, &str, &str) -> (Pipeline, Pipeline)) {
    let name = TempRegion::new();
    let sink = format!("shm2sink name=sink async=false shm-size=8388608 shm-path={}", &*name);
    let out = "fakesink name=out async=false sync=false";
    let consumer = format!("shm2src shm-path={} ! {decoder} ! {out}", &*name);
    let (_producer, consumer) = start(&format!("{source} {stream} ! {sink}"), stream, &consumer);
    let decoded = common::bytes(&consumer.element("out"), "sink");
    until(stream, || {
        assert_eq!(error(&consumer), None, "{stream}");
        decoded.lock().expect("no panic").len() >= 20
    });
}
