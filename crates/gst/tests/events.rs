//! Events through both elements, and those that a late consumer gets.

mod common;

use common::Pipeline;
use gst::prelude::*;
use shm2_testing::{LIMIT, TempRegion, until};
use std::sync::{Arc, Mutex};

/// The events of an element's source pad, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<gst::Event>>>);

impl Seen {
    fn at(element: &gst::Element) -> Self {
        let seen = Self::default();
        let list = seen.0.clone();
        let pad = element.static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            list.lock().unwrap().extend(info.event().map(|event| event.to_owned()));
            gst::PadProbeReturn::Ok
        });
        seen
    }

    fn of(&self, kind: gst::EventType) -> Vec<gst::Event> {
        self.0.lock().unwrap().iter().filter(|event| event.type_() == kind).cloned().collect()
    }

    fn wait(&self, kind: gst::EventType, count: usize) -> Vec<gst::Event> {
        until(&format!("{count} x {kind:?}"), || self.of(kind).len() >= count);
        self.of(kind)
    }
}

const SOURCE: &str = "appsrc name=src format=time is-live=true caps=application/x-test";

fn producer(name: &TempRegion) -> Pipeline {
    Pipeline::playing(&format!("{SOURCE} ! shm2sink name=sink sync=false shm-path={}", &**name))
}

fn consumer(name: &TempRegion, properties: &str) -> (Pipeline, Seen) {
    let pipeline = Pipeline::new(&format!("shm2src name=src shm-path={} {properties} ! fakesink name=out", &**name));
    let seen = Seen::at(&pipeline.element("src"));
    pipeline.0.set_state(gst::State::Playing).unwrap();
    (pipeline, seen)
}

fn push(producer: &Pipeline, milliseconds: u64) {
    let mut buffer = gst::Buffer::from_slice([7u8; 16]);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(milliseconds));
    let flow: gst::FlowReturn = producer.element("src").emit_by_name("push-buffer", &[&buffer]);
    assert_eq!(flow, gst::FlowReturn::Ok);
}

/// Sends an event after all buffers pushed so far.
fn send(producer: &Pipeline, event: gst::Event) {
    assert!(producer.element("src").send_event(event));
}

fn title(text: &str) -> gst::Event {
    let mut tags = gst::TagList::new();
    tags.get_mut().unwrap().add::<gst::tags::Title>(&text, gst::TagMergeMode::Replace);
    gst::event::Tag::new(tags)
}

fn titles(events: &[gst::Event]) -> Vec<String> {
    let title = |event: &gst::Event| match event.view() {
        gst::EventView::Tag(tag) => tag.tag().get::<gst::tags::Title>().map(|title| title.get().to_owned()),
        _ => None,
    };
    events.iter().filter_map(title).collect()
}

fn custom(name: &str) -> gst::Structure {
    gst::Structure::builder(name).field("number", 5i32).field("text", "a \"b\"").build()
}

#[test]
fn tags_stream_start_and_custom_events_reach_consumers_also_late_ones() {
    let name = TempRegion::new();
    let producer = producer(&name);
    let (_early, seen) = consumer(&name, "");
    push(&producer, 0);
    seen.wait(gst::EventType::Caps, 1);
    send(&producer, title("first"));
    send(&producer, gst::event::CustomDownstream::new(custom("between")));
    send(&producer, gst::event::CustomDownstreamSticky::new(custom("note")));
    push(&producer, 10);
    let between = seen.wait(gst::EventType::CustomDownstream, 1);
    assert_eq!(between[0].structure(), Some(&*custom("between")));
    assert_eq!(titles(&seen.wait(gst::EventType::Tag, 1)), ["first"]);
    send(&producer, title("second"));
    push(&producer, 20);
    assert_eq!(titles(&seen.wait(gst::EventType::Tag, 2)).last().unwrap(), "second");
    // The stream id is the producer's, once.
    let start =
        producer.element("sink").static_pad("sink").unwrap().sticky_event::<gst::event::StreamStart>(0).unwrap();
    let starts = seen.of(gst::EventType::StreamStart);
    let [gst::EventView::StreamStart(received)] = starts.iter().map(|e| e.view()).collect::<Vec<_>>()[..] else {
        panic!("{starts:?}")
    };
    assert_eq!(received.stream_id(), start.stream_id());
    for properties in ["", "access=snapshot", "live-only=false"] {
        let (late, seen) = consumer(&name, properties);
        assert_eq!(titles(&seen.wait(gst::EventType::Tag, 1)), ["second"]);
        let note = seen.wait(gst::EventType::CustomDownstreamSticky, 1);
        assert_eq!(note[0].structure(), Some(&*custom("note")));
        assert!(seen.of(gst::EventType::CustomDownstream).is_empty(), "it stood between frames of the past");
        let order: Vec<_> = seen.0.lock().unwrap().iter().map(|event| event.type_()).collect();
        assert_eq!(order[..2], [gst::EventType::StreamStart, gst::EventType::Caps], "{order:?}");
        late.stop();
    }
    assert_eq!(producer.stat("sink", "events-dropped"), 0);
}

