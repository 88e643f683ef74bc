//! What the elements agree on with their neighbours: memory, renegotiation, latency.

mod common;

use common::Pipeline;
use gst::prelude::*;
use gst_check::Harness;
use shm2::{Consumer, FrameInfo, Producer};
use shm2_testing::{LIMIT, TempRegion, until};

const SIZE: &str = "format=GRAY8,width=64,height=48,framerate=30/1";

/// Features that a region cannot carry.
const REFUSED: [&str; 6] = [
    "(memory:DMABuf)",
    "(memory:GLMemory)",
    "(memory:VAMemory)",
    "(memory:SystemMemory, meta:GstVideoOverlayComposition)",
    "(meta:GstVideoOverlayComposition)",
    "(memory:GLMemory, format:Interlaced)",
];

/// A source that prefers the memory of a device to that of the system, and negotiates as its base class does.
mod device_source {
    use gst::glib;
    use gst::subclass::prelude::*;
    use gst_base::subclass::base_src::CreateSuccess;
    use gst_base::subclass::prelude::*;
    use std::sync::LazyLock;

    #[derive(Default)]
    pub struct DeviceSource;

    #[glib::object_subclass]
    impl ObjectSubclass for DeviceSource {
        const NAME: &'static str = "Shm2TestDeviceSource";
        type Type = super::DeviceSource;
        type ParentType = gst_base::PushSrc;
    }

    impl ObjectImpl for DeviceSource {}
    impl GstObjectImpl for DeviceSource {}

    impl ElementImpl for DeviceSource {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> =
                LazyLock::new(|| gst::subclass::ElementMetadata::new("Test", "Source", "Test", "shm2"));
            Some(&*METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                // The last one is what the sink takes.
                let features = super::REFUSED.iter().chain(&[""]);
                let caps: Vec<_> = features.map(|feature| format!("video/x-raw{feature},{}", super::SIZE)).collect();
                let caps = caps.join(";").parse().unwrap();
                let (direction, presence) = (gst::PadDirection::Src, gst::PadPresence::Always);
                vec![gst::PadTemplate::new("src", direction, presence, &caps).unwrap()]
            });
            &TEMPLATES
        }
    }

    impl BaseSrcImpl for DeviceSource {}

    impl PushSrcImpl for DeviceSource {
        fn create(&self, _: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
            Ok(CreateSuccess::NewBuffer(gst::Buffer::from_slice([7u8; 64 * 48])))
        }
    }
}

