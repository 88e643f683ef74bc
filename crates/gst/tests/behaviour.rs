//! Behaviour of the elements besides zero-copy: caps, times, flags, any start order, restarts, clean stops.

mod common;

use common::{Pipeline, have};
use gst::prelude::*;
use shm2_testing::{LIMIT, TempRegion, until};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SMALL: &str = "video/x-raw,format=I420,width=320,height=240,framerate=30/1";

/// Collects the buffers of an element's source pad.
fn collect(pipeline: &Pipeline, element: &str) -> Arc<Mutex<Vec<gst::Buffer>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let probe = seen.clone();
    let pad = pipeline.element(element).static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data {
            probe.lock().unwrap().push(buffer.copy_deep().unwrap());
        }
        gst::PadProbeReturn::Ok
    });
    seen
}

fn caps_of(pipeline: &Pipeline, element: &str) -> Option<gst::Caps> {
    pipeline.element(element).static_pad("src").unwrap().current_caps()
}

#[test]
fn the_consumer_may_start_first_and_needs_no_capsfilter() {
    let name = TempRegion::new();
    let (path, uri) = (&*name, name.uri());
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={path} ! queue ! videoconvert ! fakesink"));
    let producer = Pipeline::playing(&format!(
        "videotestsrc is-live=true num-buffers=30 ! {SMALL} ! shm2sink wait-for-connection=true shm-path={uri}"
    ));
    producer.run_to_end();
    consumer.run_to_end();
    let caps = caps_of(&consumer, "src").unwrap();
    assert!(caps.can_intersect(&SMALL.parse::<gst::Caps>().unwrap()), "{caps}");
    assert!(consumer.stat("src", "received") >= 30);
}

#[test]
fn buffers_arrive_as_they_were_sent() {
    let name = TempRegion::new();
    let path = &*name;
    let consumer =
        Pipeline::playing(&format!("shm2src name=src live-only=false shm-path={path} ! fakesink sync=false"));
    let received = collect(&consumer, "src");
    let producer = Pipeline::new(&format!(
        "videotestsrc num-buffers=40 pattern=snow ! {SMALL} ! identity name=tap ! \
         shm2sink wait-for-connection=true full-policy=block shm-path={path}"
    ));
    let sent = collect(&producer, "tap");
    producer.0.set_state(gst::State::Playing).unwrap();
    producer.run_to_end();
    consumer.run_to_end();
    let (sent, received) = (sent.lock().unwrap(), received.lock().unwrap());
    assert_eq!((sent.len(), received.len()), (40, 40));
    for (sent, received) in sent.iter().zip(received.iter()) {
        assert_eq!(received.pts(), sent.pts());
        assert_eq!(received.duration(), sent.duration());
        assert_eq!((received.offset(), received.offset_end()), (sent.offset(), sent.offset_end()));
        assert_eq!(received.map_readable().unwrap().as_slice(), sent.map_readable().unwrap().as_slice());
    }
}

#[test]
fn caps_change_mid_stream() {
    let name = TempRegion::new();
    let path = &*name;
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={path} ! fakesink sync=false"));
    let producer = Pipeline::playing(&format!(
        "videotestsrc is-live=true ! videoscale ! capsfilter name=filter caps={SMALL} ! shm2sink name=sink shm-path={path}"
    ));
    until("the first caps", || consumer.stat("src", "received") > 5);
    let larger: gst::Caps = "video/x-raw,format=I420,width=640,height=480,framerate=30/1".parse().unwrap();
    producer.element("filter").set_property("caps", &larger);
    until("the new caps", || caps_of(&consumer, "src").is_some_and(|caps| caps.can_intersect(&larger)));
    let before = consumer.stat("src", "received");
    until("frames after the change", || consumer.stat("src", "received") > before + 5);
    assert_eq!(producer.stat("sink", "copied"), 0);
}

#[test]
fn a_consumer_follows_a_restarted_producer_of_another_size_and_marks_the_break() {
    let name = TempRegion::new();
    let path = &*name;
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={path} ! fakesink sync=false"));
    let received = collect(&consumer, "src");
    for size in [64u64 << 20, 8 << 20, 64 << 20] {
        let producer = Pipeline::playing(&format!(
            "videotestsrc is-live=true ! {SMALL} ! shm2sink shm-size={size} shm-path={path}"
        ));
        let before = received.lock().unwrap().len();
        until("frames of this producer", || received.lock().unwrap().len() > before + 5);
        producer.stop();
    }
    let received = received.lock().unwrap();
    let breaks = received.iter().skip(1).filter(|b| b.flags().contains(gst::BufferFlags::DISCONT)).count();
    assert_eq!(breaks, 2);
    assert_eq!(consumer.stat("src", "attaches"), 3);
    assert!(received.windows(2).all(|w| w[0].pts() < w[1].pts()), "running time goes on");
}

