//! When buffers are due at the consumer: on any clock, after pauses, for two regions at once, and how old they may be.

#[path = "common/clock.rs"]
mod clock;
mod common;

use clock::Card;
use common::Pipeline;
use gst::prelude::*;
use shm2_testing::{TempRegion, until};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Times in nanoseconds by the buffers' first 8 bytes or offsets.
type Times = Arc<Mutex<HashMap<u64, u64>>>;

const VIDEO: &str = "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=48,framerate=50/1";

/// Collects each buffer's time, which is its running time on the pipeline's clock plus the base time.
fn due(pipeline: &Pipeline, element: &str, pad: &str) -> Times {
    let times = Times::default();
    let (list, owner) = (times.clone(), pipeline.element(element));
    let pad = pipeline.element(element).static_pad(pad).unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let buffer = info.buffer().unwrap();
        let segment = pad.sticky_event::<gst::event::Segment>(0).unwrap();
        let segment = segment.segment().downcast_ref::<gst::ClockTime>().unwrap().clone();
        let running = segment.to_running_time(buffer.pts());
        if let Some((running, base)) = running.zip(owner.base_time()) {
            list.lock().unwrap().insert(buffer.offset(), (running + base).nseconds());
        }
        gst::PadProbeReturn::Ok
    });
    times
}

/// For each buffer of both pipelines: consumer's and producer's time.
fn both(producer: &Times, consumer: &Times) -> Vec<(u64, u64)> {
    let producer = producer.lock().unwrap();
    let consumer = consumer.lock().unwrap();
    let mut both: Vec<_> = consumer.iter().filter_map(|(n, at)| Some((*n, *at, *producer.get(n)?))).collect();
    both.sort_unstable();
    both.into_iter().map(|(_, consumer, producer)| (consumer, producer)).collect()
}

fn pair(name: &TempRegion) -> (Pipeline, Pipeline) {
    let producer = Pipeline::new(&format!("{VIDEO} ! shm2sink name=sink shm-path={}", &**name));
    let consumer = Pipeline::new(&format!("shm2src name=src shm-path={} ! fakesink sync=true", &**name));
    (producer, consumer)
}

#[test]
fn a_live_source_drops_the_frames_of_a_pause_and_its_times_never_decrease() {
    let name = TempRegion::new();
    let (producer, consumer) = pair(&name);
    let times = Arc::new(Mutex::new(Vec::new()));
    let list = times.clone();
    consumer.element("src").static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().unwrap();
        list.lock().unwrap().push((buffer.pts().unwrap(), buffer.flags().contains(gst::BufferFlags::DISCONT)));
        gst::PadProbeReturn::Ok
    });
    producer.0.set_state(gst::State::Playing).unwrap();
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("frames", || times.lock().unwrap().len() > 20);
    consumer.0.set_state(gst::State::Paused).unwrap();
    std::thread::sleep(Duration::from_millis(900));
    let before = times.lock().unwrap().len();
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("frames", || times.lock().unwrap().len() > before + 20);
    let times = times.lock().unwrap();
    assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0), "{times:?}");
    // The first frame may be one that was in transit when the pause began.
    assert!(times[before..before + 2].iter().any(|(_, is_break)| *is_break), "{times:?}");
    assert!(consumer.stat("src", "skipped") > 30);
}

#[test]
fn a_producer_that_was_paused_is_on_time_again() {
    let name = TempRegion::new();
    let producer = Pipeline::playing(&format!("{VIDEO} ! shm2sink name=sink shm-path={}", &*name));
    let consumer =
        Pipeline::new(&format!("shm2src name=src live-only=false shm-path={} ! fakesink name=out sync=true", &*name));
    let received = due(&consumer, "src", "src");
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("frames", || received.lock().unwrap().len() > 20);
    producer.0.set_state(gst::State::Paused).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    producer.0.set_state(gst::State::Playing).unwrap();
    let before = received.lock().unwrap().len();
    until("frames", || received.lock().unwrap().len() > before + 20);
    let latest = *received.lock().unwrap().values().max().unwrap();
    let late = shm2::monotonic_ns().saturating_sub(latest);
    assert!(late < 300_000_000, "{late} ns late");
}

