//! GObject glue of `shm2sink`.
//!
//! Lock order: `stream`, then any one of `settings`, `open`, `counters`, `clock`, `described`. No lock but `stream` is held over a call that
//! may wait, and `stream` is taken by the streaming thread and by start and stop only.

use super::publish::{Path, Sent, Stream, Timing};
use super::region::Open;
use super::report::Past;
use super::settings::{self, Settings};
use crate::allocator::ArenaAllocator;
use crate::caps::Media;
use crate::events;
use crate::pool::ArenaPool;
use crate::{Pace, clock, lock, uri};
use gst::glib::{self, subclass::Signal};
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use shm2::SendError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

pub(super) static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("shm2sink", gst::DebugColorFlags::empty(), Some("Shared-memory sink")));

#[derive(Default)]
pub struct Shm2Sink {
    pub(super) settings: Mutex<Settings>,
    pub(super) stream: Mutex<Option<Stream>>,
    pub(super) open: Mutex<Option<Open>>,
    pub(super) counters: Mutex<Counters>,
    /// What upstream's sticky events say of the stream.
    pub(super) described: Mutex<events::Stream>,
    clock: Mutex<clock::Known>,
    pub(super) flushing: AtomicBool,
}

#[derive(Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) zero_copied: u64,
    pub(super) copied: u64,
    pub(super) metas_left_behind: u64,
    pub(super) events_left_behind: u64,
    pub(super) clients: u32,
    latency: u64,
    pub(super) dropped_oldest: u64,
    pub(super) told_of_drops: bool,
    /// What regions counted that a larger one replaced.
    pub(super) past: Past,
    pub(super) drops: Pace,
    pub(super) stats: Pace,
}

#[glib::object_subclass]
impl ObjectSubclass for Shm2Sink {
    const NAME: &'static str = "GstShm2Sink";
    type Type = super::Shm2Sink;
    type ParentType = gst_base::BaseSink;
    type Interfaces = (gst::URIHandler,);
}

impl URIHandlerImpl for Shm2Sink {
    const URI_TYPE: gst::URIType = gst::URIType::Sink;

    fn protocols() -> &'static [&'static str] {
        uri::PROTOCOLS
    }

    fn uri(&self) -> Option<String> {
        uri::uri_of(&lock(&self.settings).shm_path)
    }

    fn set_uri(&self, uri: &str) -> Result<(), glib::Error> {
        let path = uri::path_of(uri, &*self.obj())?;
        lock(&self.settings).shm_path = path;
        Ok(())
    }
}

impl ObjectImpl for Shm2Sink {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::properties()
    }

    fn signals() -> &'static [Signal] {
        static SIGNALS: LazyLock<Vec<Signal>> = LazyLock::new(|| {
            ["client-connected", "client-disconnected"]
                .map(|name| Signal::builder(name).param_types([u32::static_type()]).build())
                .into()
        });
        &SIGNALS
    }

    fn constructed(&self) {
        self.parent_constructed();
        let sink = self.obj();
        // A kept last sample would keep its frame's memory from being used again.
        sink.set_enable_last_sample(false);
        sink.set_processing_deadline(gst::ClockTime::ZERO);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_change(&*self.obj(), pspec) {
            gst::warning!(CAT, imp = self, "{} can only be changed while stopped; it stays as it is", pspec.name());
            return;
        }
        if lock(&self.settings).set(pspec.name(), value).is_none() {
            gst::error!(CAT, imp = self, "cannot set {}", pspec.name());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "num-clients" => lock(&self.counters).clients.to_value(),
            "stats" => self.stats().to_value(),
            name => lock(&self.settings).get(name).unwrap_or_else(|| pspec.default_value().clone()),
        }
    }
}

impl GstObjectImpl for Shm2Sink {}

