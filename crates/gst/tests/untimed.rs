//! Live frames without an absolute time: consumers get the time of publication, and the producer is warned once.

mod common;

use common::Pipeline;
use gst::prelude::*;
use shm2_testing::{TempRegion, until};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const FRAMES: u64 = 40;
const PERIOD: Duration = Duration::from_millis(10);

struct Case {
    appsrc: &'static str,
    has_pts: bool,
    has_clock: bool,
    warnings: usize,
}

/// Times at the consumer, in milliseconds, and the number of warnings at the producer.
fn run(case: &Case, properties: &str) -> (Vec<Option<u64>>, usize) {
    let name = TempRegion::new();
    let consumer = Pipeline::new(&format!("shm2src name=src shm-path={} {properties} ! fakesink", &*name));
    let times = Arc::new(Mutex::new(Vec::new()));
    let list = times.clone();
    consumer.element("src").static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        list.lock().unwrap().push(info.buffer().unwrap().pts().map(|pts| pts.useconds()));
        gst::PadProbeReturn::Ok
    });
    consumer.0.set_state(gst::State::Playing).unwrap();
    let producer = Pipeline::new(&format!(
        "appsrc name=app is-live=true {} caps=video/x-raw,format=GRAY8,width=8,height=8,framerate=100/1 ! \
         shm2sink name=sink shm-path={} wait-for-connection=true",
        case.appsrc, &*name
    ));
    if !case.has_clock {
        producer.0.use_clock(None::<&gst::Clock>);
    }
    producer.0.set_state(gst::State::Playing).unwrap();
    for number in 0..FRAMES {
        let mut buffer = gst::Buffer::from_slice([0; 64]);
        if case.has_pts {
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(10 * number));
        }
        let flow = producer.element("app").emit_by_name::<gst::FlowReturn>("push-buffer", &[&buffer]);
        assert_eq!(flow, gst::FlowReturn::Ok);
        // From the second frame on nothing waits any more.
        until("the first frame", || !times.lock().unwrap().is_empty());
        std::thread::sleep(PERIOD);
    }
    until("frames", || times.lock().unwrap().len() == FRAMES as usize);
    let bus = producer.0.bus().unwrap();
    let warnings = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning])).count();
    let times = times.lock().unwrap().clone();
    (times, warnings)
}

#[test]
fn a_live_frame_without_an_absolute_time_gets_that_of_its_publication() {
    let case = |appsrc, has_pts, has_clock, warnings| Case { appsrc, has_pts, has_clock, warnings };
    let cases = [
        case("", true, true, 1),
        case("", false, true, 1),
        case("format=time", false, true, 1),
        case("format=time", true, false, 1),
        case("format=time do-timestamp=true", false, true, 0),
        case("format=time", true, true, 0),
    ];
    let threads = cases.map(|case| std::thread::spawn(move || (run(&case, ""), case)));
    for thread in threads {
        let ((times, warnings), case) = thread.join().unwrap();
        let text = format!("{:?} with PTS {} with a clock {}", case.appsrc, case.has_pts, case.has_clock);
        println!("{text}: {warnings} warnings, {times:?}");
        let known: Vec<_> = times.iter().flatten().collect();
        assert_eq!(known.len(), times.len(), "{text}: {times:?}");
        assert!(known.windows(2).all(|pair| pair[0] < pair[1]), "{text}: {times:?}");
        let span = Duration::from_micros(known[known.len() - 1] - known[0]);
        assert!(span >= PERIOD * (FRAMES as u32 - 2), "{text}: {span:?}");
        assert_eq!(warnings, case.warnings, "{text}");
    }
}

#[test]
fn a_consumer_that_keeps_the_producers_times_invents_none() {
    let case = Case { appsrc: "", has_pts: true, has_clock: true, warnings: 1 };
    let (times, _) = run(&case, "live-only=false");
    assert_eq!(times, (0..FRAMES).map(|number| Some(10_000 * number)).collect::<Vec<_>>());
}
