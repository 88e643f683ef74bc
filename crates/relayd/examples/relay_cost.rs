//! Cost of the relay: time of each buffer from the input's end to the output's start, processor time compared with the
//! same pipeline without a relay, and the time from demand to the first buffer.
//!
//! `cargo run --release -p shm2-relayd --example relay_cost`

use gst::prelude::*;
use hdrhistogram::Histogram;
use shm2_relay::event::{Event, Events, Role};
use shm2_relay::feed::Runner;
use shm2_relay::forward::Forward;
use shm2_testing::{LIMIT, TempRegion};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const SOURCE: &str = "videotestsrc is-live=true pattern=black ! \
     video/x-raw,format=NV12,width=1920,height=1080,framerate=60/1 ! identity name=end";
const TIME: Duration = Duration::from_secs(8);
const SWITCHES: u64 = 60;

fn main() {
    gst::init().unwrap();
    gstshm2::plugin_register_static().unwrap();
    let region = TempRegion::new();
    let sink = format!("shm2sink name=sink sync=false shm-path={}", &*region);
    let alone = alone(&sink);
    let (relayed, added) = relayed(&sink);
    println!(
        "added from the input's end to behind the output's appsrc: p50 {:.1} us, p99 {:.1} us",
        added[0], added[1]
    );
    println!("processor time per buffer: {alone:.0} us alone, {relayed:.0} us through the relay");
    let switches = switches();
    let at = |share| Duration::from_nanos(switches.value_at_quantile(share));
    println!(
        "from the start of the input to its first buffer, {SWITCHES} times: p50 {:?}, p99 {:?}",
        at(0.5),
        at(0.99)
    );
}

/// Nanoseconds, up to the limit.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LIMIT.as_nanos() as u64, 3).unwrap()
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_nanos() as u64);
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Microseconds of processor time per buffer while `count` grows.
fn cost(count: impl Fn() -> u64) -> f64 {
    std::thread::sleep(Duration::from_secs(1));
    let (time, before) = (processor_time(), count());
    std::thread::sleep(TIME);
    (processor_time() - time).as_secs_f64() * 1e6 / (count() - before) as f64
}

fn published(pipeline: &gst::Pipeline) -> u64 {
    let stats = pipeline.by_name("sink").unwrap().property::<gst::Structure>("stats");
    stats.get("published").unwrap()
}

fn alone(sink: &str) -> f64 {
    let pipeline = gst::parse::launch(&format!("{SOURCE} ! {sink}")).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let cost = cost(|| published(&pipeline));
    pipeline.set_state(gst::State::Null).unwrap();
    cost
}

struct Relay {
    forward: Arc<Forward>,
    input: Runner,
    events: mpsc::Receiver<Event>,
}

fn relay(output: &str) -> Relay {
    let (events, inbox) = Events::new();
    let forward = Arc::new(Forward::new(output, events.clone()).unwrap());
    forward.start().unwrap();
    let input = Runner::new(Role::Input, forward.clone(), events, Instant::now()).unwrap();
    Relay { forward, input, events: inbox }
}

impl Relay {
    fn waits_for(&self, is_it: impl Fn(&Event) -> bool) {
        while !is_it(&self.events.recv_timeout(LIMIT).unwrap()) {}
    }
}

/// Processor time per buffer, and p50 and p99 of the added time, in microseconds.
fn relayed(sink: &str) -> (f64, [f64; 2]) {
    let relay = relay(&format!("appsrc name=appsrc ! {sink}"));
    let (begun, added) = (Instant::now(), Arc::new(Mutex::new(histogram())));
    let pad = relay.forward.pipeline().by_name("appsrc").unwrap().static_pad("src").unwrap();
    let own = added.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let stamp = Duration::from_nanos(info.buffer().unwrap().offset());
        record(&mut own.lock().unwrap(), begun.elapsed().saturating_sub(stamp));
        gst::PadProbeReturn::Ok
    });
    // The time at which the input's last element pushes a buffer is stored in the buffer's offset.
    relay.input.start_with(1, SOURCE, move |pipeline| {
        let end = pipeline.by_name("end").unwrap().static_pad("src").unwrap();
        end.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let now = begun.elapsed().as_nanos() as u64;
            if let Some(buffer) = info.buffer_mut() {
                buffer.make_mut().set_offset(now);
            }
            gst::PadProbeReturn::Ok
        });
    });
    relay.waits_for(|event| matches!(event, Event::Delivers(1)));
    let cost = cost(|| published(relay.forward.pipeline()));
    relay.input.stop();
    relay.waits_for(|event| matches!(event, Event::Stopped(_)));
    relay.forward.stop();
    let added = added.lock().unwrap();
    (cost, [0.5, 0.99].map(|share| added.value_at_quantile(share) as f64 / 1e3))
}

fn switches() -> Histogram<u64> {
    let relay = relay("appsrc name=appsrc ! fakesink");
    let source = "videotestsrc is-live=true ! video/x-raw,format=NV12,width=640,height=360,framerate=200/1";
    let one = |run| {
        let begun = Instant::now();
        relay.input.start(run, source);
        relay.waits_for(|event| matches!(event, Event::Delivers(r) if *r == run));
        let took = begun.elapsed();
        relay.input.stop();
        relay.waits_for(|event| matches!(event, Event::Stopped(_)));
        took
    };
    let mut times = histogram();
    (1..=SWITCHES).for_each(|run| record(&mut times, one(run)));
    relay.forward.stop();
    times
}
