//! What consumers get when a producer ends: an end of stream, or nothing when the sink failed.

mod common;

use common::Pipeline;
use gst::prelude::*;
use shm2::{Consumer, ReceiveError};
use shm2_testing::{LIMIT, TempRegion, until};
use std::time::Duration;

const SMALL: &str = "video/x-raw,format=I420,width=64,height=48,framerate=100/1";
/// Caps that a region cannot carry.
const OTHER: &str = "video/x-raw(memory:Other),format=I420,width=64,height=48,framerate=100/1";

fn consumer(name: &str) -> Consumer {
    Consumer::builder(name).unwrap().start(shm2::Start::Oldest).events(true).build()
}

/// Whether the consumer gets an end of stream from a producer that has exited.
fn has_end(consumer: &mut Consumer) -> bool {
    loop {
        match consumer.next(Some(Duration::from_millis(300))) {
            Ok(_) => {}
            Err(ReceiveError::EndOfStream) => return true,
            Err(ReceiveError::TimedOut) => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Runs a pipeline that fails in its sink, and returns whether the consumer gets an end of stream. `NAME` stands for
/// the region.
fn fails(name: &str, description: &str, at: impl FnOnce(&Pipeline)) -> bool {
    let mut consumer = consumer(name);
    let pipeline = Pipeline::new(&description.replace("NAME", name));
    // Some fail in the change of the state.
    let _ = pipeline.0.set_state(gst::State::Playing);
    let first = consumer.next(Some(Duration::from_secs(1)));
    at(&pipeline);
    let error = pipeline.error();
    assert!(error.is_some(), "{description}: no error");
    pipeline.stop();
    matches!(first, Err(ReceiveError::EndOfStream)) || has_end(&mut consumer)
}

#[test]
fn an_error_of_the_sink_is_not_an_end_of_stream_for_consumers() {
    let large = "video/x-raw,format=I420,width=1920,height=1080,framerate=30/1";
    let source = format!("videotestsrc is-live=true ! capsfilter name=filter caps={SMALL} !");
    let sink = "shm2sink shm-size=5000000 shm-path=NAME";
    let cases = [
        ("a frame is too large", format!("videotestsrc is-live=true ! {large} ! {sink}"), None),
        ("a later frame is too large", format!("{source} {sink}"), Some(large)),
        ("a frame behind a queue is too large", format!("{source} queue ! {sink}"), Some(large)),
        ("memory of a device", format!("fakesrc ! capsfilter caps={OTHER} ! {sink}"), None),
        ("memory of a device later", format!("{source} {sink}"), Some(OTHER)),
        ("memory of a device behind a queue", format!("{source} queue ! {sink}"), Some(OTHER)),
    ];
    let ended: Vec<_> = std::thread::scope(|scope| {
        let threads = cases.map(|(case, text, caps)| {
            let run = move || {
                fails(&TempRegion::new(), &text, |pipeline| {
                    caps.into_iter().for_each(|caps| set_filter(pipeline, caps));
                })
            };
            (case, scope.spawn(run))
        });
        threads.into_iter().map(|(case, thread)| (case, thread.join().unwrap())).collect()
    });
    assert!(ended.iter().all(|(_, has_end)| !has_end), "an end of stream: {ended:#?}");
}

fn set_filter(pipeline: &Pipeline, caps: &str) {
    pipeline.element("filter").set_property("caps", caps.parse::<gst::Caps>().unwrap());
}

/// An application may stop what failed by an end of stream, as `gst-launch-1.0 -e` does.
#[test]
fn an_end_of_stream_is_published_again_when_the_stream_goes_on_after_a_failure() {
    common::init();
    let name = TempRegion::new();
    let mut consumer = consumer(&name);
    let pipeline = Pipeline(gst::Pipeline::new());
    let sink =
        gst::parse::launch(&format!("shm2sink sync=false async=false shm-size=5000000 shm-path={}", &*name)).unwrap();
    pipeline.0.add(&sink).unwrap();
    let pad = gst::Pad::builder(gst::PadDirection::Src).name("feed").build();
    pad.set_active(true).unwrap();
    pad.link(&sink.static_pad("sink").unwrap()).unwrap();
    pipeline.0.set_state(gst::State::Playing).unwrap();
    let begin = || {
        assert!(pad.push_event(gst::event::StreamStart::new("ends")));
        assert!(pad.push_event(gst::event::Caps::new(&gst::Caps::new_empty_simple("application/x-test"))));
        assert!(pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    };
    begin();
    assert_eq!(pad.push(gst::Buffer::with_size(6_000_000).unwrap()), Err(gst::FlowError::Error));
    assert!(pad.push_event(gst::event::Eos::new()));
    assert!(!has_end(&mut consumer));
    for flush in [true, false] {
        if flush {
            assert!(pad.push_event(gst::event::FlushStart::new()));
            assert!(pad.push_event(gst::event::FlushStop::new(true)));
        }
        begin();
        if !flush {
            assert_eq!(pad.push(gst::Buffer::with_size(6_000_000).unwrap()), Err(gst::FlowError::Error));
            assert!(pad.push(gst::Buffer::new()).is_ok());
        }
        assert!(pad.push_event(gst::event::Eos::new()));
        assert!(has_end(&mut consumer), "flush: {flush}");
        let _ = pad.push_event(gst::event::FlushStart::new());
        let _ = pad.push_event(gst::event::FlushStop::new(true));
    }
    pipeline.stop();
}

#[cfg(unix)]
#[test]
fn a_region_that_cannot_be_replaced_is_not_an_end_of_stream_for_consumers() {
    let directory = TempRegion::new();
    std::fs::create_dir(directory.path()).unwrap();
    let caps = "video/x-raw,format=I420,width=1920,height=1080,framerate=30/1";
    let description =
        format!("videotestsrc is-live=true ! capsfilter name=filter caps={SMALL} ! shm2sink shm-size=0 shm-path=NAME");
    let has_end = fails(&format!("{}/region", &*directory), &description, |pipeline| {
        std::fs::remove_dir_all(directory.path()).unwrap();
        set_filter(pipeline, caps);
    });
    assert!(!has_end);
}

#[test]
fn a_source_may_outlive_the_end_of_a_stream() {
    let name = TempRegion::new();
    let path = &*name;
    let source =
        Pipeline::playing(&format!("shm2src name=src on-producer-exit=always-reconnect shm-path={path} ! fakesink"));
    for round in 1..4 {
        let before = source.stat("src", "received");
        let producer = Pipeline::playing(&format!(
            "videotestsrc is-live=true num-buffers=20 ! {SMALL} ! shm2sink shm-path={path}"
        ));
        until("frames", || source.stat("src", "received") > before + 3);
        producer.run_to_end();
        producer.stop();
        until("the next attach", || source.stat("src", "attaches") == round);
    }
    let bus = source.0.bus().unwrap();
    let ended =
        bus.timed_pop_filtered(gst::ClockTime::from_mseconds(200), &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert!(ended.is_none(), "{ended:?}");
}

#[test]
fn a_sink_may_keep_its_end_of_stream_from_consumers() {
    let name = TempRegion::new();
    let path = &*name;
    let mut consumer = consumer(&name);
    for forwards in [false, true] {
        let producer = Pipeline::playing(&format!(
            "videotestsrc is-live=true num-buffers=5 ! {SMALL} ! shm2sink forward-eos={forwards} shm-path={path}"
        ));
        consumer.next(Some(LIMIT)).unwrap();
        producer.run_to_end();
        producer.stop();
        assert_eq!(has_end(&mut consumer), forwards);
    }
}
