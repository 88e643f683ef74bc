//! A sink and a source on one region in this process, driven buffer by buffer.

use super::{init, stat};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoInfo, VideoMeta};
use shm2_testing::{LIMIT, TempRegion};
use std::time::Instant;

/// Whether the element behind the source announces `GstVideoMeta` in its answer to the allocation query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downstream {
    KnowsLayouts,
    KnowsNone,
}

pub struct Pair {
    pub sink: Harness,
    pub src: Harness,
    caps: Option<gst::Caps>,
    _name: TempRegion,
}

impl Pair {
    /// `sink` are properties of the sink.
    pub fn new(sink: &str, downstream: Downstream) -> Self {
        init();
        let name = TempRegion::new();
        let line = format!("shm2sink sync=false wait-for-connection=true full-policy=block shm-path={} {sink}", &*name);
        let mut sink = Harness::with_element(&gst::parse::launch(&line).unwrap(), Some("sink"), None);
        sink.element().unwrap().set_bus(Some(&gst::Bus::new()));
        sink.play();
        let line = format!("shm2src live-only=false shm-path={}", &*name);
        let mut src = Harness::with_element(&gst::parse::launch(&line).unwrap(), None, Some("src"));
        if downstream == Downstream::KnowsLayouts {
            src.add_propose_allocation_meta(VideoMeta::meta_api(), None);
        }
        src.element().unwrap().set_bus(Some(&gst::Bus::new()));
        src.use_systemclock();
        src.play();
        Self { sink, src, caps: None, _name: name }
    }

    /// Sends the buffer with these caps and waits until it arrives.
    pub fn pass(&mut self, caps: &gst::Caps, buffer: gst::Buffer) -> Result<gst::Buffer, gst::FlowError> {
        self.send(caps, buffer)?;
        let begun = Instant::now();
        loop {
            if let Some(buffer) = self.src.try_pull() {
                return Ok(buffer);
            }
            if let Some(error) = self.src_error() {
                panic!("the source failed: {error}");
            }
            assert!(begun.elapsed() < LIMIT, "no buffer in time");
            std::thread::yield_now();
        }
    }

    pub fn send(&mut self, caps: &gst::Caps, buffer: gst::Buffer) -> Result<(), gst::FlowError> {
        if self.caps.as_ref() != Some(caps) {
            self.sink.set_src_caps(caps.clone());
            self.caps = Some(caps.clone());
        }
        self.sink.push(buffer).map(drop)
    }

    pub fn received_caps(&self) -> gst::Caps {
        self.src.sinkpad().unwrap().current_caps().expect("caps before buffers")
    }

    pub fn sink_stat(&self, field: &str) -> u64 {
        stat(&self.sink.element().unwrap(), field)
    }

    pub fn src_stat(&self, field: &str) -> u64 {
        stat(&self.src.element().unwrap(), field)
    }

    /// Texts of the errors and warnings that the sink posted since the last call.
    pub fn sink_messages(&self) -> Vec<String> {
        messages(&self.sink)
    }

    fn src_error(&self) -> Option<String> {
        let messages = messages(&self.src);
        (!messages.is_empty()).then(|| messages.join("; "))
    }
}

/// Every byte of the picture that the caps describe, plane by plane and row by row, without padding. Formats whose
/// pixels have no fixed number of bytes are compared with the padding of their rows, formats with tiles as a whole.
pub fn picture(buffer: &gst::BufferRef, caps: &VideoInfo) -> Vec<u8> {
    let meta = buffer.meta::<VideoMeta>();
    let (offsets, strides) = match &meta {
        Some(meta) => (meta.offset(), meta.stride()),
        None => (caps.offset(), caps.stride()),
    };
    let map = buffer.map_readable().unwrap();
    let format = caps.format_info();
    let is_field = caps.interlace_mode() == gst_video::VideoInterlaceMode::Alternate;
    let height = if is_field { caps.height().div_ceil(2) } else { caps.height() };
    let mut picture = Vec::new();
    for plane in 0..format.n_planes() {
        let of_plane = (0..format.n_components()).filter(|c| format.plane()[*c as usize] == plane);
        let of_plane = of_plane.map(|c| {
            let bytes = format.scale_width(c as u8, caps.width()) as i32 * format.pixel_stride()[c as usize];
            (bytes as usize, format.scale_height(c as u8, height) as usize)
        });
        let (mut row, mut lines) = of_plane.fold((0, 0), |all, one| (all.0.max(one.0), all.1.max(one.1)));
        let (plane, own_stride) = (plane as usize, caps.stride()[plane as usize]);
        if format.is_tiled() {
            let ends = [caps.offset(), &[caps.size()]].concat();
            (row, lines) = (ends[plane + 1] - ends[plane], 1);
        } else if format.has_palette() && plane == 1 {
            (row, lines) = (1024, 1);
        } else if row == 0 {
            row = own_stride as usize;
        }
        for line in 0..lines {
            let start = offsets[plane] as i64 + line as i64 * i64::from(strides[plane]);
            picture.extend(&map[start as usize..][..row]);
        }
    }
    picture
}

fn messages(harness: &Harness) -> Vec<String> {
    let element = harness.element().unwrap();
    let Some(bus) = element.bus() else { return Vec::new() };
    let text = |message: gst::Message| match message.view() {
        gst::MessageView::Error(e) => Some(e.error().to_string()),
        gst::MessageView::Warning(w) => Some(w.error().to_string()),
        _ => None,
    };
    std::iter::from_fn(|| bus.pop()).filter_map(text).collect()
}
