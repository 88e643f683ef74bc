//! Encoded streams and containers: what an encoder or a muxer says of its stream in the caps must reach a consumer that
//! attaches later.

mod common;
#[path = "common/streams.rs"]
mod streams;

use common::Pipeline;
use gst::prelude::*;
use shm2_testing::{LIMIT, TempRegion, until};
use streams::{AUDIO, VIDEO, error, exist};

/// Elements of a stream before the sink.
const STREAMS: &[(&str, &str)] = &[
    (VIDEO, "vp8enc deadline=1"),
    (AUDIO, "vorbisenc"),
    (AUDIO, "opusenc"),
    (AUDIO, "opusenc ! opusparse"),
    (AUDIO, "flacenc"),
    (AUDIO, "audioresample ! audio/x-raw,rate=16000,channels=1 ! speexenc"),
    (VIDEO, "theoraenc"),
    (AUDIO, "opusenc ! oggmux max-delay=0 max-page-delay=0"),
    (AUDIO, "vorbisenc ! oggmux max-delay=0 max-page-delay=0"),
    (VIDEO, "vp8enc deadline=1 ! webmmux streamable=true"),
    (VIDEO, "vp8enc deadline=1 ! matroskamux streamable=true"),
    (AUDIO, "opusenc ! matroskamux streamable=true"),
    (VIDEO, "x264enc tune=zerolatency ! flvmux streamable=true"),
    (VIDEO, "x264enc tune=zerolatency ! mpegtsmux"),
    (VIDEO, "x264enc tune=zerolatency ! h264parse ! video/x-h264,stream-format=avc"),
    (VIDEO, "x265enc tune=zerolatency ! h265parse ! video/x-h265,stream-format=hvc1"),
    (AUDIO, "avenc_aac"),
    (AUDIO, "voaacenc ! aacparse"),
];

#[test]
fn the_caps_of_encoded_streams_reach_a_late_consumer_unchanged() {
    common::init();
    std::thread::scope(|scope| {
        for (source, stream) in STREAMS.iter().filter(|(_, stream)| exist(stream)) {
            scope.spawn(|| passes_its_caps(source, stream));
        }
    });
}

fn passes_its_caps(source: &str, stream: &str) {
    let name = TempRegion::new();
    let line = format!("{source} {stream} ! shm2sink name=sink async=false shm-size=8388608 shm-path={}", &*name);
    let producer = Pipeline::playing(&line);
    until(stream, || producer.stat("sink", "published") >= 8);
    let line = format!("shm2src name=src shm-path={} ! fakesink name=out async=false sync=false", &*name);
    let consumer = Pipeline::playing(&line);
    let caps = |pipeline: &Pipeline, element| pipeline.element(element).static_pad("sink")?.current_caps();
    until(stream, || {
        assert_eq!(error(&consumer), None, "{stream}");
        caps(&consumer, "out").is_some()
    });
    let (sent, received) = (caps(&producer, "sink"), caps(&consumer, "out"));
    assert!(sent.is_some(), "{stream}");
    assert_eq!(received, sent, "{stream}");
    assert_eq!(received.map(|caps| caps.to_string()), sent.map(|caps| caps.to_string()));
}

#[cfg(target_os = "linux")]
#[test]
fn the_device_of_an_opus_region_is_a_source_of_audio_with_its_caps() {
    if !exist("opusenc") {
        return;
    }
    let name = TempRegion::new();
    let producer = Pipeline::playing(&format!("{AUDIO} opusenc ! shm2sink name=sink async=false shm-path={}", &*name));
    until("a frame", || producer.stat("sink", "published") >= 1);
    let factory = gst::DeviceProviderFactory::find("shm2deviceprovider").expect("the provider");
    let devices = factory.get().expect("a provider").devices();
    let file = std::path::Path::new(&*name).file_name().and_then(|file| file.to_str()).expect("a name");
    let device = devices.iter().find(|device| device.display_name() == file).expect("the device");
    assert!(device.has_classes("Source/Audio"), "{}", device.device_class());
    assert_eq!(device.caps(), producer.element("sink").static_pad("sink").and_then(|pad| pad.current_caps()));
}

/// Events of this kind that the sink has sent upstream since the last call.
fn keyframe_requests(harness: &mut gst_check::Harness) -> usize {
    let events = std::iter::from_fn(|| harness.try_pull_upstream_event());
    events.filter(|event| event.structure().is_some_and(|s| s.name() == "GstForceKeyUnit")).count()
}

#[test]
fn each_consumer_that_attaches_causes_a_request_for_a_keyframe() {
    common::init();
    std::thread::scope(|scope| {
        for access in [shm2::Access::Snapshot, shm2::Access::Lease] {
            scope.spawn(move || each_attach_is_a_request(access));
        }
    });
}

fn each_attach_is_a_request(access: shm2::Access) {
    let name = TempRegion::new();
    let element = gst::parse::launch(&format!("shm2sink sync=false shm-path={}", &*name)).expect("the sink");
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
    harness.set_src_caps_str("video/x-h264");
    harness.play();
    harness.push(gst::Buffer::from_slice([7u8])).expect("a buffer");
    let mut consumers = Vec::new();
    for number in 0..3 {
        let consumer = shm2::Consumer::builder(&name).expect("a name").access(access);
        let mut consumer = consumer.attach(Some(LIMIT)).expect("the region");
        if access == shm2::Access::Snapshot && number > 0 {
            // The sink sees whether there are any. A source requests a keyframe itself.
            consumer.request_keyframe();
        }
        consumers.push(consumer);
        let what = format!("a request for consumer {number} with {access:?}");
        until(&what, || keyframe_requests(&mut harness) > 0);
        // Longer than the time between two requests, in which one may wait.
        std::thread::sleep(std::time::Duration::from_millis(400));
        keyframe_requests(&mut harness);
    }
}

#[test]
fn the_source_takes_a_request_for_a_keyframe() {
    common::init();
    let name = TempRegion::new();
    let producer = Pipeline::playing(&format!("fakesrc is-live=true ! shm2sink async=false shm-path={}", &*name));
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={} ! fakesink name=out async=false", &*name));
    until("a frame", || consumer.stat("src", "received") > 0);
    let request = || gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
    let out = consumer.element("out").static_pad("sink").expect("a pad");
    assert!(out.push_event(request()), "from downstream");
    assert!(consumer.element("src").send_event(request()), "from the application");
    drop(producer);
}