#[test]
fn a_gap_arrives_at_its_time() {
    for live_only in [true, false] {
        let name = TempRegion::new();
        let producer = producer(&name);
        let (consumer, seen) = consumer(&name, &format!("live-only={live_only}"));
        push(&producer, 100);
        until("the first frame", || consumer.stat("src", "received") == 1);
        let first = buffer_time(&consumer);
        let gap = gst::event::Gap::builder(gst::ClockTime::from_mseconds(140))
            .duration(gst::ClockTime::from_mseconds(40))
            .build();
        send(&producer, gap);
        push(&producer, 180);
        let gaps = seen.wait(gst::EventType::Gap, 1);
        let gst::EventView::Gap(gap) = gaps[0].view() else { panic!() };
        assert_eq!(gap.get(), (first + gst::ClockTime::from_mseconds(40), Some(gst::ClockTime::from_mseconds(40))));
    }
}

/// The time of the newest buffer at the sink.
fn buffer_time(consumer: &Pipeline) -> gst::ClockTime {
    until("a sample", || consumer.element("out").property::<Option<gst::Sample>>("last-sample").is_some());
    let sample = consumer.element("out").property::<Option<gst::Sample>>("last-sample").unwrap();
    sample.buffer().unwrap().pts().unwrap()
}

#[test]
fn a_gap_before_any_frame_comes_after_a_segment() {
    let name = TempRegion::new();
    let producer = Pipeline::playing(&format!("{SOURCE} ! shm2sink sync=false history=9 shm-path={}", &*name));
    let (_consumer, seen) = consumer(&name, "");
    // Later than the consumer's start: earlier gaps are skipped.
    send(&producer, gst::event::Gap::new(gst::ClockTime::from_seconds(60), gst::ClockTime::SECOND));
    push(&producer, 61_000);
    seen.wait(gst::EventType::Gap, 1);
    let order: Vec<_> = seen.0.lock().unwrap().iter().map(|event| event.type_()).collect();
    let place = |kind| order.iter().position(|k| *k == kind).unwrap();
    assert!(place(gst::EventType::StreamStart) < place(gst::EventType::Segment));
    assert!(place(gst::EventType::Segment) < place(gst::EventType::Gap), "{order:?}");
}

#[test]
fn events_without_a_form_in_a_region_are_counted_and_tracer_probes_are_not() {
    let name = TempRegion::new();
    let producer = producer(&name);
    let (consumer, seen) = consumer(&name, "");
    push(&producer, 0);
    until("the first frame", || consumer.stat("src", "received") == 1);
    let object = gst::Structure::builder("thing").field("clock", gst::SystemClock::obtain()).build();
    send(&producer, gst::event::CustomDownstream::new(object));
    send(&producer, gst::event::CustomDownstream::new(custom("latency_probe.id")));
    send(&producer, gst::event::Toc::new(&gst::Toc::new(gst::TocScope::Global), false));
    push(&producer, 10);
    until("the second frame", || consumer.stat("src", "received") == 2);
    assert!(seen.of(gst::EventType::CustomDownstream).is_empty());
    assert_eq!(producer.stat("sink", "events-dropped"), 2);
}