#[test]
fn on_producer_exit_may_be_the_end_or_an_error() {
    for (action, ends) in [("eos", true), ("error", false)] {
        let name = TempRegion::new();
        let path = &*name;
        let consumer =
            Pipeline::playing(&format!("shm2src name=src on-producer-exit={action} shm-path={path} ! fakesink"));
        let producer = Pipeline::playing(&format!("videotestsrc is-live=true ! {SMALL} ! shm2sink shm-path={path}"));
        until("frames", || consumer.stat("src", "received") > 3);
        producer.stop();
        if ends {
            consumer.run_to_end();
        } else {
            let error = consumer.error().expect("an error");
            assert!(error.contains("is gone"), "{error}");
        }
    }
}

#[test]
fn a_waiting_source_stops_at_once_and_times_out_without_a_producer() {
    let name = TempRegion::new();
    let waiting = Pipeline::playing(&format!("shm2src shm-path={} ! fakesink", &*name));
    std::thread::sleep(Duration::from_millis(200));
    waiting.stop();
    let limited = Pipeline::playing(&format!("shm2src connection-timeout=100000000 shm-path={} ! fakesink", &*name));
    let error = limited.error().expect("an error");
    assert!(error.contains("no producer came"), "{error}");
}

#[test]
fn a_blocked_sink_stops_at_once_and_resumes_after_a_pause() {
    let name = TempRegion::new();
    let path = &*name;
    let mut consumer = shm2::Consumer::builder(path).unwrap().start(shm2::Start::Oldest).build();
    let producer = Pipeline::playing(&format!(
        "videotestsrc ! {SMALL} ! shm2sink name=sink sync=false full-policy=block wait-for-connection=true \
         shm-size=6291456 shm-path={path}"
    ));
    let first = consumer.next(Some(LIMIT)).unwrap();
    until("a full arena", || producer.stat("sink", "arena-free-bytes") < 120_000);
    producer.0.set_state(gst::State::Paused).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    producer.0.set_state(gst::State::Playing).unwrap();
    let mut last = first.sequence();
    drop(first);
    for _ in 0..100 {
        let frame = consumer.next(Some(LIMIT)).unwrap();
        assert_eq!((frame.sequence(), frame.missed()), (last + 1, 0), "nothing is lost by a pause");
        last = frame.sequence();
    }
    until("a full arena", || producer.stat("sink", "arena-free-bytes") < 120_000);
    producer.stop();
}

#[test]
fn without_a_consumer_the_sink_never_waits_and_stops_at_once() {
    let name = TempRegion::new();
    let producer = Pipeline::playing(&format!(
        "audiotestsrc num-buffers=100000 samplesperbuffer=64 ! audio/x-raw,format=S16LE,channels=1,rate=48000 ! \
         shm2sink name=sink sync=false shm-path={}",
        &*name
    ));
    producer.run_to_end();
    assert_eq!(producer.stat("sink", "zero-copied") + producer.stat("sink", "copied"), 100_000);
    assert_eq!(producer.stat("sink", "dropped-newest"), 0);
    producer.stop();
    assert!(!std::path::Path::new(&*name).exists(), "the name is removed at a clean stop");
}

#[test]
fn encoded_video_passes_through_and_begins_with_a_keyframe() {
    if !have(&["x264enc", "h264parse", "avdec_h264"]) {
        return;
    }
    let name = TempRegion::new();
    let path = &*name;
    let producer = Pipeline::playing(&format!(
        "videotestsrc is-live=true ! {SMALL} ! x264enc tune=zerolatency key-int-max=1000 ! h264parse ! \
         video/x-h264,stream-format=byte-stream,alignment=au ! shm2sink name=sink shm-path={path}"
    ));
    until("deltas", || producer.stat("sink", "copied") > 10);
    let consumer = Pipeline::new(&format!(
        "shm2src name=src shm-path={path} ! h264parse ! avdec_h264 name=dec ! fakesink sync=false"
    ));
    let (encoded, decoded) = (collect(&consumer, "src"), collect(&consumer, "dec"));
    consumer.0.set_state(gst::State::Playing).unwrap();
    until("pictures", || decoded.lock().unwrap().len() > 10);
    let first = encoded.lock().unwrap()[0].clone();
    assert!(!first.flags().contains(gst::BufferFlags::DELTA_UNIT), "the sink asked for a keyframe");
    assert!(
        first.pts().is_some_and(|t| t < gst::ClockTime::from_seconds(60)),
        "x264enc's offset of 1000 hours is gone"
    );
}