/// Frames that were due before the consumer's running time began are due at its start; others at the producer's time.
fn assert_equal_from(consumer: &Pipeline, both: Vec<(u64, u64)>) {
    let begin = consumer.0.base_time().unwrap().nseconds();
    assert!(both.iter().filter(|(_, theirs)| *theirs > begin).count() > 10, "{both:?}");
    for (ours, theirs) in both {
        assert_eq!(ours, theirs.max(begin));
    }
}

#[test]
fn with_one_clock_and_different_base_times_the_times_are_equal_to_the_nanosecond() {
    let name = TempRegion::new();
    let (producer, consumer) = pair(&name);
    let (sent, received) = (due(&producer, "sink", "sink"), due(&consumer, "src", "src"));
    producer.0.set_state(gst::State::Playing).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("frames", || both(&sent, &received).len() > 30);
    assert_ne!(producer.0.base_time(), consumer.0.base_time());
    assert_equal_from(&consumer, both(&sent, &received));
}

#[test]
fn a_pause_of_the_consumer_leaves_the_times_right() {
    let name = TempRegion::new();
    let (producer, consumer) = pair(&name);
    let (sent, received) = (due(&producer, "sink", "sink"), due(&consumer, "src", "src"));
    producer.0.set_state(gst::State::Playing).unwrap();
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("frames", || both(&sent, &received).len() > 10);
    let before = consumer.0.base_time();
    consumer.0.set_state(gst::State::Paused).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("the new base time", || consumer.0.base_time() != before);
    received.lock().unwrap().clear();
    until("frames", || both(&sent, &received).len() > 40);
    // A frame that was in transit while the base time changed may have the old one.
    assert_equal_from(&consumer, both(&sent, &received).split_off(1));
}

#[test]
fn between_different_clocks_the_times_are_right_within_a_millisecond() {
    for producer_has_card in [true, false] {
        let name = TempRegion::new();
        let (producer, consumer) = pair(&name);
        let (sent, received) = (due(&producer, "sink", "sink"), due(&consumer, "src", "src"));
        let card = Card::new();
        let owner = if producer_has_card { &producer } else { &consumer };
        owner.0.use_clock(Some(&card));
        producer.0.set_state(gst::State::Playing).unwrap();
        consumer.0.set_state(gst::State::Playing).unwrap();
        until("frames", || both(&sent, &received).len() > 150);
        let mut worst = 0;
        for (consumer, producer) in both(&sent, &received).into_iter().skip(50) {
            let (plain, on_card) = if producer_has_card { (consumer, producer) } else { (producer, consumer) };
            worst = worst.max(card.at(plain).abs_diff(on_card));
        }
        println!("producer has the other clock: {producer_has_card}: at most {} us off", worst / 1000);
        assert!(worst < 1_000_000, "{worst} ns");
    }
}

#[test]
fn sound_and_picture_of_one_producer_stay_together() {
    let (picture, sound) = (TempRegion::new(), TempRegion::new());
    let producer = Pipeline::new(&format!(
        "{VIDEO} ! shm2sink name=v shm-path={} \
         audiotestsrc is-live=true samplesperbuffer=480 ! audio/x-raw,rate=48000 ! shm2sink name=a shm-path={}",
        &*picture, &*sound
    ));
    let consumer = Pipeline::new(&format!(
        "shm2src name=v shm-path={} ! fakesink sync=true shm2src name=a shm-path={} ! fakesink sync=true",
        &*picture, &*sound
    ));
    let sent = ["v", "a"].map(|name| due(&producer, name, "sink"));
    let received = ["v", "a"].map(|name| due(&consumer, name, "src"));
    producer.0.set_state(gst::State::Playing).unwrap();
    consumer.0.set_state(gst::State::Playing).unwrap();
    // Frames that were due before the consumer's running time began are due at its start.
    let begin = || consumer.0.base_time().map_or(u64::MAX, gst::ClockTime::nseconds);
    let shifts = |stream: usize| -> Vec<i64> {
        let both = both(&sent[stream], &received[stream]).into_iter().filter(|(_, producer)| *producer > begin());
        both.map(|(consumer, producer)| consumer as i64 - producer as i64).collect()
    };
    until("frames of both", || (0..2).all(|stream| shifts(stream).len() > 50));
    let all: Vec<_> = (0..2).flat_map(shifts).collect();
    let skew = all.iter().max().unwrap() - all.iter().min().unwrap();
    println!("skew between sound and picture: {skew} ns");
    assert!(skew < 1_000_000);
}