#[test]
fn the_stream_starts_once_and_has_the_tags_of_the_current_producer() {
    let name = TempRegion::new();
    let (consumer, seen) = consumer(&name, "");
    for round in 1..=3 {
        let producer = producer(&name);
        if round != 2 {
            send(&producer, title(&format!("producer {round}")));
        }
        push(&producer, 0);
        until("a frame", || consumer.stat("src", "received") == round);
        producer.stop();
    }
    assert_eq!(seen.of(gst::EventType::StreamStart).len(), 1);
    let tags = seen.wait(gst::EventType::Tag, 3);
    let sizes: Vec<_> = tags
        .iter()
        .map(|event| match event.view() {
            gst::EventView::Tag(tag) => tag.tag().n_tags(),
            _ => unreachable!("a tag"),
        })
        .collect();
    assert_eq!((titles(&tags), sizes), (vec!["producer 1".to_owned(), "producer 3".to_owned()], vec![1, 0, 1]));
}

#[test]
fn statistics_are_notified_once_a_second() {
    let name = TempRegion::new();
    let media = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=60/1";
    let producer = Pipeline::playing(&format!("{media} ! shm2sink name=sink shm-path={}", &*name));
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={} ! fakesink", &*name));
    for (pipeline, element, field) in [(&producer, "sink", "published"), (&consumer, "src", "received")] {
        let counts = Arc::new(Mutex::new(Vec::new()));
        let (list, field) = (counts.clone(), field.to_owned());
        pipeline.element(element).connect_notify(Some("stats"), move |element, _| {
            list.lock().unwrap().push((std::time::Instant::now(), common::stat(element, &field)));
        });
        until("three notifications", || counts.lock().unwrap().len() >= 3);
        let counts = counts.lock().unwrap();
        assert!(counts.windows(2).all(|pair| pair[0].1 < pair[1].1), "{counts:?}");
        assert!(counts[2].0 - counts[0].0 > std::time::Duration::from_millis(1500) && LIMIT.as_secs() > 3);
    }
}

#[test]
fn tags_after_the_last_frame_arrive_before_the_end_of_stream() {
    let name = TempRegion::new();
    let producer = producer(&name);
    let (consumer, seen) = consumer(&name, "");
    push(&producer, 0);
    until("the first frame", || consumer.stat("src", "received") == 1);
    send(&producer, title("at last"));
    let flow: gst::FlowReturn = producer.element("src").emit_by_name("end-of-stream", &[]);
    assert_eq!(flow, gst::FlowReturn::Ok);
    consumer.run_to_end();
    assert_eq!(titles(&seen.of(gst::EventType::Tag)), ["at last"]);
    let order: Vec<_> = seen.0.lock().unwrap().iter().map(|event| event.type_()).collect();
    let place = |kind| order.iter().position(|k| *k == kind).unwrap();
    assert!(place(gst::EventType::Segment) < place(gst::EventType::Tag), "{order:?}");
}

#[test]
fn an_element_that_is_linked_later_gets_the_stream_start() {
    let name = TempRegion::new();
    let producer = producer(&name);
    let (consumer, _) = consumer(&name, "");
    push(&producer, 0);
    let (src, first) = (consumer.element("src"), consumer.element("out"));
    until("the first frame", || first.property::<Option<gst::Sample>>("last-sample").is_some());
    src.unlink(&first);
    let second = gst::ElementFactory::make("fakesink").property("async", false).build().unwrap();
    consumer.0.add(&second).unwrap();
    second.sync_state_with_parent().unwrap();
    src.link(&second).unwrap();
    push(&producer, 10);
    let pad = second.static_pad("sink").unwrap();
    until("the stream's beginning", || pad.sticky_event::<gst::event::Segment>(0).is_some());
    assert!(pad.sticky_event::<gst::event::StreamStart>(0).is_some());
}

/// Everything that may come before the next buffer.
fn send_all(producer: &Pipeline, text: &str, milliseconds: u64) {
    send(producer, title(text));
    send(producer, gst::event::CustomDownstream::new(custom("between")));
    send(producer, gst::event::CustomDownstreamSticky::new(custom(text)));
    let gap = gst::event::Gap::builder(gst::ClockTime::from_mseconds(milliseconds));
    send(producer, gap.duration(gst::ClockTime::from_mseconds(1)).build());
}

