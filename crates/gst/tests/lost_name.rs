//! A sink whose region loses its name opens it again, or says so; a source that waits says where.

#![cfg(target_os = "linux")]

mod common;

use common::Pipeline;
use gst::prelude::*;
use shm2::Consumer;
use shm2_testing::{LIMIT, TempRegion};
use std::fs;
use std::time::{Duration, Instant};

const VIDEO: &str = "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1";

fn consumer(name: &TempRegion) -> Consumer {
    Consumer::builder(name).unwrap().attach(Some(LIMIT)).unwrap()
}

/// Name and text of an element message.
fn describe(structure: &gst::StructureRef) -> String {
    format!("{}: {}", structure.name(), structure.get::<String>("text").unwrap_or_default())
}

/// The first message with this text, or of this element message's name.
fn message(pipeline: &Pipeline, kind: gst::MessageType, text: &str) -> String {
    let bus = pipeline.0.bus().unwrap();
    let end = Instant::now() + LIMIT;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = gst::ClockTime::try_from(left).unwrap();
        let message = bus.timed_pop_filtered(left, &[kind]).unwrap_or_else(|| panic!("no message with {text:?}"));
        let found = match message.view() {
            gst::MessageView::Warning(warning) => warning.error().to_string(),
            gst::MessageView::Element(element) => element.structure().map(describe).unwrap_or_default(),
            _ => continue,
        };
        if found.contains(text) {
            return found;
        }
    }
}

#[test]
fn a_region_whose_file_is_removed_is_there_again_and_consumers_follow() {
    common::init();
    for _ in 0..2 {
        let name = TempRegion::new();
        let pipeline = Pipeline::playing(&format!("{VIDEO} ! shm2sink name=sink shm-path={}", &*name));
        let mut attached = consumer(&name);
        let before = attached.next(Some(LIMIT)).unwrap().caps().map(|(_, caps)| caps.to_vec());
        fs::remove_file(name.path()).unwrap();
        let begun = Instant::now();
        let frame = consumer(&name).next(Some(LIMIT)).unwrap();
        println!("a newcomer has a frame after {:?}", begun.elapsed());
        assert_eq!(frame.caps().map(|(_, caps)| caps.to_vec()), before);
        // The attached consumer is led over.
        while attached.stats().attaches < 2 {
            attached.next(Some(LIMIT)).unwrap();
        }
        pipeline.stop();
        assert!(!name.exists());
    }
}

#[test]
fn an_idle_region_whose_file_is_removed_is_there_again() {
    common::init();
    let name = TempRegion::new();
    let pipeline = Pipeline::playing(&format!(
        "appsrc name=source ! shm2sink name=sink shm-size=16777216 async=false shm-path={}",
        &*name
    ));
    let _attached = consumer(&name);
    fs::remove_file(name.path()).unwrap();
    let begun = Instant::now();
    let _newcomer = consumer(&name);
    println!("a newcomer is attached after {:?}", begun.elapsed());
    shm2_testing::until("both clients", || pipeline.element("sink").property::<u32>("num-clients") == 1);
    pipeline.stop();
}

#[test]
fn a_sink_that_waits_for_its_first_client_finds_it_in_the_region_that_was_opened_again() {
    common::init();
    let name = TempRegion::new();
    let sink = format!("shm2sink name=sink wait-for-connection=true shm-path={}", &*name);
    let pipeline = Pipeline::playing(&format!("{VIDEO} ! {sink}"));
    shm2_testing::until("the region", || name.exists());
    fs::remove_file(name.path()).unwrap();
    consumer(&name).next(Some(LIMIT)).unwrap();
    pipeline.stop();
}

#[test]
fn another_file_at_the_name_is_a_warning_that_names_the_path() {
    common::init();
    let name = TempRegion::new();
    let pipeline = Pipeline::playing(&format!("{VIDEO} ! shm2sink name=sink shm-path={}", &*name));
    let mut attached = consumer(&name);
    fs::remove_file(name.path()).unwrap();
    fs::write(name.path(), b"something else").unwrap();
    let text = message(&pipeline, gst::MessageType::Warning, "cannot find the region");
    assert!(text.contains(&*name.path().to_string_lossy()), "{text}");
    attached.next(Some(LIMIT)).unwrap();
    pipeline.stop();
    assert_eq!(fs::read(name.path()).unwrap(), b"something else");
    fs::remove_file(name.path()).unwrap();
}

#[test]
fn a_source_that_waits_says_where_and_what_to_check() {
    common::init();
    let name = TempRegion::new();
    let pipeline =
        Pipeline::playing(&format!("shm2src name=source shm-path={} ! fakesink name=sink async=false", &*name));
    let text = message(&pipeline, gst::MessageType::Element, "shm2-waiting");
    assert!(text.contains(&*name.path().to_string_lossy()) && text.contains("no producer there"), "{text}");
    // It goes on waiting.
    let mut producer = shm2::Producer::create(&name).unwrap();
    producer.send(b"x", &shm2::FrameInfo::new()).unwrap();
    let received = || pipeline.stat("source", "received");
    shm2_testing::until_within(LIMIT + Duration::from_secs(1), "a frame", || received() == 1);
    pipeline.stop();
}
