//! What the element tests need: pipelines, names, and a limit on how long anything may take.

#![allow(dead_code)]

use gst::prelude::*;
use gst_video::prelude::*;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
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
        let place = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
        Self(format!("{place}shm2-gst-test-{}-{number}", std::process::id()))
    }

    /// The same with its scheme.
    pub fn uri(&self) -> String {
        if cfg!(windows) { self.0.clone() } else { format!("shm://{}", self.0) }
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

/// A file that goes away when dropped, written by a pipeline; `FILE` in its description stands for where.
pub struct Recording(String);

impl Recording {
    pub fn of(description: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("shm2-gst-test-{}-{number}", std::process::id()));
        let new = Self(file.to_str().expect("a plain name").to_owned());
        Pipeline::playing(&description.replace("FILE", &new.0)).run_to_end();
        new
    }
}

impl Deref for Recording {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Recording {
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

/// What passes a pad: for each picture a hash of what is to be seen of it, for anything else one of its bytes.
pub fn pictures(element: &gst::Element, pad: &str) -> Arc<Mutex<Vec<u64>>> {
    let hashes = Arc::new(Mutex::new(Vec::new()));
    let list = hashes.clone();
    let pad = element.static_pad(pad).expect("a pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let caps = pad.current_caps().expect("caps before buffers");
        list.lock().expect("no panic").extend(info.buffer().map(|buffer| hash(buffer, &caps)));
        gst::PadProbeReturn::Ok
    });
    hashes
}

fn hash(buffer: &gst::BufferRef, caps: &gst::CapsRef) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Ok(info) = gst_video::VideoInfo::from_caps(caps) else {
        buffer.map_readable().expect("readable").hash(&mut hasher);
        return hasher.finish();
    };
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).expect("a picture");
    for component in 0..frame.n_components() {
        let (plane, stride) = (frame.comp_plane(component), frame.comp_stride(component) as usize);
        let (width, height) = (frame.comp_width(component) as usize, frame.comp_height(component) as usize);
        let (step, offset) = (frame.comp_pstride(component) as usize, frame.comp_poffset(component) as usize);
        let data = frame.plane_data(plane).expect("a plane");
        for line in data.chunks(stride).take(height) {
            line[offset..].iter().step_by(step).take(width).for_each(|byte| byte.hash(&mut hasher));
        }
    }
    hasher.finish()
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
        skip(&format!("no element {missing:?} on this machine"));
    }
    missing.is_empty()
}

/// Says that a test is not run, and why: for whoever looks at this test, and in the file that `cargo xtask test` shows.
pub fn skip(why: &str) {
    println!("skipped: {why}");
    if let Some(file) = std::env::var_os("SHM2_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("skipped: {why}\n").as_bytes()));
    }
}
