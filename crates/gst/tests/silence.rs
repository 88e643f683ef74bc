//! A producer that is away or silent, as the source reports it and what the source sends meanwhile; and frames that are
//! older than the lag limit.

mod common;

use common::Pipeline;
use gst::prelude::*;
use shm2::{FrameInfo, Producer};
use shm2_testing::{ChildGuard, TempRegion, until};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A buffer or a gap at the source's pad.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Item {
    pts_ms: u64,
    is_gap: bool,
    /// Address of the bytes.
    address: usize,
    is_break: bool,
}

fn items(consumer: &Pipeline) -> Arc<Mutex<Vec<Item>>> {
    let items = Arc::new(Mutex::new(Vec::new()));
    let list = items.clone();
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    consumer.element("src").static_pad("src").unwrap().add_probe(kinds, move |_, info| {
        if let Some(buffer) = info.buffer() {
            list.lock().unwrap().push(Item {
                pts_ms: buffer.pts().unwrap().mseconds(),
                is_gap: false,
                address: buffer.peek_memory(0).map_readable().unwrap().as_ptr() as usize,
                is_break: buffer.flags().contains(gst::BufferFlags::DISCONT),
            });
        } else if let Some(gst::EventView::Gap(gap)) = info.event().map(|event| event.view()) {
            let pts_ms = gap.get().0.mseconds();
            list.lock().unwrap().push(Item { pts_ms, is_gap: true, address: 0, is_break: false });
        }
        gst::PadProbeReturn::Ok
    });
    items
}

/// A producer in a process of its own.
fn producer(name: &TempRegion, media: &str) -> ChildGuard {
    let here = std::env::current_exe().unwrap();
    let target = here.parent().and_then(|deps| deps.parent()).unwrap();
    let mut command = Command::new("gst-launch-1.0");
    command.env("GST_PLUGIN_PATH", target).env("G_DEBUG", "fatal-criticals").stdout(Stdio::null());
    command.args(format!("{media} ! shm2sink shm-path={}", &**name).split_whitespace());
    ChildGuard::spawn(&mut command).unwrap()
}

const RAW: &str = "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1";
const SOUND: &str = "audiotestsrc is-live=true samplesperbuffer=480 ! audio/x-raw,format=S16LE,rate=48000,channels=1";

/// Items of a consumer whose producer is killed, and started again after half a second.
fn over_a_restart(media: &str, on_silence: &str) -> Vec<Item> {
    let name = TempRegion::new();
    let consumer =
        Pipeline::playing(&format!("shm2src name=src shm-path={} on-silence={on_silence} ! fakesink", &*name));
    let items = items(&consumer);
    let first = producer(&name, media);
    until("frames", || items.lock().unwrap().len() > 20);
    drop(first);
    std::thread::sleep(Duration::from_millis(500));
    let _second = producer(&name, media);
    until("the next producer", || consumer.stat("src", "attaches") == 2);
    let before = items.lock().unwrap().len();
    until("frames", || items.lock().unwrap()[before..].iter().filter(|item| !item.is_gap).count() > 20);
    let list = items.lock().unwrap().clone();
    println!("{on_silence}: filled {} of {}", consumer.stat("src", "filled"), list.len());
    list
}

/// Distances of the times in milliseconds, without those of the first frames, which may be from before the start.
fn steps(items: &[Item]) -> Vec<i64> {
    items[5..].windows(2).map(|pair| pair[1].pts_ms as i64 - pair[0].pts_ms as i64).collect()
}

#[test]
fn the_last_frame_is_repeated_in_its_rate_while_a_killed_producer_is_away() {
    let items = over_a_restart(RAW, "repeat");
    let steps = steps(&items);
    // The times of the next producer are on another grid.
    let wrong: Vec<_> = steps.iter().filter(|step| !(33..=34).contains(*step)).collect();
    assert!(wrong.len() <= 3 && wrong.iter().all(|step| **step > 0), "{wrong:?}");
    assert!(items.iter().all(|item| !item.is_gap));
    let repeated = items.windows(2).filter(|pair| pair[0].address == pair[1].address && !pair[1].is_break).count();
    assert!(repeated >= 15, "{repeated} frames have the memory of the one before");
}

