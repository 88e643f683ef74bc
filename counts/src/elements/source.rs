//! Buffers out of the source element. Its thread pushes them into a pad of this program.
//!
//! The pad keeps the first buffer until all others are published, so that the source never waits for one. Callgrind
//! counts everything between two batches; the main thread sleeps meanwhile.

use gst::prelude::*;
use shm2::{FrameInfo, Producer};
use shm2_counts::{BATCHES, announce, end_of_batch};
use shm2_testing::{LIMIT, TempRegion};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const STEPS: usize = 256;
const BYTES: usize = 1024;
/// The first batch holds the start, and is not reported.
const BUFFERS: usize = (1 + BATCHES) * STEPS;

pub fn run() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).expect("a name").arena(16 << 20).create().expect("a region");
    producer.set_caps(b"application/x-test").expect("caps");
    let (arrived, arrives) = channel();
    let (go, waits) = channel();
    let pad = pad(arrived, waits);
    let element = gst::ElementFactory::make("shm2src").property("shm-path", &*name).build().expect("the source");
    element.static_pad("src").expect("its pad").link(&pad).expect("linked");
    element.set_clock(Some(&gst::SystemClock::obtain())).expect("a clock");
    element.set_base_time(gst::ClockTime::ZERO);
    element.set_state(gst::State::Playing).expect("playing");

    let mut publish = || {
        let slot = producer.reserve(BYTES).expect("free space");
        producer.publish(slot, &FrameInfo::new()).expect("published");
    };
    // A frame from before the source attached does not arrive.
    let has_begun = (0..300).any(|_| {
        publish();
        arrives.recv_timeout(Duration::from_millis(100)).is_ok()
    });
    assert!(has_begun, "no buffer arrives");
    (0..BUFFERS).for_each(|_| publish());
    go.send(()).expect("the pad waits");
    arrives.recv_timeout(LIMIT).expect("all buffers");
    announce("", 0);
    (0..BATCHES).for_each(|_| announce("elements: source, one buffer of 1 KiB", STEPS));
    element.set_state(gst::State::Null).expect("stopped");
}

/// The pad that the source pushes into. It reports the first and the last buffer, and waits after the first one.
fn pad(arrived: Sender<()>, waits: Receiver<()>) -> gst::Pad {
    let count = AtomicUsize::new(0);
    let waits = Mutex::new(waits);
    let pad = gst::Pad::builder(gst::PadDirection::Sink).chain_function(move |_, _, buffer| {
        assert_eq!(buffer.size(), BYTES);
        drop(buffer);
        let count = 1 + count.fetch_add(1, Ordering::Relaxed);
        if count == 1 {
            arrived.send(()).expect("the main thread waits");
            waits.lock().expect("no panic").recv().expect("the main thread has published");
        }
        if count.is_multiple_of(STEPS) {
            end_of_batch();
        }
        if count == BUFFERS {
            arrived.send(()).expect("the main thread waits");
        }
        Ok(gst::FlowSuccess::Ok)
    });
    let pad = pad.event_function(|_, _, _| true).build();
    pad.set_active(true).expect("an active pad");
    pad
}
