//! Pipelines and what passes them, for the tests of the elements.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod pair;

use gst::prelude::*;
use gst_video::prelude::*;
use shm2_testing::{LIMIT, TempPath, skip};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

/// GStreamer with the elements of this crate; critical warnings end the test.
pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("GStreamer");
        gst::glib::log_set_always_fatal(gst::glib::LogLevels::LEVEL_CRITICAL | gst::glib::LogLevels::LEVEL_ERROR);
        gstshm2::plugin_register_static().expect("the plugin");
    });
}

/// Writes a file by a pipeline; `FILE` in the description stands for its path.
pub fn record(description: &str) -> TempPath {
    let file = TempPath::new("recording");
    Pipeline::playing(&description.replace("FILE", file.text())).run_to_end();
    file
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

/// The bytes of each buffer that passes a pad.
pub fn bytes(element: &gst::Element, pad: &str) -> Arc<Mutex<Vec<Vec<u8>>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let list = all.clone();
    element.static_pad(pad).expect("a pad").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let bytes = info.buffer().map(|buffer| buffer.map_readable().expect("readable").to_vec());
        list.lock().expect("no panic").extend(bytes);
        gst::PadProbeReturn::Ok
    });
    all
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

/// Whether all these elements can be made; says which one cannot.
pub fn have(elements: &[&str]) -> bool {
    init();
    let missing: Vec<_> = elements.iter().filter(|e| gst::ElementFactory::find(e).is_none()).collect();
    if !missing.is_empty() {
        skip(&format!("no element {missing:?} on this machine"));
    }
    missing.is_empty()
}
