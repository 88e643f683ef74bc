//! No consumer of an encoded stream stays without a picture until the encoder's next keyframe, which may be minutes away.

mod common;

use common::{Pipeline, have};
use gst::prelude::*;
use shm2_testing::{TempRegion, until, until_within};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A frame depends on all before it, unless the encoder is asked for a keyframe.
const ENCODER: &str = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! \
                       x264enc name=encoder tune=zerolatency key-int-max=9000 option-string=scenecut=0";
const SOON: Duration = Duration::from_secs(10);

/// Buffers that pass the pad.
fn count(pipeline: &Pipeline, element: &str, pad: &str) -> Arc<AtomicU64> {
    let (count, pad) = (Arc::new(AtomicU64::new(0)), pipeline.element(element).static_pad(pad).unwrap());
    let counted = count.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    count
}

/// A producer that has sent its first keyframe and many others.
fn producer(name: &TempRegion, settings: &str) -> Option<Pipeline> {
    if !have(&["x264enc"]) {
        return None;
    }
    let producer = Pipeline::playing(&format!("{ENCODER} ! shm2sink name=sink {settings} shm-path={}", &**name));
    until("frames", || producer.stat("sink", "published") > 20);
    Some(producer)
}

fn consumer(name: &TempRegion, settings: &str, behind: &str) -> (Pipeline, Arc<AtomicU64>) {
    let consumer =
        Pipeline::new(&format!("shm2src name=src {settings} shm-path={} ! {behind} fakesink sync=false", &**name));
    let buffers = count(&consumer, "src", "src");
    consumer.0.set_state(gst::State::Playing).unwrap();
    (consumer, buffers)
}

fn until_more(what: &str, buffers: &AtomicU64) {
    let before = buffers.load(Ordering::Relaxed);
    until_within(SOON, what, || buffers.load(Ordering::Relaxed) > before + 5);
}

#[test]
fn every_newcomer_has_a_picture_soon_with_either_access() {
    let name = TempRegion::new();
    let Some(_producer) = producer(&name, "") else { return };
    let mut all = Vec::new();
    for access in ["snapshot", "snapshot", "lease", "lease", "snapshot"] {
        let (consumer, buffers) = consumer(&name, &format!("access={access}"), "");
        until_more(&format!("a picture for consumer {} with {access}", all.len()), &buffers);
        all.push(consumer);
    }
}

#[test]
fn a_consumer_that_missed_skipped_or_paused_has_a_picture_soon() {
    let name = TempRegion::new();
    let Some(_producer) = producer(&name, "") else { return };
    let (late, late_buffers) = consumer(&name, "latest-only=true", "identity sleep-time=100000 !");
    for round in 0..3 {
        until_more(&format!("a picture under latest-only, {round}"), &late_buffers);
    }
    drop(late);
    let (paused, buffers) = consumer(&name, "", "");
    until_more("a picture", &buffers);
    paused.0.set_state(gst::State::Paused).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    paused.0.set_state(gst::State::Playing).unwrap();
    until_more("a picture after a pause", &buffers);
}

#[test]
fn a_consumer_that_missed_frames_has_a_picture_soon() {
    let name = TempRegion::new();
    let settings = "shm-size=4849664 history=0";
    let Some(_producer) = producer(&name, settings) else { return };
    let (consumer, buffers) = consumer(&name, "max-leases=1", "");
    until_more("a picture", &buffers);
    let pad = consumer.element("src").static_pad("src").unwrap();
    let block = pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Ok);
    // The arena holds 64 KiB.
    until("frames that the consumer misses", || {
        consumer.stat("src", "missed") > 0 || {
            let region = shm2::Overview::of(&name).unwrap();
            region.dropped_oldest > 5
        }
    });
    pad.remove_probe(block.unwrap());
    until_more("a picture after missed frames", &buffers);
    assert!(consumer.stat("src", "missed") > 0);
}

#[test]
fn a_request_from_downstream_or_from_the_application_reaches_the_encoder() {
    let name = TempRegion::new();
    let Some(producer) = producer(&name, "") else { return };
    let requests = Arc::new(AtomicU64::new(0));
    let counted = requests.clone();
    let pad = producer.element("encoder").static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let is_request = info.event().is_some_and(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok());
        counted.fetch_add(u64::from(is_request), Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    let (consumer, buffers) = consumer(&name, "", "identity name=out !");
    until_more("a picture", &buffers);
    let request = || gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
    let out = consumer.element("out").static_pad("sink").unwrap();
    for push in [&|| out.push_event(request()) as _, &|| consumer.element("src").send_event(request())]
        as [&dyn Fn() -> bool; 2]
    {
        // After the last request has had its keyframe.
        std::thread::sleep(Duration::from_millis(700));
        let before = requests.load(Ordering::Relaxed);
        assert!(push());
        until_within(SOON, "the encoder is asked", || requests.load(Ordering::Relaxed) > before);
    }
}
