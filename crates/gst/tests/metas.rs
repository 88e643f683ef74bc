//! Flags and metas of a buffer through both elements: what arrives, and what the sink counts.

#![expect(unsafe_code, reason = "the bindings drop the buffer flags that they have no name for")]

mod common;

use common::pair::{Downstream, Pair};
use common::{Pipeline, have};
use gst::prelude::*;
use gst_video::{
    VideoCaptionMeta, VideoCaptionType, VideoCropMeta, VideoFormat, VideoFrameFlags, VideoMeta,
    VideoRegionOfInterestMeta,
};
use shm2_testing::{TempRegion, until};
use std::sync::{Arc, Mutex};

fn flags(buffer: &gst::BufferRef) -> u32 {
    // SAFETY: the reference keeps the buffer alive; flags of a buffer are a plain number.
    unsafe { (*buffer.as_ptr()).mini_object.flags }
}

fn any_caps() -> gst::Caps {
    "application/x-test".parse().unwrap()
}

/// Bits that belong to one process's memory (`LIVE`, `TAG_MEMORY`) or to every mini object.
const LOCAL: u32 = 0x401f;

#[test]
fn every_flag_of_a_buffer_arrives_but_those_of_one_process() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    // The first buffer of a producer is a discontinuity.
    pair.pass(&any_caps(), gst::Buffer::from_slice([0u8; 4])).unwrap();
    let both = [(1 << 20) | (1 << 21), u32::MAX];
    for bits in (4..32).map(|bit| 1 << bit).chain(both) {
        let mut buffer = gst::Buffer::from_slice([1u8; 4]);
        buffer.get_mut().unwrap().set_flags(gst::BufferFlags::from_bits_retain(bits & !0xf));
        let received = pair.pass(&any_caps(), buffer).unwrap();
        assert_eq!(flags(&received) & !0xf, bits & !LOCAL, "sent {bits:#x}");
    }
}

#[test]
fn the_fields_of_interlaced_video_arrive() {
    if !have(&["interlace"]) {
        return;
    }
    for pattern in ["1:1", "2:3"] {
        let line = format!(
            "videotestsrc num-buffers=6 ! video/x-raw,format=I420,width=64,height=64,framerate=60/1 ! \
             interlace field-pattern={pattern} top-field-first=true"
        );
        let (direct, through) = (flags_of(&format!("{line} ! fakesink name=out sync=false")), through_the_pair(&line));
        assert_eq!(direct, through, "{pattern}");
        assert!(direct.iter().any(|flags| flags & (1 << 21) != 0), "{pattern}: {direct:x?}");
    }
}

fn observed(pipeline: &Pipeline) -> Arc<Mutex<Vec<u32>>> {
    let list = Arc::new(Mutex::new(Vec::new()));
    let seen = list.clone();
    pipeline.element("out").static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        // The base classes set DISCONT for their own first buffer.
        seen.lock().unwrap().extend(info.buffer().map(|buffer| flags(buffer) & !LOCAL & !0x40));
        gst::PadProbeReturn::Ok
    });
    list
}

fn flags_of(line: &str) -> Vec<u32> {
    let pipeline = Pipeline::new(line);
    let list = observed(&pipeline);
    pipeline.0.set_state(gst::State::Playing).unwrap();
    pipeline.run_to_end();
    let list = list.lock().unwrap();
    list.clone()
}

fn through_the_pair(line: &str) -> Vec<u32> {
    let name = TempRegion::new();
    let consumer =
        Pipeline::new(&format!("shm2src shm-path={} live-only=false ! fakesink name=out sync=false", &*name));
    let list = observed(&consumer);
    consumer.0.set_state(gst::State::Playing).unwrap();
    let sink = "shm2sink sync=false wait-for-connection=true full-policy=block";
    let producer = Pipeline::playing(&format!("{line} ! {sink} shm-path={}", &*name));
    producer.run_to_end();
    consumer.run_to_end();
    let list = list.lock().unwrap();
    list.clone()
}

fn frame() -> gst::Buffer {
    gst::Buffer::from_slice([5u8; 16])
}

fn add_custom(buffer: &mut gst::Buffer, structure: &gst::StructureRef) {
    let name = structure.name();
    if !gst::meta::CustomMeta::is_registered(name) {
        gst::meta::CustomMeta::register(name, &[]);
    }
    let mut meta = gst::meta::CustomMeta::add(buffer.get_mut().unwrap(), name).unwrap();
    structure.iter().for_each(|(field, value)| meta.mut_structure().set_value(field, value.clone()));
}

