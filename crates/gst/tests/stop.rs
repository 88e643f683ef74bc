//! Each element stops soon whatever it is doing: a sink that waits for free space in any kind of item, and a source
//! that is flooded with items of any kind. One second is promised; the tests print the longest time and fail at ten
//! seconds.

mod common;

use common::Pipeline;
use gst::prelude::*;
use shm2_testing::{LIMIT, TempRegion, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A stop that takes this long has failed.
const DEADLINE: Duration = Duration::from_secs(10);

/// Ways to end what a streaming thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Paused,
    Ready,
    Null,
    Flush,
}

/// The time that a stop took, or what went wrong.
type Outcome = Result<Duration, String>;

/// Runs `stop` on a thread. `release` lets it end after the deadline.
fn timed(stop: impl FnOnce() + Send + 'static, release: impl FnOnce()) -> Outcome {
    let (done, ended) = channel();
    let begun = Instant::now();
    let thread = std::thread::spawn(move || {
        stop();
        let _ = done.send(begun.elapsed());
    });
    let outcome = ended.recv_timeout(DEADLINE).map_err(|_| format!("not back after {DEADLINE:?}"));
    if outcome.is_err() {
        release();
    }
    thread.join().expect("the stop itself does not fail");
    outcome
}

/// Prints the longest time; fails if a stop did.
fn judge(outcomes: &[(String, Outcome)]) {
    let failed: Vec<_> =
        outcomes.iter().filter_map(|(case, o)| Some(format!("{case}: {}", o.as_ref().err()?))).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), outcomes.len());
    let (case, longest) = outcomes.iter().max_by_key(|(_, outcome)| outcome.clone().ok()).expect("a case");
    println!("{} stops; the longest: {case}: {longest:?}", outcomes.len());
}

/// What a sink waits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Buffer,
    /// A custom downstream event.
    Event,
    /// Tags, and a buffer that takes them along.
    Tags,
    Gap,
    /// The end of the stream, after tags that no buffer took along.
    End,
}

/// What a sink waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    Ring,
    Arena,
}

/// A sink that plays, and the pad that feeds it.
fn playing_sink(properties: &str) -> (Pipeline, gst::Pad, TempRegion) {
    common::init();
    let name = TempRegion::new();
    let pipeline = Pipeline(gst::Pipeline::new());
    let sink = gst::parse::launch(&format!("shm2sink name=sink sync=false {properties} shm-path={}", &*name)).unwrap();
    pipeline.0.add(&sink).unwrap();
    let pad = gst::Pad::builder(gst::PadDirection::Src).name("feed").build();
    pad.set_active(true).unwrap();
    pad.link(&sink.static_pad("sink").unwrap()).unwrap();
    pipeline.0.set_state(gst::State::Playing).unwrap();
    assert!(pad.push_event(gst::event::StreamStart::new("stop")));
    assert!(pad.push_event(gst::event::Caps::new(&gst::Caps::new_empty_simple("application/x-test"))));
    assert!(pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    (pipeline, pad, name)
}

/// Pushes the item on a thread, which then waits.
fn push_on_thread(pad: &gst::Pad, item: Item) -> JoinHandle<()> {
    let pad = pad.clone();
    let thread = std::thread::spawn(move || push(&pad, item));
    // Nothing shows that the thread waits. If it does not yet, the case is an easier one.
    std::thread::sleep(Duration::from_millis(30));
    assert!(!thread.is_finished(), "{item:?} does not wait");
    thread
}

/// The call that ends what the sink does.
fn ending(pipeline: &Pipeline, pad: &gst::Pad, stop: Stop) -> impl FnOnce() + Send + 'static {
    let (pipeline, pad) = (pipeline.0.clone(), pad.clone());
    move || match stop {
        Stop::Paused => assert!(pipeline.set_state(gst::State::Paused).is_ok()),
        Stop::Ready => assert!(pipeline.set_state(gst::State::Ready).is_ok()),
        Stop::Null => assert!(pipeline.set_state(gst::State::Null).is_ok()),
        Stop::Flush => {
            assert!(pad.push_event(gst::event::FlushStart::new()));
            assert!(pad.push_event(gst::event::FlushStop::new(true)));
        }
    }
}

/// A sink under `full-policy=block` with the pad that feeds it, and a consumer that stands still.
struct Blocked {
    pipeline: Pipeline,
    pad: gst::Pad,
    consumer: shm2::Consumer,
    _name: TempRegion,
}

impl Blocked {
    fn new(full: Full) -> Self {
        let (pipeline, pad, name) = playing_sink("full-policy=block shm-size=6291456");
        let consumer = shm2::Consumer::builder(&name).unwrap().start(shm2::Start::Oldest).events(true);
        let consumer = consumer.attach(Some(LIMIT)).unwrap();
        let new = Self { pipeline, pad, consumer, _name: name };
        new.fill(full);
        new
    }