#[test]
fn compressed_audio_and_a_decoded_file_pass() {
    if !have(&["x264enc", "avenc_aac", "matroskamux", "decodebin"]) {
        return;
    }
    let file = std::env::temp_dir().join(format!("shm2-gst-test-{}.mkv", std::process::id()));
    let location = file.display();
    Pipeline::playing(&format!(
        "videotestsrc num-buffers=60 ! {SMALL} ! x264enc ! matroskamux name=mux ! filesink location={location} \
         audiotestsrc num-buffers=86 ! audioconvert ! avenc_aac ! mux."
    ))
    .run_to_end();
    let (video, audio) = (TempRegion::new(), TempRegion::new());
    let consumers = [&video, &audio]
        .map(|n| Pipeline::playing(&format!("shm2src name=src shm-path={} ! fakesink sync=false", &**n)));
    let producer = Pipeline::playing(&format!(
        "filesrc location={location} ! decodebin name=d \
         d. ! queue ! videoconvert ! shm2sink name=v wait-for-connection=true full-policy=block shm-path={} \
         d. ! queue ! audioconvert ! shm2sink name=a wait-for-connection=true full-policy=block shm-path={}",
        &*video, &*audio
    ));
    producer.run_to_end();
    consumers.iter().for_each(Pipeline::run_to_end);
    let _ = std::fs::remove_file(&file);
    assert_eq!(consumers[0].stat("src", "received"), 60);
    assert!(consumers[1].stat("src", "received") > 80);
}

#[test]
fn a_second_producer_and_bad_settings_have_their_own_errors() {
    let name = TempRegion::new();
    let path = &*name;
    let _first = Pipeline::playing(&format!("videotestsrc is-live=true ! {SMALL} ! shm2sink shm-path={path}"));
    let cases = [
        (format!("shm-path={path}"), "live producer"),
        ("shm-path=http://x".into(), "not known"),
        (format!("shm-path={path}-b shm-size=1"), "out of range"),
        (format!("shm-path={path}-b shm-size=900000000000"), "it needs"),
    ];
    let of_files =
        [("shm-path=/dev/shm".into(), "a directory"), ("shm-path=/no/such/directory/x".into(), "does not exist")];
    let of_sections =
        [("shm-path=winshm://Other/x".into(), "is no name of a section"), ("shm-path=/dev/shm/x".into(), "is no name")];
    for (settings, expected) in cases.into_iter().chain(if cfg!(windows) { of_sections } else { of_files }) {
        let second = Pipeline::new(&format!("videotestsrc is-live=true ! {SMALL} ! shm2sink {settings}"));
        assert!(second.0.set_state(gst::State::Playing).is_err(), "{settings}");
        let error = second.error().expect("an error");
        assert!(error.contains(expected), "{settings}: {error}");
    }
}

#[test]
fn a_frame_larger_than_the_arena_is_an_error_that_names_a_sufficient_size() {
    let name = TempRegion::new();
    let producer = Pipeline::new(&format!(
        "videotestsrc ! video/x-raw,format=NV12,width=1920,height=1080 ! shm2sink shm-size=6000000 shm-path={}",
        &*name
    ));
    let _ = producer.0.set_state(gst::State::Playing);
    let error = producer.error().expect("an error");
    assert!(error.contains("3110400 bytes does not fit") && error.contains("holds four of them"), "{error}");
}

#[test]
fn clients_are_counted_and_signalled() {
    let name = TempRegion::new();
    let producer =
        Pipeline::playing(&format!("videotestsrc is-live=true ! {SMALL} ! shm2sink name=sink shm-path={}", &*name));
    let sink = producer.element("sink");
    let log = Arc::new(Mutex::new(Vec::new()));
    for signal in ["client-connected", "client-disconnected"] {
        let log = log.clone();
        sink.connect(signal, false, move |values| {
            log.lock().unwrap().push((signal, values[1].get::<u32>().unwrap()));
            None
        });
    }
    let consumer = shm2::Consumer::builder(&name).unwrap().attach(Some(LIMIT)).unwrap();
    until("one client", || sink.property::<u32>("num-clients") == 1);
    let snapshot = shm2::Consumer::builder(&name).unwrap().access(shm2::Access::Snapshot).attach(Some(LIMIT)).unwrap();
    until("two clients", || sink.property::<u32>("num-clients") == 2);
    drop((consumer, snapshot));
    // The count changes before the signal is emitted, so the test waits for the signal.
    let seen = || log.lock().unwrap().clone();
    until("the last signal", || seen().last() == Some(&("client-disconnected", 0)));
    assert_eq!(sink.property::<u32>("num-clients"), 0);
    assert_eq!(seen()[..2], [("client-connected", 1), ("client-connected", 2)]);
}