fn custom(buffer: &gst::BufferRef, name: &str) -> Option<gst::Structure> {
    gst::meta::CustomMeta::from_buffer(buffer, name).ok().map(|meta| meta.structure().to_owned())
}

/// A value that has no form as plain text.
fn clock() -> gst::Clock {
    gst::SystemClock::obtain()
}

#[test]
fn a_meta_that_cannot_be_read_back_is_counted() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    let plain = gst::Structure::builder("Shm2TestPlain").field("number", 5i32).field("text", "a \"b\"").build();
    let nested = gst::Structure::builder("Shm2TestNested").field("inner", &plain).field("number", 5i32).build();
    let object = gst::Structure::builder("Shm2TestObject").field("clock", clock()).build();
    let byte = gst::Structure::builder("Shm2TestByte").field("byte", 5u8).build();
    let mut buffer = frame();
    [&plain, &nested, &object].into_iter().for_each(|structure| add_custom(&mut buffer, structure));
    let received = pair.pass(&any_caps(), buffer).unwrap();
    assert_eq!(custom(&received, "Shm2TestPlain").as_ref(), Some(&plain));
    assert!(custom(&received, "Shm2TestNested").is_none() && custom(&received, "Shm2TestObject").is_none());
    assert_eq!(pair.sink_stat("metas-dropped"), 2);
    // Either it arrives or it is counted.
    let mut buffer = frame();
    add_custom(&mut buffer, &byte);
    let received = pair.pass(&any_caps(), buffer).unwrap();
    let counted = pair.sink_stat("metas-dropped") - 2;
    assert_eq!(custom(&received, "Shm2TestByte").is_none(), counted == 1);
}

#[test]
fn parts_of_metas_that_cannot_be_read_back_are_counted() {
    common::init();
    let video = "video/x-raw, format=GRAY8, width=64, height=48, framerate=30/1".parse::<gst::Caps>().unwrap();
    let raw = || gst::Buffer::from_slice([0u8; 64 * 48]);
    let mut pair = Pair::new("", Downstream::KnowsNone);
    let mut dropped = 0;
    let mut pass = |caps: &gst::Caps, what: &str, change: &dyn Fn(&mut gst::BufferRef), expected: u64| {
        let mut buffer = raw();
        change(buffer.get_mut().unwrap());
        let received = pair.pass(caps, buffer).unwrap();
        dropped += expected;
        assert_eq!(pair.sink_stat("metas-dropped"), dropped, "{what}");
        received
    };
    let plain = gst::Structure::builder("detection").field("score", 0.5f64).build();
    let object = gst::Structure::builder("mask").field("clock", clock()).build();
    let region = |rectangle, parameters: &[&gst::Structure], buffer: &mut gst::BufferRef| {
        let mut meta = VideoRegionOfInterestMeta::add(buffer, "face", rectangle);
        parameters.iter().for_each(|parameter| meta.add_param((*parameter).clone()));
    };
    let received = pass(&video, "parameter", &|b| region((1, 1, 9, 9), &[&plain, &object], b), 1);
    let parameters: Vec<_> =
        received.meta::<VideoRegionOfInterestMeta>().unwrap().params().map(|p| p.to_owned()).collect();
    assert_eq!(parameters, std::slice::from_ref(&plain));
    pass(&video, "no region at fault", &|b| region((1, 1, 9, 9), &[&plain], b), 0);
    pass(&video, "outside", &|b| region((60, 1, 9, 9), &[&plain], b), 1);
    pass(&video, "more parameters than are read", &|b| region((1, 1, 9, 9), &[&plain; 65], b), 1);
    pass(&any_caps(), "of another medium", &|b| region((1, 1, 9, 9), &[&plain], b), 1);
    let crop = |rectangle, buffer: &mut gst::BufferRef| {
        VideoCropMeta::add(buffer, rectangle);
    };
    pass(&video, "crop", &|b| crop((8, 0, 56, 48), b), 0);
    pass(&video, "crop outside", &|b| crop((9, 0, 56, 48), b), 1);
    let reference = |caps: &gst::Caps, buffer: &mut gst::BufferRef| {
        gst::ReferenceTimestampMeta::add(buffer, caps, gst::ClockTime::SECOND, None);
    };
    let plain_caps = "timestamp/x-ntp, host=(string)camera".parse().unwrap();
    let object_caps = gst::Caps::builder("timestamp/x-clock").field("clock", clock()).build();
    let nested_caps = gst::Caps::builder("timestamp/x-nested").field("inner", &plain).build();
    let received = pass(&video, "reference", &|b| reference(&plain_caps, b), 0);
    assert_eq!(received.meta::<gst::ReferenceTimestampMeta>().unwrap().reference(), &*plain_caps);
    pass(&video, "reference with an object", &|b| reference(&object_caps, b), 1);
    pass(&video, "reference with a structure", &|b| reference(&nested_caps, b), 1);
}