    /// Leaves no free cell in the ring, or no free space in the arena.
    fn fill(&self, full: Full) {
        match full {
            Full::Ring => (1..shm2::layout::CELLS).for_each(|_| assert!(self.pad.push(gst::Buffer::new()).is_ok())),
            Full::Arena => {
                // To the last granule.
                for bytes in [1 << 16, 1 << 12, 64] {
                    while self.pipeline.stat("sink", "arena-free-bytes") >= bytes {
                        assert!(self.pad.push(gst::Buffer::from_slice(vec![7u8; bytes as usize])).is_ok());
                    }
                }
            }
        }
    }

    fn stop(self, item: Item, stop: Stop) -> Outcome {
        let pushing = push_on_thread(&self.pad, item);
        let end = ending(&self.pipeline, &self.pad, stop);
        let mut consumer = Some(self.consumer);
        let mut outcome = timed(end, || drop(consumer.take()));
        if let (Stop::Paused, Some(consumer)) = (stop, &mut consumer) {
            self.pipeline.0.set_state(gst::State::Playing).unwrap();
            outcome = outcome.and_then(|time| read_to(consumer, item).map(|()| time));
        }
        drop(consumer);
        until("the pushing thread ends", || pushing.is_finished());
        outcome
    }
}

/// What the tags are known by in the stream's description.
const TITLE: &str = "from-the-tags";

fn push(pad: &gst::Pad, item: Item) {
    let structure = gst::Structure::builder("stop").field("n", 7i32).build();
    let tags = |pad: &gst::Pad| {
        let mut tags = gst::TagList::new();
        tags.get_mut().unwrap().add::<gst::tags::Title>(&TITLE, gst::TagMergeMode::Append);
        pad.push_event(gst::event::Tag::new(tags));
    };
    match item {
        Item::Buffer => drop(pad.push(gst::Buffer::from_slice([7u8; 500]))),
        Item::Event => drop(pad.push_event(gst::event::CustomDownstream::new(structure))),
        Item::Tags => {
            tags(pad);
            let _ = pad.push(gst::Buffer::from_slice([7u8; 500]));
        }
        Item::Gap => drop(pad.push_event(gst::event::Gap::new(gst::ClockTime::ZERO, gst::ClockTime::SECOND))),
        Item::End => {
            tags(pad);
            pad.push_event(gst::event::Eos::new());
        }
    }
}

/// Reads until the item that the sink waited with comes: a pause loses nothing.
fn read_to(consumer: &mut shm2::Consumer, item: Item) -> Result<(), String> {
    let mut has_tags = false;
    loop {
        let frame = match consumer.next(Some(DEADLINE)) {
            Ok(frame) if frame.missed() == 0 => frame,
            Ok(frame) => return Err(format!("{} items were lost", frame.missed())),
            Err(shm2::ReceiveError::EndOfStream) if item == Item::End && has_tags => return Ok(()),
            Err(error) => return Err(format!("the item did not arrive: {error}, tags: {has_tags}")),
        };
        has_tags = frame.stream_blob().windows(TITLE.len()).any(|part| part == TITLE.as_bytes());
        match item {
            Item::Buffer if frame.len() == 500 => return Ok(()),
            Item::Tags if frame.len() == 500 && has_tags => return Ok(()),
            Item::Event | Item::Gap if frame.is_event() => return Ok(()),
            _ => {}
        }
    }
}

#[test]
fn a_sink_that_waits_for_free_space_with_any_item_stops_soon_and_loses_nothing_by_a_pause() {
    let mut outcomes = Vec::new();
    for full in [Full::Ring, Full::Arena] {
        for item in [Item::Buffer, Item::Event, Item::Tags, Item::Gap, Item::End] {
            for stop in [Stop::Paused, Stop::Ready, Stop::Null, Stop::Flush] {
                let outcome = Blocked::new(full).stop(item, stop);
                outcomes.push((format!("{full:?} full, {item:?}, {stop:?}"), outcome));
            }
        }
    }
    judge(&outcomes);
}

#[test]
fn a_sink_that_waits_for_a_consumer_stops_soon() {
    let mut outcomes = Vec::new();
    for stop in [Stop::Paused, Stop::Ready, Stop::Null, Stop::Flush] {
        let (pipeline, pad, _name) = playing_sink("wait-for-connection=true");
        let pushing = push_on_thread(&pad, Item::Buffer);
        outcomes.push((format!("{stop:?}"), timed(ending(&pipeline, &pad, stop), || {})));
        if stop == Stop::Paused {
            assert!(!pushing.is_finished(), "a pause keeps the buffer");
        }
        pipeline.stop();
        until("the pushing thread ends", || pushing.is_finished());
    }
    judge(&outcomes);
}

/// A paused sink that does not preroll gets an item and then plays, with this time in between.
fn play_with(full: Full, item: Item, between: Duration) -> Outcome {
    let sink = Blocked::new(full);
    // The state change does not wait for an item, and the next one finds the sink in PAUSED.
    sink.pipeline.element("sink").set_property("async", false);
    sink.pipeline.0.set_state(gst::State::Paused).unwrap();
    let pad = sink.pad.clone();
    let pushing = std::thread::spawn(move || push(&pad, item));
    std::thread::sleep(between);
    let pipeline = sink.pipeline.0.clone();
    let mut consumer = Some(sink.consumer);
    let play = move || assert!(pipeline.set_state(gst::State::Playing).is_ok());
    let mut outcome = timed(play, || drop(consumer.take()));
    if let Some(consumer) = &mut consumer {
        outcome = outcome.and_then(|time| read_to(consumer, item).map(|()| time));
    }
    drop(consumer);
    until("the pushing thread ends", || pushing.is_finished());
    outcome
}

