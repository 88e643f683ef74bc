//! Buffers through the relay, in this process: no copy, all metas, one clock.

#![cfg(unix)]

mod common;

use common::SMALL;
use gst::prelude::*;
use shm2_relay::event::{Event, Events, Role};
use shm2_relay::feed::Runner;
use shm2_relay::forward::Forward;
use shm2_testing::{LIMIT, TempRegion, until};
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

struct Relay {
    forward: Arc<Forward>,
    input: Runner,
    splash: Runner,
    events: mpsc::Receiver<Event>,
    begun: Instant,
}

impl Relay {
    fn new(output: &str) -> Self {
        gst::init().unwrap();
        gstshm2::plugin_register_static().unwrap();
        let (events, inbox) = Events::new();
        let forward = Arc::new(Forward::new(output, events.clone()).unwrap());
        forward.start().unwrap();
        let begun = Instant::now();
        let runner = |role| Runner::new(role, forward.clone(), events.clone(), begun).unwrap();
        let (input, splash) = (runner(Role::Input), runner(Role::Splash));
        Self { forward, input, splash, events: inbox, begun }
    }

    fn waits_for(&self, mut is_it: impl FnMut(&Event) -> bool) {
        loop {
            let event = self.events.recv_timeout(LIMIT).unwrap();
            assert!(!matches!(event, Event::OutputFailed(_)), "{event:?}");
            if is_it(&event) {
                return;
            }
        }
    }

    /// Waits until `count` further buffers of the input passed.
    fn passes(&self, count: u64) {
        let before = self.forward.counts().input;
        until("buffers", || self.forward.counts().input >= before + count);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.input.stop();
        self.splash.stop();
        let mut left = 2;
        while left > 0 {
            match self.events.recv_timeout(LIMIT) {
                Ok(Event::Stopped(_)) => left -= 1,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.forward.stop();
    }
}

#[test]
fn every_buffer_is_written_straight_into_the_outputs_region() {
    let region = TempRegion::new();
    let relay = Relay::new(&format!("appsrc name=appsrc ! queue ! shm2sink name=sink shm-path={}", &*region));
    let caps = "video/x-raw,format=NV12,width=640,height=360,framerate=200/1";
    relay.input.start(1, &format!("videotestsrc is-live=true ! {caps}"));
    relay.waits_for(|event| matches!(event, Event::Delivers(1)));
    relay.passes(300);
    relay.input.stop();
    relay.waits_for(|event| matches!(event, Event::Stopped(Role::Input)));
    let sink = relay.forward.pipeline().by_name("sink").unwrap();
    let stats = || sink.property::<gst::Structure>("stats");
    let count = |name: &str| stats().get::<u64>(name).unwrap();
    // A busy machine makes some too late, which are left out.
    until("most are out", || count("published") >= 250);
    let mut before = 0;
    until("no more come", || {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, count("published")) == before
    });
    until("all are without a copy", || count("zero-copied") == count("published"));
    println!("{} of {} buffers without a copy", count("zero-copied"), count("published"));
}

#[test]
fn an_input_with_a_latency_above_the_splashs_interval_takes_over() {
    let relay = Relay::new("appsrc name=appsrc ! fakesink sync=false");
    relay.splash.start(1, &format!("videotestsrc is-live=true pattern=black ! {SMALL}"));
    until("the splash", || relay.forward.counts().splash > 10);
    // Each of its buffers is held for 300 ms.
    relay.input.start(1, &format!("videotestsrc is-live=true ! {SMALL} ! queue min-threshold-time=300000000"));
    relay.waits_for(|event| matches!(event, Event::Delivers(1)));
    // The splash still runs.
    relay.passes(20);
}

/// Buffers at the output's end.
fn collected(relay: &Relay) -> Arc<std::sync::Mutex<Vec<(gst::Buffer, gst::Caps)>>> {
    let buffers = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (own, sink) = (buffers.clone(), relay.forward.pipeline().by_name("sink").unwrap());
    sink.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        // A panic would end all tests of the file: a failed one may have left the lock.
        own.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((info.buffer().unwrap().clone(), pad.current_caps().unwrap()));
        gst::PadProbeReturn::Ok
    });
    buffers
}