#[test]
fn attach_and_detach_cycles_leave_the_sink_alone() {
    let name = TempRegion::new();
    let path = &*name;
    let caps = "video/x-raw,format=NV12,width=640,height=360,framerate=60/1";
    let producer =
        Pipeline::playing(&format!("videotestsrc is-live=true ! {caps} ! shm2sink name=sink shm-path={path}"));
    for cycle in 0..40 {
        // Not more frames are held than one consumer may lease, however late a thread runs.
        let line = format!("shm2src name=src shm-path={path} ! queue max-size-buffers=2 ! fakesink sync=false");
        let consumer = Pipeline::playing(&line);
        until("frames", || consumer.stat("src", "received") > 2);
        assert_eq!(consumer.stat("src", "copied"), 0, "cycle {cycle}");
        consumer.stop();
    }
    let stats = |field| producer.stat("sink", field);
    until("no frame is held", || stats("frames-held") == 0);
    assert_eq!((stats("copied"), stats("dropped-newest")), (0, 0));
    assert!(stats("zero-copied") >= 40, "the sink went on");
}

#[test]
fn memory_of_a_stopped_sink_may_outlive_it() {
    let name = TempRegion::new();
    let producer =
        Pipeline::playing(&format!("videotestsrc is-live=true ! {SMALL} ! shm2sink name=sink shm-path={}", &*name));
    let held: Arc<Mutex<Vec<gst::Buffer>>> = Arc::default();
    let probe = held.clone();
    producer.element("sink").static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data {
            probe.lock().unwrap().push(buffer.clone());
        }
        gst::PadProbeReturn::Ok
    });
    until("some buffers", || held.lock().unwrap().len() >= 3);
    producer.stop();
    drop(producer);
    for buffer in held.lock().unwrap().drain(..) {
        assert_eq!(buffer.map_readable().unwrap().len(), 115_200);
    }
}

// Windows has no directory of regions.
#[cfg(unix)]
#[test]
fn live_regions_are_listed_as_devices() {
    let name = TempRegion::new();
    common::init();
    let provider = gst::DeviceProviderFactory::by_name("shm2deviceprovider").unwrap();
    let ours = |devices: gst::glib::List<gst::Device>| {
        let suffix = name.rsplit('/').next().unwrap().to_owned();
        devices.into_iter().find(|device| device.display_name() == suffix)
    };
    assert!(ours(provider.devices()).is_none());
    let caps = "video/x-raw,format=I420,width=64,height=48,framerate=30/1";
    let producer =
        Pipeline::playing(&format!("videotestsrc is-live=true ! {caps} ! shm2sink name=sink shm-path={}", &*name));
    until("a frame", || producer.stat("sink", "published") > 0);
    let device = ours(provider.devices()).expect("the region");
    assert_eq!(device.device_class(), "Source/Video");
    assert!(device.caps().unwrap().can_intersect(&caps.parse::<gst::Caps>().unwrap()));
    let element = device.create_element(Some("mine")).unwrap();
    assert_eq!(element.property::<String>("shm-path"), name.uri());
    provider.start().unwrap();
    assert!(ours(provider.devices()).is_some());
    producer.stop();
    until("it to go", || ours(provider.devices()).is_none());
    provider.stop();
}

#[test]
fn a_region_of_size_0_follows_its_caps_and_consumers_follow_it() {
    let name = TempRegion::new();
    let path = &*name;
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={path} ! fakesink sync=false"));
    let producer = Pipeline::playing(&format!(
        "videotestsrc is-live=true ! capsfilter name=caps caps=video/x-raw,format=NV12,width=320,height=240,framerate=60/1 \
         ! shm2sink name=sink shm-size=0 shm-path={path}"
    ));
    let mut sizes = Vec::new();
    for (width, height) in [(320, 240), (1920, 1080), (3840, 2160), (640, 480)] {
        let caps = format!("video/x-raw,format=NV12,width={width},height={height},framerate=60/1");
        producer.element("caps").set_property_from_str("caps", &caps);
        let is_there =
            || caps_of(&consumer, "src").is_some_and(|c| c.structure(0).unwrap().get::<i32>("width") == Ok(width));
        until("frames of these caps", is_there);
        let before = consumer.stat("src", "received");
        until("more of them", || consumer.stat("src", "received") > before + 10);
        sizes.push(shm2::Overview::of(path).unwrap().bytes);
        assert!(sizes.last().unwrap() / (width as u64 * height as u64 * 3 / 2) >= 8, "{sizes:?}");
    }
    assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2] && sizes[2] == sizes[3], "it grows, and stays: {sizes:?}");
    assert_eq!(consumer.stat("src", "attaches"), 3);
    let copied = producer.stat("sink", "copied");
    assert!(copied <= 6, "{copied} frames were copied: those that were under way at a change");
}