/// The base class may commit the new state while an item waits, before the change takes the preroll lock.
#[test]
fn a_paused_sink_that_waits_for_free_space_with_any_item_plays_again_soon_and_loses_nothing() {
    let mut outcomes = Vec::new();
    for full in [Full::Ring, Full::Arena] {
        for item in [Item::Buffer, Item::Event, Item::Tags, Item::Gap, Item::End] {
            for micros in [0, 20, 50, 100, 200, 500, 1000, 30_000] {
                let outcome = play_with(full, item, Duration::from_micros(micros));
                outcomes.push((format!("{full:?} full, {item:?}, {micros} us"), outcome));
            }
        }
    }
    judge(&outcomes);
}

/// What floods a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    /// Frames that depend on one that was never sent.
    Delta,
    /// Frames that were due before the source played again.
    Stale,
    /// Custom events.
    Event,
    /// Frames of which each is gone before it is read.
    Lap,
}

/// A producer that sends faster than a source receives, on a thread of its own.
struct Flooding {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Flooding {
    fn start(name: &TempRegion, flood: Flood, policy: shm2::FullPolicy) -> Self {
        // An arena of little more than two frames. A leasing consumer copies them, too: they take more than its third.
        // The longer the copy, the less can it keep up with a producer that waits for it.
        let bytes = if matches!(policy, shm2::FullPolicy::Block { .. }) { 1 << 20 } else { 128 << 10 };
        let producer = shm2::Producer::builder(name).unwrap().arena(2 * bytes as u64 + 4096).full_policy(policy);
        let mut producer = producer.create().unwrap();
        producer.set_caps(b"application/x-test").unwrap();
        let slot = producer.reserve(bytes).unwrap();
        let mut info = shm2::FrameInfo::new().with_pts(1);
        info.time = (flood == Flood::Stale).then_some(1);
        info.flags = if flood == Flood::Delta { gst::BufferFlags::DELTA_UNIT.bits() } else { 0 };
        // Kind 68, the length, and a structure.
        let event = [&[68u8, 0, 0, 0, 16, 0, 0, 0][..], b"flood, n=(int)1;"].concat();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                // A source that stopped in between is no reason to fail.
                let _ = match flood {
                    Flood::Event => producer.send_event(&info, &event),
                    Flood::Lap => producer.reserve(bytes).and_then(|slot| producer.publish(slot, &info)),
                    Flood::Delta | Flood::Stale => producer.publish_part(&slot, 0..bytes, &info, &[], Box::new(())),
                };
            }
        });
        Self { is_over, thread }
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Stops a source that receives a flood.
fn stop_flooded(access: &str, flood: Flood, stop: Stop) -> Outcome {
    let name = TempRegion::new();
    let consumer =
        Pipeline::new(&format!("shm2src name=src access={access} shm-path={} ! fakesink sync=false", &*name));
    // A leasing consumer is never lapped by a producer that waits for it, and always has a full ring before it.
    let timeout = Some(Duration::from_secs(1));
    let is_blocking = access == "lease" && flood != Flood::Lap;
    let policy = if is_blocking { shm2::FullPolicy::Block { timeout } } else { shm2::FullPolicy::DropOldest };
    let flooding = Flooding::start(&name, flood, policy);
    consumer.0.set_state(gst::State::Playing).unwrap();
    if flood == Flood::Stale {
        until("frames before the pause", || consumer.stat("src", "received") > 10);
        consumer.0.set_state(gst::State::Paused).unwrap();
        consumer.0.set_state(gst::State::Playing).unwrap();
    }
    // A source that passes nothing on shows nothing.
    std::thread::sleep(Duration::from_millis(300));
    let (pipeline, src) = (consumer.0.clone(), consumer.element("src"));
    let end = move || match stop {
        Stop::Flush => {
            assert!(src.send_event(gst::event::FlushStart::new()));
            assert!(src.send_event(gst::event::FlushStop::new(true)));
        }
        _ => drop(pipeline.set_state(gst::State::Null).unwrap()),
    };
    let is_over = flooding.is_over.clone();
    let outcome = timed(end, || is_over.store(true, Ordering::Relaxed));
    flooding.end();
    outcome
}

#[test]
fn a_source_that_is_flooded_with_any_item_stops_soon() {
    let mut outcomes = Vec::new();
    for access in ["lease", "snapshot"] {
        for flood in [Flood::Delta, Flood::Stale, Flood::Event, Flood::Lap] {
            for stop in [Stop::Null, Stop::Flush] {
                let outcome = stop_flooded(access, flood, stop);
                outcomes.push((format!("access={access}, {flood:?}, {stop:?}"), outcome));
            }
        }
    }
    judge(&outcomes);
}