#[test]
fn sound_and_encoded_streams_have_gaps_instead_of_repeated_frames() {
    let encoded = format!("{} ! x264enc tune=zerolatency key-int-max=10", RAW.replace("GRAY8", "I420"));
    let mut cases = vec![(SOUND, 10), (RAW, 33)];
    if common::have(&["x264enc"]) {
        cases.push((&encoded, 33));
    }
    std::thread::scope(|scope| {
        for (media, period) in cases {
            scope.spawn(move || {
                let items = over_a_restart(media, if media == RAW { "gap" } else { "repeat" });
                let begin = items.iter().position(|item| item.is_gap).expect("a gap");
                let gaps: Vec<_> = items[begin..].iter().take_while(|item| item.is_gap).copied().collect();
                assert!(gaps.len() as u64 >= 500 / (period + 1), "{media}: {} gaps", gaps.len());
                let steps: Vec<_> = gaps.windows(2).map(|pair| pair[1].pts_ms - pair[0].pts_ms).collect();
                let is_step = |step: &u64| (period..=period + 1).contains(step);
                assert!(steps.iter().filter(|step| !is_step(step)).count() <= 1, "{media}: {steps:?}");
            });
        }
    });
}

/// A producer of small pictures at 50/s, and a consumer that repeats them in a silence.
fn repeating_pair(name: &TempRegion) -> (Producer, Pipeline) {
    let mut producer = Producer::create(name).unwrap();
    producer
        .set_caps(b"video/x-raw, format=(string)GRAY8, width=(int)8, height=(int)8, framerate=(fraction)50/1")
        .unwrap();
    let source = format!("shm2src name=src shm-path={} on-silence=repeat", &**name);
    (producer, Pipeline::playing(&format!("{source} ! fakesink")))
}

#[test]
fn a_silent_producer_is_filled_in_for_and_late_frames_do_not_go_back() {
    let name = TempRegion::new();
    let (mut producer, consumer) = repeating_pair(&name);
    let items = items(&consumer);
    let mut send = |time_ns: u64| {
        let mut info = FrameInfo::new().with_pts(time_ns);
        info.time = Some(time_ns);
        producer.send(&[1; 64], &info).unwrap();
    };
    // The consumer plays, so that its running time has begun.
    send(shm2::monotonic_ns());
    until("the first frame", || !items.lock().unwrap().is_empty());
    std::thread::sleep(Duration::from_millis(100));
    let (begin, before) = (shm2::monotonic_ns(), consumer.stat("src", "filled"));
    send(begin);
    until("repeated frames", || consumer.stat("src", "filled") > before + 20);
    // These have the times of repeated frames.
    (1..5).for_each(|number| send(begin + number * 20_000_000));
    until("late frames", || consumer.stat("src", "skipped") == 4);
    send(shm2::monotonic_ns() + 500_000_000);
    let before = consumer.stat("src", "filled");
    until("repeated frames", || consumer.stat("src", "filled") > before + 5);
    let items = items.lock().unwrap().clone();
    assert!(items.windows(2).all(|pair| pair[0].pts_ms <= pair[1].pts_ms), "{items:?}");
    assert!(items.last().unwrap().pts_ms > items[0].pts_ms + 500);
}

/// A filled slot must not keep away every frame of a producer that stays behind the clock from then on.
#[test]
fn frames_of_a_producer_that_stays_late_after_a_silence_come_through() {
    let name = TempRegion::new();
    let (mut producer, consumer) = repeating_pair(&name);
    let late = Arc::new(Mutex::new(0));
    let count = late.clone();
    consumer.element("src").static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        *count.lock().unwrap() += u32::from(info.buffer().unwrap().offset() == 7);
        gst::PadProbeReturn::Ok
    });
    let mut send = |time_ns: u64, offset: u64| {
        let mut info = FrameInfo::new().with_pts(time_ns);
        (info.time, info.offset) = (Some(time_ns), Some(offset));
        producer.send(&[1; 64], &info).unwrap();
    };
    until("the first frames", || {
        send(shm2::monotonic_ns(), 1);
        std::thread::sleep(Duration::from_millis(20));
        consumer.stat("src", "received") > 10
    });
    let before = consumer.stat("src", "filled");
    until("repeated frames", || consumer.stat("src", "filled") > before + 10);
    until("frames that are 200 ms late", || {
        send(shm2::monotonic_ns() - 200_000_000, 7);
        std::thread::sleep(Duration::from_millis(20));
        *late.lock().unwrap() > 10
    });
}