#[test]
fn a_segment_is_sent_once_whatever_comes_before_the_next_buffer() {
    for live_only in [true, false] {
        let name = TempRegion::new();
        let (consumer, seen) = consumer(&name, &format!("live-only={live_only}"));
        let pictures = common::pictures(&consumer.element("out"), "sink");
        for round in 1..=3u64 {
            let producer = producer(&name);
            until("a consumer", || producer.element("sink").property::<u32>("num-clients") == 1);
            send_all(&producer, &format!("note-{round}"), 60_000);
            push(&producer, 60_001);
            push(&producer, 60_002);
            until("both frames", || consumer.stat("src", "received") == 2 * round);
            seen.wait(gst::EventType::CustomDownstreamSticky, round as usize);
            producer.stop();
        }
        until("all buffers", || pictures.lock().unwrap().len() == 6);
        let kinds: Vec<_> = seen.0.lock().unwrap().iter().map(|event| event.type_()).collect();
        let segments = kinds.iter().filter(|kind| **kind == gst::EventType::Segment).count();
        // Without live-only each producer has its own.
        assert_eq!(segments, if live_only { 1 } else { 3 }, "{kinds:?}");
        let gaps = seen.of(gst::EventType::Gap).len();
        assert_eq!(gaps, 3, "{kinds:?}");
    }
}

#[test]
fn a_segment_is_sent_once_after_a_flush() {
    for live_only in [true, false] {
        let name = TempRegion::new();
        let producer = producer(&name);
        let (consumer, seen) = consumer(&name, &format!("live-only={live_only}"));
        push(&producer, 0);
        let segments = || seen.of(gst::EventType::Segment).len();
        until("the first frame", || consumer.stat("src", "received") == 1);
        seen.wait(gst::EventType::Segment, 1);
        for round in 1..=3u64 {
            let src = consumer.element("src");
            let pad = src.static_pad("src").unwrap();
            // A flush during a change of states ends in another way.
            let (_, state, pending) = consumer.0.state(gst::ClockTime::try_from(LIMIT).ok());
            assert_eq!((state, pending), (gst::State::Playing, gst::State::VoidPending));
            assert!(src.send_event(gst::event::FlushStart::new()));
            // The base class starts its task with the end of the flush, which is too early for one that is not paused yet.
            until("a paused task", || pad.task_state() == gst::TaskState::Paused);
            assert!(src.send_event(gst::event::FlushStop::new(true)));
            let before = segments();
            send_all(&producer, &format!("note-{round}"), 100 * round);
            push(&producer, 100 * round + 10);
            push(&producer, 100 * round + 20);
            until("the frames", || consumer.stat("src", "received") == 1 + 2 * round);
            until("a note", || seen.of(gst::EventType::CustomDownstreamSticky).len() >= round as usize);
            assert_eq!(segments() - before, 1, "round {round}, live-only={live_only}");
        }
        consumer.stop();
        assert_eq!(segments(), 4, "live-only={live_only}");
    }
}

#[test]
fn an_element_that_is_linked_between_an_event_and_its_buffer_gets_the_segment() {
    let name = TempRegion::new();
    let producer = producer(&name);
    let (consumer, seen) = consumer(&name, "");
    send(&producer, gst::event::Gap::new(gst::ClockTime::from_seconds(60), gst::ClockTime::SECOND));
    seen.wait(gst::EventType::Gap, 1);
    let (src, first) = (consumer.element("src"), consumer.element("out"));
    src.unlink(&first);
    let second = gst::ElementFactory::make("fakesink").property("async", false).build().unwrap();
    consumer.0.add(&second).unwrap();
    second.sync_state_with_parent().unwrap();
    src.link(&second).unwrap();
    push(&producer, 61_000);
    let pad = second.static_pad("sink").unwrap();
    until("the segment", || pad.sticky_event::<gst::event::Segment>(0).is_some());
    until("the frame", || second.property::<Option<gst::Sample>>("last-sample").is_some());
}