gst::glib::wrapper! {
    pub struct DeviceSource(ObjectSubclass<device_source::DeviceSource>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

#[test]
fn the_sink_offers_what_it_accepts() {
    let name = TempRegion::new();
    let pipeline = Pipeline::new(&format!("fakesrc ! shm2sink name=sink shm-path={}", &*name));
    let pad = pipeline.element("sink").static_pad("sink").unwrap();
    assert!(pad.query_caps(None).is_any() && pad.query_caps(Some(&gst::Caps::new_any())).is_any());
    let accepted = ["", "(memory:SystemMemory)", "(format:Interlaced)", "(memory:SystemMemory, format:Interlaced)"];
    let features = accepted.map(|memory| (memory, true)).into_iter().chain(REFUSED.map(|memory| (memory, false)));
    for (memory, is_accepted) in features {
        let caps: gst::Caps = format!("video/x-raw{memory},{SIZE}").parse().unwrap();
        assert_eq!(pad.query_accept_caps(&caps), is_accepted, "{memory}");
        let offered = pad.query_caps(Some(&caps));
        assert_eq!(offered, if is_accepted { caps } else { gst::Caps::new_empty() });
    }
    let offered = |filter: &str| pad.query_caps(Some(&filter.parse().unwrap())).to_string();
    assert_eq!(offered("video/x-raw(memory:VAMemory); video/x-raw; audio/x-raw"), "video/x-raw; audio/x-raw");
    assert_eq!(offered("video/x-raw(ANY), width=(int)5"), "video/x-raw, width=(int)5", "any memory is narrowed");
}

#[test]
fn a_source_that_prefers_the_memory_of_a_device_falls_back_to_that_of_the_system() {
    let name = TempRegion::new();
    common::init();
    let pipeline = Pipeline(gst::Pipeline::new());
    let source = gst::glib::Object::new::<DeviceSource>().upcast::<gst::Element>();
    let sink = gst::parse::launch(&format!("shm2sink sync=false shm-path={}", &*name)).unwrap();
    pipeline.0.add_many([&source, &sink]).unwrap();
    source.link(&sink).unwrap();
    pipeline.0.set_state(gst::State::Playing).unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(Some(LIMIT)).unwrap();
    let frame = consumer.next(Some(std::time::Duration::from_secs(10)));
    let frame = frame.unwrap_or_else(|error| panic!("{error}; on the bus: {:?}", pipeline.error()));
    let caps = String::from_utf8(frame.caps().unwrap().1.to_vec()).unwrap();
    assert!(caps.starts_with("video/x-raw, "), "{caps}");
}

#[test]
fn upstream_renegotiates_its_memory_when_a_larger_region_replaces_the_one_for_its_caps() {
    let name = TempRegion::new();
    common::init();
    let element = gst::parse::launch(&format!("shm2sink sync=false shm-size=0 shm-path={}", &*name)).unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), None);
    let caps: gst::Caps = format!("video/x-raw,{SIZE}").parse().unwrap();
    harness.set_src_caps(caps.clone());
    harness.play();
    harness.push(gst::Buffer::from_slice([7u8; 100])).unwrap();
    while harness.try_pull_upstream_event().is_some() {}
    // Larger than the region, which has 16 MiB.
    harness.push(gst::Buffer::from_slice(vec![7u8; 20 << 20])).unwrap();
    let events = std::iter::from_fn(|| harness.try_pull_upstream_event()).map(|event| event.type_());
    let events: Vec<_> = events.collect();
    assert!(events.contains(&gst::EventType::Reconfigure), "{events:?}");
    let mut query = gst::query::Allocation::new(Some(&caps), false);
    assert!(harness.srcpad().unwrap().peer_query(&mut query));
    let (allocator, params) = query.allocation_params().next().unwrap();
    let mut buffer = gst::Buffer::new();
    buffer.get_mut().unwrap().append_memory(allocator.unwrap().alloc(100, Some(&params)).unwrap());
    harness.push(buffer).unwrap();
    assert_eq!((common::stat(&element, "zero-copied"), common::stat(&element, "copied")), (1, 2));
}

#[test]
fn upstream_writes_into_the_arena_again_after_its_caps_change_in_mid_stream() {
    let name = TempRegion::new();
    let caps = |width| format!("video/x-raw,format=GRAY8,width={width},height=480,framerate=30/1");
    let sink = format!("shm2sink name=sink sync=false shm-size=0 shm-path={}", &*name);
    let line = format!("videotestsrc ! capsfilter name=caps caps={} ! {sink}", caps(64));
    let pipeline = Pipeline::playing(&line);
    // The second region is larger than the first; the third caps fit into it.
    for width in [64, 20_000, 640] {
        pipeline.element("caps").set_property("caps", caps(width).parse::<gst::Caps>().unwrap());
        let pad = pipeline.element("sink").static_pad("sink").unwrap();
        let is_current = |caps: &gst::Caps| caps.structure(0).unwrap().get("width") == Ok(width);
        until("the caps", || pad.current_caps().as_ref().is_some_and(is_current));
        let (before, copied) = (pipeline.stat("sink", "zero-copied"), pipeline.stat("sink", "copied"));
        until("frames in place", || pipeline.stat("sink", "zero-copied") >= before + 10);
        let copied = pipeline.stat("sink", "copied") - copied;
        assert!(copied <= 2, "{copied} frames were copied at a width of {width}");
    }
}