/// Names of the element messages of silence so far.
fn messages(bus: &gst::Bus) -> Vec<String> {
    let all = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Element]));
    let names = all.filter_map(|message| message.structure().map(|structure| structure.name().to_string()));
    names.filter(|name| name.contains("silence")).collect()
}

#[test]
fn each_silence_of_a_live_producer_is_one_message_and_its_end_another() {
    let name = TempRegion::new();
    let consumer =
        Pipeline::playing(&format!("shm2src name=src shm-path={} silence-timeout=100000000 ! fakesink", &*name));
    let bus = consumer.0.bus().unwrap();
    // No producer is no silence.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(messages(&bus), [""; 0]);
    let mut producer = Producer::create(&name).unwrap();
    let mut seen = Vec::new();
    let mut wait = |expected: &[&str]| {
        until("messages", || {
            seen.extend(messages(&bus));
            seen.len() >= expected.len()
        });
        std::thread::sleep(Duration::from_millis(250));
        seen.extend(messages(&bus));
        assert_eq!(std::mem::take(&mut seen), expected);
    };
    wait(&["shm2-silence"]);
    producer.set_caps(b"application/x-test").unwrap();
    producer.send(&[1], &FrameInfo::new()).unwrap();
    wait(&["shm2-silence-ended", "shm2-silence"]);
    drop(producer);
    wait(&["shm2-silence-ended"]);
}

#[test]
fn silence_is_an_error_if_that_is_set() {
    let name = TempRegion::new();
    let consumer = Pipeline::playing(&format!(
        "shm2src name=src shm-path={} silence-timeout=100000000 silence-action=error ! fakesink",
        &*name
    ));
    let _producer = Producer::create(&name).unwrap();
    let error = consumer.error().expect("an error");
    assert!(error.contains("has sent nothing for 100 ms"), "{error}");
}

#[test]
fn a_slow_consumer_with_a_lag_limit_gets_no_older_frame_and_begins_again_with_a_keyframe() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_caps(b"video/x-h264, stream-format=(string)byte-stream, alignment=(string)au").unwrap();
    let consumer =
        Pipeline::new(&format!("shm2src name=src shm-path={} lag-limit=1000000000 ! fakesink name=out", &*name));
    let offsets = Arc::new(Mutex::new(Vec::new()));
    let list = offsets.clone();
    consumer.element("src").static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().unwrap();
        list.lock().unwrap().push((buffer.offset(), buffer.flags().contains(gst::BufferFlags::DISCONT)));
        if buffer.offset() == 1 {
            std::thread::sleep(Duration::from_millis(1300));
        }
        gst::PadProbeReturn::Ok
    });
    consumer.0.set_state(gst::State::Playing).unwrap();
    let mut send = |offset: u64, is_key: bool| {
        let mut info = FrameInfo::new();
        info.offset = Some(offset);
        info.flags = if is_key { 0 } else { gst::BufferFlags::DELTA_UNIT.bits() };
        producer.send(&[1], &info).unwrap();
    };
    send(0, true);
    until("the first frame", || !offsets.lock().unwrap().is_empty());
    (1..10).for_each(|offset| send(offset, false));
    std::thread::sleep(Duration::from_millis(1200));
    // These depend on frames that are too old.
    (10..13).for_each(|offset| send(offset, false));
    send(13, true);
    send(14, false);
    until("the last frame", || offsets.lock().unwrap().last().is_some_and(|(offset, _)| *offset == 14));
    let got: Vec<_> = offsets.lock().unwrap().iter().map(|(offset, _)| *offset).collect();
    assert_eq!(got, [0, 1, 13, 14]);
    assert_eq!(["skipped", "skipped-old", "missed"].map(|field| consumer.stat("src", field)), [8, 8, 0]);
}