#[test]
fn an_address_of_a_network_peer_stays_behind_without_being_counted() {
    if !have(&["udpsrc"]) {
        return;
    }
    let name = TempRegion::new();
    let line = format!("udpsrc name=udp address=127.0.0.1 port=0 ! shm2sink name=sink sync=false shm-path={}", &*name);
    let producer = Pipeline::playing(&line);
    let port = || producer.element("udp").property::<i32>("port");
    until("a port", || port() != 0);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    until("a packet", || {
        socket.send_to(b"packet", ("127.0.0.1", port() as u16)).unwrap();
        producer.stat("sink", "published") > 0
    });
    assert_eq!(producer.stat("sink", "metas-dropped"), 0);
}

/// A custom meta with a buffer of so many bytes.
fn blob(name: &str, bytes: usize) -> gst::Structure {
    let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    gst::Structure::builder(name).field("blob", gst::Buffer::from_mut_slice(content)).field("number", 5i32).build()
}

fn bytes_of(structure: &gst::StructureRef) -> Vec<u8> {
    structure.get::<gst::Buffer>("blob").unwrap().map_readable().unwrap().to_vec()
}

#[test]
fn a_buffer_in_a_custom_meta_arrives_up_to_the_limit_of_all_metas() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    for bytes in [0, 1, 80_000, 1_000_000] {
        let sent = blob("Shm2TestBlob", bytes);
        let mut buffer = frame();
        add_custom(&mut buffer, &sent);
        let received = custom(&pair.pass(&any_caps(), buffer).unwrap(), "Shm2TestBlob").unwrap();
        assert!(bytes_of(&received) == bytes_of(&sent), "{bytes} bytes");
        assert_eq!(received.get::<i32>("number"), Ok(5));
    }
    assert_eq!(pair.sink_stat("metas-dropped"), 0);
}

#[test]
fn what_passes_the_limit_is_dropped_by_name_and_the_frame_goes_on() {
    let mut pair = Pair::new("", Downstream::KnowsLayouts);
    let video = "video/x-raw, format=GRAY8, width=60, height=48, framerate=30/1".parse::<gst::Caps>().unwrap();
    let text = "x".repeat(1_100_000);
    for round in 1..=2 {
        let mut buffer = gst::Buffer::from_mut_slice(vec![0u8; 128 * 48]);
        add_custom(&mut buffer, &blob("Shm2TestFits", 600_000));
        add_custom(&mut buffer, &blob("Shm2TestNoMore", 600_000));
        add_custom(&mut buffer, &blob("Shm2TestLarge", 1_100_000));
        add_custom(&mut buffer, &gst::Structure::builder("Shm2TestText").field("text", &text).build());
        let buffer_ref = buffer.get_mut().unwrap();
        VideoCaptionMeta::add(buffer_ref, VideoCaptionType::Cea708Cdp, text.as_bytes());
        let reference = gst::Caps::builder("timestamp/x-long").field("text", &text).build();
        gst::ReferenceTimestampMeta::add(buffer_ref, &reference, gst::ClockTime::SECOND, None);
        let mut region = VideoRegionOfInterestMeta::add(buffer_ref, "face", (0, 0, 5, 5));
        region.add_param(gst::Structure::builder("long").field("text", &text).build());
        // The layout has its place whatever else there is.
        let flags = VideoFrameFlags::empty();
        VideoMeta::add_full(buffer_ref, flags, VideoFormat::Gray8, 60, 48, &[0], &[128]).unwrap();
        let received = pair.pass(&video, buffer).unwrap();
        assert_eq!(received.meta::<VideoMeta>().unwrap().stride(), [128]);
        assert_eq!(bytes_of(&custom(&received, "Shm2TestFits").unwrap()).len(), 600_000);
        let mut left = ["Shm2TestNoMore", "Shm2TestLarge", "Shm2TestText"].iter();
        assert!(left.all(|name| custom(&received, name).is_none()));
        assert_eq!(pair.sink_stat("metas-dropped"), 6 * round);
    }
    let messages = pair.sink_messages();
    for name in
        ["Shm2TestNoMore", "Shm2TestLarge", "Shm2TestText", "VideoCaption", "ReferenceTimestamp", "RegionOfInterest"]
    {
        let count = messages.iter().filter(|text| text.contains(name)).count();
        assert_eq!(count, 1, "{name}: {messages:?}");
    }
}

