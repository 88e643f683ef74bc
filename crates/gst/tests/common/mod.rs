//! What the element tests need: pipelines, names, and a limit on how long anything may take.

#![allow(dead_code)]

use gst::prelude::*;
use std::ops::Deref;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest time for anything in a test.
pub const LIMIT: Duration = Duration::from_secs(60);

/// GStreamer with the elements of this crate; critical warnings end the test.
pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("GStreamer");
        gst::glib::log_set_always_fatal(gst::glib::LogLevels::LEVEL_CRITICAL | gst::glib::LogLevels::LEVEL_ERROR);
        gstshm2::plugin_register_static().expect("the plugin");
    });
}

/// A region name that no other test uses; whatever is left there goes away with it.
pub struct Name(String);

impl Name {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("/dev/shm/shm2-gst-test-{}-{number}", std::process::id()))
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A pipeline that goes to NULL when dropped.
pub struct Pipeline(pub gst::Pipeline);

impl Pipeline {
    pub fn new(description: &str) -> Self {
        init();
        let element = gst::parse::launch(description).unwrap_or_else(|e| panic!("{description}: {e}"));
        Self(element.downcast().expect("a pipeline"))
    }

    pub fn playing(description: &str) -> Self {
        let new = Self::new(description);
        new.0.set_state(gst::State::Playing).unwrap_or_else(|e| panic!("{description}: {e}: {:?}", new.error()));
        new
    }

    pub fn element(&self, name: &str) -> gst::Element {
        self.0.by_name(name).unwrap_or_else(|| panic!("no element {name}"))
    }

    /// Waits for the end of the stream.
    pub fn run_to_end(&self) {
        let bus = self.0.bus().expect("bus");
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        match bus.timed_pop_filtered(gst::ClockTime::try_from(LIMIT).ok(), &kinds).as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Eos(_)) => {}
            Some(gst::MessageView::Error(e)) => panic!("{}: {:?}", e.error(), e.debug()),
            _ => panic!("no end of stream in time"),
        }
    }

    /// The first error on the bus, if there is one soon.
    pub fn error(&self) -> Option<String> {
        let bus = self.0.bus().expect("bus");
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(10), &[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(e) => Some(e.error().to_string()),
            _ => None,
        }
    }

    pub fn stat(&self, element: &str, field: &str) -> u64 {
        stat(&self.element(element), field)
    }

    pub fn stop(&self) {
        let begun = Instant::now();
        self.0.set_state(gst::State::Null).expect("NULL");
        assert!(begun.elapsed() < Duration::from_secs(5), "going to NULL took {:?}", begun.elapsed());
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

pub fn stat(element: &gst::Element, field: &str) -> u64 {
    let stats = element.property::<gst::Structure>("stats");
    let value = stats.value(field).unwrap_or_else(|e| panic!("{field} of {stats}: {e}"));
    value.get::<u64>().unwrap_or_else(|_| u64::from(value.get::<u32>().expect("a number")))
}

/// Waits until the condition holds.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether all these elements can be made; says which one cannot.
pub fn have(elements: &[&str]) -> bool {
    init();
    let missing: Vec<_> = elements.iter().filter(|e| gst::ElementFactory::find(e).is_none()).collect();
    if !missing.is_empty() {
        println!("skipped: no element {missing:?} on this machine");
    }
    missing.is_empty()
}
