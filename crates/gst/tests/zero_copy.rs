//! That frames really pass without a copy, counted by both elements, also when the arena is small and full.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Name, Pipeline, have};
use gst::prelude::*;

/// Runs a producer pipeline to its end; `SINK` stands for the sink. Returns zero-copied and copied frames.
fn counts(pipeline: &str, sink: &str) -> (u64, u64) {
    let name = Name::new();
    let sink = format!("shm2sink name=sink sync=false shm-path={} {sink}", &*name);
    let pipeline = Pipeline::playing(&pipeline.replace("SINK", &sink));
    pipeline.run_to_end();
    let dropped = pipeline.stat("sink", "dropped-newest");
    assert_eq!(dropped, 0, "dropped");
    (pipeline.stat("sink", "zero-copied"), pipeline.stat("sink", "copied"))
}

const SMALL: &str = "video/x-raw,format=I420,width=320,height=240";

#[test]
fn videotestsrc_writes_into_the_arena() {
    assert_eq!(counts(&format!("videotestsrc num-buffers=30 ! {SMALL} ! SINK"), ""), (30, 0));
}

#[test]
fn ten_thousand_frames_through_a_small_arena() {
    // 13 frames fit.
    let sink = "shm-size=6291456";
    assert_eq!(counts(&format!("videotestsrc num-buffers=10000 ! {SMALL} ! SINK"), sink), (10_000, 0));
}

#[test]
fn converters_and_filters_write_into_the_arena() {
    for filter in ["videoconvert", "videocrop top=8", "videobalance brightness=0.2"] {
        let source = "videotestsrc num-buffers=30 ! video/x-raw,format=RGB,width=320,height=240";
        let output = if filter == "videoconvert" { "video/x-raw,format=NV12 !" } else { "" };
        let (zero, copied) = counts(&format!("{source} ! {filter} ! {output} SINK"), "");
        assert_eq!((zero, copied), (30, 0), "{filter}");
    }
}

#[test]
fn a_decoder_writes_into_the_arena() {
    if !have(&["openh264enc", "h264parse", "openh264dec"]) {
        return;
    }
    for sink in ["", "shm-size=6291456"] {
        let pipeline = format!("videotestsrc num-buffers=300 ! {SMALL} ! openh264enc ! h264parse ! openh264dec ! SINK");
        assert_eq!(counts(&pipeline, sink), (300, 0), "{sink}");
    }
}

#[test]
fn decoded_audio_writes_into_the_arena() {
    if !have(&["opusenc", "opusdec"]) {
        return;
    }
    let pipeline = "audiotestsrc num-buffers=500 ! opusenc ! opusdec ! SINK";
    for sink in ["", "shm-size=4849664"] {
        let (zero, copied) = counts(pipeline, sink);
        assert!(zero >= 500, "{zero}");
        assert_eq!(copied, 0);
    }
}

#[test]
fn a_consumer_reads_in_place_and_a_holding_one_does_not_end_zero_copy() {
    let name = Name::new();
    let path = &*name;
    let source =
        "videotestsrc is-live=true num-buffers=240 ! video/x-raw,format=I420,width=320,height=240,framerate=120/1";
    let producer = Pipeline::playing(&format!("{source} ! shm2sink name=sink shm-size=6291456 shm-path={path}"));
    let reader = Pipeline::playing(&format!("shm2src name=src shm-path={path} ! fakesink sync=false"));
    // Holds some frames for good.
    let mut holder = shm2::Consumer::new(path).unwrap();
    let held: Vec<_> = (0..4).map(|_| holder.next(Some(common::LIMIT)).unwrap()).collect();
    producer.run_to_end();
    reader.run_to_end();
    assert_eq!(producer.stat("sink", "copied"), 0);
    assert_eq!(producer.stat("sink", "zero-copied") + producer.stat("sink", "dropped-newest"), 240);
    assert_eq!(reader.stat("src", "copied"), 0);
    assert!(reader.stat("src", "zero-copied") > 200);
    drop(held);
}

#[test]
fn duplicates_of_one_frame_are_published_without_a_copy() {
    let pipeline =
        format!("videotestsrc num-buffers=50 ! {SMALL},framerate=10/1 ! videorate ! video/x-raw,framerate=40/1 ! SINK");
    let (zero, copied) = counts(&pipeline, "");
    assert!(zero >= 190 && copied == 0, "{zero} {copied}");
}

#[test]
fn an_exhausted_arena_gives_ordinary_memory_and_comes_back() {
    let name = Name::new();
    let source = format!("videotestsrc num-buffers=400 ! {SMALL}");
    let producer =
        Pipeline::new(&format!("{source} ! shm2sink name=sink sync=false shm-size=5300000 shm-path={}", &*name));
    // Four frames fit; a consumer that holds three and then lets go.
    let mut consumer = shm2::Consumer::new(&name).unwrap();
    let held = std::sync::Mutex::new(Vec::new());
    producer.0.set_state(gst::State::Playing).unwrap();
    for _ in 0..3 {
        if let Ok(frame) = consumer.next(Some(std::time::Duration::from_secs(5))) {
            held.lock().unwrap().push(frame);
        }
    }
    producer.run_to_end();
    let (zero, copied, dropped) = (
        producer.stat("sink", "zero-copied"),
        producer.stat("sink", "copied"),
        producer.stat("sink", "dropped-newest"),
    );
    println!("zero-copied {zero}, copied {copied}, dropped {dropped}");
    assert_eq!(zero + copied + dropped, 400);
    drop(held);
    assert!(zero > 0);
}