#[test]
fn caps_follow_each_switch_times_increase_and_metas_are_kept() {
    let relay = Relay::new("appsrc name=appsrc ! fakesink name=sink sync=false");
    let buffers = collected(&relay);
    let splash = format!("videotestsrc is-live=true pattern=black ! {SMALL}");
    let large = "video/x-raw,format=NV12,width=320,height=240,framerate=100/1";
    let input = format!("videotestsrc is-live=true ! {large} ! timecodestamper");
    let mut run = 0;
    for _ in 0..5 {
        run += 1;
        // A splash that still runs has no discontinuity of its own: the relay marks the first buffer.
        if run != 2 && run != 4 {
            relay.splash.start(run, &splash);
        }
        let before = relay.forward.counts().splash;
        until("the splash", || relay.forward.counts().splash > before + 10);
        relay.input.start(run, &input);
        relay.waits_for(|event| matches!(event, Event::Delivers(r) if *r == run));
        if run != 1 && run != 3 {
            relay.splash.stop();
        }
        relay.passes(20);
        relay.input.stop();
        relay.waits_for(|event| matches!(event, Event::Stopped(Role::Input)));
    }
    assert!(relay.forward.counts().late <= 9, "{:?}", relay.forward.counts());
    let buffers = buffers.lock().unwrap();
    let width = |caps: &gst::Caps| caps.structure(0).unwrap().get::<i32>("width").unwrap();
    let is_timecode =
        |buffer: &gst::Buffer| buffer.iter_meta::<gst::Meta>().any(|meta| meta.api().name().contains("TimeCode"));
    let mut switches = 0;
    for pair in buffers.windows(2) {
        let [(a, caps_a), (b, caps_b)] = pair else { unreachable!() };
        assert!(b.pts() > a.pts(), "{:?} after {:?}", b.pts(), a.pts());
        let is_switch = width(caps_a) != width(caps_b);
        // On a loaded machine the input itself may drop some, and mark the next.
        let gap = b.pts().unwrap() - a.pts().unwrap();
        let is_marked = b.flags().contains(gst::BufferFlags::DISCONT);
        assert!(is_marked == is_switch || (is_marked && gap > a.duration().unwrap_or_default()), "{b:?} after {gap}");
        // A gap is not longer than the start of a pipeline.
        assert!(gap < gst::ClockTime::from_seconds(5), "{gap}");
        switches += usize::from(is_switch);
        assert_eq!(is_timecode(b), width(caps_b) == 320);
        assert_eq!(b.size(), if width(caps_b) == 320 { 115_200 } else { 4608 });
    }
    assert_eq!(switches, 9);
    // The newest buffer has the current time of the output's clock.
    let now = relay.forward.pipeline().current_running_time().unwrap();
    let last = buffers.last().unwrap().0.pts().unwrap();
    assert!(
        now.saturating_sub(last) < gst::ClockTime::from_seconds(2) && last <= now + gst::ClockTime::from_mseconds(50)
    );
    println!("{} buffers, {switches} switches, {} ms", buffers.len(), relay.begun.elapsed().as_millis());
}