impl ElementImpl for Shm2Sink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Shared-memory sink",
                "Sink",
                "Publish buffers to any number of processes through a shared-memory region",
                "The shm2 contributors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let any = gst::Caps::new_any();
            gst::PadTemplate::new("sink", gst::PadDirection::Sink, gst::PadPresence::Always, &any).into_iter().collect()
        });
        &TEMPLATES
    }

    /// Buffers are handed over when they are due in this pipeline; its latency is for consumers to add, not for us to
    /// wait. So the base class is told of none, and the real one goes along with each frame.
    fn send_event(&self, event: gst::Event) -> bool {
        if let gst::EventView::Latency(latency) = event.view() {
            lock(&self.counters).latency = latency.latency().nseconds();
            return self.parent_send_event(gst::event::Latency::new(gst::ClockTime::ZERO));
        }
        self.parent_send_event(event)
    }
}

impl BaseSinkImpl for Shm2Sink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        self.reset_counters();
        *lock(&self.described) = events::Stream::default();
        self.flushing.store(false, Ordering::Release);
        // With 0 the caps will tell.
        let size = lock(&self.settings).shm_size;
        if size == 0 { Ok(()) } else { self.open_region(size) }
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.close_region();
        lock(&self.counters).clients = 0;
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(true);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(false);
        Ok(())
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        if !crate::caps::is_system_memory(caps) {
            return Err(gst::loggable_error!(CAT, "{caps} is not in system memory"));
        }
        gst::debug!(CAT, imp = self, "caps {caps}");
        self.fit_region(caps)?;
        let mut stream = lock(&self.stream);
        if let Some(stream) = stream.as_mut() {
            stream.set_caps(caps);
        }
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::AcceptCaps(accept) = query.view_mut() {
            let accepted = crate::caps::is_system_memory(accept.caps());
            accept.set_result(accepted);
            return true;
        }
        BaseSinkImplExt::parent_query(self, query)
    }

    fn event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Eos(_) => {
                gst::debug!(CAT, imp = self, "end of stream");
                self.tell_stats();
                if let Some(Err(error)) = lock(&self.stream).as_mut().map(Stream::end_of_stream) {
                    gst::warning!(CAT, imp = self, "the end of stream did not get through: {error}");
                }
                self.parent_event(event)
            }
            gst::EventView::Gap(_) => {
                // The base class waits until it is due.
                let handled = self.parent_event(event.clone());
                if handled {
                    self.pass_on(&event);
                }
                handled
            }
            _ => {
                self.pass_on(&event);
                self.parent_event(event)
            }
        }
    }

    fn propose_allocation(&self, query: &mut gst::query::Allocation) -> Result<(), gst::LoggableError> {
        let allocator = lock(&self.open).as_ref().map(|open| open.allocator.clone());
        let allocator = allocator.ok_or_else(|| gst::loggable_error!(CAT, "not started"))?;
        let (caps, need_pool) = query.get_owned();
        if let Some(info) = caps.as_deref().and_then(|caps| Media::of(caps).video) {
            if need_pool {
                let pool = video_pool(&allocator, caps.as_ref(), &info);
                query.add_allocation_pool(pool.as_ref(), info.size() as u32, 2, 0);
            }
            query.add_allocation_meta::<gst_video::VideoMeta>(None);
        }
        query.add_allocation_param(Some(&allocator), gst::AllocationParams::default());
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        loop {
            match self.try_render(buffer) {
                Ok(sent) => {
                    let mut counters = lock(&self.counters);
                    let in_place = sent.path == Path::ZeroCopy;
                    *(if in_place { &mut counters.zero_copied } else { &mut counters.copied }) += 1;
                    counters.metas_left_behind += sent.metas_left_behind;
                    counters.events_left_behind += u64::from(sent.description_left_behind);
                    drop(counters);
                    self.notify_stats();
                    return Ok(gst::FlowSuccess::Ok);
                }
                // Paused or flushed while waiting: the same frame goes on when the stream does.
                Err(SendError::Cancelled) => drop(self.obj().wait_preroll()?),
                Err(error) if error.is_drop() => {
                    self.dropped(&error);
                    return Ok(gst::FlowSuccess::Ok);
                }
                Err(SendError::Closed) => return Err(gst::FlowError::Flushing),
                Err(SendError::TooLarge { bytes, .. }) if self.grow_region(bytes) => {}
                Err(error @ (SendError::Truncated { .. } | SendError::Superseded { .. })) => {
                    gst::element_imp_error!(self, gst::ResourceError::Write, ("{error}"));
                    return Err(gst::FlowError::Error);
                }
                Err(error) => {
                    gst::element_imp_error!(
                        self,
                        gst::ResourceError::NoSpaceLeft,
                        ("{error}"),
                        ["shm-size is {} bytes", lock(&self.settings).shm_size]
                    );
                    return Err(gst::FlowError::Error);
                }
            }
        }
    }
}

