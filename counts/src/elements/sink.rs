//! A buffer through the sink element: of upstream's memory, which the sink copies, and of the sink's own pool.

use gst::prelude::*;
use shm2::{Consumer, Start};
use shm2_counts::{batches, step_if};
use shm2_testing::{LIMIT, TempRegion};

const STEPS: usize = 256;
const BYTES: usize = 1024;

/// Video whose frames have [`BYTES`] bytes.
fn caps() -> gst::Caps {
    let caps = gst::Caps::builder("video/x-raw").field("format", "GRAY8").field("width", 64).field("height", 16);
    caps.field("framerate", gst::Fraction::new(30, 1)).build()
}

/// The sink, a pad that pushes into it, and a consumer of its region.
struct Sink {
    element: gst::Element,
    pad: gst::Pad,
    consumer: Option<Consumer>,
    name: TempRegion,
}

impl Sink {
    fn playing() -> Self {
        let name = TempRegion::new();
        let element = gst::ElementFactory::make("shm2sink").property("shm-path", &*name).property("sync", false);
        let element = element.build().expect("the sink");
        let pad = gst::Pad::builder(gst::PadDirection::Src).build();
        pad.set_active(true).expect("an active pad");
        pad.link(&element.static_pad("sink").expect("its pad")).expect("linked");
        element.set_state(gst::State::Playing).expect("playing");
        assert!(pad.push_event(gst::event::StreamStart::new("counts")));
        assert!(pad.push_event(gst::event::Caps::new(&caps())));
        assert!(pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
        Self { element, pad, consumer: None, name }
    }

    /// Pushes a buffer, and takes the frame on the other side.
    fn push(&mut self, buffer: gst::Buffer, is_counted: bool) {
        step_if(is_counted, || self.pad.push(buffer)).expect("pushed");
        let consumer = self.consumer.get_or_insert_with(|| {
            let consumer = Consumer::builder(&self.name).expect("a name").start(Start::Oldest);
            consumer.attach(Some(LIMIT)).expect("a region")
        });
        drop(consumer.next(Some(LIMIT)).expect("a frame"));
    }

    fn pool(&self) -> gst::BufferPool {
        let caps = caps();
        let mut query = gst::query::Allocation::new(Some(&caps), true);
        assert!(self.pad.peer_query(query.query_mut()));
        let (pool, ..) = query.allocation_pools().next().expect("a pool");
        let pool = pool.expect("the sink's pool");
        let mut config = pool.config();
        config.set_params(Some(&caps), BYTES as u32, 2, 0);
        pool.set_config(config).expect("a configuration");
        pool.set_active(true).expect("an active pool");
        pool
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.element.set_state(gst::State::Null);
    }
}

pub fn run() {
    let mut sink = Sink::playing();
    let heap = || gst::Buffer::from_slice([7u8; BYTES]);
    (0..STEPS).for_each(|_| sink.push(heap(), false));
    batches("elements: sink, push of 1 KiB, copied", STEPS, || sink.push(heap(), true));

    let pool = sink.pool();
    let acquire = |is_counted| step_if(is_counted, || pool.acquire_buffer(None)).expect("a buffer");
    (0..STEPS).for_each(|_| sink.push(acquire(false), false));
    batches("elements: sink, a buffer of its pool", STEPS, || sink.push(acquire(true), false));
    batches("elements: sink, push of 1 KiB of its pool", STEPS, || sink.push(acquire(false), true));
    pool.set_active(false).expect("an inactive pool");
}
