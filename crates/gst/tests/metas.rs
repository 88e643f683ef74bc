//! Flags and metas of a buffer through both elements: what arrives, and what the sink counts.

#![expect(unsafe_code, reason = "the bindings drop the buffer flags that they have no name for")]

mod common;

use common::pair::{Downstream, Pair};
use common::{Pipeline, have};
use gst::prelude::*;
use shm2_testing::TempRegion;
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