#[test]
fn do_timestamp_gives_the_time_of_arrival() {
    let name = TempRegion::new();
    let producer = Pipeline::playing(&format!("{VIDEO} ! shm2sink name=sink shm-path={}", &*name));
    until("old frames", || producer.stat("sink", "published") > 10);
    let consumer = Pipeline::new(&format!("shm2src name=src do-timestamp=true shm-path={} ! fakesink", &*name));
    let ages = Arc::new(Mutex::new(Vec::new()));
    let (list, src) = (ages.clone(), consumer.element("src"));
    src.clone().static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = src.current_running_time().unwrap().nseconds();
        list.lock().unwrap().push(now - info.buffer().unwrap().pts().unwrap().nseconds());
        gst::PadProbeReturn::Ok
    });
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("frames", || ages.lock().unwrap().len() > 20);
    let median = {
        let mut ages = ages.lock().unwrap().clone();
        ages.sort_unstable();
        ages[ages.len() / 2]
    };
    assert!(median < 5_000_000, "{median}");
}

#[test]
fn latest_only_gives_a_slow_consumer_frames_of_the_last_two_periods() {
    let name = TempRegion::new();
    let video = VIDEO.replace("50/1", "30/1");
    let producer = Pipeline::playing(&format!("{video} ! shm2sink name=sink shm-path={}", &*name));
    let consumer = Pipeline::new(&format!(
        "shm2src name=src latest-only=true shm-path={} ! identity sleep-time=200000 ! fakesink sync=false",
        &*name
    ));
    let ages = Arc::new(Mutex::new(Vec::new()));
    let (list, src) = (ages.clone(), consumer.element("src"));
    src.clone().static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = src.current_running_time().unwrap().nseconds();
        list.lock().unwrap().push(now.saturating_sub(info.buffer().unwrap().pts().unwrap().nseconds()));
        gst::PadProbeReturn::Ok
    });
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("frames", || ages.lock().unwrap().len() > 15);
    let mut ages = ages.lock().unwrap().clone();
    ages.sort_unstable();
    let (middle, worst) = (ages[ages.len() / 2] / 1000, ages[ages.len() - 1] / 1000);
    println!("age of frames: median {middle} us, at most {worst} us, skipped {}", consumer.stat("src", "skipped"));
    // Two periods, and the delay of a busy machine.
    assert!(middle < 66_667 + 25_000, "{middle} us: {ages:?}");
    assert!(consumer.stat("src", "skipped") > 50 && consumer.stat("src", "missed") == 0);
    assert_eq!(producer.stat("sink", "dropped-newest"), 0);
}

#[test]
fn a_source_that_is_not_live_starts_with_the_available_frames_of_an_old_producer() {
    let name = TempRegion::new();
    let producer = Pipeline::playing(&format!("{VIDEO} ! shm2sink name=sink shm-path={}", &*name));
    until("an older producer", || producer.stat("sink", "published") > 250);
    for live_only in [true, false] {
        let consumer = Pipeline::playing(&format!(
            "shm2src name=src is-live=false live-only={live_only} shm-path={} ! fakesink sync=true",
            &*name
        ));
        let begun = std::time::Instant::now();
        until("frames", || consumer.stat("src", "received") > 20);
        // The producer is 5 s old.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}