#[test]
fn caps_that_a_stop_keeps_from_downstream_are_no_error() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_caps(b"application/x-test").unwrap();
    producer.send(&[7; 10], &FrameInfo::new()).unwrap();
    // The base class of a live source looks for a stop itself.
    let pipeline = Pipeline::new(&format!("shm2src name=src is-live=false shm-path={} ! fakesink", &*name));
    let stopped = pipeline.0.clone();
    let (done, end) = std::sync::mpsc::channel();
    let done = std::sync::Mutex::new(Some(done));
    let pad = pipeline.element("src").static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
        // The caps follow it.
        let is_start = info.event().is_some_and(|event| event.type_() == gst::EventType::StreamStart);
        if is_start && let Some(done) = done.lock().unwrap().take() {
            let stopped = stopped.clone();
            std::thread::spawn(move || done.send(stopped.set_state(gst::State::Ready)));
            until("a pad that flushes", || pad.pad_flags().contains(gst::PadFlags::FLUSHING));
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.0.set_state(gst::State::Playing).unwrap();
    end.recv_timeout(LIMIT).expect("a stop").unwrap();
    let bus = pipeline.0.bus().unwrap();
    let error = bus.pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn a_producer_that_changes_its_latency_with_each_frame_causes_one_message_a_second() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_caps(b"application/x-test").unwrap();
    let pipeline = Pipeline::playing(&format!("shm2src name=src shm-path={} ! fakesink sync=false", &*name));
    let bus = pipeline.0.bus().unwrap();
    until("the consumer", || producer.consumers() == 1);
    let begun = std::time::Instant::now();
    let mut send = |latency| {
        let mut info = FrameInfo::new();
        info.latency = latency;
        producer.send(&[7; 10], &info).unwrap();
    };
    for latency in 1..=500 {
        send(1_000_000 * latency);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    until("all frames", || pipeline.stat("src", "received") == 500);
    let messages = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Latency])).count() as u64;
    let seconds = begun.elapsed().as_secs();
    assert!((1..=seconds + 2).contains(&messages), "{messages} messages in {seconds} s");
    // The last change is reported with a later frame, also if that one has the same latency.
    until("a message for the last latency", || {
        send(500_000_000);
        std::thread::sleep(std::time::Duration::from_millis(20));
        bus.pop_filtered(&[gst::MessageType::Latency]).is_some()
    });
    let mut query = gst::query::Latency::new();
    assert!(pipeline.element("src").query(&mut query));
    assert_eq!(query.result().1, gst::ClockTime::from_mseconds(520));
}

/// The moment in which a flush begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before the stream's start.
    Attached,
    /// Before the tags.
    Caps,
}