#[test]
fn a_long_list_of_regions_loses_only_those_that_do_not_fit() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    let video = "video/x-raw, format=GRAY8, width=64, height=48, framerate=30/1".parse().unwrap();
    let mut buffer = gst::Buffer::from_slice([0u8; 64 * 48]);
    for _ in 0..40_000 {
        VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "face", (0, 0, 5, 5));
    }
    let received = pair.pass(&video, buffer).unwrap();
    let arrived = received.iter_meta::<VideoRegionOfInterestMeta>().count() as u64;
    assert!(arrived > 20_000);
    assert_eq!(arrived + pair.sink_stat("metas-dropped"), 40_000);
}

#[test]
fn metas_that_are_larger_than_the_arena_are_dropped_and_the_frame_goes_on() {
    // An arena of 64 KiB.
    for (size, expected) in [("shm-size=4849664", 2), ("shm-size=0", 0)] {
        let mut pair = Pair::new(size, Downstream::KnowsNone);
        for number in 1..=2 {
            let mut buffer = frame();
            add_custom(&mut buffer, &blob("Shm2TestArena", 100_000));
            let received = pair.pass(&any_caps(), buffer).unwrap();
            assert_eq!(custom(&received, "Shm2TestArena").is_some(), expected == 0, "{number}");
        }
        assert_eq!(pair.sink_stat("metas-dropped"), expected, "{size}");
    }
}

#[test]
fn a_list_of_tags_loses_only_what_does_not_fit() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    pair.pass(&any_caps(), frame()).unwrap();
    let mut tags = gst::TagList::new();
    let list = tags.get_mut().unwrap();
    let picture = gst::Buffer::from_mut_slice(vec![7u8; 2_000_000]);
    let caps = "image/jpeg".parse().unwrap();
    let sample = gst::Sample::builder().buffer(&picture).caps(&caps).build();
    list.add::<gst::tags::Image>(&sample, gst::TagMergeMode::Append);
    list.add::<gst::tags::Comment>(&&*"x".repeat(1_100_000), gst::TagMergeMode::Append);
    list.add::<gst::tags::Title>(&"the title", gst::TagMergeMode::Append);
    list.add::<gst::tags::Artist>(&"the artist", gst::TagMergeMode::Append);
    assert!(pair.sink.push_event(gst::event::Tag::new(tags)));
    pair.pass(&any_caps(), frame()).unwrap();
    let received = pair.src.sinkpad().unwrap().sticky_event::<gst::event::Tag>(0).unwrap();
    let received = received.tag();
    assert_eq!(received.get::<gst::tags::Title>().unwrap().get(), "the title");
    assert_eq!(received.get::<gst::tags::Artist>().unwrap().get(), "the artist");
    assert!(received.get::<gst::tags::Comment>().is_none());
    assert_eq!(pair.sink_stat("events-dropped"), 1);
    let messages = pair.sink_messages();
    assert!(messages.iter().any(|text| text.contains("comment")), "{messages:?}");
}

#[test]
fn an_event_that_passes_the_limit_is_dropped_by_name_and_the_stream_goes_on() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    pair.pass(&any_caps(), frame()).unwrap();
    let text = "x".repeat(1_100_000);
    let structure = |name: &str| gst::Structure::builder(name).field("text", &text).build();
    for round in 1..=2 {
        assert!(pair.sink.push_event(gst::event::CustomDownstream::new(structure("between"))));
        assert!(pair.sink.push_event(gst::event::CustomDownstreamSticky::new(structure("sticky"))));
        pair.pass(&any_caps(), frame()).unwrap();
        assert_eq!(pair.sink_stat("events-dropped"), 2 * round);
    }
    assert!(pair.sink.push_event(gst::event::StreamStart::new(&text)));
    pair.pass(&any_caps(), frame()).unwrap();
    assert_eq!(pair.sink_stat("events-dropped"), 5);
    let messages = pair.sink_messages();
    for name in ["between", "sticky", "stream-start"] {
        let count = messages.iter().filter(|text| text.starts_with(name)).count();
        assert_eq!(count, 1, "{name}: {messages:?}");
    }
}

#[test]
fn caps_that_pass_the_limit_are_refused_at_the_sink() {
    let mut pair = Pair::new("", Downstream::KnowsNone);
    pair.pass(&any_caps(), frame()).unwrap();
    let header = gst::Buffer::from_mut_slice(vec![1u8; 40_000]);
    let large = gst::Caps::builder("application/x-test").field("codec_data", header).build();
    assert_eq!(pair.send(&large, frame()), Err(gst::FlowError::NotNegotiated));
    // The consumers are still there for what follows.
    let other = "application/x-other".parse().unwrap();
    pair.pass(&other, frame()).unwrap();
    assert_eq!(pair.received_caps(), other);
}
