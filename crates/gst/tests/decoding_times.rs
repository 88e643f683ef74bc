//! Decoding times of a stream with reordered frames: the first ones are before the stream's start.

mod common;

use common::{Pipeline, have, record};
use gst::prelude::*;
use shm2_testing::{TempPath, TempRegion};
use std::sync::{Arc, Mutex};

const ENCODED: &str = "videotestsrc num-buffers=40 ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 ! \
                       x264enc bframes=2 key-int-max=20 ! video/x-h264,profile=main ! h264parse";

/// Presentation and decoding time of each buffer, in nanoseconds of running time.
type Seen = Arc<Mutex<Vec<(i64, i64)>>>;

fn nanoseconds(time: gst::Signed<gst::ClockTime>) -> i64 {
    time.positive().map_or_else(|| -(time.negative().unwrap().nseconds() as i64), |time| time.nseconds() as i64)
}

fn observe(pipeline: &Pipeline, element: &str, pad: &str) -> Seen {
    let (seen, pad) = (Seen::default(), pipeline.element(element).static_pad(pad).unwrap());
    let list = seen.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let buffer = info.buffer().unwrap();
        let segment = pad.sticky_event::<gst::event::Segment>(0).unwrap();
        let segment = segment.segment().downcast_ref::<gst::ClockTime>().unwrap();
        let running = |time: Option<gst::ClockTime>| nanoseconds(segment.to_running_time_full(time.unwrap()).unwrap());
        list.lock().unwrap().push((running(buffer.pts()), running(buffer.dts())));
        gst::PadProbeReturn::Ok
    });
    seen
}

#[test]
fn decoding_times_before_the_start_arrive_and_grow() {
    if !have(&["x264enc", "h264parse"]) {
        return;
    }
    for source in ["live-only=false", "live-only=true"] {
        let name = TempRegion::new();
        let sink =
            format!("{ENCODED} ! shm2sink name=sink shm-path={} wait-for-connection=true full-policy=block", &*name);
        let producer = Pipeline::new(&sink);
        let consumer = Pipeline::new(&format!("shm2src name=src shm-path={} {source} ! fakesink sync=false", &*name));
        let (sent, received) = (observe(&producer, "sink", "sink"), observe(&consumer, "src", "src"));
        consumer.0.set_state(gst::State::Playing).unwrap();
        producer.0.set_state(gst::State::Playing).unwrap();
        consumer.run_to_end();
        let (sent, received) = (&*sent.lock().unwrap(), &*received.lock().unwrap());
        let lead = |times: &[(i64, i64)]| times.iter().map(|(pts, dts)| pts - dts).collect::<Vec<_>>();
        assert!(sent[0].1 < 0, "the encoder's first decoding time is before its first picture: {sent:?}");
        assert_eq!((sent.len(), lead(sent)), (40, lead(received)), "{source}: {received:?}");
        assert!(received.windows(2).all(|pair| pair[0].1 < pair[1].1), "{source}: {received:?}");
    }
}

/// Presentation times of a file's pictures, in the order in which they are stored.
fn pictures(file: &TempPath) -> Vec<i64> {
    let reader = Pipeline::new(&format!("filesrc location={} ! qtdemux ! fakesink name=out sync=false", file.text()));
    let seen = observe(&reader, "out", "sink");
    reader.0.set_state(gst::State::Playing).unwrap();
    reader.run_to_end();
    let seen = seen.lock().unwrap();
    seen.iter().map(|(pts, _)| *pts).collect()
}

#[test]
fn a_recording_behind_a_region_has_the_times_of_a_direct_one() {
    if !have(&["x264enc", "h264parse", "mp4mux", "qtdemux"]) {
        return;
    }
    // From a file: an encoder would make the keyframe that the sink requests for its new consumer.
    let file = record(&format!("{ENCODED} ! mp4mux ! filesink location=FILE"));
    let source = format!("filesrc location={} ! qtdemux ! h264parse", file.text());
    let direct = record(&format!("{source} ! mp4mux ! filesink location=FILE"));
    let name = TempRegion::new();
    let sink = format!("{source} ! shm2sink shm-path={} wait-for-connection=true full-policy=block sync=false", &*name);
    let producer = Pipeline::playing(&sink);
    let recorded = format!("shm2src shm-path={} live-only=false ! h264parse ! mp4mux ! filesink location=FILE", &*name);
    let recorded = record(&recorded);
    producer.stop();
    assert_eq!(pictures(&recorded), pictures(&direct));
}
