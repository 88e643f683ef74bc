//! Latency that the sink publishes: that of its own upstream, so that loops of regions settle and foreign branches of
//! the producer's pipeline cost nothing.

mod common;

use common::Pipeline;
use gst::prelude::*;
use shm2_testing::{TempRegion, until};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const VIDEO: &str = "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1";

/// The pipeline's latency in milliseconds.
fn latency_ms(pipeline: &Pipeline) -> u64 {
    let mut query = gst::query::Latency::new();
    if !pipeline.0.query(&mut query) {
        return 0;
    }
    query.result().1.mseconds()
}

/// Distributes the latency of each pipeline when it asks for that, as an application does; returns for each how often.
fn serve_latency(pipelines: &[&Pipeline], time: Duration) -> Vec<usize> {
    let begun = Instant::now();
    let mut counts = vec![0; pipelines.len()];
    while begun.elapsed() < time {
        for (pipeline, count) in pipelines.iter().zip(&mut counts) {
            while pipeline.0.bus().unwrap().pop_filtered(&[gst::MessageType::Latency]).is_some() {
                *count += 1;
                pipeline.0.recalculate_latency().unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    counts
}

/// Due times of the buffers at a pad, in nanoseconds of the monotonic clock, by their offsets.
fn due(pipeline: &Pipeline, element: &str, pad: &str) -> Arc<Mutex<HashMap<u64, u64>>> {
    let times = Arc::<Mutex<HashMap<u64, u64>>>::default();
    let (list, owner) = (times.clone(), pipeline.element(element));
    pipeline.element(element).static_pad(pad).unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().unwrap();
        if let Some((pts, base)) = buffer.pts().zip(owner.base_time()) {
            list.lock().unwrap().insert(buffer.offset(), (pts + base).nseconds());
        }
        gst::PadProbeReturn::Ok
    });
    times
}

fn assert_settles(pipelines: &[&Pipeline]) {
    for pipeline in pipelines {
        pipeline.0.set_state(gst::State::Playing).unwrap();
    }
    let counts = serve_latency(pipelines, Duration::from_millis(2500));
    let latencies: Vec<_> = pipelines.iter().map(|pipeline| latency_ms(pipeline)).collect();
    println!("latency {latencies:?} ms after {counts:?} messages");
    assert!(latencies.iter().all(|latency| (1..=100).contains(latency)), "{latencies:?} ms");
    assert!(counts.iter().all(|count| *count <= 4), "{counts:?} messages");
    for pipeline in pipelines {
        assert!(pipeline.stat("src", "received") > 20);
    }
}

fn intercom(own: &TempRegion, other: &TempRegion) -> Pipeline {
    Pipeline::new(&format!(
        "{VIDEO} ! shm2sink shm-path={} async=false shm2src name=src shm-path={} ! queue ! fakesink sync=true",
        &**own, &**other
    ))
}

#[test]
fn a_source_of_the_same_pipelines_sink_settles() {
    let name = TempRegion::new();
    assert_settles(&[&intercom(&name, &name)]);
}

#[test]
fn a_mixer_whose_own_output_comes_back_settles() {
    let name = TempRegion::new();
    let mixer = Pipeline::new(&format!(
        "audiomixer name=mix ! shm2sink shm-path={} async=false audiotestsrc is-live=true samplesperbuffer=480 ! mix. \
         shm2src name=src shm-path=shm://{} ! queue ! mix.",
        &*name, &*name
    ));
    assert_settles(&[&mixer]);
}

#[test]
fn two_pipelines_that_read_each_other_settle() {
    let (a, b) = (TempRegion::new(), TempRegion::new());
    assert_settles(&[&intercom(&a, &b), &intercom(&b, &a)]);
}

#[test]
fn a_slow_branch_beside_the_sink_adds_no_latency() {
    if !common::have(&["x264enc"]) {
        return;
    }
    let name = TempRegion::new();
    let producer = Pipeline::playing(&format!(
        "{VIDEO} ! shm2sink name=sink shm-path={} \
         videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 ! x264enc ! fakesink sync=true",
        &*name
    ));
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={} ! queue ! fakesink sync=true", &*name));
    serve_latency(&[&producer, &consumer], Duration::from_millis(1500));
    until("frames", || consumer.stat("src", "received") > 20);
    let age = latency_ms(&consumer);
    println!("age {age} ms, latency of the producer's pipeline {} ms", latency_ms(&producer));
    assert!(latency_ms(&producer) > 1000);
    assert!((64..=84).contains(&age), "{age} ms");
}

#[test]
fn each_program_of_a_chain_adds_its_own_latency() {
    let (a, b) = (TempRegion::new(), TempRegion::new());
    let first = Pipeline::playing(&format!("{VIDEO} ! shm2sink shm-path={}", &*a));
    let second = Pipeline::playing(&format!("shm2src name=src shm-path={} ! shm2sink shm-path={}", &*a, &*b));
    let third = Pipeline::playing(&format!("shm2src name=src shm-path={} ! fakesink sync=true", &*b));
    let pipelines = [&first, &second, &third];
    serve_latency(&pipelines, Duration::from_millis(1500));
    let latencies = pipelines.map(latency_ms);
    println!("latency of the chain: {latencies:?} ms");
    assert_eq!(latencies, [33, 53, 93]);
}

/// Milliseconds by which the consumer's times of the frames are later than their capture.
fn shift_ms(properties: &str) -> i64 {
    let name = TempRegion::new();
    let producer = Pipeline::new(&format!("{VIDEO} ! shm2sink name=sink shm-path={} {properties}", &*name));
    let consumer = Pipeline::new(&format!("shm2src name=src shm-path={} ! fakesink", &*name));
    let (sent, received) = (due(&producer, "sink", "sink"), due(&consumer, "src", "src"));
    consumer.0.set_state(gst::State::Playing).unwrap();
    producer.0.set_state(gst::State::Playing).unwrap();
    let both = || -> Vec<i64> {
        let (sent, received) = (sent.lock().unwrap(), received.lock().unwrap());
        // Frames that were due before the consumer's running time began are due at its start.
        let after_start = received.iter().filter(|(number, _)| **number > 20);
        after_start.filter_map(|(number, at)| Some(*at as i64 - *sent.get(number)? as i64)).collect()
    };
    until("frames", || both().len() > 10);
    let shifts: Vec<_> = both().iter().map(|shift| shift / 1_000_000).collect();
    assert!(shifts.iter().all(|shift| *shift == shifts[0]), "{properties}: {shifts:?}");
    shifts[0]
}

#[test]
fn what_the_base_class_adds_to_the_due_time_reaches_consumers() {
    let cases = [
        ("", 0),
        ("ts-offset=300000000", 300),
        ("ts-offset=-200000000", -200),
        ("ts-offset=300000000 render-delay=500000000", 300),
        ("ts-offset=300000000 sync=false", 0),
        ("render-delay=500000000 processing-deadline=500000000", 0),
        ("max-bitrate=10000000000 ts-offset=100000000", 100),
    ];
    let threads = cases.map(|(properties, shift)| (properties, shift, std::thread::spawn(|| shift_ms(properties))));
    let measured = threads.map(|(properties, shift, thread)| (properties, shift, thread.join().unwrap()));
    println!("{measured:#?}");
    assert!(measured.iter().all(|(_, expected, shift)| expected == shift), "{measured:#?}");
}