#[test]
fn what_a_flush_keeps_from_downstream_is_sent_after_it() {
    for moment in [Moment::Attached, Moment::Caps] {
        let name = TempRegion::new();
        let line = format!("shm2src name=src shm-path={} ! fakesink name=out sync=false async=false", &*name);
        let pipeline = Pipeline::new(&line);
        let src = pipeline.element("src");
        let pad = src.static_pad("src").unwrap();
        let (done, end) = std::sync::mpsc::channel();
        let done = std::sync::Arc::new(std::sync::Mutex::new(Some(done)));
        let (flushed, flushing) = (src.clone(), pad.clone());
        let flush = move |is_time: bool| {
            if is_time && let Some(done) = done.lock().unwrap().take() {
                let flushed = flushed.clone();
                std::thread::spawn(move || done.send(flushed.send_event(gst::event::FlushStart::new())));
                until("a pad that flushes", || flushing.pad_flags().contains(gst::PadFlags::FLUSHING));
            }
        };
        let flush_with_caps = flush.clone();
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            let is_caps = info.event().is_some_and(|event| event.type_() == gst::EventType::Caps);
            flush_with_caps(is_caps && moment == Moment::Caps);
            gst::PadProbeReturn::Ok
        });
        pipeline.0.bus().unwrap().set_sync_handler(move |_, message| {
            let is_attach = message.structure().is_some_and(|s| s.name() == "shm2-attached");
            flush(is_attach && moment == Moment::Attached);
            gst::BusSyncReply::Pass
        });
        let mut producer = Producer::builder(&name).unwrap().history(9).create().unwrap();
        let tags = b"\0\0\0\0tags, title=(string)< kept >;";
        let item = [&[65, 0, 0, 0][..], &(tags.len() as u32).to_le_bytes(), tags].concat();
        producer.set_stream(b"application/x-test", &item).unwrap();
        producer.send(&[7; 10], &FrameInfo::new()).unwrap();
        pipeline.0.set_state(gst::State::Playing).unwrap();
        assert!(end.recv_timeout(LIMIT).expect("a flush"));
        assert!(src.send_event(gst::event::FlushStop::new(true)));
        let frames = common::pictures(&pipeline.element("out"), "sink");
        producer.send(&[7; 10], &FrameInfo::new()).unwrap();
        until("a frame after the flush", || !frames.lock().unwrap().is_empty());
        let error = pipeline.0.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{moment:?}: {error:?}");
        let out = pipeline.element("out").static_pad("sink").unwrap();
        assert!(out.sticky_event::<gst::event::StreamStart>(0).is_some(), "{moment:?}: no start");
        assert!(out.sticky_event::<gst::event::Caps>(0).is_some(), "{moment:?}: no caps");
        let tags = out.sticky_event::<gst::event::Tag>(0).unwrap_or_else(|| panic!("{moment:?}: no tags"));
        assert_eq!(tags.tag().get::<gst::tags::Title>().map(|title| title.get().to_owned()).as_deref(), Some("kept"));
    }
}

#[test]
fn a_gap_that_is_first_after_a_flush_comes_after_a_segment() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_caps(b"application/x-test").unwrap();
    producer.send(&[7; 10], &FrameInfo::new().with_pts(0)).unwrap();
    let line = format!("shm2src name=src live-only=false shm-path={} ! fakesink async=false", &*name);
    let pipeline = Pipeline::playing(&line);
    until("a frame", || pipeline.stat("src", "received") == 1);
    let src = pipeline.element("src");
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = order.clone();
    src.static_pad("src").unwrap().add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        seen.lock().unwrap().extend(info.event().map(|event| event.type_()));
        gst::PadProbeReturn::Ok
    });
    assert!(src.send_event(gst::event::FlushStart::new()) && src.send_event(gst::event::FlushStop::new(true)));
    // Kind 67, without bytes.
    producer.send_event(&FrameInfo::new().with_pts(40), &[67, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    until("the gap", || order.lock().unwrap().contains(&gst::EventType::Gap));
    let order = order.lock().unwrap();
    let place = |kind| order.iter().position(|k| *k == kind);
    assert!(place(gst::EventType::Segment).is_some_and(|s| Some(s) < place(gst::EventType::Gap)), "{order:?}");
}

#[cfg(unix)]
#[test]
fn upstream_asks_for_the_memory_of_a_region_that_opens_with_the_first_frame() {
    let name = TempRegion::new();
    let line = format!("shm2sink name=sink sync=false shm-size=0 shm-path={}", &*name);
    let pipeline = Pipeline::playing(&format!("filesrc location=/dev/zero num-buffers=50 ! {line}"));
    pipeline.run_to_end();
    let (zero_copied, copied) = (pipeline.stat("sink", "zero-copied"), pipeline.stat("sink", "copied"));
    assert!(zero_copied >= 48, "{zero_copied} without a copy, {copied} with one");
}

#[test]
fn a_region_that_cannot_be_opened_with_the_first_frame_is_an_error() {
    let name = TempRegion::new();
    let _first = Producer::create(&name).unwrap();
    let line = format!("shm2sink sync=false shm-size=0 shm-path={}", &*name);
    let pipeline = Pipeline::playing(&format!("fakesrc sizetype=fixed sizemax=100 ! {line}"));
    let error = pipeline.error().expect("an error");
    assert!(error.contains("live producer"), "{error}");
}