#[test]
fn an_input_that_is_not_live_is_paced_by_the_clock_and_starts_at_the_current_time() {
    let relay = Relay::new("appsrc name=appsrc ! fakesink name=sink sync=false");
    let buffers = collected(&relay);
    std::thread::sleep(Duration::from_millis(300));
    relay.input.start(1, &format!("videotestsrc num-buffers=60 ! {SMALL}"));
    let begun = Instant::now();
    relay.waits_for(|event| matches!(event, Event::Failed(Role::Input, 1, why) if why == "the stream ended"));
    // 60 buffers at 100 a second.
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    // On a loaded machine some are late and dropped. The output has a thread of its own.
    let late = relay.forward.counts().late as usize;
    until("all others are out", || buffers.lock().unwrap().len() + late == 60);
    let buffers = buffers.lock().unwrap();
    assert!(buffers[0].0.pts() >= Some(gst::ClockTime::from_mseconds(300)));
    let gaps = buffers.windows(2).map(|pair| pair[1].0.pts().unwrap() - pair[0].0.pts().unwrap());
    let regular = gaps.into_iter().filter(|gap| *gap == gst::ClockTime::from_mseconds(10)).count();
    assert!(regular + late >= buffers.len() - 1, "{regular}");
}

#[test]
fn an_encoded_input_starts_at_a_keyframe() {
    let relay = Relay::new("appsrc name=appsrc ! fakesink name=sink sync=false");
    let buffers = collected(&relay);
    let input = format!("videotestsrc is-live=true ! {SMALL} ! vp8enc deadline=1 keyframe-max-dist=20");
    relay.input.start(1, &input);
    relay.waits_for(|event| matches!(event, Event::Delivers(1)));
    relay.passes(5);
    let buffers = buffers.lock().unwrap();
    assert!(!buffers[0].0.flags().contains(gst::BufferFlags::DELTA_UNIT));
    assert!(buffers[1].0.flags().contains(gst::BufferFlags::DELTA_UNIT));
}

#[test]
fn the_inputs_latency_becomes_the_outputs() {
    let relay = Relay::new("appsrc name=appsrc ! fakesink name=sink sync=true");
    relay.input.start(
        1,
        &format!("videotestsrc is-live=true ! {SMALL} ! queue min-threshold-time=40000000 max-size-time=80000000"),
    );
    relay.waits_for(|event| matches!(event, Event::Delivers(1)));
    let sink = relay.forward.pipeline().by_name("sink").unwrap();
    let latency = || {
        let mut query = gst::query::Latency::new();
        sink.query(&mut query).then(|| query.result())
    };
    until("a latency", || {
        latency().is_some_and(|(is_live, min, _)| is_live && min >= gst::ClockTime::from_mseconds(40))
    });
}

#[test]
fn buffers_far_ahead_of_the_clock_do_not_pass_and_do_not_block_the_splash() {
    let relay = Relay::new("appsrc name=appsrc ! fakesink name=sink sync=false");
    relay.splash.start(1, &format!("videotestsrc is-live=true ! {SMALL}"));
    relay.input.start_with(1, &format!("videotestsrc is-live=true ! {SMALL} ! identity name=end"), |pipeline| {
        let end = pipeline.by_name("end").unwrap().static_pad("src").unwrap();
        end.add_probe(gst::PadProbeType::BUFFER, |_, info| {
            let buffer = info.buffer_mut().unwrap().make_mut();
            let ahead = buffer.pts().map(|pts| pts + gst::ClockTime::from_seconds(3600));
            buffer.set_pts(ahead);
            gst::PadProbeReturn::Ok
        });
    });
    until("late buffers", || relay.forward.counts().late > 20);
    assert_eq!((relay.forward.counts().input, relay.input.last()), (0, Duration::ZERO));
    let splash = relay.forward.counts().splash;
    until("the splash goes on", || relay.forward.counts().splash > splash + 10);
}

#[test]
fn the_input_produces_the_caps_of_the_outputs_appsrc() {
    let relay = Relay::new("appsrc name=appsrc caps=video/x-raw,format=RGB,width=80,height=60 ! fakesink name=sink");
    let buffers = collected(&relay);
    relay.input.start(1, "videotestsrc is-live=true");
    relay.waits_for(|event| matches!(event, Event::Delivers(1)));
    relay.passes(3);
    assert_eq!(buffers.lock().unwrap()[0].0.size(), 80 * 60 * 3);
}