#[test]
fn a_region_of_size_0_grows_for_frames_that_no_caps_announce_and_counts_continue() {
    let name = TempRegion::new();
    let line = format!("shm2sink name=sink sync=false shm-size=0 wait-for-connection=true shm-path={}", &*name);
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={} ! fakesink", &*name));
    let producer = Pipeline::playing(&format!("appsrc name=in caps=application/x-test ! {line}"));
    for bytes in [100usize, 80 << 20, 200] {
        let buffer = gst::Buffer::with_size(bytes).unwrap();
        let before = consumer.stat("src", "received");
        let flow: gst::FlowReturn = producer.element("in").emit_by_name("push-buffer", &[&buffer]);
        assert_eq!(flow, gst::FlowReturn::Ok);
        until("it", || consumer.stat("src", "received") > before);
    }
    assert_eq!((producer.stat("sink", "published"), producer.stat("sink", "copied")), (3, 3));
    assert_eq!(consumer.stat("src", "attaches"), 2);
}

#[test]
fn properties_that_need_a_stop_do_not_change_while_running() {
    let name = TempRegion::new();
    let pipeline = Pipeline::playing(&format!("shm2src name=src shm-path={} ! fakesink", &*name));
    let src = pipeline.element("src");
    src.set_property("shm-path", "/dev/shm/shm2-gst-test-other");
    assert_eq!(src.property::<String>("shm-path"), *name);
    src.set_property("latest-only", true);
    assert!(src.property::<bool>("latest-only"));
}

#[test]
fn a_player_continues_with_the_next_producer() {
    if !have(&["playbin3"]) {
        return;
    }
    let name = TempRegion::new();
    let player = Pipeline::playing(&format!("playbin3 uri={} video-sink=\"fakesink name=out\"", name.uri()));
    let shown = || {
        let sink = player.0.property::<gst::Element>("video-sink");
        sink.property::<gst::Structure>("stats").get::<u64>("rendered").unwrap()
    };
    for round in 0..3 {
        let before = shown();
        let caps = format!("video/x-raw,width=320,height={},framerate=60/1", 200 + 20 * round);
        let producer = Pipeline::playing(&format!("videotestsrc is-live=true ! {caps} ! shm2sink shm-path={}", &*name));
        until("pictures of this producer", || shown() > before + 20);
        producer.stop();
    }
}

#[test]
fn a_consumer_that_stalls_does_not_slow_another() {
    let name = TempRegion::new();
    let media = "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=100/1";
    let producer = Pipeline::playing(&format!("{media} ! shm2sink name=sink shm-path={}", &*name));
    let stalled = Pipeline::playing(&format!(
        "shm2src name=src shm-path={} ! queue max-size-buffers=2 ! identity sleep-time=1500000 ! fakesink",
        &*name
    ));
    let times = Arc::new(Mutex::new(Vec::new()));
    let reader = Pipeline::new(&format!("shm2src name=src shm-path={} ! fakesink sync=false", &*name));
    let list = times.clone();
    reader.element("src").static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        list.lock().unwrap().push(std::time::Instant::now());
        gst::PadProbeReturn::Ok
    });
    until("the other stalls", || stalled.stat("src", "received") >= 2);
    reader.0.set_state(gst::State::Playing).unwrap();
    until("three seconds of frames", || times.lock().unwrap().len() > 300);
    assert_eq!((reader.stat("src", "missed"), reader.stat("src", "copied")), (0, 0));
    assert_eq!((producer.stat("sink", "dropped-newest"), producer.stat("sink", "copied")), (0, 0));
    let times = times.lock().unwrap();
    let mut gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    println!(
        "time between frames beside a stalled consumer: median {:?}, longest {:?}",
        gaps[150],
        gaps.last().unwrap()
    );
    assert!(stalled.stat("src", "received") < 10);
}