impl Shm2Sink {
    fn reset_counters(&self) {
        let mut counters = lock(&self.counters);
        *counters = Counters { latency: counters.latency, ..Counters::default() };
    }

    fn try_render(&self, buffer: &gst::Buffer) -> Result<Sent, SendError> {
        let settings = lock(&self.settings).clone();
        if lock(&self.open).is_none() && settings.shm_size == 0 && self.open_region(settings.size_for(None)).is_err() {
            return Err(SendError::Closed);
        }
        if settings.wait_for_connection {
            self.wait_for_client()?;
        }
        let timing = self.timing(buffer.pts(), buffer.dts(), buffer.duration());
        let latency = lock(&self.counters).latency;
        let mut stream = lock(&self.stream);
        stream.as_mut().ok_or(SendError::Closed)?.publish(buffer, timing, latency)
    }

    /// When the frame is due: in running time, because a segment may begin anywhere, and on the monotonic clock.
    pub(super) fn timing(
        &self,
        pts: Option<gst::ClockTime>,
        dts: Option<gst::ClockTime>,
        duration: Option<gst::ClockTime>,
    ) -> Timing {
        let sink = self.obj();
        let raw = |time: Option<gst::ClockTime>| time.map(|t| t.nseconds());
        let Ok(segment) = sink.segment().downcast::<gst::ClockTime>() else {
            return Timing { pts: raw(pts), dts: raw(dts), time: None, duration: raw(duration) };
        };
        let running = |time: Option<gst::ClockTime>| {
            let running = segment.to_running_time_full(time?)?;
            // Decoding times before the segment begin with it.
            Some(running.positive().map_or(0, |t| t.nseconds()))
        };
        let (pts, dts) = (running(pts), running(dts));
        let clock = sink.clock().zip(sink.base_time());
        let time = clock
            .zip(pts.or(dts))
            .map(|((clock, base), due)| clock::to_monotonic(due, base.nseconds(), lock(&self.clock).offset(&clock)));
        // At twice the rate a buffer lasts half as long.
        let rate = segment.rate().abs();
        let duration = duration.map(|d| if rate == 1.0 { d.nseconds() } else { (d.nseconds() as f64 / rate) as u64 });
        Timing { pts, dts, time, duration }
    }

    fn set_flushing(&self, flushing: bool) {
        self.flushing.store(flushing, Ordering::Release);
        let handle = lock(&self.open).as_ref().map(|open| open.handle.clone());
        if let Some(handle) = handle {
            handle.set_cancelled(flushing);
            handle.signal();
        }
    }
}

fn video_pool(allocator: &ArenaAllocator, caps: Option<&gst::Caps>, info: &gst_video::VideoInfo) -> Option<ArenaPool> {
    let pool = ArenaPool::new(allocator);
    let mut config = pool.config();
    config.set_params(caps, info.size() as u32, 2, 0);
    config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META.as_ref());
    pool.set_config(config).ok().map(|()| pool)
}
